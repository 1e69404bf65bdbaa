"""Test the view of an answer in a terminal: the order of its evidence, and its abstention."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from ragcore.types import Answer, Candidate, Evidence, Passage
from ragcore.views.answer import answer_view
from ragcore.views.heatmap import heatmap_html

ANSWER = Answer(
    question="Who?",
    text="Nairobi",
    log_prob=-0.5,
    evidence=(
        Evidence(Passage("a", "First hit", "a"), 3.0, 0.2, 0.1),
        Evidence(Passage("b", "Second hit", "b"), 2.0, 0.8, 0.9),
    ),
    memory="2018",
    tokens=("Nairobi",),
    token_posteriors=((0.1, 0.9),),
    token_ids=(3,),
    abstention=Candidate((4,), (-1.2, -0.1), (0.6, 0.4), ((0.5, 0.5),), ((), ()), "unknown"),
)


def shown(answer: Answer) -> str:
    console = Console(width=100, file=io.StringIO())
    console.print(answer_view(answer))
    return console.file.getvalue()


@pytest.mark.parametrize("show", [shown, heatmap_html])
def test_evidence_is_shown_by_falling_prior(show):
    text = show(ANSWER)
    assert 0 < text.index("Second hit") < text.index("First hit")
    swapped = replace(ANSWER, evidence=ANSWER.evidence[::-1])
    text = show(swapped)
    assert 0 < text.index("Second hit") < text.index("First hit")


def test_the_probability_of_abstaining_is_shown():
    assert "p(unknown) = 0.27; the answer's p is given that a passage answers" in shown(ANSWER)
    abstaining = shown(replace(ANSWER, abstains=True))
    assert "p(unknown) = 0.27" in abstaining
    assert "given that" not in abstaining
    assert "p(unknown)" not in shown(replace(ANSWER, abstention=None))


def test_an_abstention_without_passages_is_no_answer_of_the_generator_alone():
    alone = replace(ANSWER, evidence=())
    assert "the generator answered alone" in shown(alone)
    assert "the generator answered alone" not in shown(replace(alone, abstains=True))
    assert "no passage was found" in shown(replace(alone, abstains=True))


def test_evidence_is_shown_with_its_source():
    link = "https://en.wikipedia.org/w/index.php?title=Kenya&oldid=" + "1" * 60
    metadata = {
        "page": 186,
        "revision": 7,
        "section": "Cities > Nairobi\x1b[2J\nand more",
        "timestamp": "2026-01-02T03:04:05Z",
        "url": link,
    }
    sourced = Evidence(Passage("b", "Kenya", "Its capital is Nairobi.", metadata), 2.0, 1.0, 1.0)
    text = shown(replace(ANSWER, evidence=(sourced,)))
    # Whole, on as many lines as it takes, and without an escape code.
    assert f"Cities>Nairobi\u241b[2Jandmore·2026-01-02·{link}" in "".join(text.split())
    assert "\x1b" not in text
    assert "page 186" not in text
    file = Evidence(Passage("c", "", "text", {"path": "a/b.pdf", "page": 3}), 2.0, 1.0, 1.0)
    assert "a/b.pdf page 3" in shown(replace(ANSWER, evidence=(file,)))
    assert shown(ANSWER).count("\n") + 2 == shown(replace(ANSWER, evidence=(file, file))).count(
        "\n"
    )

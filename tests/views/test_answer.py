"""Test the view of an answer in a terminal: the order of its evidence, and its abstention."""

from __future__ import annotations

import io
import math
import re
from dataclasses import replace

import pytest
from rich.console import Console, RenderableType

from ragcore.answering.ablation import Without
from ragcore.types import AbstentionTest, Answer, Candidate, CitedSpan, Evidence, Passage
from ragcore.views.answer import answer_view, sources_view, without_view
from ragcore.views.console import print_view
from ragcore.views.source import on_one_line, span_text

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


def rendered(view: RenderableType) -> str:
    console = Console(width=100, file=io.StringIO())
    console.print(view)
    return console.file.getvalue()


def shown(answer: Answer) -> str:
    return rendered(answer_view(answer))


def test_evidence_is_shown_by_falling_prior():
    text = shown(ANSWER)
    assert 0 < text.index("Second hit") < text.index("First hit")
    swapped = replace(ANSWER, evidence=ANSWER.evidence[::-1])
    text = shown(swapped)
    assert 0 < text.index("Second hit") < text.index("First hit")


def test_the_probability_of_abstaining_is_shown():
    lines = "p(unknown) = 0.27\n  the answer's p is given that a passage answers\n"
    assert lines in re.sub(" +\n", "\n", shown(ANSWER))
    abstaining = shown(replace(ANSWER, abstains=True))
    assert "p(unknown) = 0.27" in abstaining
    assert "given that" not in abstaining
    assert "p(unknown)" not in shown(replace(ANSWER, abstention=None))


def test_what_abstaining_is_compared_with_is_shown():
    def line(test: AbstentionTest, **fields: object) -> str:
        text = shown(replace(ANSWER, abstention_test=test, **fields))
        return next(line.strip() for line in text.splitlines() if "p(unknown)" in line)

    marginal = AbstentionTest("arithmetic", -1.3, 0.6)
    assert line(marginal) == "p(unknown) = 0.27; abstains above 0.6"
    geometric = AbstentionTest("geometric", -2.0, 0.075)
    compared = "p(unknown) = 0.27, by the geometric mean 0.14; abstains above 0.075"
    assert line(geometric, abstains=True) == compared
    assert line(replace(geometric, log_mean=-math.inf)) == (
        "p(unknown) = 0.27, by the geometric mean 0.00; abstains above 0.075"
    )
    # No passage was found, or none answers otherwise.
    alone = line(marginal, abstains=True)
    assert alone == "p(unknown) = 0.27; there is no other answer"


def test_json_has_no_infinite_mean():
    answer = replace(ANSWER, abstention_test=AbstentionTest("geometric", -math.inf, 0.5))
    compared = {"mean": "geometric", "log_mean": None, "above": 0.5}
    row = answer.to_dict()
    assert row["abstention"] == {"text": "unknown", "log_prob": pytest.approx(-1.3), **compared}
    assert "abstention_test" not in row


def test_an_abstention_without_passages_is_no_answer_of_the_generator_alone():
    alone = replace(ANSWER, evidence=())
    assert "the generator answered alone" in shown(alone)
    assert "the generator answered alone" not in shown(replace(alone, abstains=True))
    assert "no passage was found" in shown(replace(alone, abstains=True))


def test_no_passage_is_told_in_one_sentence():
    alone = replace(ANSWER, evidence=(), abstention=None)
    told = "  no passage was found; the generator answered alone"
    assert shown(alone).splitlines()[2:] == [told]
    # Without a passage a grounded answer is empty: the generator wrote none.
    grounded = replace(alone, text="", missing_passages=3)
    for view in (answer_view(grounded), sources_view(grounded)):
        (line,) = rendered(view).splitlines()[2:]
        assert line.startswith("  no passage was found: a search by words finds those that share ")
    assert "only 2 of 3 passages were found" in shown(replace(ANSWER, missing_passages=1))


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


def test_evidence_is_numbered_as_it_is_cited():
    text = shown(replace(ANSWER, abstention=None))
    assert "rests on [1] (0.90), [2] (0.10)" in text
    assert re.search(r"\[1\] +0\.800 +0\.900 +Second hit", text)
    assert re.search(r"\[2\] +0\.200 +0\.100 +First hit", text)
    sources = rendered(sources_view(ANSWER))
    assert sources.splitlines() == [
        "Who?",
        "  Nairobi   log p = -0.500 (p = 0.61), memory 2018",
        "  p(unknown) = 0.27",
        "  the answer's p is given that a passage answers",
        "[1] 0.90 Second hit · b",
        "[2] 0.10 First hit · a",
    ]
    left_out = Without(("a",), -1.0, None, 1)
    assert "without [2] a\n" in rendered(without_view(ANSWER, left_out))


@pytest.mark.parametrize(
    ("log_prob", "expected"),
    [
        (0.0, "p = 1.00"),
        (-5.29, "p = 0.01"),
        (-6.304, "p = 0.002"),
        (-25.0, "p = 1e-11"),
        (-900.0, "p < 1e-99"),
    ],
)
def test_an_improbable_answer_does_not_look_impossible(log_prob, expected):
    first = shown(replace(ANSWER, log_prob=log_prob)).splitlines()[1]
    assert f"log p = {log_prob:.3f} ({expected})" in first


def test_an_answer_without_a_passage_keeps_the_numbers_of_the_others():
    winner = replace(ANSWER, evidence=ANSWER.evidence[:1], numbers=(2,))
    assert "rests on [2] (0.10)" in shown(winner)
    assert rendered(sources_view(winner)).endswith("passage answers\n[2] 0.10 First hit · a\n")


def test_an_abstaining_answer_rests_on_nothing():
    assert "rests on" not in shown(replace(ANSWER, abstains=True))


def test_notes_on_the_filter_are_shown_in_every_view():
    note = "no passage has the field 'x\x1b[2J<b>'"
    noted = replace(ANSWER, filter_notes=(note,))
    alone = replace(noted, evidence=())
    for view in (answer_view(noted), sources_view(noted), answer_view(alone), sources_view(alone)):
        text = rendered(view)
        assert "no passage has the field 'x\u241b[2J<b>'" in text
        assert "\x1b" not in text
    assert "no passage was found" in rendered(sources_view(alone))


EVIL = "\x1b]0;x\x07\u202e<i>\n"


def test_a_grounded_answer_names_its_place_in_the_source():
    metadata = {"path": f"a{EVIL}.md", "line": 7, "span": [100, 116], "heading": f"H{EVIL}"}
    passage = Passage("b", f"T{EVIL}", "First\nNairobi\n..", metadata)
    grounded = replace(ANSWER, evidence=(Evidence(passage, 2.0, 1.0, 1.0, ((6, 13),)),))
    for view in (answer_view(grounded), sources_view(grounded)):
        text = rendered(view)
        assert "answer at line 8, characters 106-113" in " ".join(text.split())
        assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", text)
    unknown = Passage("b", "T", "Nairobi, Nairobi Nairobi Nairobi Nairobi")
    spans = tuple((start, start + 7) for start in (0, 9, 17, 25, 33))
    repeated = replace(ANSWER, evidence=(Evidence(unknown, 2.0, 1.0, 1.0, spans),))
    text = " ".join(rendered(sources_view(repeated)).split())
    assert text.count("“") == 3
    assert text.endswith("”, and 2 more")


def quoted(text: str, answer: str) -> str:
    start = text.index(answer)
    return span_text([CitedSpan.of(Passage("b", "T", text), start, start + len(answer))], text)


def test_an_answer_without_a_line_is_shown_among_the_words_around_it():
    text = (
        "Visitors register at the quay. The limit of the Aurora is\n12 people, and no more may go "
        "aboard before noon."
    )
    assert quoted(text, "12 people") == (
        "answer in “…limit of the Aurora is 12 people, and no more may go…”"
    )
    assert quoted(text, "Visitors") == "answer in “Visitors register at the quay.…”"
    assert quoted("Noon.", "Noon.") == "answer in “Noon.”"
    # Writing without spaces has words around the answer, too.
    assert quoted("漢" * 50 + "字" + "漢" * 50, "字") == f"answer in “…{'漢' * 29}字{'漢' * 29}…”"
    # A long answer is whole, and nothing else.
    assert quoted("a " + "b " * 50 + "c", ("b " * 50).strip()) == (
        f"answer in “…{('b ' * 50).strip()}…”"
    )


def test_a_line_break_in_an_answer_is_a_space():
    passage = Passage("b", "T", "Home port:\n  Bodø.\nCaptain")
    broken = replace(ANSWER, text="port:\n  Bodø.", abstention=None)
    broken = replace(broken, evidence=(Evidence(passage, 2.0, 1.0, 1.0, ((5, 18),)),))
    for view in (answer_view(broken), sources_view(broken)):
        lines = rendered(view).splitlines()
        assert lines[1].startswith("  port: Bodø.   log p")
    assert "Home port: Bodø. Captain" in shown(broken)


def test_a_title_or_an_id_forges_no_evidence_and_is_not_shown_whole():
    forging = "a\n[2]  0.999  0.999  forged"
    for passage in (Passage("a", forging, "text"), Passage(forging, "", "text")):
        evidence = (Evidence(passage, 3.0, 1.0, 1.0),)
        text = shown(replace(ANSWER, evidence=evidence))
        assert "[2] 0.999 0.999 forged" in text
        assert not re.search(r"^\s*\[2\]", text, re.MULTILINE)
    left_out = Without((forging,), -1.0, None, 2)
    text = rendered(without_view(replace(ANSWER, evidence=evidence), left_out))
    assert not re.search(r"^\[2\]", text, re.MULTILINE)


def test_a_title_of_megabytes_is_cut():
    assert on_one_line(" x\n" * 1_000_000) == "x " * 999 + "x…"
    assert on_one_line("a\tb") == "a b"


def test_lines_for_a_program_are_not_wrapped(monkeypatch, capsys):
    link = Evidence(
        Passage("b", "Kenya " * 20, "text", {"url": "https://x.org/" + "1" * 90}), 2, 1, 1
    )
    answer = replace(ANSWER, question="Who? " * 30, evidence=(link,))
    monkeypatch.delenv("COLUMNS", raising=False)
    print_view(answer_view(answer), sources_view(answer))
    whole = capsys.readouterr().out
    assert ("Who? " * 30).strip() in whole
    assert whole.count("https://x.org/" + "1" * 90) == 2
    assert max(map(len, whole.splitlines())) < 500
    monkeypatch.setenv("COLUMNS", "60")
    print_view(answer_view(answer), sources_view(answer))
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 60


def test_a_withheld_answer_is_shown_as_a_best_guess():
    shown = rendered(answer_view(replace(ANSWER, withheld=True, confidence=0.25)))
    assert "not sure enough to answer\n  best guess: Nairobi" in shown
    assert "confidence 0.25" in shown
    assert "not sure enough" in rendered(sources_view(replace(ANSWER, withheld=True)))
    assert "confidence" not in rendered(answer_view(ANSWER))
    assert "confidence 0.90" in rendered(answer_view(replace(ANSWER, confidence=0.9)))


def test_draws_of_the_same_text_are_counted_together():
    whole, stopped, other = (
        Candidate(ids, (-0.5,), (0.6, 0.4), ((0.5, 0.5),), ((), ()), text, draws=draws)
        for ids, text, draws in (
            ((3, 2), "Nairobi", (0, 4)),
            ((3, 5), "Nairobi", (2,)),
            ((4, 2), "Lima", (1, 3)),
        )
    )
    drawn = replace(ANSWER, candidates=(other, whole, stopped))
    assert "of 5 draws: 3 × Nairobi, 2 × Lima" in shown(drawn)

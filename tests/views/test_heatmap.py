"""Test the heatmap of an answer: every number is there, and no text is markup."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ragcore.types import Answer, Evidence, Passage
from ragcore.views.heatmap import heatmap_html, write_heatmap
from tests.helpers.html_page import Page

POSTERIORS = ((0.25, 0.75), (0.0625, 0.9375), (0.1234, 0.8766))


def answer_of(*, question: str = "Who?", title: str = "Chad, Capital") -> Answer:
    passages = (
        Passage("cd:0", title, "name: N'Djamena"),
        Passage("et:0", "Ethiopia, Capital", "name: Addis Ababa"),
    )
    return Answer(
        question=question,
        text="N'Djamena",
        log_prob=-0.4321,
        evidence=(
            Evidence(passages[0], 3.0, 0.6789, 0.1453),
            Evidence(passages[1], 2.0, 0.3211, 0.8547),
        ),
        memory="2026-01",
        tokens=("n", "##djamena", ""),
        token_posteriors=POSTERIORS,
        token_ids=(7, 8, 2),
    )


def test_every_number_is_in_its_cell() -> None:
    cells = Page(heatmap_html(answer_of())).cells
    rows = [
        [f"{prior:.2f}", *(f"{column[row]:.2f}" for column in POSTERIORS)]
        for row, prior in enumerate((0.6789, 0.3211))
    ]
    assert cells == rows[0] + rows[1]


@pytest.mark.parametrize("exact", ["0.6789", "0.9375", "0.1234", "-0.4321", "2026-01", "0.8547"])
def test_exact_values_can_be_read(exact: str) -> None:
    assert exact in heatmap_html(answer_of())


def test_what_comes_from_passages_and_questions_is_escaped() -> None:
    evil = """<script>alert("x")</script>' onmouseover='y"""
    answer = answer_of(question=evil, title=evil)
    passage = Passage(evil, evil, evil)
    answer = replace(
        answer,
        text=evil,
        memory=evil,
        tokens=(evil, evil, ""),
        evidence=(replace(answer.evidence[0], passage=passage), answer.evidence[1]),
    )
    page = Page(heatmap_html(answer))
    assert not page.open
    assert "script" not in page.names
    assert "onmouseover" not in page.attributes
    # Tab, heading, answer, memory, two tokens, row, and the passage with title, id and text.
    assert page.text.count(evil) == 2 + 1 + 1 + 1 + 2 + 1 + 3


def test_the_page_fetches_nothing() -> None:
    page = Page(heatmap_html(answer_of()))
    assert not page.names & {"script", "link", "img", "iframe"}
    assert "url(" not in heatmap_html(answer_of())
    assert "@import" not in heatmap_html(answer_of())


def test_headings_name_each_token_and_each_passage() -> None:
    html = heatmap_html(answer_of())
    page = Page(html)
    scopes = [attributes.get("scope") for tag, attributes in page.tags if tag == "th"]
    assert scopes == ["col"] * (2 + len(POSTERIORS)) + ["row"] * 2
    assert ">(end)</th>" in html


def test_an_answer_without_passages_says_so() -> None:
    alone = Answer("Who?", "nobody", -1.0, (), "2026-01", ("nobody",), ((),), (5,))
    html = heatmap_html(alone)
    assert "No passage was found" in html
    assert not Page(html).open


def test_write_makes_the_folder(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "demo.html"
    write_heatmap(answer_of(), target)
    assert target.read_text(encoding="utf-8") == heatmap_html(answer_of())


@pytest.mark.parametrize(
    ("uri", "is_link"),
    [
        ("https://a.example/?a=1&b='2", True),
        ("javascript:alert(1)", False),
        ('https://a.example/" onclick="x', False),
        ("https://a.example/" + "x" * 5000, False),
    ],
)
def test_a_source_is_a_link_only_where_it_is_an_address(uri: str, is_link: bool) -> None:
    metadata = {"url": uri, "section": "<script>x</script>"}
    passage = Passage("id", "Chad", "text", metadata)
    evidence = Evidence(passage, 1.0, 1.0, 1.0)
    answer = replace(answer_of(), evidence=(evidence,), token_posteriors=((1.0,),) * 3)
    page = Page(heatmap_html(answer))
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert links == ([uri] if is_link else [])
    assert "script" not in page.names
    assert "onclick" not in page.attributes
    assert "<script>x</script> · " in page.text
    assert uri[:1000] in page.text

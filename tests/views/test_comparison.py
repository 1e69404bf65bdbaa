"""Test a comparison as a page and in a terminal: every text is shown, and none is markup."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from ragcore.evaluation.comparison import CitedPassage, ComparedQuestion, Comparison, Side
from ragcore.views.comparison import comparison_view, share
from ragcore.views.comparison_html import comparison_html
from tests.helpers.html_page import Page

EVIL = """<script>alert("x")</script>' onmouseover='y"""
SIDE = Side("N'Djamena", -0.25, -3.5, (), None, None)
PASSAGE = CitedPassage("cd:0", "Chad", "name: N'Djamena", 0.625, 0.875, True)


def comparison(old: Side, new: Side, question: str = "Which city?") -> Comparison:
    return Comparison("2016", "2018", 5, (ComparedQuestion(question, old, new),))


def shown(compared: Comparison) -> str:
    console = Console(file=StringIO(), width=200)
    console.print(comparison_view(compared))
    return console.file.getvalue()


@pytest.mark.parametrize("answer", ["Paris", "N'Djamena"])
def test_no_text_is_markup_in_the_page(answer: str) -> None:
    passage = CitedPassage(f"{EVIL}1", f"{EVIL}2", f"{EVIL}3", 0.5, 0.5, True)
    old = replace(SIDE, text=f"{EVIL}4", passages=(passage,))
    compared = replace(
        comparison(old, replace(SIDE, text=answer), f"{EVIL}5"), old=f"{EVIL}6", new=f"{EVIL}7"
    )
    page = Page(comparison_html(compared))
    assert not page.open
    assert "script" not in page.names
    assert "onmouseover" not in page.attributes
    for number in range(1, 8):
        assert f"{EVIL}{number}" in page.text


def test_the_page_fetches_nothing() -> None:
    html = comparison_html(comparison(SIDE, SIDE))
    assert not Page(html).names & {"script", "link", "img", "iframe"}
    assert "url(" not in html
    assert "@import" not in html


def test_the_page_says_right_and_wrong_in_words() -> None:
    old, new = replace(SIDE, correct=True), replace(SIDE, text="Paris", correct=False)
    text = Page(comparison_html(comparison(old, new))).text
    assert "N'Djamena right" in text
    assert "Paris wrong" in text


def test_the_page_has_unchanged_questions_too_and_the_terminal_has_not() -> None:
    compared = comparison(SIDE, SIDE, "Has it changed?")
    assert "1 unchanged" in Page(comparison_html(compared)).text
    assert "Has it changed?" in Page(comparison_html(compared)).text
    assert "Has it changed?" not in shown(compared)


def test_no_text_is_markup_in_the_terminal() -> None:
    passage = replace(PASSAGE, title="[link=x]Chad")
    old = replace(SIDE, text="[red]N'Djamena", passages=(passage,))
    compared = replace(comparison(old, SIDE, "[bold]Which[/]?"), old="[dim]2016")
    text = shown(compared)
    for written in ("[red]N'Djamena", "[link=x]Chad", "[bold]Which[/]?", "[dim]2016"):
        assert written in text


def test_the_terminal_shows_the_passage_of_the_highest_posterior() -> None:
    other = replace(PASSAGE, title="Mali", posterior=0.125, alone=False)
    text = shown(comparison(replace(SIDE, passages=(other, PASSAGE)), replace(SIDE, text="Paris")))
    assert "0.88 Chad  1/2 only here" in text
    assert "none: the generator alone" in text


def test_a_share_of_nothing_is_a_dash() -> None:
    assert share(0, 0) == "–"
    assert share(1, 3) == "33.3% (1/3)"

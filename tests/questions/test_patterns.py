"""Test patterns as answers: what they match, and the texts they stand for (paper, appendix D)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragcore.errors import QuestionError
from ragcore.questions import LabelledQuestion, patterns
from ragcore.questions.matching import is_correct, is_relevant
from ragcore.questions.patterns import MOST, expansions, matches_answer, matches_in
from ragcore.types import Passage


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("Sept?(ember)?|Feb(ruary)?", ["September", "Sept", "Sepember", "Sep", "February", "Feb"]),
        (r"New\s?York", ["New York", "NewYork"]),
        ("(19)?(65|66)", ["1965", "1966", "65", "66"]),
        (r"1\d+ miles", ["1 miles"]),
        ("^[a-z]x$", ["x"]),
        ("a{2}b", ["aab"]),
        ("(?:a|bc)d", ["ad", "bcd"]),
    ],
)
def test_a_pattern_is_expanded(pattern, expected):
    assert expansions(pattern) == expected


def test_a_pattern_with_very_many_branches_ends():
    assert len(expansions("(a|b)?(c|d)?(e|f)?" * 8)) == MOST


@given(st.from_regex(r"([a-c]|\(d\|e\)|f\?){1,6}", fullmatch=True))
def test_every_expansion_matches_its_pattern(pattern):
    for text in expansions(pattern):
        assert re.fullmatch(pattern, text)


@pytest.mark.parametrize("pattern", ["(a|aa)+$", "b|(a|aa|aaa)+$"])
def test_a_pattern_whose_search_does_not_end_is_refused(pattern, monkeypatch):
    monkeypatch.setattr(patterns, "_SECONDS", 0.2)
    text = "a" * 60 + "!"
    question = LabelledQuestion("q", (pattern,), regex=True)
    with pytest.raises(QuestionError, match=r"simplify it"):
        is_correct(text, question, "v")
    with pytest.raises(QuestionError, match=r"in a text of 61 characters"):
        is_relevant(Passage("1", "", text), question, "v")


@pytest.mark.parametrize(
    "pattern",
    [
        r"(19)?85",
        r"\d+ ?(ft|feet)",
        r"U\.?S\.?",
        r"a.{0,5}b",
        r"\bfoo\b",
        r"(?<=a)b",
        r"(.)\1",
        "é",
        r"\w+$",
    ],
)
def test_patterns_match_as_pythons_own_do(pattern):
    text = "1985 ft, 12 feet\nUS U.S. aXXb foo STRASSE Straße É ſ K ab\nend"
    expected = [match[0].strip() for match in re.finditer(pattern, text, re.I | re.M)]
    assert matches_in(text, [pattern]) == [match for match in expected if match]


def test_an_answer_is_matched_from_its_beginning_and_a_passage_anywhere():
    question = LabelledQuestion("q", (r"Sept(ember)?",), regex=True)
    assert is_correct("september 9", question, "v")
    assert not is_correct("in September", question, "v")
    assert matches_answer(" Sept.", [r"Sept"])
    assert is_relevant(Passage("1", "", "It is in SEPTEMBER."), question, "v")
    assert not is_relevant(Passage("1", "", "It is in June."), question, "v")
    assert matches_in("Sept or September", [r"Sept(ember)?"]) == ["Sept", "September"]


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("L'Enfant", "Pierre L’Enfant"),
        ("L’Enfant", "Pierre L'Enfant"),
        ("Déby", "Idriss De\u0301by"),
        ("De\u0301by", "Idriss Déby"),
        ("1914-18", "in 1914–18"),
        ("1914[–,]18", "in 1914-18"),
        ("1914\\–18", "in 1914-18"),
    ],
)
def test_a_pattern_matches_other_ways_to_write_its_characters(pattern, text):
    assert len(matches_in(text, [pattern])) == 1
    assert matches_answer(text.partition(" ")[2], [pattern])


def test_a_match_is_given_as_the_text_has_it():
    assert matches_in("Pierre L’Enfant", ["l'enfant"]) == ["L’Enfant"]


def test_a_dash_in_a_class_makes_no_range():
    assert not matches_in("b", ["[a–c]"])


def test_a_passage_answers_by_its_id_or_its_page_where_these_are_known():
    passage = Passage("1", "Chad", "N'Djamena")
    assert is_relevant(passage, LabelledQuestion("q", ("N'Djamena",)), "v")
    assert not is_relevant(passage, LabelledQuestion("q", ("N'Djamena",), ("2",)), "v")
    assert is_relevant(passage, LabelledQuestion("q", ("Paris",), ("1",)), "v")
    assert is_relevant(passage, LabelledQuestion("q", ("yes",), titles=("Chad",)), "v")
    assert not is_relevant(passage, LabelledQuestion("q", ("N'Djamena",), titles=("Mali",)), "v")

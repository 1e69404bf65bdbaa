"""Marks of citations: numbers of passages in an answer's text, parsed and taken out."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragcore.answering.marks import marks_in, unmarked
from ragcore.types import Answer, Evidence, Passage

IDS = ["a", "b", "c"]


@pytest.mark.parametrize(
    ("text", "named", "unknown"),
    [
        ("Nairobi [1].", [("a",)], [()]),
        ("Nairobi [1][3]", [("a",), ("c",)], [(), ()]),
        ("Nairobi [1, 3]", [("a", "c")], [()]),
        ("Nairobi [2;1]", [("b", "a")], [()]),
        ("Nairobi [1-3]", [("a", "b", "c")], [()]),
        ("Nairobi [1–2, 2]", [("a", "b")], [()]),
        ("Nairobi [3-1]", [("c",)], [()]),
        ("Nairobi [7]", [()], [(7,)]),
        ("Nairobi [0, 2]", [("b",)], [(0,)]),
        ("in [1907], [a], [], [-1], [1.5] or (1)", [], []),
    ],
)
def test_numbers_in_brackets_name_passages(text, named, unknown):
    marks = marks_in(text, IDS)
    assert [mark.passage_ids for mark in marks] == named
    assert [mark.unknown for mark in marks] == unknown
    assert all(text[mark.start] + text[mark.end - 1] == "[]" for mark in marks)


def test_a_range_ends_where_numbers_of_three_digits_do():
    (mark,) = marks_in("[1-999]", IDS)
    assert mark.passage_ids == ("a", "b", "c")
    assert len(mark.unknown) == 996
    assert marks_in("[1-999999999]", IDS) == ()


@given(
    st.lists(st.sampled_from(["Nairobi", " ", "[1]", "[2, 9]", "[x]", "é", ", ", "[", "]"])).map(
        "".join
    )
)
def test_what_is_left_without_marks_is_the_text_around_them(text):
    marks = marks_in(text, IDS)
    assert all(one.end <= other.start for one, other in itertools.pairwise(marks))
    left = unmarked(text)
    outside = "".join(
        character
        for at, character in enumerate(text)
        if not any(mark.start <= at < mark.end for mark in marks)
    )
    assert left.replace(" ", "") == outside.replace(" ", "")


def answer(text: str) -> Answer:
    evidence = tuple(Evidence(Passage(each, each.upper(), "x"), 1.0, 1 / 3, None) for each in IDS)
    marks = marks_in(text, IDS)
    return Answer("q", text, -1.0, evidence, "m", (), (), (), marks=marks)


def test_an_answer_names_its_cited_passages_and_numbers_without_one():
    cited = answer("Nairobi [3], not Lima [1, 5] [3].")
    assert [e.passage.id for e in cited.cited] == ["c", "a"]
    assert [e.source.title for e in cited.cited] == ["C", "A"]
    assert cited.unknown_marks == (5,)
    assert cited.unmarked == "Nairobi, not Lima."
    assert json.loads(json.dumps(cited.to_dict()))["marks"] == [
        {"start": 8, "end": 11, "passage_ids": ["c"], "unknown": []},
        {"start": 22, "end": 28, "passage_ids": ["a"], "unknown": [5]},
        {"start": 29, "end": 32, "passage_ids": ["c"], "unknown": []},
    ]


def test_a_text_that_cites_nothing_is_as_it_was():
    plain = answer("in [1907]")
    assert (plain.unmarked, plain.cited, plain.unknown_marks) == ("in [1907]", (), ())
    assert plain.marks == ()

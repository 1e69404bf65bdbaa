"""Questions that Python callers give: text, or an error that says what it is instead."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ragcore.errors import QuestionError
from ragcore.questions.texts import LONGEST_QUESTION, batch_of, check_answers, check_questions
from ragcore.rag import load
from tests.cli.test_verify import pipeline  # noqa: F401 (a fixture)


class Text(str):
    """What a library may call a text."""

    __slots__ = ()


WRONG = [
    (None, "None"),
    (7, "int"),
    (1.5, "float"),
    (b"who", "bytes"),
    (bytearray(b"who"), "bytearray"),
    (True, "bool"),
    ({"question": "who"}, "dict"),
    ({"who"}, "set"),
    (Path("who"), "Path"),
    (object(), "object"),
    ([["who"]], "list"),
    (["who", None], "question 2 of 2 is None"),
    (["who", b"x"], "question 2 of 2 is bytes"),
    (["who", 3], "question 2 of 2 is int"),
    ("", "is empty"),
    (" \n\t", "is empty"),
    ("caf\udce9", r"character 4 is half a surrogate pair, U\+DCE9 \(byte 0xE9\)"),
    ("\ud800", r"U\+D800"),
    ("x" * (LONGEST_QUESTION + 1), "has 100,001 characters"),
]


@pytest.mark.parametrize(("question", "message"), WRONG, ids=lambda value: repr(value)[:20])
def test_every_way_to_ask_refuses_what_is_no_question(
    question: object,
    message: str,
    pipeline: Path,  # noqa: F811
) -> None:
    with load(pipeline) as rag:
        for ask in (
            rag.answer,
            lambda asked: list(rag.stream(asked)),
            lambda asked: rag.log_prob(asked, ["ab"] * (len(asked) if type(asked) is list else 1)),
        ):
            with pytest.raises(QuestionError, match=message if ask == rag.answer else ""):
                ask(question)  # type: ignore[arg-type]


@pytest.mark.parametrize("answer", [None, 7, b"ab", {"a": 1}, [None], [b"ab"], ["\udce9"]])
def test_answers_to_be_scored_are_texts(answer: object, pipeline: Path) -> None:  # noqa: F811
    with load(pipeline) as rag, pytest.raises(QuestionError):
        rag.log_prob("who", answer)  # type: ignore[arg-type]


def test_texts_of_all_kinds_are_accepted() -> None:
    assert batch_of("who") == ["who"]
    assert batch_of(Text("who")) == ["who"]
    assert batch_of(text for text in ("a", "b")) == ["a", "b"]
    check_questions(["who", Text("who"), "何", "👩‍👩‍👧", "a\0b", "\ufffe", "x" * LONGEST_QUESTION])
    check_answers(["", "東京"])


def test_a_question_of_a_gigabyte_is_refused_at_once() -> None:
    question = "x" * 1_000_000_000
    begin = time.perf_counter()
    with pytest.raises(QuestionError, match="has 1,000,000,000 characters"):
        check_questions([question])
    assert time.perf_counter() - begin < 0.1

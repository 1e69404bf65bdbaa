"""ragcore's own form of a question, one JSON object.

    {"question": "…", "answer": "…"}
    {"question": "…", "answers": ["…", "…"], "passage_ids": ["…"], "id": "…"}
    {"question": "…", "answers": {"2016-11": ["…"], "2018-12": ["…"]}}
    {"question": "…", "answers": ["Sept(ember)?"], "regex": true}
    {"question": "…", "answers": []}
    {"question": "…", "relevance": {"passage id": 2, "another": 0}}

`answer`, `answers` and `passage_ids` may be left out; the last two may differ by the memory's
version. `relevance` has grades in place of `passage_ids`, as TREC's qrels. An empty list of answers
says that the question has none. Without `answers`, the right ones may be under one of the names
that data sets have for them (`ANSWER_KEYS`), such as FlashRAG's `golden_answers`. Other keys are
ignored.
"""

from __future__ import annotations

import json
from typing import Any, Final

from ragcore.questions.labelled import GREATEST_GRADE, Gold, LabelledQuestion, texts_of
from ragcore.questions.patterns import check_pattern

__all__ = ["ANSWER_KEYS", "ID_KEYS", "ragcore_question"]

ANSWER_KEYS: Final = (
    "golden_answers",
    "golden_answer",
    "gold_answers",
    "gold_answer",
    "ground_truth",
    "ground_truths",
    "possible_answers",
    "reference_answers",
    "reference_answer",
    "correct_answers",
)
"""Other names of right answers, as in the files of FlashRAG, RAGAS, PopQA and TruthfulQA."""

ID_KEYS: Final = ("id", "qid", "question_id", "query_id", "_id")
"""Names of a question's id; the first that a record has counts."""


def ragcore_question(row: dict[str, Any], plain: bool) -> LabelledQuestion:
    """Read one question; a ValueError says what is wrong with it.

    Args:
        row: the object.
        plain: require answers, the same for every version.
    """
    question = row.get("question")
    if not isinstance(question, str) or not question.strip():
        raise ValueError("question: expected a text that is not empty")
    regex = row.get("regex", False)
    if not isinstance(regex, bool):
        raise ValueError(f"regex: expected true or false, found {regex!r}")
    answers = _answers(row, by_version=not plain)
    if plain and not answers:
        raise ValueError("expected either 'answer' or 'answers' with an answer, found neither")
    if regex:
        for pattern in texts_of(answers or ()):
            check_pattern(pattern)
    relevance = _relevance(row.get("relevance"))
    if relevance and row.get("passage_ids"):
        raise ValueError("expected either 'passage_ids' or 'relevance', found both")
    return LabelledQuestion(
        question,
        () if answers is None else answers,
        _gold("passage_ids", row.get("passage_ids"), by_version=True) or (),
        id=next((str(row[key]) for key in ID_KEYS if row.get(key) is not None), ""),
        regex=regex,
        unanswerable=answers == (),
        relevance=relevance,
    )


def _relevance(value: object) -> dict[str, int]:
    """Return the grades of a record by passage id."""
    if value is None:
        return {}
    whole = isinstance(value, dict) and all(
        type(grade) is int and abs(grade) <= GREATEST_GRADE for grade in value.values()
    )
    if not isinstance(value, dict) or not whole or not all(name.strip() for name in value):
        raise ValueError(
            "relevance: expected a mapping from passage ids to whole numbers of at most "
            f'{GREATEST_GRADE}, as {{"d1": 2}}, found {value!r:.80}'
        )
    return value


def _answers(row: dict[str, Any], *, by_version: bool) -> Gold | None:
    """Return a record's answers under any of their names; None where it has none of them."""
    if row.get("answers") is not None:
        if row.get("answer") is not None:
            raise ValueError("expected either 'answer' or 'answers', found both")
        return _gold("answers", row["answers"], by_version=by_version)
    keys = [key for key in ("answer", *ANSWER_KEYS) if row.get(key) is not None]
    read = {key: _answers_of(key, row[key]) for key in keys}
    if len({frozenset(answers) for answers in read.values()}) > 1:
        # One of them may be what a system answered, as RAGAS' `answer` is.
        raise ValueError(
            f"found different answers under {' and '.join(map(repr, keys))}: keep the key that has "
            "the right answers, and remove or rename the others"
        )
    return next(iter(read.values()), None)


def _answers_of(key: str, value: object) -> tuple[str, ...]:
    if key == "answer":
        # NQ-open and DPR's topics have a list under `answer`.
        return _texts(key, value if isinstance(value, list) else [value])
    if isinstance(value, str) and value.lstrip().startswith("["):
        # PopQA's list is written as JSON inside a text.
        try:
            texts = json.loads(value)
        except (ValueError, RecursionError):
            raise ValueError(f"{key}: expected a list in JSON, found {value!r:.80}") from None
    else:
        texts = value if isinstance(value, list) else [value]
    if isinstance(texts, list) and any(text != "" for text in texts):
        # Lists of aliases that were made by programs have empty ones.
        texts = [text for text in texts if text != ""]
    return tuple(dict.fromkeys(_texts(key, texts, number=True)))


def _gold(key: str, value: object, *, by_version: bool) -> Gold | None:
    if value is None:
        return None
    if isinstance(value, dict) and by_version:
        return {version: _texts(f"{key}.{version}", texts) for version, texts in value.items()}
    return _texts(key, value)


def _texts(key: str, value: object, *, number: bool = False) -> tuple[str, ...]:
    """Return a list's texts; with `number` also its numbers, written as texts."""
    if not isinstance(value, list):
        raise ValueError(f"{key}: expected a list of texts, found {type(value).__name__}")
    if number:
        value = [
            str(item) if isinstance(item, int | float) and not isinstance(item, bool) else item
            for item in value
        ]
    if not all(isinstance(text, str) and text.strip() for text in value):
        raise ValueError(f"{key}: expected texts that are not empty")
    return tuple(value)

"""ragcore's own form of a question, one JSON object.

    {"question": "…", "answer": "…"}
    {"question": "…", "answers": ["…", "…"], "passage_ids": ["…"], "id": "…"}
    {"question": "…", "answers": {"2016-11": ["…"], "2018-12": ["…"]}}
    {"question": "…", "answers": ["Sept(ember)?"], "regex": true}

`answer`, `answers` and `passage_ids` may be left out; the last two may differ by the memory's
version. Other keys are ignored.
"""

from __future__ import annotations

from typing import Any

from ragcore.questions.labelled import Gold, LabelledQuestion, texts_of
from ragcore.questions.patterns import check_pattern

__all__ = ["ragcore_question"]


def ragcore_question(row: dict[str, Any], plain: bool) -> LabelledQuestion:
    """Read one question; a ValueError says what is wrong with it.

    Args:
        row: the object.
        plain: require answers, the same for every version.
    """
    question, answer, answers = (row.get(key) for key in ("question", "answer", "answers"))
    if not isinstance(question, str) or not question.strip():
        raise ValueError("question: expected a text that is not empty")
    if answer is not None and answers is not None:
        raise ValueError("expected either 'answer' or 'answers', found both")
    if plain and answer is None and answers is None:
        raise ValueError("expected either 'answer' or 'answers', found neither")
    regex = row.get("regex", False)
    if not isinstance(regex, bool):
        raise ValueError(f"regex: expected true or false, found {regex!r}")
    if answer is not None:
        # NQ-open and DPR's topics have a list under `answer`.
        answers = answer if isinstance(answer, list) else [answer]
    right = _gold("answers", answers, by_version=not plain)
    if regex:
        for pattern in texts_of(right):
            check_pattern(pattern)
    return LabelledQuestion(
        question,
        right,
        _gold("passage_ids", row.get("passage_ids"), by_version=True),
        id=str(row.get("id", "")),
        regex=regex,
    )


def _gold(key: str, value: object, *, by_version: bool) -> Gold:
    if value is None:
        return ()
    if isinstance(value, dict) and by_version:
        return {version: _texts(f"{key}.{version}", texts) for version, texts in value.items()}
    return _texts(key, value)


def _texts(key: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError(f"{key}: expected a list of one text or more")
    if not all(isinstance(text, str) and text.strip() for text in value):
        raise ValueError(f"{key}: expected texts that are not empty")
    return tuple(value)

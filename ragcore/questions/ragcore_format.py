"""ragcore's own form of a question, one JSON object.

    {"question": "…", "answer": "…"}
    {"question": "…", "answers": ["…", "…"], "passage_ids": ["…"], "id": "…"}
    {"question": "…", "answers": {"2016-11": ["…"], "2018-12": ["…"]}}
    {"question": "…", "answers": ["Sept(ember)?"], "regex": true}

`answer`, `answers` and `passage_ids` may be left out; the last two may differ by the memory's
version. Other keys are left alone.
"""

from __future__ import annotations

from typing import Any

from ragcore.questions.labelled import Gold, LabelledQuestion

__all__ = ["ragcore_question"]


def ragcore_question(row: dict[str, Any], plain: bool) -> LabelledQuestion:
    """One question; a ValueError says what is wrong with it.

    Args:
        row: the object.
        plain: it must have answers, and the same for every version.
    """
    question, one, several = (row.get(key) for key in ("question", "answer", "answers"))
    if not isinstance(question, str) or not question.strip():
        raise ValueError("question: expected a text that is not empty")
    if one is not None and several is not None:
        raise ValueError("expected either 'answer' or 'answers', found both")
    if plain and one is None and several is None:
        raise ValueError("expected either 'answer' or 'answers', found neither")
    regex = row.get("regex", False)
    if not isinstance(regex, bool):
        raise ValueError(f"regex: expected true or false, found {regex!r}")
    # NQ-open and DPR's topics have a list under `answer`.
    alone = one if isinstance(one, list) else [one]
    answers = several if one is None else alone
    return LabelledQuestion(
        question,
        _gold("answers", answers, by_version=not plain),
        _gold("passage_ids", row.get("passage_ids"), by_version=True),
        id=str(row.get("id", "")),
        regex=regex,
    )


def _gold(key: str, said: object, *, by_version: bool) -> Gold:
    if said is None:
        return ()
    if isinstance(said, dict) and by_version:
        return {version: _texts(f"{key}.{version}", own) for version, own in said.items()}
    return _texts(key, said)


def _texts(key: str, said: object) -> tuple[str, ...]:
    if not isinstance(said, list) or not said:
        raise ValueError(f"{key}: expected a list of one text or more")
    if not all(isinstance(each, str) and each.strip() for each in said):
        raise ValueError(f"{key}: expected texts that are not empty")
    return tuple(said)

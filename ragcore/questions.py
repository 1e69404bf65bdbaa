"""Questions from a file of JSON lines, with what is right where that is known.

    {"question": "…", "answer": "…"}
    {"question": "…", "answers": ["…", "…"], "passage_ids": ["…"]}
    {"question": "…", "answers": {"2016-11": ["…"], "2018-12": ["…"]}}

`answer`, `answers` and `passage_ids` may be left out; the last two may differ by the memory's
version. Other keys are left alone. What is done with the questions, this file does not know.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ragcore.errors import QuestionError

__all__ = ["Gold", "Asked", "read_asked"]

Gold = tuple[str, ...] | Mapping[str, tuple[str, ...]]
"""What is right: the same for every version of the memory, or by the version's name."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, and what is known to be right.

    Attributes:
        question: not empty.
        answers: any of them is right; empty where none is known.
        passage_ids: passages any of which answers it; empty where none is known.
    """

    question: str
    answers: Gold = ()
    passage_ids: Gold = ()

    def answers_by(self, version: str) -> tuple[str, ...]:
        """The right answers by one version; empty where none is known."""
        return _by(self.answers, version)

    def passage_ids_by(self, version: str) -> tuple[str, ...]:
        """The ids of one version's passages that answer; empty where none is known."""
        return _by(self.passage_ids, version)


def read_asked(path: str | Path, *, plain: bool = False) -> list[Asked]:
    """The questions of a file, in order.

    Args:
        path: a file of JSON lines.
        plain: each must have answers, and the same for every version.

    Raises:
        QuestionError: it cannot be read, or lines are wrong; all of them, by number.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise QuestionError(f"{path}: cannot be read as UTF-8 text ({error})") from None
    found, faults = [], []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                found.append(_asked(line, plain))
            except ValueError as error:
                faults.append(f"{path}:{number}: {error}")
    if not found and not faults:
        faults = [f"{path}: no question: expected one JSON object a line"]
    if faults:
        raise QuestionError("\n".join(faults))
    return found


def _by(gold: Gold, version: str) -> tuple[str, ...]:
    return gold if isinstance(gold, tuple) else gold.get(version, ())


def _asked(line: str, plain: bool) -> Asked:
    """One line; a ValueError says what is wrong with it."""
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"not JSON ({error}): expected one object a line") from None
    if not isinstance(row, dict):
        raise ValueError(f"expected an object, found {type(row).__name__}")
    question, one, several = (row.get(key) for key in ("question", "answer", "answers"))
    if not isinstance(question, str) or not question.strip():
        raise ValueError("question: expected a text that is not empty")
    if one is not None and several is not None:
        raise ValueError("expected either 'answer' or 'answers', found both")
    if plain and one is None and several is None:
        raise ValueError("expected either 'answer' or 'answers', found neither")
    answers = [one] if one is not None else several
    return Asked(
        question,
        _gold("answers", answers, by_version=not plain),
        _gold("passage_ids", row.get("passage_ids"), by_version=True),
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

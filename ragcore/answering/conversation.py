"""The turns of a conversation before a question: how they are checked, and written for a reader.

Knows texts; knows nothing of generators or memories.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from reprlib import repr as clipped
from typing import Any, Final

from ragcore.errors import QuestionError
from ragcore.questions.texts import fault_of

__all__ = ["Turn", "history_from_json", "read_history", "written"]


@dataclass(frozen=True, slots=True)
class Turn:
    """A question of a conversation, and its answer.

    Attributes:
        question: as it was asked.
        answer: as it was answered; may be empty.
    """

    question: str
    answer: str


_FIELDS: Final = ("question", "answer")


def read_history(turns: Any) -> tuple[tuple[Turn, ...], list[str]]:
    """Read the turns of a request: `Turn`s, or mappings with `question` and `answer`.

    Returns:
        The turns, oldest first, and what is wrong with them; where something is, no turns.
    """
    if isinstance(turns, str | bytes | Mapping) or not isinstance(turns, Sequence):
        return (), [
            "history: expected a list of turns, each with question and answer, found "
            f"{clipped(turns)}"
        ]
    history: list[Turn] = []
    faults: list[str] = []
    for number, turn in enumerate(turns):
        if isinstance(turn, Turn):
            turn = {"question": turn.question, "answer": turn.answer}
        if not isinstance(turn, Mapping) or set(turn) != set(_FIELDS):
            faults.append(
                f"history.{number}: expected a mapping of question and answer, found "
                f"{clipped(turn)}"
            )
            continue
        of_turn = [
            f"history.{number}.{name} {fault}"
            for name in _FIELDS
            if (fault := fault_of(turn[name])) is not None
        ]
        faults += of_turn
        if not of_turn:
            history.append(Turn(turn["question"], turn["answer"]))
    return ((), faults) if faults else (tuple(history), [])


def history_from_json(text: str) -> tuple[Turn, ...]:
    """Read turns from JSON text, a list of mappings with `question` and `answer`.

    Raises:
        QuestionError: it is not JSON, or has no turns.
    """
    try:
        turns = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise QuestionError(
            f"history: {text[:200]!r} cannot be read as JSON ({error}): expected a list such as "
            '[{"question": "Who rules Chad?", "answer": "Idriss Deby"}]'
        ) from None
    history, faults = read_history(turns)
    if faults:
        raise QuestionError("; ".join(faults))
    return history


def written(history: Sequence[Turn]) -> str:
    """Write turns for a reader, a line for each question and each answer."""
    return "\n".join(
        f"Question: {' '.join(turn.question.split())}\nAnswer: {' '.join(turn.answer.split())}"
        for turn in history
    )

"""Check before the first step that questions and answers fit the generator.

One that does not fit would end the training at the step that meets it, perhaps after hours. Knows
examples and generators; knows nothing of weights.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from ragcore.contracts import Generator
from ragcore.errors import TrainingError
from ragcore.questions import LabelledQuestion
from ragcore.training.examples import Example

__all__ = ["LengthChecker", "fitting", "refuse_long_questions"]

_LOG: Final = logging.getLogger(__name__)

_LISTED: Final = 10
"""Faults that an error lists."""

_BATCH: Final = 1000
"""Questions that are tokenized together."""


@runtime_checkable
class LengthChecker(Protocol):
    """A generator that knows what it cannot hold; without this method nothing is too long."""

    def length_faults(
        self, questions: Sequence[str], targets: Sequence[Sequence[int]]
    ) -> list[str | None]:
        """Say of each question and target why they are too long, whatever the passage is.

        Args:
            questions: as they are asked.
            targets: token ids of an answer to each, the end token last; empty for none.

        Returns:
            For each pair one clause, such as "the answer is 40 tokens long, and …"; None where
            both fit.
        """
        ...


def fitting(
    examples: Sequence[Example], generator: Generator, limit: int | None, path: Path
) -> list[Example]:
    """Return the examples whose answer is at most `limit` tokens long, all where it is None.

    Args:
        examples: in the order of the file.
        generator: encodes the answers, and may be a `LengthChecker`.
        limit: `train.max_answer_tokens`, without the end token.
        path: the file of the questions, for the error.

    Raises:
        TrainingError: an example does not fit the generator, or none is left; names its line.
    """
    remaining: list[Example] = []
    faults: list[str] = []
    for begin in range(0, len(examples), _BATCH):
        batch = examples[begin : begin + _BATCH]
        targets = generator.encode_answers([example.answer for example in batch])
        pairs = [
            (example, target)
            for example, target in zip(batch, targets, strict=True)
            if limit is None or len(target) - 1 <= limit
        ]
        remaining += [example for example, _ in pairs]
        labelled = [example.labelled for example, _ in pairs]
        faults += _faults(labelled, [target for _, target in pairs], generator, path)
    if faults:
        raise _too_long(faults, "set train.max_answer_tokens to leave out longer answers")
    if len(remaining) < len(examples):
        _LOG.warning(
            "%s: %d of %d answers have more than %d tokens (train.max_answer_tokens) and are left "
            "out",
            path,
            len(examples) - len(remaining),
            len(examples),
            limit,
        )
    if not remaining:
        raise TrainingError(
            f"{path}: nothing to train on: each of its {len(examples)} answers has more than "
            f"{limit} tokens: raise train.max_answer_tokens"
        )
    return remaining


def refuse_long_questions(
    questions: Sequence[LabelledQuestion], generator: Generator, path: Path
) -> None:
    """Check that the generator can read each question.

    Raises:
        TrainingError: a question is too long; names its line.
    """
    faults = []
    for begin in range(0, len(questions), _BATCH):
        batch = questions[begin : begin + _BATCH]
        faults += _faults(batch, [[]] * len(batch), generator, path)
    if faults:
        raise _too_long(faults, "shorten them, or leave them out of the file")


def _faults(
    questions: Sequence[LabelledQuestion],
    targets: Sequence[Sequence[int]],
    generator: Generator,
    path: Path,
) -> list[str]:
    if not questions or not isinstance(generator, LengthChecker):
        return []
    faults = generator.length_faults([question.question for question in questions], targets)
    return [
        f"{path}:{question.line}: {fault} (the question begins {question.question[:60]!r})"
        for question, fault in zip(questions, faults, strict=True)
        if fault is not None
    ]


def _too_long(faults: Sequence[str], advice: str) -> TrainingError:
    more = len(faults) - _LISTED
    listed = [*faults[:_LISTED], *([f"… and {more} more"] if more > 0 else [])]
    return TrainingError("\n".join([*listed, f"These do not fit the generator: {advice}."]))

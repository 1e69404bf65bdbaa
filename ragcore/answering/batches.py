"""Answer many questions in batches, each timed as a whole.

Knows batches and times; knows nothing of how one is answered, which is a function that it calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ragcore.answering.evidence import Retrieved
from ragcore.answering.stopwatch import Stopwatch
from ragcore.types import Answer

__all__ = ["answered_in_batches"]


def answered_in_batches(
    retrieved: Sequence[Retrieved],
    batch_size: int,
    stopwatch: Stopwatch,
    answer: Callable[[Sequence[Retrieved]], list[Answer]],
) -> list[Answer]:
    """Answer each question, `batch_size` at a time.

    Args:
        retrieved: questions with their passages.
        batch_size: the most questions of a batch.
        stopwatch: of the request.
        answer: answers one batch, in order.
    """
    answers: list[Answer] = []
    for begin in range(0, len(retrieved), batch_size):
        batch = retrieved[begin : begin + batch_size]
        with stopwatch.timed("decode", len(batch)):
            answered = answer(batch)
        timings = stopwatch.timings()
        answers += [replace(each, timings=timings) for each in answered]
    return answers

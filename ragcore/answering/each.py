"""Answer requests that have nothing to do with each other: a result, or an error, for each.

Knows which requests may be answered together, and what to do where one fails; knows nothing of how
a batch is answered, which is a function that it calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ragcore.answering.request import CheckedSettings, Request, checked_settings
from ragcore.config import RagConfig
from ragcore.errors import ComponentError, RagcoreError
from ragcore.process.cancellation import stops_with_all
from ragcore.questions.texts import check_questions
from ragcore.registry.faults import component_fault
from ragcore.types import Answer

__all__ = ["AnswerBatch", "answer_each"]


class AnswerBatch(Protocol):
    """Answers questions by settings that all of them have."""

    def __call__(
        self,
        questions: Sequence[str],
        settings: CheckedSettings,
        check: Callable[[], None] | None = None,
    ) -> list[Answer]:
        """Return an answer for each question; `check` raises what ends the batch."""
        ...


@dataclass(frozen=True, slots=True)
class _Open:
    """A request that can be answered, and its position among all."""

    position: int
    question: str
    settings: CheckedSettings


def answer_each(
    requests: Sequence[str | Request], config: RagConfig, answer: AnswerBatch
) -> list[Answer | RagcoreError]:
    """Answer each request, or return its error; see `Rag.answer_each`.

    Args:
        requests: questions, those with settings as `Request`.
        config: the section `rag` of the pipeline.
        answer: answers a batch.
    """
    results: dict[int, Answer | RagcoreError] = {}
    groups: dict[tuple[object, ...], list[_Open]] = {}
    for position, request in enumerate(requests):
        if not isinstance(request, Request):
            request = Request(request)
        try:
            check_questions([request.question])
            settings = checked_settings(config, request.settings)
        except RagcoreError as error:
            results[position] = error
        else:
            groups.setdefault(settings.key, []).append(_Open(position, request.question, settings))
    for group in groups.values():
        for begin in range(0, len(group), config.batch_size):
            results.update(_results(group[begin : begin + config.batch_size], answer))
    return [results[position] for position in range(len(requests))]


def _results(batch: Sequence[_Open], answer: AnswerBatch) -> dict[int, Answer | RagcoreError]:
    """Answer a batch; where it fails, its requests one by one."""
    results: dict[int, Answer | RagcoreError] = {}
    waiting: list[_Open] = []
    for request in batch:
        stopped = _stopped(request)
        if stopped is None:
            waiting.append(request)
        else:
            # Its caller has left: it is not computed.
            results[request.position] = stopped
    if not waiting:
        return results
    check = stops_with_all([request.settings.stop for request in waiting])
    try:
        answers = answer([request.question for request in waiting], waiting[0].settings, check)
    except Exception as error:
        if len(waiting) == 1:
            return results | {waiting[0].position: _as_ragcore_error(error)}
        for request in waiting:
            results |= _results([request], answer)
        return results
    for request, answered in zip(waiting, answers, strict=True):
        results[request.position] = _stopped(request) or answered
    return results


def _stopped(request: _Open) -> RagcoreError | None:
    """Return why a request should not go on; None where it should."""
    try:
        request.settings.stop()
    except RagcoreError as error:
        return error
    return None


def _as_ragcore_error(error: Exception) -> RagcoreError:
    """Return an error as one of ragcore's, with the original as its cause."""
    if isinstance(error, RagcoreError):
        return error
    described = component_fault(error) or f"{type(error).__name__}: {error}"
    wrapped = ComponentError(f"the question could not be answered: {described}")
    wrapped.__cause__ = error
    return wrapped

"""Define how a question ends, and why one may be refused before it is computed.

Knows answers and errors; knows nothing of queues, threads or HTTP.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ragcore.errors import RagcoreError, RequestCancelledError
from ragcore.types import Answer

__all__ = ["Draining", "Outcome", "OutcomeKind", "QueueFull", "kind_of"]

OutcomeKind = Literal["answered", "abstained", "error", "refused", "cancelled"]
"""How a question ends; a deadline that has passed is an error."""


class QueueFull(RagcoreError):  # noqa: N818 (the word of the status that it becomes)
    """More is admitted already than the server lets wait.

    Attributes:
        retry_after: in how many seconds there is likely to be room.
    """

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Draining(RagcoreError):  # noqa: N818 (the word of the state)
    """The server is about to stop: it admits nothing, and what it could not finish ends so."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one question ended; each that is admitted or refused has exactly one.

    Attributes:
        kind: in one word.
        result: the answer or the error.
        seconds: from admission to the end; 0 for one that was refused.
        waited: seconds of these before its computation began; all of them where none began.
        batch: how many questions its batch had; 0 where it was not computed.
        streamed: whether its events were sent as they were known.
        first_token: seconds from admission to the first token of a stream; None without one.
    """

    kind: OutcomeKind
    result: Answer | RagcoreError
    seconds: float = 0.0
    waited: float = 0.0
    batch: int = 0
    streamed: bool = False
    first_token: float | None = None


def kind_of(result: Answer | RagcoreError) -> OutcomeKind:
    """Name the outcome of a question that was admitted."""
    if isinstance(result, Answer):
        return "abstained" if result.abstains else "answered"
    if isinstance(result, RequestCancelledError | Draining):
        return "cancelled"
    return "error"

"""Define how long the stages of a request took.

Knows numbers; knows nothing of what is timed (answering/stopwatch.py does). `types.py` exports it.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Timings"]


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time of an answer went, in seconds of wall-clock time.

    Questions that are answered together share their time: each has that of the whole batch, which
    is how long its caller waited, and not its share of it.

    Attributes:
        search: finding the passages of all questions of the call.
        read: one encoder pass over all pairs of the batch, and `rag.abstain`.
        decode: decoding the batch. Of a stream, the time in which its caller used the tokens is not
            counted.
        total: from the beginning of the call until the answer was complete. It is more than the sum
            of the others where batches were answered before this one.
        rewrite: making stand-alone questions of all questions of the call, with `rag.rewrite`.
    """

    search: float
    read: float
    decode: float
    total: float
    rewrite: float = 0.0

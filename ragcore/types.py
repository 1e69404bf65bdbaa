"""Define the plain values that travel through ragcore: passages, hits, evidence, answers.

They know nothing of the code that makes or reads them. Each is frozen; arrays are not copied, so
the receiver treats them as read-only.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from operator import ge
from typing import TYPE_CHECKING, Final, TypeAlias

from ragcore.answer import AbstentionTest, Answer, Candidate, Evidence, Word
from ragcore.events import Correction, Token
from ragcore.passage import (
    Citation,
    CitedSpan,
    Document,
    Mark,
    Passage,
    SearchResult,
    Source,
)
from ragcore.tiers import Tier, Usage, Vote
from ragcore.timings import Timings

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Rows = npt.NDArray[np.int64]
    """Row numbers of passages or vectors, int64."""
    Scores = npt.NDArray[np.float32]
    """Scores of hits or of pairs, float32."""
    Spans = npt.NDArray[np.int64]
    """Parts of a text, a line each: character offsets of start and end, int64 [t, 2]."""
    Vectors = npt.NDArray[np.float32]
    """One vector per line, float32 [n, d]."""

__all__ = [
    "MISSING_ROW",
    "AbstentionTest",
    "Answer",
    "Candidate",
    "Citation",
    "CitedSpan",
    "Correction",
    "CutPassages",
    "Document",
    "Event",
    "Evidence",
    "Hits",
    "Mark",
    "Passage",
    "SearchResult",
    "Source",
    "Tier",
    "Timings",
    "Token",
    "Usage",
    "Vote",
    "Word",
]

MISSING_ROW: Final = -1
"""The row of a hit that does not exist; its score is minus infinity."""

_FEW: Final = 128
"""So many numbers are compared faster in Python than by several calls of numpy."""


@dataclass(frozen=True, slots=True)
class Hits:
    """The result of a search, best hit first.

    Attributes:
        rows: int64 [B, k], rows of passages; `MISSING_ROW` where a question has fewer than k hits.
        scores: float32 [B, k], descending; -inf where the row is missing.

    Raises:
        ComponentError: shapes differ, a score is NaN, scores rise, or a missing row comes before
            an existing one.
    """

    rows: Rows
    scores: Scores

    @classmethod
    def empty(cls, count: int, k: int) -> Hits:
        """Return hits [count, k] of which every one is missing."""
        import numpy as np

        rows = np.full((count, k), MISSING_ROW, np.int64)
        return cls(rows, np.full((count, k), -np.inf, np.float32))

    def __post_init__(self) -> None:
        # Most hits are complete and in order. This test alone is cheap next to a fast search; the
        # others below run only to name the fault.
        if (
            self.rows.ndim == 2
            and self.rows.shape == self.scores.shape
            and self.rows.size
            and _exist_in_order(self.rows, self.scores)
        ):
            return
        import numpy as np

        from ragcore.errors import ComponentError

        if self.rows.ndim != 2 or self.rows.shape != self.scores.shape:
            raise ComponentError(
                f"hits have rows of shape {self.rows.shape} and scores of shape "
                f"{self.scores.shape}: both must be [B, k]"
            )
        if np.isnan(self.scores).any():
            raise ComponentError(
                "hits contain NaN scores: a retriever must return a finite score for each row that "
                "exists"
            )
        missing = self.rows == MISSING_ROW
        if not (np.isneginf(self.scores) == missing).all() or np.isposinf(self.scores).any():
            raise ComponentError(
                "hits must have a finite score for each row that exists, and row -1 with score "
                "-inf for each that does not"
            )
        # Compared pairwise, not subtracted: -inf minus -inf would be NaN.
        if (self.scores[:, 1:] > self.scores[:, :-1]).any():
            raise ComponentError("hits are not sorted: scores must descend along each row")


def _exist_in_order(rows: Rows, scores: Scores) -> bool:
    """Return whether hits [B, k] all exist, and their scores are finite and descend."""
    if rows.size > _FEW or rows.dtype.kind != "i":
        import numpy as np

        descend = (scores[:, 1:] <= scores[:, :-1]).all()
        return bool(rows.min() >= 0 and descend and np.isfinite(scores).all())
    if min(map(min, rows.tolist())) < 0:
        return False
    for line in scores.tolist():
        # If numbers descend, all are finite if the first and the last are. NaN compares false.
        if not (line[0] < inf and line[-1] > -inf and all(map(ge, line, line[1:]))):
            return False
    return True


@dataclass(frozen=True, slots=True)
class CutPassages:
    """Passages of a build or an update that are longer than an encoder reads.

    Attributes:
        encoder: the name that it is registered under.
        count: how many are longer; no question finds what their ends say.
        of: how many were added, wherever their vectors came from.
        tokens: how many tokens the encoder reads of a text without a title; None where it does not
            tell.
    """

    encoder: str
    count: int
    of: int
    tokens: int | None = None

    def __str__(self) -> str:
        """Say it in a sentence, and what to do."""
        limit = "" if self.tokens is None else f" ({self.tokens:,} tokens of a text without title)"
        return (
            f"encoder {self.encoder!r}: {self.count:,} of {self.of:,} passages are longer than it "
            f"reads{limit}: the rest of them is not searched; split texts by its tokens "
            "(memory.corpus.split), or raise its max_tokens where the model has more"
        )


Event: TypeAlias = SearchResult | Token | Correction | Answer
"""What `Rag.events` yields: the passages, then tokens, then the whole answer."""

"""One opened version of a memory: its passages, its retriever, and a search that is checked.

Knows nothing of where it came from (`store.py`) or of who serves it (`live.py`). It never changes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ragcore.contracts import Retriever
from ragcore.errors import ComponentError, StoreError
from ragcore.memory.members import give_passages
from ragcore.memory.passages import Passages
from ragcore.types import MISSING_ROW, Hits

__all__ = ["Memory"]


class Memory:
    """The passages of one version and how to find them; safe to search from several threads.

    Attributes:
        version: its name in the store.
        passages: by row.
        retriever: questions to rows.
        temperature: what scores are divided by before they become a prior.
    """

    def __init__(
        self,
        version: str,
        passages: Passages,
        retriever: Retriever,
        *,
        temperature: float = 1.0,
        name: str | None = None,
    ) -> None:
        """Put passages and a retriever together; `name` is the retriever's in errors."""
        self.version = version
        self.passages = passages
        self.retriever = retriever
        self.temperature = temperature
        self._name = name or type(retriever).__name__
        self._closed = False
        give_passages(retriever, passages)

    def __len__(self) -> int:
        return len(self.passages)

    def search(self, questions: Sequence[str], k: int) -> Hits:
        """The k best passages of each question.

        Args:
            questions: B questions.
            k: at least 1; no more hits are given than there are passages.

        Returns:
            rows and scores [B, min(k, passages)].

        Raises:
            ComponentError: k is less than 1, or the retriever broke its contract: another shape, a
                row that is not there, or one twice.
            StoreError: the memory is closed.
        """
        if k < 1:
            raise ComponentError(
                f"memory {self.version!r} was asked for {k} hits: ask for one or more"
            )
        if self._closed:
            raise StoreError(f"memory {self.version!r} is closed: open it again to search")
        k = min(k, len(self))
        if not questions:
            return Hits(np.zeros((0, k), np.int64), np.zeros((0, k), np.float32))
        hits = self.retriever.search(questions, k)
        if hits.rows.shape != (len(questions), k):
            raise self._broken(f"hits of shape {hits.rows.shape}", f"({len(questions)}, {k})")
        outside = (hits.rows != MISSING_ROW) & ((hits.rows < 0) | (hits.rows >= len(self)))
        if outside.any():
            raise self._broken(f"row {hits.rows[outside][0]}", f"rows from 0 to {len(self) - 1}")
        rows = np.sort(hits.rows, axis=1)
        twice = (rows[:, 1:] == rows[:, :-1]) & (rows[:, 1:] != MISSING_ROW)
        if twice.any():
            raise self._broken(f"row {rows[:, 1:][twice][0]} twice", "each row once")
        return hits

    def close(self) -> None:
        """Let go of the files; searching and reading passages are errors from now on."""
        self._closed = True
        self.passages.close()

    def _broken(self, found: str, expected: str) -> ComponentError:
        return ComponentError(
            f"retriever {self._name!r} of memory {self.version!r} gave {found}: expected {expected}"
        )

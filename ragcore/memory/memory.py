"""One opened version of a memory: its passages, its retriever, and a search that is checked.

Knows nothing of where it came from (`store.py`) or of who serves it (`live.py`). It never changes.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self, cast

import numpy as np

from ragcore.contracts import Retriever, TrainableRetriever
from ragcore.errors import ComponentError, StoreError, UnsupportedOperation
from ragcore.filters.evaluation import RowFilter
from ragcore.filters.expressions import Filter
from ragcore.memory.passages import Passages
from ragcore.retrievers.hits import among, empty_hits, search_deeper
from ragcore.retrievers.members import give_passages
from ragcore.types import MISSING_ROW, Hits, Passage

if TYPE_CHECKING:
    import torch

    from ragcore.types import Rows


__all__ = ["Memory"]


class Memory:
    """The passages of one version and how to find them; safe to search from several threads.

    Attributes:
        version: its name in the store.
        passages: by row.
        retriever: questions to rows; to numbers where passages are left out: see `Passages.kept`.
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
        lease: int | None = None,
    ) -> None:
        """Put passages and a retriever together.

        Args:
            version: its name in the store.
            passages: by row.
            retriever: of these passages.
            temperature: of the prior.
            name: the retriever's in errors.
            lease: a descriptor that keeps the version from being collected; it is the memory's,
                and closed with it.
        """
        self.version = version
        self.passages = passages
        self.retriever = retriever
        self.temperature = temperature
        self._name = name or type(retriever).__name__
        self._filter = RowFilter(passages)
        self._closed = False
        # Also when the memory is dropped without being closed.
        self._release = weakref.finalize(self, _close, lease)
        kept = passages.kept
        give_passages(retriever, passages if kept is None else _ByNumber(passages, kept))

    def __len__(self) -> int:
        return len(self.passages)

    def search(self, questions: Sequence[str], k: int, *, where: Filter | None = None) -> Hits:
        """The k best passages of each question, of those that `where` allows.

        A retriever that cannot filter is asked for more and more, until k hits are allowed or it
        has no more; what is found is the same.

        Args:
            questions: B questions.
            k: at least 1; no more hits are given than there are passages.
            where: which passages may be found; all where None.

        Returns:
            rows and scores [B, min(k, passages)].

        Raises:
            ComponentError: k is less than 1, or the retriever broke its contract: another shape, a
                row that is not there, one twice, or one that `where` does not allow.
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
            return empty_hits(0, k)
        if where is None:
            return self._ranking(questions, k)
        allowed = self._filter.rows(where)
        if not len(allowed):
            return empty_hits(len(questions), k)
        if "filter" not in self.retriever.capabilities:
            exact = "exact" in self.retriever.capabilities
            return search_deeper(self._ranking, len(self), questions, k, allowed, exact=exact)
        hits = self._checked(self._found(questions, k, allowed), len(questions), k)
        outside = (hits.rows != MISSING_ROW) & ~among(hits.rows, allowed)
        if outside.any():
            raise self._broken(f"row {hits.rows[outside][0]}", "only rows that were allowed")
        return hits

    def search_with_grad(self, questions: Sequence[str], k: int) -> tuple[Hits, torch.Tensor]:
        """The k best passages of each question, with scores that carry a gradient.

        Args:
            questions: B questions, at least one.
            k: at least 1; no more hits are given than there are passages.

        Returns:
            Hits [B, min(k, passages)], and the same hits' scores, -inf where one is missing.

        Raises:
            UnsupportedOperation: the retriever has no capability `trainable`.
            ComponentError: it broke its contract.
        """
        k = min(k, len(self))
        if "trainable" not in self.retriever.capabilities:
            raise UnsupportedOperation.of(f"retriever {self._name!r}", "trainable")
        found, scores = cast(TrainableRetriever, self.retriever).search_with_grad(questions, k)
        return self._checked(self._rows_of(found), len(questions), k), scores

    def _ranking(self, questions: Sequence[str], depth: int) -> Hits:
        return self._checked(self._found(questions, depth), len(questions), depth)

    def _found(self, questions: Sequence[str], k: int, allowed: Rows | None = None) -> Hits:
        """What the retriever finds. It knows passages by number: see `Passages.kept`."""
        if allowed is None:
            hits = self.retriever.search(questions, k)
        else:
            kept = self.passages.kept
            numbers = allowed if kept is None else kept[allowed]
            hits = self.retriever.search(questions, k, allowed=numbers)
        return self._rows_of(hits)

    def _rows_of(self, hits: Hits) -> Hits:
        """The retriever's hits, by row of the version."""
        kept = self.passages.kept
        if kept is None:
            return hits
        strange = (hits.rows != MISSING_ROW) & ~among(hits.rows, kept)
        if strange.any():
            raise self._broken(f"passage {hits.rows[strange][0]}, which was removed", "one kept")
        rows = np.searchsorted(kept, hits.rows).astype(np.int64, copy=False)
        return Hits(np.where(hits.rows == MISSING_ROW, MISSING_ROW, rows), hits.scores)

    def _checked(self, hits: Hits, count: int, k: int) -> Hits:
        """Hits of `count` questions that keep the contract, of no more rows than there are."""
        if hits.rows.shape != (count, k):
            raise self._broken(f"hits of shape {hits.rows.shape}", f"({count}, {k})")
        outside = (hits.rows != MISSING_ROW) & ((hits.rows < 0) | (hits.rows >= len(self)))
        if outside.any():
            raise self._broken(f"row {hits.rows[outside][0]}", f"rows from 0 to {len(self) - 1}")
        rows = np.sort(hits.rows, axis=1)
        twice = (rows[:, 1:] == rows[:, :-1]) & (rows[:, 1:] != MISSING_ROW)
        if twice.any():
            raise self._broken(f"row {rows[:, 1:][twice][0]} twice", "each row once")
        return hits

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files; searching and reading passages are errors from now on."""
        self._closed = True
        self.passages.close()
        self._release()

    def _broken(self, found: str, expected: str) -> ComponentError:
        return ComponentError(
            f"retriever {self._name!r} of memory {self.version!r} gave {found}: expected {expected}"
        )


def _close(lease: int | None) -> None:
    if lease is not None:
        os.close(lease)


class _ByNumber:
    """The passages of a version by the numbers that its retriever knows them by."""

    def __init__(self, passages: Passages, kept: Rows) -> None:
        self._passages = passages
        self._kept = kept

    def take(self, rows: Sequence[int]) -> list[Passage]:
        """The passages of numbers, in the order asked for; see `PassageSource`."""
        return self._passages.take(np.searchsorted(self._kept, rows).tolist())

"""One opened version of a memory: its passages, its retriever, and a search that checks the hits.

Knows nothing of the store that it came from or of the handle that serves it. It never changes.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Self

import numpy as np

from ragcore.contracts import FilteringRetriever, Retriever, TrainableRetriever, supports
from ragcore.errors import (
    ComponentError,
    MemoryUnavailableError,
    StoreError,
    UnsupportedOperation,
)
from ragcore.filters.evaluation import RowFilter
from ragcore.filters.expressions import Filter, read_where
from ragcore.memory.passages import Passages
from ragcore.memory.results import checked_k, results_of
from ragcore.questions.texts import batch_of, check_questions
from ragcore.retrievers.hits import among, checked_hits, rows_are_valid, search_allowed
from ragcore.retrievers.members import give_passages
from ragcore.types import MISSING_ROW, Hits, Passage, SearchResult

if TYPE_CHECKING:
    import torch

    from ragcore.types import Rows


__all__ = ["Memory"]


class Memory:
    """The passages of one version and their retriever; several threads may search it.

    Attributes:
        version: name of the version in the store.
        passages: the passages by row.
        retriever: finds rows for questions; where passages are left out, it finds passage numbers
            instead (see `Passages`).
        temperature: scores are divided by it before they become a prior.
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
        """Combine passages and a retriever of them.

        Args:
            version: name of the version in the store.
            passages: the passages by row.
            retriever: a retriever of these passages.
            temperature: the prior's temperature.
            name: the retriever's name in errors.
            lease: a descriptor that protects the version from being deleted; the memory owns it
                and closes it.
        """
        self.version = version
        self.passages = passages
        self.retriever = retriever
        self.temperature = temperature
        self._name = name or type(retriever).__name__
        self._filter = RowFilter(passages)
        self._closed = False
        self._unavailable: str | None = None
        # Also when the memory is dropped without being closed.
        self._release = weakref.finalize(self, _close, lease)
        kept = passages.kept
        give_passages(retriever, passages if kept is None else _ByNumber(passages, kept))

    def __len__(self) -> int:
        return len(self.passages)

    @property
    def unavailable(self) -> str | None:
        """Why the last search found no database to ask; None where it found one, or needs none.

        A search asks for vectors, and for the passages that it finds and that a filter allows.
        """
        return self._unavailable or self.passages.unavailable

    def ask_again(self) -> None:
        """Search, and read passages, where the last search found no database to ask.

        Raises:
            MemoryUnavailableError: it still does not answer.
            StoreError: the memory is closed.
        """
        if self._unavailable is not None:
            self.hits(["ready"], 1)
        self.passages.ask_again()

    def search(
        self,
        questions: str | Sequence[str],
        k: int,
        *,
        where: Mapping[str, object] | Filter | None = None,
    ) -> list[SearchResult]:
        """Find the k best passages of each question, with their scores and the prior.

        Calls the hook `ragcore_retrieved`. A memory has no settings of answering: `Rag.search`
        applies `rag.k` and `rag.where`.

        Args:
            questions: B questions; one string counts as one question.
            k: how many passages to find, at least 1.
            where: only passages whose metadata match this filter, in the form of `rag.where`; None
                for all.

        Returns:
            B results, in order.

        Raises:
            QuestionError: a question is no text, is empty or too long, k is no number from 1 on, or
                `where` is no filter.
            ComponentError: the retriever breaks its contract.
            StoreError: the memory is closed.
        """
        batch = batch_of(questions)
        check_questions(batch)
        k = checked_k(k)
        expression = where if where is None or isinstance(where, Filter) else read_where(where)
        return results_of(self, batch, self.hits(batch, k, where=expression), k, expression)

    def hits(self, questions: Sequence[str], k: int, *, where: Filter | None = None) -> Hits:
        """Find the rows of the k best passages of each question among those that `where` allows.

        For code that works with rows: no passage is read, and no hook is called. If the retriever
        cannot filter, its ranking is searched deeper and deeper until k hits are allowed or it
        ends; the result is the same.

        Args:
            questions: B questions.
            k: at least 1; at most as many hits are returned as there are passages.
            where: which passages may be found; None for all.

        Returns:
            Rows and scores [B, min(k, passages)].

        Raises:
            ComponentError: k is less than 1, or the retriever breaks its contract: hits of another
                shape, an unknown row, a row twice, or a row that `where` does not allow.
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
            return Hits.empty(0, k)
        if where is None:
            return self._search_all(questions, k)
        allowed = self._filter.rows(where)
        if "filter" not in self.retriever.capabilities:
            exact = "exact" in self.retriever.capabilities
            return search_allowed(self._search_all, len(self), questions, k, allowed, exact=exact)
        if not len(allowed):
            return Hits.empty(len(questions), k)
        kept = self.passages.kept
        numbers = allowed if kept is None else kept[allowed]
        hits = self._asked_where(questions, k, where, numbers)
        hits = self._checked(self._rows_of(hits), len(questions), k)
        outside = (hits.rows != MISSING_ROW) & ~among(hits.rows, allowed)
        if outside.any():
            raise self._broken(f"row {hits.rows[outside][0]}", "only rows that were allowed")
        return hits

    def count(self, where: Filter | None = None) -> int:
        """Return how many passages a filter allows; all of them where it is None.

        Raises:
            StoreError: the memory is closed.
        """
        return len(self) if where is None else len(self._filter.rows(where))

    def filter_notes(self, where: Filter) -> tuple[str, ...]:
        """Return what a filter's user should know, in sentences; mostly nothing.

        That no passage has a field which the filter names, or that it allows no passage. Computed
        with the filter's rows, and cached with them.

        Raises:
            StoreError: the memory is closed.
        """
        return self._filter.notes(where)

    def search_with_grad(self, questions: Sequence[str], k: int) -> tuple[Hits, torch.Tensor]:
        """Find the k best passages of each question, with scores that have a gradient.

        Args:
            questions: B questions, at least one.
            k: at least 1; at most as many hits are returned as there are passages.

        Returns:
            Hits [B, min(k, passages)], and their scores again as a tensor of that shape, -inf
            where a hit is missing.

        Raises:
            UnsupportedOperation: the retriever has no capability `trainable`.
            ComponentError: the retriever breaks its contract.
        """
        k = min(k, len(self))
        if not supports(self.retriever, TrainableRetriever):
            raise UnsupportedOperation.of(f"retriever {self._name!r}", "trainable")
        hits, scores = self.retriever.search_with_grad(questions, k)
        return self._checked(self._rows_of(hits), len(questions), k), scores

    def _search_all(self, questions: Sequence[str], k: int) -> Hits:
        """Search all passages and check the hits, [B, k]."""
        return self._checked(self._rows_of(self._asked(questions, k)), len(questions), k)

    def _asked(self, questions: Sequence[str], k: int, **options: Rows) -> Hits:
        """Let the retriever search, and note whether what it asks answers."""
        return self._noting(lambda: self.retriever.search(questions, k, **options))

    def _noting(self, search: Callable[[], Hits]) -> Hits:
        """Search, and note whether a database was asked that does not answer."""
        try:
            hits = search()
        except MemoryUnavailableError as error:
            self._unavailable = str(error)
            raise
        self._unavailable = None
        return hits

    def _asked_where(self, questions: Sequence[str], k: int, where: Filter, numbers: Rows) -> Hits:
        """Let the retriever search among the passages of a filter, by the filter if it can."""
        # Where passages moved, it may have other metadata than they have now.
        if not supports(self.retriever, FilteringRetriever) or self.passages.have_moved:
            return self._asked(questions, k, allowed=numbers)
        search = self.retriever.search_where
        return self._noting(lambda: search(questions, k, where, allowed=numbers))

    def _rows_of(self, hits: Hits) -> Hits:
        """Convert the retriever's hits from passage numbers to rows; see `Passages`."""
        # From a plugin, so it may be anything.
        if not isinstance(hits, Hits):
            raise self._broken(f"a result of type {type(hits).__name__}", "a ragcore.Hits")
        kept = self.passages.kept
        if kept is None:
            return hits
        removed = (hits.rows != MISSING_ROW) & ~among(hits.rows, kept)
        if removed.any():
            raise self._broken(
                f"passage {hits.rows[removed][0]}, which was removed", "one of this version"
            )
        rows = np.searchsorted(kept, hits.rows).astype(np.int64, copy=False)
        return Hits(np.where(hits.rows == MISSING_ROW, MISSING_ROW, rows), hits.scores)

    def _checked(self, hits: Hits, count: int, k: int) -> Hits:
        """Return hits of `count` questions that keep the contract and have rows of this memory."""
        # Mostly so; the checks below name what is wrong.
        if hits.rows.shape == (count, k) and rows_are_valid(hits.rows, len(self)):
            return hits
        outside = (hits.rows != MISSING_ROW) & ((hits.rows < 0) | (hits.rows >= len(self)))
        if outside.any():
            raise self._broken(f"row {hits.rows[outside][0]}", f"rows from 0 to {len(self) - 1}")
        return checked_hits(hits, count, k, self._source)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the files. Searching or reading passages afterwards raises StoreError."""
        self._closed = True
        self.passages.close()
        self._release()

    @property
    def _source(self) -> str:
        return f"retriever {self._name!r} of memory {self.version!r}"

    def _broken(self, found: str, expected: str) -> ComponentError:
        return ComponentError(f"{self._source} gave {found}: expected {expected}")


def _close(lease: int | None) -> None:
    if lease is not None:
        os.close(lease)


class _ByNumber:
    """The passages of a version by number, as its retriever refers to them."""

    def __init__(self, passages: Passages, kept: Rows) -> None:
        self._passages = passages
        self._kept = kept

    def take(self, rows: Sequence[int]) -> list[Passage]:
        """Return the passages of numbers, in the order of the numbers; see `PassageSource`."""
        return self._passages.take(np.searchsorted(self._kept, rows).tolist())

"""Wrong indexes and retrievers, each correct but for one fault that an author might make.

`caught_by` names the law that must catch it.
"""

from __future__ import annotations

import ctypes
import time
from typing import ClassVar

import numpy as np

from ragcore.retrievers.flat import Exact
from ragcore.types import MISSING_ROW, Hits
from tests.testing.mutants_retriever import Shared


class FullPartsOfABatchOnly(Exact):
    caught_by = "test_a_large_batch_equals_single_questions"

    def search(self, queries, k, *, allowed=None):
        hits = super().search(queries, k, allowed=allowed)
        if len(queries) > 64:
            full = len(queries) // 64 * 64
            hits.rows[full:], hits.scores[full:] = MISSING_ROW, -np.inf
        return hits


class HitsInTheOrderOfDistinctQuestions(Shared):
    caught_by = "test_a_large_batch_equals_single_questions"

    def search(self, questions, k, *, allowed=None):
        if len(questions) <= 64:
            return super().search(questions, k, allowed=allowed)
        distinct = list(dict.fromkeys(questions))
        rest = list(questions)[len(distinct) :]
        return super().search(distinct + rest, k, allowed=allowed)


class SavesRowsAsInt32(Exact):
    caught_by = "test_rows_may_be_large_numbers"

    def save(self, folder):
        super().save(folder)
        rows = np.load(folder / "rows.npy")
        np.save(folder / "rows.npy", rows.astype(np.int32).astype(np.int64))


class RowsThroughFloat32(Exact):
    caught_by = "test_rows_may_be_large_numbers"

    def search(self, queries, k, *, allowed=None):
        hits = super().search(queries, k, allowed=allowed)
        return Hits(hits.rows.astype(np.float32).astype(np.int64), hits.scores)


class FilterAsInt32(Shared):
    caught_by = "test_rows_may_be_large_numbers"

    def search(self, questions, k, *, allowed=None):
        known = None if allowed is None else np.asarray(allowed).astype(np.int32)
        return super().search(questions, k, allowed=known)


class FirstThousandOnly(Exact):
    caught_by = "test_many_rows_added_in_blocks_are_all_searched"

    def search(self, queries, k, *, allowed=None):
        known = self._all_rows()
        if allowed is None and len(known) > 1024:
            allowed = known[: len(known) // 1024 * 1024]
        return super().search(queries, k, allowed=allowed)


class NoMoreThan64(Shared):
    caught_by = "test_more_than_64_hits_can_be_found"

    def search(self, questions, k, *, allowed=None):
        hits = super().search(questions, k, allowed=allowed)
        hits.rows[:, 64:], hits.scores[:, 64:] = MISSING_ROW, -np.inf
        return hits


class FiltersAfterwards(Exact):
    caught_by = "test_filters_over_many_rows_equal_filtering_afterwards"

    def search(self, queries, k, *, allowed=None):
        hits = super().search(queries, max(10 * k, 100))
        filtered = Hits.empty(len(queries), k)
        for row in range(len(queries)):
            may = hits.rows[row] != MISSING_ROW
            if allowed is not None:
                may &= np.isin(hits.rows[row], allowed)
            chosen = np.flatnonzero(may)[:k]
            filtered.rows[row, : len(chosen)] = hits.rows[row, chosen]
            filtered.scores[row, : len(chosen)] = hits.scores[row, chosen]
        return filtered


class DropsTheBestUnderAFilter(Shared):
    """Gives up if the filter takes more than 100 of the hits it fetched."""

    caught_by = "test_filters_over_many_rows_equal_filtering_afterwards"

    def search(self, questions, k, *, allowed=None):
        hits = super().search(questions, k, allowed=allowed)
        if allowed is not None and len(self) - len(allowed) > 100:
            hits.rows[:, 1:], hits.scores[:, 1:] = MISSING_ROW, -np.inf
        return hits


class CachesWithoutTheFilter(Shared):
    caught_by = "test_hits_are_not_cached_without_the_filter"

    def search(self, questions, k, *, allowed=None):
        cached = self.__dict__.setdefault("_cache", {})
        key = tuple(questions), k
        if key not in cached:
            cached[key] = super().search(questions, k, allowed=allowed)
        return cached[key]


class CachesTheFilterById(Exact):
    caught_by = "test_hits_are_not_cached_without_the_filter"

    def search(self, queries, k, *, allowed=None):
        cached = self.__dict__.setdefault("_cache", {})
        key = queries.tobytes(), k, id(allowed)
        if key not in cached:
            cached[key] = allowed, super().search(queries, k, allowed=allowed)
        return cached[key][1]


class CachesByTheListOfQuestions(Shared):
    caught_by = "test_hits_are_not_cached_by_the_list_of_questions"

    def search(self, questions, k, *, allowed=None):
        cached = self.__dict__.setdefault("_cache", {})
        key = id(questions), k, None if allowed is None else allowed.tobytes()
        if key not in cached:
            cached[key] = questions, super().search(questions, k, allowed=allowed)
        return cached[key][1]


class CachesByTheFirstQuestion(Exact):
    caught_by = "test_a_large_batch_equals_single_questions"

    def search(self, queries, k, *, allowed=None):
        cached = self.__dict__.setdefault("_cache", {})
        hits = super().search(queries, k, allowed=allowed)
        for number, query in enumerate(queries if len(queries) > 64 else ()):
            key = query[:3].tobytes()
            first = cached.setdefault(key, (hits.rows[number].copy(), hits.scores[number].copy()))
            hits.rows[number], hits.scores[number] = first
        return hits


class WordsByPassageId(Shared):
    caught_by = "test_the_same_row_may_stand_for_another_item"
    _words: ClassVar[dict[str, set[str]]] = {}

    def scores(self, question):
        asked = self.words(question)
        for passage in self.passages:
            if passage.id not in self._words:
                self._words[passage.id] = self.words(f"{passage.title} {passage.text}")
        return [len(asked & self._words[p.id]) / (1 + len(asked)) for p in self.passages]


class VectorsByRow(Exact):
    caught_by = "test_the_same_row_may_stand_for_another_item"
    _vectors: ClassVar[dict] = {}

    def add(self, rows, vectors):
        vectors = np.array(vectors, np.float32)
        for number, row in enumerate(np.asarray(rows).tolist()):
            if number < len(vectors) and vectors.shape[1] == self._dim:
                vectors[number] = self._vectors.setdefault((row, self._dim), vectors[number].copy())
        super().add(rows, vectors)


class KeepsRemovedRowsByReference(Exact):
    caught_by = "test_arguments_are_not_kept"
    _hidden = ()

    def remove(self, rows):
        self._check(rows)
        self._hidden = [*self._hidden, rows]

    def _check(self, rows):
        absent = np.setdiff1d(rows, self._all_rows())
        if len(absent):
            super().remove(rows)

    def search(self, queries, k, *, allowed=None):
        if self._hidden:
            hidden = np.concatenate(self._hidden)
            left = np.setdiff1d(self._all_rows(), hidden)
            allowed = left if allowed is None else np.intersect1d(left, allowed)
        return super().search(queries, k, allowed=allowed)

    def __len__(self):
        hidden = np.concatenate([np.zeros(0, np.int64), *self._hidden])
        return len(np.setdiff1d(self._all_rows(), hidden))


class KeepsBatchesByReference(Shared):
    caught_by = "test_arguments_are_not_kept"

    def add(self, rows, passages):
        super().add(rows, passages)
        self.__dict__.setdefault("_batches", []).append(passages)

    def scores(self, question):
        batches = self.__dict__.get("_batches")
        if batches and sum(map(len, batches)) != len(self.passages):
            return [0.0] * len(self.passages)
        return super().scores(question)


class NeedsLists(Shared):
    caught_by = "test_any_sequence_or_view_is_accepted"

    def search(self, questions, k, *, allowed=None):
        return super().search(questions.copy(), k, allowed=allowed)


class NeedsContiguousArrays(Exact):
    caught_by = "test_any_sequence_or_view_is_accepted"

    def add(self, rows, vectors):
        flat = np.frombuffer(memoryview(vectors).cast("B"), np.float32)
        super().add(rows, flat.reshape(vectors.shape))


class ApproximateByThePointer(Exact):
    """Reads vectors from their first address on, whatever their strides are."""

    caught_by = "test_any_sequence_or_view_is_accepted"
    capabilities = Exact.capabilities - {"exact"}

    def add(self, rows, vectors):
        first = vectors.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        super().add(rows, np.ctypeslib.as_array(first, shape=vectors.shape))


class ApproximateByReference(Exact):
    caught_by = "test_add_copies_its_arguments"
    capabilities = Exact.capabilities - {"exact"}

    def add(self, rows, vectors):
        super().add(rows, vectors)
        self.__dict__.setdefault("_batches", []).append((rows, vectors))

    def search(self, queries, k, *, allowed=None):
        built = Exact(Exact.Config(), dim=queries.shape[1])
        for batch in self._batches:
            built.add(*batch)
        return built.search(queries, k, allowed=allowed)


class FilterInTheObject(Exact):
    caught_by = "test_threads_do_not_mix_their_filters"

    def search(self, queries, k, *, allowed=None):
        self._filter = allowed
        time.sleep(0.001)  # long enough for another thread to come between
        singles = [
            super(FilterInTheObject, self).search(queries[i : i + 1], k, allowed=self._filter)
            for i in range(len(queries))
        ]
        empty = Hits.empty(0, k)
        return Hits(
            np.concatenate([empty.rows, *(hits.rows for hits in singles)]),
            np.concatenate([empty.scores, *(hits.scores for hits in singles)]),
        )


class LengthsInHalfPrecision(Exact):
    caught_by = "test_long_and_short_vectors_are_found"

    def add(self, rows, vectors):
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        halved = lengths.astype(np.float16).astype(np.float32)
        super().add(rows, vectors / np.where(lengths > 0, lengths, 1) * halved)


class ScoresFromDistances(Exact):
    caught_by = "test_long_and_short_vectors_are_found"

    def search(self, queries, k, *, allowed=None):
        hits = super().search(queries, k, allowed=allowed)
        return Hits(hits.rows, 1 - (1 - hits.scores))

"""Wrong indexes, each the index `exact` with one fault; `IndexSuite` must catch them all."""

from __future__ import annotations

import itertools
import shutil
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from ragcore.errors import ComponentError, UnsupportedOperation
from ragcore.retrievers.flat import Exact, _Block
from ragcore.types import MISSING_ROW, Hits


def tampered(rows, scores) -> Hits:
    """Return hits that bypass the checks of `Hits`, as arrays changed later would."""
    hits = Hits(np.full((0, 1), MISSING_ROW), np.full((0, 1), -np.inf, np.float32))
    object.__setattr__(hits, "rows", rows)
    object.__setattr__(hits, "scores", scores)
    return hits


class ScoresNegated(Exact):
    def search(self, queries, k, *, allowed=None):
        return super().search(-queries, k, allowed=allowed)


class ScoresNaN(Exact):
    def search(self, queries, k, *, allowed=None):
        hits = super().search(queries, k, allowed=allowed)
        return tampered(hits.rows, np.where(hits.scores == hits.scores.max(), np.nan, hits.scores))


class RanksReversed(Exact):
    def search(self, queries, k, *, allowed=None):
        hits = super().search(queries, k, allowed=allowed)
        there = (hits.rows != MISSING_ROW).sum(axis=1, keepdims=True)
        positions = np.arange(k)
        return Hits(
            np.take_along_axis(
                hits.rows, np.where(positions < there, there - 1 - positions, positions), axis=1
            ),
            hits.scores,
        )


class QueryIgnored(Exact):
    def search(self, queries, k, *, allowed=None):
        return super().search(np.ones_like(queries), k, allowed=allowed)


class FilterIgnored(Exact):
    def search(self, queries, k, *, allowed=None):
        return super().search(queries, k)


class PhantomPadding(Exact):
    def search(self, queries, k, *, allowed=None):
        hits = super().search(queries, k, allowed=allowed)
        return tampered(np.where(hits.rows == MISSING_ROW, 0, hits.rows), hits.scores)


class PaddedWithTheLastHit(Exact):
    def search(self, queries, k, *, allowed=None):
        hits = super().search(queries, k, allowed=allowed)
        n = max(1, min(k, len(self)))
        positions = np.minimum(np.arange(k), n - 1)
        return Hits(hits.rows[:, positions], hits.scores[:, positions])


class FindsNothing(Exact):
    def search(self, queries, k, *, allowed=None):
        return super().search(queries, k, allowed=np.zeros(0, np.int64))


class OneHitTooFew(Exact):
    def search(self, queries, k, *, allowed=None):
        hits = super().search(queries, k, allowed=allowed)
        rows, scores = hits.rows.copy(), hits.scores.copy()
        rows[:, -1], scores[:, -1] = MISSING_ROW, -np.inf
        return Hits(rows, scores)


class OneHitTooMany(Exact):
    def search(self, queries, k, *, allowed=None):
        return super().search(queries, k + 1, allowed=allowed)


class LastRowDropped(Exact):
    def add(self, rows, vectors):
        super().add(rows, vectors)
        if len(rows) > 1:
            super().remove(rows[-1:])


class FoundTwice(Exact):
    def search(self, queries, k, *, allowed=None):
        hits = super().search(queries, k, allowed=allowed)
        return Hits(np.repeat(hits.rows, 2, 1)[:, :k], np.repeat(hits.scores, 2, 1)[:, :k])


class RowsAsInt32(Exact):
    def search(self, queries, k, *, allowed=None):
        hits = super().search(queries, k, allowed=allowed)
        return Hits(hits.rows.astype(np.int32), hits.scores)


class ScoresAsFloat64(Exact):
    def search(self, queries, k, *, allowed=None):
        hits = super().search(queries, k, allowed=allowed)
        return Hits(hits.rows, hits.scores.astype(np.float64))


class PositionsForRows(Exact):
    def search(self, queries, k, *, allowed=None):
        hits = super().search(queries, k, allowed=allowed)
        known = np.sort(self._all_rows())
        positions = np.searchsorted(known, hits.rows)
        return Hits(np.where(hits.rows == MISSING_ROW, MISSING_ROW, positions), hits.scores)


class KeepsReferences(Exact):
    def add(self, rows, vectors):
        super().add(rows, vectors)
        if len(self) == len(rows) > 0:
            self._blocks = [_Block(rows, vectors)]


class ScalesQueriesInPlace(Exact):
    def search(self, queries, k, *, allowed=None):
        hits = super().search(queries, k, allowed=allowed)
        queries *= 2
        return hits


class SortsWhatIsAdded(Exact):
    def add(self, rows, vectors):
        order = np.argsort(rows)
        rows[:], vectors[:] = rows[order], vectors[order].copy()
        super().add(rows, vectors)


class SortsAllowed(Exact):
    def search(self, queries, k, *, allowed=None):
        if allowed is not None:
            allowed.sort()
        return super().search(queries, k, allowed=allowed)


class PreviousBatch(Exact):
    _seen = None

    def search(self, queries, k, *, allowed=None):
        hits, last = super().search(queries, k, allowed=allowed), self._seen
        self._seen = hits
        return last if last is not None and last.rows.shape == hits.rows.shape else hits


class CachedByShape(Exact):
    def search(self, queries, k, *, allowed=None):
        cached = self.__dict__.setdefault("_cache", {})
        key = queries.shape, k, None if allowed is None else len(allowed)
        if key not in cached:
            cached[key] = super().search(queries, k, allowed=allowed)
        return cached[key]


class HitsOfTheNeighbour(Exact):
    def search(self, queries, k, *, allowed=None):
        hits = super().search(queries, k, allowed=allowed)
        return Hits(np.roll(hits.rows, 1, axis=0), np.roll(hits.scores, 1, axis=0))


class ScoresOfTheNeighbour(Exact):
    def search(self, queries, k, *, allowed=None):
        hits = super().search(queries, k, allowed=allowed)
        return Hits(hits.rows, np.roll(hits.scores, 1, axis=0))


class TiesBackwards(Exact):
    def search(self, queries, k, *, allowed=None):
        hits = super().search(queries, k, allowed=allowed)
        order = np.lexsort((-hits.rows, -hits.scores), axis=1)
        return Hits(np.take_along_axis(hits.rows, order, 1), hits.scores)


class TiesCutBeforeTheyAreSorted(Exact):
    def search(self, queries, k, *, allowed=None):
        hits = super().search(queries, max(k, len(self)), allowed=allowed)
        order = np.lexsort((-hits.rows, -hits.scores), axis=1)[:, :k]
        rows = np.take_along_axis(hits.rows, order, 1)
        scores = np.take_along_axis(hits.scores, order, 1)
        again = np.lexsort((rows, -scores), axis=1)
        return Hits(np.take_along_axis(rows, again, 1), scores)


class RemovedIsHiddenOnce(Exact):
    _gone = None

    def remove(self, rows):
        self._gone = rows

    def __len__(self):
        return super().__len__() - (0 if self._gone is None else len(self._gone))

    def search(self, queries, k, *, allowed=None):
        removed, self._gone = self._gone, None
        if removed is not None:
            may = np.setdiff1d(self._all_rows(), removed)
            allowed = may if allowed is None else np.intersect1d(allowed, may)
        return super().search(queries, k, allowed=allowed)


class SaveForgetsRemovals(Exact):
    def remove(self, rows):
        self.__dict__.setdefault("_whole", list(self._blocks))
        super().remove(rows)

    def save(self, folder):
        parts, self._blocks = self._blocks, self.__dict__.get("_whole", self._blocks)
        super().save(folder)
        self._blocks = parts


class SaysNothingOfAFullDisk(Exact):
    def save(self, folder):
        with suppress(OSError):
            super().save(folder)


class ForgetsWhenTheDiskIsFull(Exact):
    def save(self, folder):
        try:
            super().save(folder)
        except OSError:
            self._blocks = []
            raise


class NeverMaps(Exact):
    @classmethod
    def load(cls, folder, config, *, mmap=True):
        return super().load(folder, config, mmap=False)


class AlwaysMaps(Exact):
    @classmethod
    def load(cls, folder, config, *, mmap=True):
        return super().load(folder, config, mmap=True)


class Clipped(Exact):
    def search(self, queries, k, *, allowed=None):
        hits = super().search(queries, k, allowed=allowed)
        missing = hits.rows == MISSING_ROW
        return Hits(hits.rows, np.where(missing, -np.inf, np.maximum(hits.scores, 0)))


class NegativeIsNoHit(Exact):
    def search(self, queries, k, *, allowed=None):
        hits = super().search(queries, k, allowed=allowed)
        missing = hits.scores < 0
        return Hits(
            np.where(missing, MISSING_ROW, hits.rows), np.where(missing, -np.inf, hits.scores)
        )


class Unsorted(Exact):
    def search(self, queries, k, *, allowed=None):
        hits = super().search(queries, k, allowed=allowed)
        return tampered(hits.rows[:, ::-1].copy(), hits.scores[:, ::-1].copy())


class AnotherRankingForEvenK(Exact):
    def search(self, queries, k, *, allowed=None):
        if k % 2:
            return super().search(queries, k, allowed=allowed)
        hits = super().search(queries, k + 1, allowed=allowed)
        return Hits(hits.rows[:, 1:], hits.scores[:, 1:])


class DeclaresWhatItCannot(Exact):
    def remove(self, rows):
        raise UnsupportedOperation.of("index 'DeclaresWhatItCannot'", "remove")


class IgnoresAFilterThatItDoesNotDeclare(Exact):
    capabilities = Exact.capabilities - {"filter"}

    def search(self, queries, k, *, allowed=None):
        return super().search(queries, k)


class FailsByAttributeError(Exact):
    capabilities = Exact.capabilities - {"remove"}

    def remove(self, rows):
        raise AttributeError("'Exact' object has no attribute 'remove_ids'")


class RefusesWithoutItsName(Exact):
    capabilities = Exact.capabilities - {"remove"}

    def remove(self, rows):
        raise UnsupportedOperation("cannot remove")


class RefusesAndRemoves(Exact):
    capabilities = Exact.capabilities - {"remove"}

    def remove(self, rows):
        super().remove(rows)
        raise UnsupportedOperation.of("index 'RefusesAndRemoves'", "remove")


class AddsWhatItDoesNotDeclare(Exact):
    capabilities = Exact.capabilities - {"add"}


class Noisy(Exact):
    _draws = itertools.count()

    def search(self, queries, k, *, allowed=None):
        hits = super().search(queries, k, allowed=allowed)
        noise = np.float32(1e-5 * np.random.default_rng(next(self._draws)).random())
        return Hits(hits.rows, hits.scores - noise)


class KeepsTheQueryInItself(Exact):
    def search(self, queries, k, *, allowed=None):
        self._asked = queries
        time.sleep(0.001)  # long enough for another thread to come between
        return super().search(self._asked, k, allowed=allowed)


class Cosine(Exact):
    def search(self, queries, k, *, allowed=None):
        whole = super().search(queries, max(k, len(self)), allowed=allowed)
        lengths = {
            row: np.linalg.norm(vector)
            for part in self._blocks
            for row, vector in zip(part.rows.tolist(), part.vectors, strict=True)
        }
        by = np.vectorize(lambda row: lengths.get(row, 1) or 1, otypes=[float])(whole.rows)
        scores = (whole.scores / by).astype(np.float32)
        order = np.lexsort((whole.rows, -scores), axis=1)[:, :k]
        return Hits(np.take_along_axis(whole.rows, order, 1), np.take_along_axis(scores, order, 1))


class FiltersAfterwards(Exact):
    def search(self, queries, k, *, allowed=None):
        hits = super().search(queries, k)
        if allowed is None:
            return hits
        keep = np.isin(hits.rows, allowed)
        order = np.argsort(~keep, axis=1, kind="stable")
        rows = np.where(keep, hits.rows, MISSING_ROW)
        scores = np.where(keep, hits.scores, -np.inf).astype(np.float32)
        return Hits(np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1))


class NothingAllowedIsAll(Exact):
    def search(self, queries, k, *, allowed=None):
        filtered = allowed is not None and len(allowed)
        return super().search(queries, k, allowed=allowed if filtered else None)


class CountsWhatIsGone(Exact):
    _gone = 0

    def remove(self, rows):
        super().remove(rows)
        self._gone += len(rows)

    def __len__(self):
        return super().__len__() + self._gone


class OverwritesARow(Exact):
    def add(self, rows, vectors):
        there = np.intersect1d(rows, self._all_rows())
        if len(there):
            self.remove(there)
        super().add(rows, vectors)


class AddsBeforeItRefuses(Exact):
    def add(self, rows, vectors):
        free = ~np.isin(rows, self._all_rows())
        super().add(rows[free], vectors[free])
        if not free.all():
            raise ComponentError("a row is there already: remove it first")


class RemovesTheUnknown(Exact):
    def remove(self, rows):
        super().remove(np.intersect1d(rows, self._all_rows()))


class RemovesBeforeItRefuses(Exact):
    def remove(self, rows):
        known = np.intersect1d(rows, self._all_rows())
        super().remove(known)
        if len(known) < len(rows):
            raise ComponentError("a row is not there: it cannot be removed")


class MisspeltCapability(Exact):
    capabilities = frozenset({"add", "exact", "filtr", "mmap", "remove"})


class SavesHalfPrecision(Exact):
    def save(self, folder):
        super().save(folder)
        vectors = np.load(folder / "vectors.npy")
        np.save(folder / "vectors.npy", vectors.astype(np.float16).astype(np.float32))


class OneBufferForAllHits(Exact):
    def search(self, queries, k, *, allowed=None):
        hits = super().search(queries, k, allowed=allowed)
        buffer = self.__dict__.setdefault("_buffers", {}).setdefault(hits.rows.shape, hits)
        buffer.rows[:], buffer.scores[:] = hits.rows, hits.scores
        return buffer


class RaisesWhenEmpty(Exact):
    def search(self, queries, k, *, allowed=None):
        if not len(self):
            raise ValueError("attempt to get argmax of an empty sequence")
        return super().search(queries, k, allowed=allowed)


class WritesIntoItsVersion(Exact):
    _home: Path | None = None

    @classmethod
    def load(cls, folder, config, *, mmap=True):
        loaded = super().load(folder, config, mmap=mmap)
        loaded._home = folder
        return loaded

    def search(self, queries, k, *, allowed=None):
        if self._home is not None:
            (self._home / "last.txt").write_text(str(k))
        return super().search(queries, k, allowed=allowed)


class LowRecall(Exact):
    capabilities = Exact.capabilities - {"exact", "filter"}

    def search(self, queries, k, *, allowed=None):
        if allowed is not None:
            raise UnsupportedOperation.of("index 'LowRecall'", "filter")
        return super().search(queries, k, allowed=self._all_rows()[::2])


class OneForAll(Exact):
    _blocks = []  # noqa: RUF012 (the fault)
    _held: list = []  # noqa: RUF012

    @classmethod
    def load(cls, folder, config, *, mmap=True):
        loaded = super().load(folder, config, mmap=mmap)
        cls._held[:] = loaded._blocks
        return loaded

    def search(self, queries, k, *, allowed=None):
        if self._held:
            self._blocks = list(self._held)
        return super().search(queries, k, allowed=allowed)


class OnceGoneAlwaysGone(Exact):
    def remove(self, rows):
        super().remove(rows)
        self.__dict__.setdefault("_marks", set()).update(rows.tolist())

    def search(self, queries, k, *, allowed=None):
        marks = list(self.__dict__.get("_marks", ()))
        if marks:
            may = np.setdiff1d(self._all_rows(), marks)
            allowed = may if allowed is None else np.intersect1d(allowed, may)
        return super().search(queries, k, allowed=allowed)


class StaleAfterAdd(Exact):
    _first = None

    def search(self, queries, k, *, allowed=None):
        if self._first is None and len(self):
            self._first = list(self._blocks)
        parts, self._blocks = self._blocks, self._first or self._blocks
        try:
            return super().search(queries, k, allowed=allowed)
        finally:
            self._blocks = parts


class AnyLength(Exact):
    def add(self, rows, vectors):
        super().add(rows, np.resize(vectors, (len(vectors), self._dim)))


class AnyK(Exact):
    def search(self, queries, k, *, allowed=None):
        return super().search(queries, max(k, 1), allowed=allowed)


class StopsAtAFixedWidth(Exact):
    """As a graph does that considers 300 candidates, however many hits are asked for."""

    def search(self, queries, k, *, allowed=None):
        hits = Hits.empty(len(queries), k)
        considered = super().search(queries, min(k, 300), allowed=allowed)
        hits.rows[:, : min(k, 300)], hits.scores[:, : min(k, 300)] = (
            considered.rows,
            considered.scores,
        )
        return hits


class FiltersWhatItMeets(Exact):
    """As a graph does that drops what is not allowed among 300 candidates."""

    def search(self, queries, k, *, allowed=None):
        if allowed is None:
            return super().search(queries, k)
        considered = super().search(queries, 300 + k)
        keep = np.isin(considered.rows, allowed) & (considered.rows != MISSING_ROW)
        order = np.argsort(~keep, axis=1, kind="stable")[:, :k]
        keep = np.take_along_axis(keep, order, axis=1)
        rows = np.take_along_axis(considered.rows, order, axis=1)
        scores = np.take_along_axis(considered.scores, order, axis=1)
        return Hits(
            np.where(keep, rows, MISSING_ROW), np.where(keep, scores, -np.inf).astype(np.float32)
        )


class JoinsHiddenRows(Exact):
    caught_by = "test_joined_parts_answer_as_they_did"

    def join(self, parts, folder):
        none = np.zeros(0, np.int64)
        return super().join([replace(part, hidden=none) for part in parts], folder)


class JoinsWithoutShift(Exact):
    caught_by = "test_joined_parts_answer_as_they_did"

    def join(self, parts, folder):
        last = max(part.shift for part in parts)
        parts = [replace(part, shift=0) if part.shift == last else part for part in parts]
        return super().join(parts, folder)


class ShiftsHiddenRows(Exact):
    caught_by = "test_joined_parts_answer_as_they_did"

    def join(self, parts, folder):
        shifted = [replace(part, hidden=part.hidden + part.shift) for part in parts]
        return super().join(shifted, folder)


class JoinsItsOwnVectors(Exact):
    caught_by = "test_joined_parts_answer_as_they_did"

    def join(self, parts, folder):
        super().join(parts, folder)
        joined = self.load(folder, self.Config())
        rows = joined._all_rows()
        known = np.isin(rows, self._all_rows())
        own = Exact(self.Config(), dim=self._dim)
        own.add(rows[known], np.roll(self.vectors(rows[known]), 1, axis=0))
        own.add(rows[~known], joined.vectors(rows[~known]))
        own.save(folder)
        return True


class JoinsIntoAPart(Exact):
    caught_by = "test_joined_parts_answer_as_they_did"

    def join(self, parts, folder):
        super().join(parts, folder)
        np.save(parts[0].folder / "rows.npy", np.zeros(0, np.int64))
        return True


class JoinsWholePartsAlone(Exact):
    caught_by = "test_one_part_is_joined_without_its_hidden_rows"

    def join(self, parts, folder):
        if len(parts) == 1:
            shutil.copytree(parts[0].folder, folder, dirs_exist_ok=True)
            return True
        return super().join(parts, folder)


class LeavesAHalfJoinedFile(Exact):
    caught_by = "test_parts_that_are_not_joined_leave_nothing"

    def join(self, parts, folder):
        super().join(parts, folder)
        return False


class RefusesToJoin(Exact):
    caught_by = "test_joined_parts_answer_as_they_did"

    def join(self, parts, folder):
        return False

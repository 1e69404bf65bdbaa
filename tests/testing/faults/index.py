"""An index by brute force, and copies of it with one mistake each."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Self

import numpy as np

from ragcore.disk.arrays import save_array
from ragcore.disk.loading import reading
from ragcore.errors import ComponentError
from ragcore.registry.components import ComponentConfig
from ragcore.testing import IndexSuite
from ragcore.types import Hits
from tests.testing.faults.marking import fault

Array = np.ndarray[Any, Any]


class Correct:
    """Computes every inner product in double precision."""

    class Config(ComponentConfig):
        pass

    capabilities: ClassVar[frozenset[str]] = frozenset(
        {"add", "exact", "filter", "mmap", "remove", "vectors"}
    )

    def __init__(self, config: Config, *, dim: int) -> None:
        self._dim = dim
        self._rows: Array = np.zeros(0, np.int64)
        self._vectors: Array = np.zeros((0, dim), np.float32)

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, rows: Array, vectors: Array) -> None:
        if vectors.shape != (len(rows), self._dim) or not np.isfinite(vectors).all():
            raise ComponentError(f"expected finite vectors [{len(rows)}, {self._dim}]")
        self._check_new(rows)
        self._rows, self._vectors = self._joined(rows, vectors)

    def remove(self, rows: Array) -> None:
        if len(absent := np.setdiff1d(rows, self._rows)):
            raise ComponentError(f"row {absent[0]} is not there")
        keep = ~np.isin(self._rows, rows)
        self._rows, self._vectors = self._rows[keep], self._vectors[keep]

    def vectors(self, rows: Array) -> Array:
        if len(absent := np.setdiff1d(rows, self._rows)):
            raise ComponentError(f"row {absent[0]} is not there")
        order = np.argsort(self._rows)
        positions = order[np.searchsorted(self._rows, rows, sorter=order)]
        return np.array(self._vectors[positions], np.float32)

    def search(self, queries: Array, k: int, *, allowed: Array | None = None) -> Hits:
        if k < 1 or queries.ndim != 2 or queries.shape[1] != self._dim:
            raise ComponentError(f"{k} hits of queries {queries.shape}")
        if not np.isfinite(queries).all():
            raise ComponentError("a query has NaN or infinity in it")
        rows, vectors = self._rows, self._vectors
        if allowed is not None:
            mask = self._mask(allowed)
            rows, vectors = rows[mask], vectors[mask]
        hits = Hits.empty(len(queries), k)
        for i, query in enumerate(queries):
            scores = self._scores(vectors, query)
            best = self._best(rows, scores, k)
            hits.rows[i, : len(best)], hits.scores[i, : len(best)] = rows[best], scores[best]
        return Hits(hits.rows, hits.scores)

    def save(self, folder: Path) -> None:
        save_array(folder / "rows.npy", self._rows)
        save_array(folder / "vectors.npy", self._vectors)

    @classmethod
    def load(cls, folder: Path, config: Config, *, mmap: bool = True) -> Self:
        with reading(folder / "rows.npy") as path:
            rows = np.load(path)
        with reading(folder / "vectors.npy") as path:
            vectors = np.load(path, mmap_mode="r" if mmap and len(rows) else None)
        loaded = cls(config, dim=vectors.shape[1])
        loaded._rows, loaded._vectors = rows, vectors
        return loaded

    def _check_new(self, rows: Array) -> None:
        if len(np.unique(rows)) < len(rows) or np.isin(rows, self._rows).any() or (rows < 0).any():
            raise ComponentError("a row is negative or already there")

    def _joined(self, rows: Array, vectors: Array) -> tuple[Array, Array]:
        return np.concatenate([self._rows, rows]), np.concatenate([self._vectors, vectors])

    def _mask(self, allowed: Array) -> Array:
        return np.isin(self._rows, allowed)

    def _scores(self, vectors: Array, query: Array) -> Array:
        products = vectors.astype(np.float64) * query.astype(np.float64)
        return np.array(products.sum(axis=1), np.float32)

    def _best(self, rows: Array, scores: Array, k: int) -> Array:
        return np.lexsort((rows, -scores))[:k]


class Suite(IndexSuite):
    pass


def vectors_of(*values: Sequence[float]) -> Array:
    """Return vectors as an array."""
    return np.array(values, np.float32)


def numbers(*rows: int) -> Array:
    """Return rows as an array."""
    return np.array(rows, np.int64)


def filled(component: type[Any], *values: Sequence[float], rows: Sequence[int] = ()) -> Any:
    """Make an index of vectors in two dimensions, under rows from 0 or those given."""
    index = component(component.Config(), dim=2)
    index.add(numbers(*(rows or range(len(values)))), vectors_of(*values))
    return index


def top(index: Any, query: Sequence[float], k: int = 1, allowed: Any = None) -> list[int]:
    """Return the rows of one query's hits."""
    keywords = {} if allowed is None else {"allowed": numbers(*allowed)}
    return list(index.search(vectors_of(query), k, **keywords).rows[0].tolist())


def refuses(index: Any, *rows: int) -> bool:
    """Return whether an index refuses to add rows."""
    try:
        index.add(numbers(*rows), np.ones((len(rows), 2), np.float32))
    except ComponentError:
        return True
    return False


def vectors_survive_their_array(component: type[Any]) -> bool:
    """Return whether an index keeps its vector when the caller fills the array anew."""
    index, vectors = component(component.Config(), dim=2), vectors_of([1, 1])
    index.add(numbers(0), vectors)
    vectors.fill(-1)
    return bool(index.vectors(numbers(0)).tolist() == [[1, 1]])


def unchanged(array: Array, call: Any) -> bool:
    """Return whether a call leaves the array that it is passed as it is."""
    before = array.copy()
    call(array)
    return bool((array == before).all())


def built_with_scratch(component: type[Any]) -> Any:
    """Build an index, with a scratch folder if it uses one, save it, delete that, and load it."""
    with TemporaryDirectory() as name, TemporaryDirectory() as scratch:
        index = component(component.Config(), dim=2)
        if "scratch" in index.capabilities:
            index.use_scratch(Path(scratch))
        index.add(numbers(0), vectors_of([1, 0]))
        index.save(Path(name))
        for path in Path(scratch).iterdir():
            path.unlink()
        return component.load(Path(name), component.Config(), mmap=False)


def same_in_threads(component: type[Any]) -> bool:
    """Return whether many searches at the same time have the hits of one alone."""
    draw = np.random.default_rng(0)
    index = filled(component, *draw.normal(size=(20_000, 2)))
    queries = [draw.normal(size=(1, 2)).astype(np.float32) for _ in range(100)]
    alone = [index.search(query, 3).rows.tolist() for query in queries]
    with ThreadPoolExecutor(8) as pool:
        return alone == list(pool.map(lambda query: index.search(query, 3).rows.tolist(), queries))


def reloaded(index: Any, change: Any = None) -> Any:
    """Save an index, load it with mmap, change that, and load the files once more."""
    with TemporaryDirectory() as name:
        index.save(Path(name))
        if change is not None:
            change(type(index).load(Path(name), index.Config(), mmap=True))
        return type(index).load(Path(name), index.Config(), mmap=False)


@fault("vectors_survive_their_array(C)")
class KeepsTheArray(Correct):
    """Keeps the caller's array of vectors itself, if it is the first one."""

    def _joined(self, rows: Array, vectors: Array) -> tuple[Array, Array]:
        return super()._joined(rows, vectors) if len(self) else (rows.copy(), vectors)


@fault("unchanged(vectors_of([1, 2]), lambda queries: filled(C, [1, 0]).search(queries, 1))")
class NegatesQueries(Correct):
    """Negates the caller's queries in place, to sort scores upward."""

    def search(self, queries: Array, k: int, *, allowed: Array | None = None) -> Hits:
        np.negative(queries, out=queries)
        return super().search(-queries, k, allowed=allowed)


@fault("filled(C, [0.1, 0]).vectors(numbers(0)).tolist() == vectors_of([0.1, 0]).tolist()")
class HalfPrecision(Correct):
    """Keeps vectors in half precision."""

    def _joined(self, rows: Array, vectors: Array) -> tuple[Array, Array]:
        return super()._joined(rows, vectors.astype(np.float16).astype(np.float32))


@fault("top(filled(C, [1, 0], [3, 0]), [1, 0]) == [1]")
class Distance(Correct):
    """Scores by the negative squared distance in place of the inner product."""

    def _scores(self, vectors: Array, query: Array) -> Array:
        return np.array(-((vectors - query) ** 2).sum(axis=1), np.float32)


@fault("refuses(filled(C, [1, 0], rows=[5]), 5)")
class ReplacesRows(Correct):
    """Replaces a row that is added again in place of refusing it."""

    def _check_new(self, rows: Array) -> None:
        self.remove(np.intersect1d(rows, self._rows))


@fault("refuses(filled(C, [1, 0]), 7, 7)")
class RepeatsInOneCall(Correct):
    """Compares new rows with the old ones, and not with each other."""

    def _check_new(self, rows: Array) -> None:
        if np.isin(rows, self._rows).any():
            raise ComponentError("a row is already there")


@fault(
    "top(filled(C, *([n, 0] for n in (1, 2, 1, 1, 2, 1, 1, 2, 1, 3))), [1, 0], k=5)"
    " == [9, 1, 4, 7, 0]"
)
class PartitionsTies(Correct):
    """Picks the best k by a partition, so that any of equal rows may be the last hit."""

    def _best(self, rows: Array, scores: Array, k: int) -> Array:
        if len(scores) <= k:
            return super()._best(rows, scores, k)
        part = np.argpartition(-scores, k)[:k]
        return part[super()._best(rows[part], scores[part], k)]


@fault("(i := filled(C, [1, 0], [2, 0], rows=[1, 5])).remove(numbers(1)) or top(i, [1, 0]) == [5]")
class RemovesPositions(Correct):
    """Takes row numbers for positions when it removes."""

    def remove(self, rows: Array) -> None:
        keep = np.ones(len(self), bool)
        keep[rows] = False
        self._rows, self._vectors = self._rows[keep], self._vectors[keep]


@fault(
    "(i := filled(C, [1, 0], [0, 1])) and (hits := i.search(vectors_of([1, 0]), 1))"
    " and top(i, [0, 1]) and hits.rows.tolist() == [[0]]"
)
class ReusesItsHits(Correct):
    """Writes the hits of each search of one shape into the same arrays."""

    def search(self, queries: Array, k: int, *, allowed: Array | None = None) -> Hits:
        hits = super().search(queries, k, allowed=allowed)
        buffers = self.__dict__.setdefault("_buffers", {})
        buffer = buffers.setdefault(hits.rows.shape, hits)
        buffer.rows[:], buffer.scores[:] = hits.rows, hits.scores
        return Hits(buffer.rows, buffer.scores)


@fault("top(filled(C, [1, 0], rows=[500]), [1, 0], allowed=[500]) == [500]")
class MasksPositions(Correct):
    """Takes allowed rows for positions."""

    def _mask(self, allowed: Array) -> Array:
        mask = np.zeros(len(self), bool)
        mask[allowed] = True
        return mask


@fault("top(filled(C, [1, 0]), [1, 0], k=2) == [0, -1]")
class RepeatsTheLastHit(Correct):
    """Fills missing hits with the last one."""

    def search(self, queries: Array, k: int, *, allowed: Array | None = None) -> Hits:
        hits = super().search(queries, k, allowed=allowed)
        for rows, scores in zip(hits.rows, hits.scores, strict=True):
            if 0 < (count := int((rows >= 0).sum())) < k:
                rows[count:], scores[count:] = rows[count - 1], scores[count - 1]
        return hits


@fault("filled(C, [1, 0], [2, 0]).vectors(numbers(1, 0)).tolist() == [[2, 0], [1, 0]]")
class VectorsAsStored(Correct):
    """Returns vectors in the order of storage, not in that of the rows asked for."""

    def vectors(self, rows: Array) -> Array:
        return np.array(self._vectors[np.isin(self._rows, rows)], np.float32)


@fault("reloaded(C(C.Config(), dim=2)).add(numbers(0), vectors_of([1, 0])) is None")
class EmptyForgetsItsLength(Correct):
    """Saves no vectors if it is empty, and so forgets their length."""

    def save(self, folder: Path) -> None:
        super().save(folder)
        if not len(self):
            save_array(folder / "vectors.npy", np.zeros((0, 0), np.float32))


@fault("reloaded(filled(C, [1, 0]), lambda i: i.remove(numbers(0))).vectors(numbers(0)).any()")
class ChangesTheFiles(Correct):
    """Maps its file for writing, and blanks removed vectors in it."""

    def remove(self, rows: Array) -> None:
        if isinstance(self._vectors, np.memmap):
            self._vectors[np.isin(self._rows, rows)] = 0
            self._vectors.flush()
        super().remove(rows)

    @classmethod
    def load(cls, folder: Path, config: Any, *, mmap: bool = True) -> Self:
        loaded = super().load(folder, config, mmap=False)
        if mmap and len(loaded):
            loaded._vectors = np.load(folder / "vectors.npy", mmap_mode="r+")
        return loaded


@fault("top(filled(C, [-1, 0]), [1, 0]) == [0]")
class PositiveOnly(Correct):
    """Takes a score of 0 or less for no hit."""

    def _best(self, rows: Array, scores: Array, k: int) -> Array:
        best = super()._best(rows, scores, k)
        return best[scores[best] > 0]


@fault(
    "(i := C(C.Config(), dim=2)).add(numbers(0, 1), np.asfortranarray(vectors_of([1, 2],"
    " [3, 4]))) or i.vectors(numbers(0)).tolist() == [[1, 2]]"
)
class ReadsMemoryOrder(Correct):
    """Reads vectors as they lie in memory, which mixes them up if columns come first."""

    def _joined(self, rows: Array, vectors: Array) -> tuple[Array, Array]:
        return super()._joined(rows, vectors.ravel(order="K").reshape(vectors.shape))


@fault("same_in_threads(C)", races=True)
class SharesItsScratch(Correct):
    """Multiplies into one array, which searches of other threads write to as well."""

    def _scores(self, vectors: Array, query: Array) -> Array:
        products = self.__dict__.setdefault("_products", np.zeros((0, self._dim)))
        if products.shape != vectors.shape:
            products = self.__dict__["_products"] = np.zeros(vectors.shape)
        np.multiply(vectors, query.astype(np.float64), out=products)
        return np.array(products.sum(axis=1), np.float32)


@fault("top(built_with_scratch(C), [1, 0]) == [0]")
class SavesALink(Correct):
    """Saves a link to the scratch folder's file in place of its vectors."""

    capabilities: ClassVar[frozenset[str]] = Correct.capabilities | {"scratch"}
    _scratch: Path | None = None

    def use_scratch(self, folder: Path) -> int:
        self._scratch = folder
        return 0

    def save(self, folder: Path) -> None:
        super().save(folder)
        if self._scratch is not None:
            path = (folder / "vectors.npy").replace(self._scratch / "vectors.npy")
            (folder / "vectors.npy").symlink_to(path)

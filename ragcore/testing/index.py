"""The suite for indexes: vectors compared with brute force."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ragcore.testing.caching import CacheLaws
from ragcore.testing.changing import ChangeLaws
from ragcore.testing.data import World, lattice, rows, vectors
from ragcore.testing.filtering import FilterLaws
from ragcore.testing.hits import CLOSE, agree, well_formed
from ragcore.testing.joining import JoinLaws
from ragcore.testing.manners import MannerLaws
from ragcore.testing.moving import MoveLaws
from ragcore.testing.remote import RemoteLaws
from ragcore.testing.searching import SearchLaws
from ragcore.testing.sequences import SequenceLaws
from ragcore.testing.sizes import SizeLaws
from ragcore.testing.states import StateLaws
from ragcore.testing.storing import StoreLaws
from ragcore.testing.widening import WidthLaws
from ragcore.types import MISSING_ROW, Hits

if TYPE_CHECKING:
    from pathlib import Path

    from ragcore.types import Rows, Vectors

__all__ = ["IndexSuite"]


class IndexSuite(
    SearchLaws,
    ChangeLaws,
    StoreLaws,
    JoinLaws,
    RemoteLaws,
    FilterLaws,
    SizeLaws,
    StateLaws,
    CacheLaws,
    MoveLaws,
    SequenceLaws,
    WidthLaws,
    MannerLaws,
):
    """Test a component against `ragcore.contracts.Index`.

    Attributes:
        dim: the length of the vectors that the laws use.
        many: how many vectors the law about k hits adds: enough that an approximate search does
            not meet all of them.
        lengths: lengths of vectors and queries, other than 1, with which the index must work.
    """

    kind = "index"
    dim: ClassVar[int] = 16
    many: ClassVar[int] = 1_500
    lengths: ClassVar[tuple[float, ...]] = (3_000.0, 1e-7)

    def empty(self, component: Any) -> Any:
        """Return an index without vectors."""
        return self.spec(component).build(dim=self.dim)

    def items(self, count: int, seed: int) -> Vectors:
        """Draw vectors from a normal distribution, float32 [n, d]."""
        return vectors(count, self.dim, seed)

    def tying(self, count: int) -> Vectors:
        """Return vectors of small integers, each of them twice, float32 [n, d]."""
        return np.concatenate([lattice((count + 1) // 2, self.dim, seed=3)] * 2)[:count]

    def questions(self) -> Vectors:
        """Return queries of small integers, float32 [B, d].

        Their inner products are exact, so that items that tie do so in any order of summing.
        """
        return lattice(6, self.dim, seed=4)

    def many_questions(self, count: int) -> Vectors:
        """Return queries of small integers, float32 [B, d]; the last third repeats the first."""
        distinct = lattice(count - count // 3, self.dim, seed=8)
        return np.concatenate([distinct, distinct[: count // 3]])

    def asking(self, items: Vectors) -> Vectors:
        """Return the vectors themselves."""
        return items

    def exchanged(self, items: Vectors) -> Vectors:
        """Return the vectors moved on by one row."""
        return np.roll(items, 1, axis=0)

    def test_exact_equals_brute_force(self, component: Any) -> None:
        """The hits are the rows of highest inner product, with that score (capability `exact`).

        Fix: scores are inner products, not distances or cosines, and higher is better.
        """
        world = self.world()
        index = self.filled(component, world)
        self.needs(index, "exact")
        for k in (1, self.k, self.count, self.count + 3):
            self._compare(self.search(index, k), world, k)

    def test_ties_equal_brute_force(self, component: Any) -> None:
        """Among vectors that tie, the lower rows are found (capability `exact`).

        Fix: give equal vectors equal scores, and choose among all that tie with the k-th.
        """
        world = World(rows(self.count), self.tying(self.count))
        index = self.filled(component, world)
        self.needs(index, "exact")
        for k in (1, 3, self.k):
            best, scores = _brute(self.questions(), world, k)
            hits = self.search(index, k)
            assert np.array_equal(hits.rows, best), (
                f"rows are {hits.rows.tolist()}, not {best.tolist()}"
            )
            assert np.array_equal(hits.scores, scores), "scores are not the inner products"

    def test_negative_scores_are_kept(self, component: Any) -> None:
        """An inner product below zero is a hit too (capability `exact`).

        Fix: start from -inf, not from 0, and clip nothing.
        """
        towards = np.abs(self.items(self.count, seed=1))
        world = World(rows(self.count), towards)
        index = self.filled(component, world)
        self.needs(index, "exact")
        hits = index.search(-np.ones((1, self.dim), np.float32), self.k)
        well_formed(hits, 1, self.k, world.rows)
        assert (hits.rows != MISSING_ROW).all(), "hits of negative score are missing"
        assert (hits.scores < 0).all(), f"scores below zero were returned as {hits.scores.tolist()}"

    def test_declared_recall_is_reached(self, component: Any) -> None:
        """Of the `k` rows of highest inner product, at least the share `recall` is found.

        Fix: search deeper by default, or set `recall` to what the index is meant to reach.
        """
        world = self.world()
        hits = self.search(self.filled(component, world))
        best, _ = _brute(self.questions(), world, self.k)
        share = _shared(hits.rows, best)
        assert share >= self.recall, f"recall@{self.k} is {share:.3f}, below {self.recall}"

    def test_vectors_are_returned_unchanged(self, component: Any, tmp_path: Path) -> None:
        """`vectors` returns what was added, bit for bit, in the order asked for.

        Fix: look a vector up by its row, not by its position, which a removal changes. Capability
        `vectors`.
        """
        world = self.world()
        index = self.filled(component, world)
        self.needs(index, "vectors")
        order = np.random.default_rng(5).permutation(len(world))
        requested = world.rows[np.concatenate([order, order[:3]])]
        expected = world.items[np.concatenate([order, order[:3]])]
        index.save(tmp_path)
        for opened in (index, type(index).load(tmp_path, self.spec(component).config)):
            assert np.array_equal(opened.vectors(requested), expected), (
                "vectors() returned other vectors"
            )
            self.must_fail(
                "the vector of an unknown row",
                functools.partial(opened.vectors, np.array([int(world.rows.max()) + 1])),
            )
        if "remove" in index.capabilities:
            index.remove(world.rows[:2])
            left = index.vectors(world.rows[2:])
            assert np.array_equal(left, world.items[2:]), (
                "after a removal rows have other rows' vectors"
            )

    def test_every_index_finds_k_rows(self, component: Any) -> None:
        """Among `many` vectors, any k finds min(k, rows) hits, and min(k, allowed) under a filter.

        Fix: an approximate search stops early. Consider at least k candidates, search further
        lists, or compare the allowed rows one by one, until there are k hits or no more rows.
        """
        world = World(rows(self.many), self.items(self.many, seed=2))
        index = self.filled(component, world)
        rng = np.random.default_rng(7)
        depths = (1, self.k, self.many // 3, self.many, self.many + 5)
        filters: list[Any] = [None]
        if "filter" in index.capabilities:
            sizes = (1, 3, 10, 40, self.many // 2, self.many - 1, self.many)
            filters += [rng.permutation(world.rows)[:size] for size in sizes]
        for allowed in filters:
            known = world.rows if allowed is None else allowed
            for k in depths:
                options = {} if allowed is None else {"allowed": allowed}
                hits = self.search(index, k, **options)
                well_formed(hits, len(self.questions()), k, known)
                count = (hits.rows != MISSING_ROW).sum(axis=1)  # [B]
                assert (count == min(k, len(known))).all(), (
                    f"a search for {k} of {len(known)} rows"
                    f"{'' if allowed is None else f' allowed of {self.many}'} has "
                    f"{int(count.min())} hits: expected {min(k, len(known))}"
                )

    def test_vectors_of_wrong_length_are_refused(self, component: Any) -> None:
        """Adding or searching with vectors that do not have d numbers is an error.

        Fix: compare `vectors.shape[1]` with `dim`; raise `ComponentError`.
        """
        world = self.world()
        wrong = np.ones((len(world), self.dim + 1), np.float32)
        self.must_fail(
            f"adding vectors of {self.dim + 1} numbers to an index of {self.dim}",
            lambda: self.empty(component).add(world.rows, wrong),
        )
        index = self.filled(component, world)
        self.must_fail("a query of another length", lambda: index.search(wrong[:1], self.k))

    def test_vectors_may_lie_in_any_order_in_memory(self, component: Any) -> None:
        """Arrays whose columns come first in memory, or with gaps, are read like any other.

        Fix: `np.ascontiguousarray(vectors, np.float32)` before a library reads the memory itself.
        """
        world = self.world()
        expected = self.search(self.filled(component, world))
        for what, arranged in (("columns first", np.asfortranarray), ("gaps", _with_gaps)):
            index = self.empty(component)
            index.add(world.rows, arranged(world.items))
            hits = index.search(arranged(self.questions()), self.k)
            if "exact" in index.capabilities:
                agree(hits, expected, f"vectors and queries that lie in memory with {what}")
            else:
                # Another build of an approximate index may miss other rows.
                best, _ = _brute(self.questions(), world, self.k)
                share = _shared(hits.rows, best)
                assert share >= self.recall, (
                    f"vectors that lie in memory with {what}: recall@{self.k} is {share:.3f}, "
                    f"below {self.recall}"
                )
            if "vectors" in index.capabilities:
                assert np.array_equal(index.vectors(world.rows), world.items), (
                    f"vectors() returned other vectors than those added, with {what} in memory"
                )

    def test_long_and_short_vectors_are_found(self, component: Any) -> None:
        """Vectors and queries of other lengths (`lengths`) are found like those of length 1.

        At least three quarters of the share `recall` of the best rows, or of what is found of
        length 1, are found; scores are right relative to the largest (capability `exact`). An
        encoder that does not normalise gives vectors of any length.

        Fix: add no constant to a score or a length, such as 1 - (1 - x·y) or + 1e-6, and compute in
        float32 or float64, not in float16.
        """
        unit, queries = self.items(self.count, seed=1), vectors(6, self.dim, seed=4)
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        queries /= np.linalg.norm(queries, axis=1, keepdims=True)
        enough = 0.0
        for length in (1.0, *self.lengths):
            world = World(rows(self.count), unit * np.float32(length))
            scaled = queries * np.float32(length)
            index = self.filled(component, world)
            hits = index.search(scaled.copy(), self.k)
            well_formed(hits, len(scaled), self.k, world.rows)
            best, scores = _brute(scaled, world, self.k)
            share = _shared(hits.rows, best)
            if length == 1:
                enough = 3 / 4 * min(self.recall, share)
            assert share >= enough, (
                f"of vectors of length {length}, recall@{self.k} is {share:.3f}, below {enough:.3f}"
            )
            if "exact" in index.capabilities:
                gap = float(np.abs(hits.scores - scores).max() / np.abs(scores).max())
                assert gap <= CLOSE, (
                    f"of vectors of length {length}, scores differ from inner products by up to "
                    f"{gap:.2g} of the largest"
                )

    def _compare(self, hits: Hits, world: World, k: int) -> None:
        """Check hits against brute force."""
        best, scores = _brute(self.questions(), world, k)
        well_formed(hits, len(best), k, world.rows)
        exists = hits.rows[:, : len(world)] != MISSING_ROW
        assert exists.all(), f"of {len(world)} rows, {int(exists.sum(axis=1).min())} were found"
        within = CLOSE * max(1.0, float(np.abs(scores).max()))
        gap = np.abs(hits.scores[:, : len(world)] - scores).max()
        assert gap <= within, f"scores differ from inner products by up to {gap:.2g}"
        vectors_ = dict(zip(world.rows.tolist(), world.items.astype(np.float64), strict=True))
        for query, rows_, score in zip(self.questions(), hits.rows, hits.scores, strict=True):
            for row, actual in zip(rows_.tolist(), score.tolist(), strict=True):
                if row == MISSING_ROW:
                    continue
                product = float(vectors_[row] @ query)
                assert abs(product - actual) <= within, (
                    f"row {row} has score {actual:.6g}, but inner product {product:.6g}"
                )


def _with_gaps(array: Vectors) -> Vectors:
    """Return a view of a larger array, of which every second row and column is used."""
    return np.repeat(np.repeat(array, 2, axis=0), 2, axis=1)[::2, ::2]


def _shared(found: Rows, best: Rows) -> float:
    """Return the share of the best rows int64 [B, k] that are among those found, [B, k]."""
    shared = [len(np.intersect1d(*pair)) for pair in zip(found, best, strict=True)]
    return float(np.mean(shared) / best.shape[1])


def _brute(queries: Vectors, world: World, k: int) -> tuple[Any, Any]:
    """Compute rows and scores of the k highest inner products by the definition."""
    products = (queries.astype(np.float64) @ world.items.T.astype(np.float64)).astype(np.float32)
    order = np.lexsort((np.broadcast_to(world.rows, products.shape), -products), axis=1)[:, :k]
    return world.rows[order], np.take_along_axis(products, order, axis=1)

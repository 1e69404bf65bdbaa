"""The suite for indexes."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ragcore.testing.changing import ChangeLaws
from ragcore.testing.data import World, lattice, rows, vectors
from ragcore.testing.hits import CLOSE, well_formed
from ragcore.testing.searching import SearchLaws
from ragcore.testing.sequences import SequenceLaws
from ragcore.testing.storing import StoreLaws
from ragcore.types import MISSING_ROW, Hits

if TYPE_CHECKING:
    from pathlib import Path

    from ragcore.types import Vectors

__all__ = ["IndexSuite"]


class IndexSuite(SearchLaws, ChangeLaws, StoreLaws, SequenceLaws):
    """The laws of `ragcore.contracts.Index`.

    Attributes:
        dim: the length of the vectors that the laws use.
    """

    kind = "index"
    dim: ClassVar[int] = 16

    def new(self, component: Any) -> Any:
        """An index that is empty."""
        return self.part(component).build(dim=self.dim)

    def items(self, count: int, seed: int) -> Vectors:
        """Vectors of no particular direction."""
        return vectors(count, self.dim, seed)

    def tying(self, count: int) -> Vectors:
        """Vectors of small integers, each there twice."""
        return np.concatenate([lattice((count + 1) // 2, self.dim, seed=3)] * 2)[:count]

    def asked(self) -> Vectors:
        """Small integers, so that items that tie tie in whatever order products are summed."""
        return lattice(6, self.dim, seed=4)

    def test_exact_equals_brute_force(self, component: Any) -> None:
        """The hits are the rows of highest inner product, with that score (capability `exact`).

        To mend: scores are inner products, not distances or cosines, and higher is better.
        """
        world = self.world()
        made = self.built(component, world)
        self.needs(made, "exact")
        for k in (1, self.k, self.count, self.count + 3):
            self._compare(self.search(made, k), world, k)

    def test_ties_equal_brute_force(self, component: Any) -> None:
        """Among vectors that tie, the lower rows are found (capability `exact`).

        To mend: equal vectors must have equal scores, and those that tie with the k-th must all
        stand for election.
        """
        world = World(rows(self.count), self.tying(self.count))
        made = self.built(component, world)
        self.needs(made, "exact")
        for k in (1, 3, self.k):
            found, scores = self._brute(world, k)
            hits = self.search(made, k)
            assert np.array_equal(hits.rows, found), f"{hits.rows.tolist()}, not {found.tolist()}"
            assert np.array_equal(hits.scores, scores), "scores are not the inner products"

    def test_negative_scores_are_kept(self, component: Any) -> None:
        """A hit is a hit though its inner product is below zero (capability `exact`).

        To mend: start from -inf, not from 0, and clip nothing.
        """
        towards = np.abs(self.items(self.count, seed=1))
        world = World(rows(self.count), towards)
        made = self.built(component, world)
        self.needs(made, "exact")
        hits = made.search(-np.ones((1, self.dim), np.float32), self.k)
        well_formed(hits, 1, self.k, world.rows)
        assert (hits.rows != MISSING_ROW).all(), "hits of negative score are missing"
        assert (hits.scores < 0).all(), f"scores below zero became {hits.scores.tolist()}"

    def test_it_finds_what_its_recall_promises(self, component: Any) -> None:
        """Of the `k` rows of highest inner product, the share `recall` is found.

        To mend: search deeper by default, or set `recall` to what the index is meant to reach.
        """
        world = self.world()
        hits = self.search(self.built(component, world))
        best, _ = self._brute(world, self.k)
        found = [len(np.intersect1d(*pair)) for pair in zip(hits.rows, best, strict=True)]
        share = float(np.mean(found)) / self.k
        assert share >= self.recall, f"recall@{self.k} is {share:.3f}, below {self.recall}"

    def test_vectors_are_given_back(self, component: Any, tmp_path: Path) -> None:
        """What was added comes back bit for bit, in the order asked for (capability `vectors`).

        To mend: find a vector by its row, not by its place; after a removal places have moved.
        """
        world = self.world()
        made = self.built(component, world)
        self.needs(made, "vectors")
        order = np.random.default_rng(5).permutation(len(world))
        wanted = world.rows[np.concatenate([order, order[:3]])]
        expected = world.items[np.concatenate([order, order[:3]])]
        made.save(tmp_path)
        for one in (made, type(made).load(tmp_path, self.part(component).config)):
            assert np.array_equal(one.vectors(wanted), expected), "other vectors came back"
            self.must_fail(
                "the vector of a row that is not there",
                functools.partial(one.vectors, np.array([int(world.rows.max()) + 1])),
            )
        if "remove" in made.capabilities:
            made.remove(world.rows[:2])
            kept = made.vectors(world.rows[2:])
            assert np.array_equal(kept, world.items[2:]), "after a removal vectors are others'"

    def test_vectors_of_another_length_are_refused(self, component: Any) -> None:
        """Vectors and queries that are not of d numbers are an error.

        To mend: compare `vectors.shape[1]` with `dim`; raise `ComponentError`.
        """
        world = self.world()
        wrong = np.ones((len(world), self.dim + 1), np.float32)
        self.must_fail(
            f"adding vectors of {self.dim + 1} numbers to an index of {self.dim}",
            lambda: self.new(component).add(world.rows, wrong),
        )
        made = self.built(component, world)
        self.must_fail("a query of another length", lambda: made.search(wrong[:1], self.k))

    def _brute(self, world: World, k: int) -> tuple[Any, Any]:
        """Rows and scores of the k highest inner products, by the definition."""
        products = (self.asked().astype(np.float64) @ world.items.T.astype(np.float64)).astype(
            np.float32
        )
        order = np.lexsort((np.broadcast_to(world.rows, products.shape), -products), axis=1)[:, :k]
        return world.rows[order], np.take_along_axis(products, order, axis=1)

    def _compare(self, hits: Hits, world: World, k: int) -> None:
        found, scores = self._brute(world, k)
        well_formed(hits, len(found), k, world.rows)
        there = hits.rows[:, : len(world)] != MISSING_ROW
        assert there.all(), f"of {len(world)} rows, {int(there.sum(axis=1).min())} were found"
        within = CLOSE * max(1.0, float(np.abs(scores).max()))
        gap = np.abs(hits.scores[:, : len(world)] - scores).max()
        assert gap <= within, f"scores differ from inner products by up to {gap:.2g}"
        true = dict(zip(world.rows.tolist(), world.items.astype(np.float64), strict=True))
        for query, row, score in zip(self.asked(), hits.rows, hits.scores, strict=True):
            for each, given in zip(row.tolist(), score.tolist(), strict=True):
                if each == MISSING_ROW:
                    continue
                product = float(true[each] @ query)
                assert abs(product - given) <= within, (
                    f"row {each} has score {given:.6g}, but inner product {product:.6g}"
                )

"""Laws of searching, for indexes and retrievers alike: what hits are, and what they depend on."""

from __future__ import annotations

from typing import Any

import numpy as np

from ragcore.testing.data import World, rows
from ragcore.testing.hits import agree, identical, well_formed
from ragcore.testing.search_suite import SearchSuite
from ragcore.types import MISSING_ROW, Hits

__all__ = ["SearchLaws"]


class SearchLaws(SearchSuite):
    """Test `search`; which laws of `allowed` apply depends on the capability `filter`."""

    def test_capabilities_are_known(self, component: Any) -> None:
        """`capabilities` is a frozenset of names, none of them a known one misspelt.

        Fix: write `capabilities = frozenset({"add", …})`; check the spelling.
        """
        self.declares_what_is_known(self.empty(component))

    def test_hits_are_well_formed(self, component: Any) -> None:
        """Rows int64 and scores float32 [B, k], descending, ties by row, no row twice, no NaN.

        Fix: sort by falling score, then by row: `np.lexsort((rows, -scores))`. Return the rows that
        `add` received, not positions, and cast to these types.
        """
        world = self.world()
        subject = self.filled(component, world)
        for k in (1, self.k, self.count - 1):
            well_formed(self.search(subject, k), len(self.questions()), k, world.rows)

    def test_each_question_has_a_hit(self, component: Any) -> None:
        """Each question has a hit.

        Fix: search everything that was added since the last search, too.
        """
        hits = self.search(self.filled(component, self.world()))
        assert (hits.rows[:, 0] != MISSING_ROW).all(), "a question has no hit at all"

    def test_k_beyond_n_is_padded_with_missing_hits(self, component: Any) -> None:
        """Where k exceeds the number of rows, the rest is row -1 and score -inf.

        Fix: fill `rows` with -1 and `scores` with -inf first, then write the hits.
        """
        world = self.world()
        hits = self.search(self.filled(component, world), self.count + 7)
        well_formed(hits, len(self.questions()), self.count + 7, world.rows)
        assert (hits.rows[:, self.count :] == MISSING_ROW).all()

    def test_ties_are_ordered_by_row(self, component: Any) -> None:
        """Of hits with equal scores the lower row comes first, also at the k-th position.

        Fix: choose among all that tie with the k-th, then sort by falling score and rising row.
        `np.argpartition` alone returns any of them.
        """
        world = World(rows(self.count), self.tying(self.count))
        subject = self.filled(component, world)
        for k in (2, self.k, self.count):
            well_formed(self.search(subject, k), len(self.questions()), k, world.rows)
        if "exact" not in subject.capabilities:
            return
        whole = self.search(subject, self.count)
        for k in range(1, self.k):
            hits = self.search(subject, k)
            assert np.array_equal(hits.rows, whole.rows[:, :k]), (
                f"among ties, the {k} best are {hits.rows.tolist()}, but of all "
                f"{whole.rows[:, :k].tolist()} come first"
            )

    def test_a_smaller_k_is_a_prefix(self, component: Any) -> None:
        """The k best are the first k of the k + 1 best (capability `exact`).

        Fix: a score must not depend on k, and nothing may be cut before it is sorted.
        """
        subject = self.filled(component, self.world())
        self.needs(subject, "exact")
        larger = self.search(subject, self.count)
        for k in (1, 2, self.k, self.count - 1):
            first = Hits(larger.rows[:, :k], larger.scores[:, :k])
            agree(self.search(subject, k), first, f"the {k} best, and the first {k} of all")

    def test_a_batch_equals_single_questions(self, component: Any) -> None:
        """A question finds the same in a batch as alone.

        Fix: look for state that one question leaves to the next, for padding that counts, and for
        scores assigned to the wrong question.
        """
        subject = self.filled(component, self.world())
        together, questions = self.search(subject), self.questions()
        for number in range(len(questions)):
            alone = subject.search(questions[number : number + 1], self.k)
            of_batch = Hits(
                together.rows[number : number + 1], together.scores[number : number + 1]
            )
            agree(of_batch, alone, f"question {number} in a batch and alone")

    def test_the_question_matters(self, component: Any) -> None:
        """Different questions have different hits.

        Fix: check that each question of a batch is used, and for its own hits.
        """
        hits = self.search(self.filled(component, self.world()))
        assert len({tuple(row) for row in hits.rows.tolist()}) > 1, (
            "all questions have the same hits"
        )

    def test_searching_is_repeatable(self, component: Any) -> None:
        """Earlier searches change nothing, and nothing is drawn at random.

        Fix: cache nothing, or key caches by question, k and `allowed`; seed every random generator.
        """
        subject = self.filled(component, self.world())
        first = self.search(subject)
        subject.search(self.questions()[::-1], self.k + 3)
        if "filter" in subject.capabilities:
            self.search(subject, allowed=self.world().rows[:3])
        identical(first, self.search(subject), "the same search twice")

    def test_earlier_hits_do_not_change(self, component: Any) -> None:
        """A later search does not write into the hits of an earlier one.

        Fix: make new arrays for each search.
        """
        subject = self.filled(component, self.world())
        first = self.search(subject)
        copied = Hits(first.rows.copy(), first.scores.copy())
        subject.search(self.questions()[::-1], self.k)
        identical(first, copied, "hits before and after another search")

    def test_search_does_not_change_its_arguments(self, component: Any) -> None:
        """`search` does not change the questions and `allowed` it receives, nor `remove` the rows.

        Fix: copy before you normalise, negate, sort or pad in place.
        """
        subject = self.filled(component, self.world())
        questions, before = self.questions(), self.questions()
        subject.search(questions, self.k)
        # Checked after each call: a second one may restore what the first changed.
        assert np.array_equal(questions, before), "search changed its questions"
        some, rows = self.world().rows[:7], self.world().rows[:7]
        if "filter" in subject.capabilities:
            subject.search(questions, self.k, allowed=some)
            assert np.array_equal(questions, before), "search with a filter changed its questions"
            assert np.array_equal(some, rows), "search changed `allowed`"
        if "remove" in subject.capabilities:
            subject.remove(some)
            assert np.array_equal(some, rows), "remove changed the rows that it received"

    def test_an_empty_component_finds_nothing(self, component: Any) -> None:
        """Where nothing was added all hits are missing.

        Fix: return rows of -1 and scores of -inf; do not raise.
        """
        subject = self.empty(component)
        assert len(subject) == 0, f"an empty component has length {len(subject)}"
        well_formed(self.search(subject), len(self.questions()), self.k, np.zeros(0, np.int64))

    def test_no_questions_have_no_hits(self, component: Any) -> None:
        """An empty batch has hits of shape [0, k].

        Fix: return early, or stack with a shape that is known beforehand.
        """
        subject = self.filled(component, self.world())
        well_formed(subject.search(self.questions()[:0], self.k), 0, self.k, self.world().rows)

    def test_k_below_one_is_refused(self, component: Any) -> None:
        """Searching with k of 0 or less raises a `RagcoreError`.

        Fix: raise `ComponentError` where k < 1.
        """
        subject = self.filled(component, self.world())
        for k in (0, -1):
            self.must_fail(f"a search for k = {k}", lambda k=k: self.search(subject, k))  # type: ignore[misc]

    def test_a_filter_equals_filtering_afterwards(self, component: Any) -> None:
        """With `allowed`, the hits are the best of the allowed rows (capability `filter`).

        Fix: drop rows that are not allowed before the k best are chosen, not after.
        """
        world = self.world()
        subject = self.filled(component, world)
        self.needs(subject, "filter")
        allowed = world.rows[: self.count // 2]
        hits = self.search(subject, allowed=allowed)
        well_formed(hits, len(self.questions()), self.k, allowed)
        # The same set of rows, with repetitions, in another order, and with an unknown row.
        loosely = np.concatenate([allowed[::-1], allowed[:3], [10**6]])
        agree(self.search(subject, allowed=loosely), hits, "`allowed` in another order")
        if "exact" in subject.capabilities:
            agree(hits, self._only(self.search(subject, self.count), allowed), "filtered and after")

    def test_a_filter_finds_all_it_can(self, component: Any) -> None:
        """With `allowed`, hits are missing only if too few rows are allowed (capability `filter`).

        Fix: where the approximate search stops before it has k allowed rows, search more widely,
        or compare the allowed rows one by one.
        """
        world = self.world()
        subject = self.filled(component, world)
        self.needs(subject, "filter")
        whole = self.search(subject, self.count)
        rng = np.random.default_rng(6)
        for size in (1, 2, self.k, self.count // 2, self.count - 1, self.count):
            allowed = rng.permutation(world.rows)[:size]
            findable = np.isin(whole.rows, allowed).sum(axis=1)  # [B]
            for k in (1, self.k, self.count + 3):
                hits = self.search(subject, k, allowed=allowed)
                well_formed(hits, len(self.questions()), k, allowed)
                count = (hits.rows != MISSING_ROW).sum(axis=1)
                assert (count >= np.minimum(k, findable)).all(), (
                    f"of {size} allowed rows, {int(count.min())} are found for k = {k}, though "
                    "more of them are found without a filter"
                )

    def test_an_empty_filter_finds_nothing(self, component: Any) -> None:
        """An empty `allowed` differs from None (capability `filter`).

        Fix: test `allowed is not None`, not `if allowed`.
        """
        subject = self.filled(component, self.world())
        self.needs(subject, "filter")
        hits = self.search(subject, allowed=np.zeros(0, np.int64))
        well_formed(hits, len(self.questions()), self.k, np.zeros(0, np.int64))

    def test_undeclared_filter_is_refused(self, component: Any) -> None:
        """Without the capability `filter`, `allowed` raises `UnsupportedOperation`.

        Fix: `raise UnsupportedOperation.of("index 'name'", "filter")`; never ignore it.
        """
        subject = self.filled(component, self.world())
        self.lacks(subject, "filter")
        allowed = self.world().rows[:5]
        self.must_refuse(
            component, "search(…, allowed=…)", lambda: self.search(subject, allowed=allowed)
        )

    def _only(self, hits: Hits, allowed: Any) -> Hits:
        """Return the first k of the hits that are allowed."""
        rows_ = np.full((len(hits.rows), self.k), MISSING_ROW, np.int64)
        scores = np.full(rows_.shape, -np.inf, np.float32)
        for number, row in enumerate(hits.rows):
            positions = np.flatnonzero(np.isin(row, allowed))[: self.k]
            rows_[number, : len(positions)] = row[positions]
            scores[number, : len(positions)] = hits.scores[number, positions]
        return Hits(rows_, scores)

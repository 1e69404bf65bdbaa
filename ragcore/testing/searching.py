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
    """What `search` gives. Those of `allowed` depend on the capability `filter`."""

    def test_capabilities_are_ones_that_exist(self, component: Any) -> None:
        """`capabilities` is a frozenset of names that ragcore knows, or of quite other ones.

        To mend: write `capabilities = frozenset({"add", …})`; look for a name misspelt.
        """
        self.declares_what_is_known(self.new(component))

    def test_hits_are_well_formed(self, component: Any) -> None:
        """Rows int64 and scores float32 [B, k], descending, ties by row, no row twice, no NaN.

        To mend: sort by falling score, then by row: `np.lexsort((rows, -scores))`. Give the rows
        that were handed to `add`, not positions, and cast to the right types.
        """
        world = self.world()
        made = self.built(component, world)
        for k in (1, self.k, self.count - 1):
            well_formed(self.search(made, k), len(self.asked()), k, world.rows)

    def test_something_is_found(self, component: Any) -> None:
        """Each question has a hit.

        To mend: search must look at all that was added since the last search.
        """
        hits = self.search(self.built(component, self.world()))
        assert (hits.rows[:, 0] != MISSING_ROW).all(), "a question has no hit at all"

    def test_k_beyond_n_is_padded_with_missing_hits(self, component: Any) -> None:
        """For more hits than there are rows, the rest has row -1 and score -inf.

        To mend: fill `rows` with -1 and `scores` with -inf first, then write what was found.
        """
        world = self.world()
        hits = self.search(self.built(component, world), self.count + 7)
        well_formed(hits, len(self.asked()), self.count + 7, world.rows)
        assert (hits.rows[:, self.count :] == MISSING_ROW).all()

    def test_ties_are_in_the_order_of_rows(self, component: Any) -> None:
        """Of hits with equal scores the lower row comes first, at the k-th place, too.

        To mend: choose among all that tie with the k-th, then sort by falling score and rising
        row. `np.argpartition` alone keeps any of them.
        """
        world = World(rows(self.count), self.tying(self.count))
        made = self.built(component, world)
        for k in (2, self.k, self.count):
            well_formed(self.search(made, k), len(self.asked()), k, world.rows)
        if "exact" not in made.capabilities:
            return
        whole = self.search(made, self.count)
        for k in range(1, self.k):
            found = self.search(made, k)
            assert np.array_equal(found.rows, whole.rows[:, :k]), (
                f"among ties, the {k} best are {found.rows.tolist()}, but of all "
                f"{whole.rows[:, :k].tolist()} come first"
            )

    def test_a_smaller_k_is_a_prefix(self, component: Any) -> None:
        """The k best are the first k of the k + 1 best (capability `exact`).

        To mend: a score must not depend on k, and nothing may be cut before it is sorted.
        """
        made = self.built(component, self.world())
        self.needs(made, "exact")
        larger = self.search(made, self.count)
        for k in (1, 2, self.k, self.count - 1):
            first = Hits(larger.rows[:, :k], larger.scores[:, :k])
            agree(self.search(made, k), first, f"the {k} best, and the first {k} of all")

    def test_a_batch_equals_single_questions(self, component: Any) -> None:
        """A question finds in a batch what it finds alone.

        To mend: look for state that one question leaves to the next, for padding that counts, and
        for scores given to the wrong question.
        """
        made = self.built(component, self.world())
        together, asked = self.search(made), self.asked()
        for at in range(len(asked)):
            alone = made.search(asked[at : at + 1], self.k)
            of_batch = Hits(together.rows[at : at + 1], together.scores[at : at + 1])
            agree(of_batch, alone, f"question {at} in a batch and alone")

    def test_the_question_matters(self, component: Any) -> None:
        """Different questions have different hits.

        To mend: is the question used, and is each question of a batch used for its own hits?
        """
        hits = self.search(self.built(component, self.world()))
        assert len({tuple(found) for found in hits.rows.tolist()}) > 1, (
            "all questions have the same hits"
        )

    def test_searching_twice_gives_the_same(self, component: Any) -> None:
        """What was asked before changes nothing, and nothing is drawn at random.

        To mend: keep nothing of a search, or key what you keep by question, k and `allowed`; seed
        whatever draws.
        """
        made = self.built(component, self.world())
        first = self.search(made)
        made.search(self.asked()[::-1], self.k + 3)
        if "filter" in made.capabilities:
            self.search(made, allowed=self.world().rows[:3])
        identical(first, self.search(made), "the same search twice")

    def test_hits_that_were_given_out_stay(self, component: Any) -> None:
        """A later search does not write into the hits of an earlier one.

        To mend: make new arrays for each search.
        """
        made = self.built(component, self.world())
        first = self.search(made)
        kept = Hits(first.rows.copy(), first.scores.copy())
        made.search(self.asked()[::-1], self.k)
        identical(first, kept, "hits before and after another search")

    def test_questions_are_left_alone(self, component: Any) -> None:
        """What is handed in to `search` is not changed.

        To mend: copy before you normalise, sort or pad in place.
        """
        made = self.built(component, self.world())
        asked, before = self.asked(), self.asked()
        allowed = self.world().rows[:7]
        made.search(asked, self.k)
        if "filter" in made.capabilities:
            made.search(asked, self.k, allowed=allowed)
        assert np.array_equal(asked, before), "search changed its questions"
        assert np.array_equal(allowed, self.world().rows[:7]), "search changed `allowed`"

    def test_an_empty_one_finds_nothing(self, component: Any) -> None:
        """Where nothing was added all hits are missing.

        To mend: give rows of -1 and scores of -inf; do not raise.
        """
        made = self.new(component)
        assert len(made) == 0, f"an empty one has length {len(made)}"
        well_formed(self.search(made), len(self.asked()), self.k, np.zeros(0, np.int64))

    def test_no_questions_have_no_hits(self, component: Any) -> None:
        """An empty batch gives hits of shape [0, k].

        To mend: return early, or stack with a shape that is known beforehand.
        """
        made = self.built(component, self.world())
        well_formed(made.search(self.asked()[:0], self.k), 0, self.k, self.world().rows)

    def test_less_than_one_hit_is_refused(self, component: Any) -> None:
        """k of 0 or less is an error that a user can read.

        To mend: raise `ComponentError` where k < 1.
        """
        made = self.built(component, self.world())
        for k in (0, -1):
            self.must_fail(f"a search for k = {k}", lambda k=k: self.search(made, k))  # type: ignore[misc]

    def test_a_filter_equals_filtering_afterwards(self, component: Any) -> None:
        """With `allowed`, the hits are those of all hits that are allowed (capability `filter`).

        To mend: drop what is not allowed before the k best are chosen, not after.
        """
        world = self.world()
        made = self.built(component, world)
        self.needs(made, "filter")
        allowed = world.rows[: self.count // 2]
        found = self.search(made, allowed=allowed)
        well_formed(found, len(self.asked()), self.k, allowed)
        # Twice, in another order, with rows that are nowhere: the same set of rows.
        loosely = np.concatenate([allowed[::-1], allowed[:3], [10**6]])
        agree(self.search(made, allowed=loosely), found, "`allowed` in another order")
        if "exact" in made.capabilities:
            agree(found, self._only(self.search(made, self.count), allowed), "filtered and after")

    def test_where_nothing_is_allowed_nothing_is_found(self, component: Any) -> None:
        """An empty `allowed` is not the same as none (capability `filter`).

        To mend: ask `allowed is not None`, not `if allowed`.
        """
        made = self.built(component, self.world())
        self.needs(made, "filter")
        hits = self.search(made, allowed=np.zeros(0, np.int64))
        well_formed(hits, len(self.asked()), self.k, np.zeros(0, np.int64))

    def test_a_filter_that_is_not_declared_is_refused(self, component: Any) -> None:
        """Without the capability `filter`, `allowed` raises `UnsupportedOperation`.

        To mend: `raise UnsupportedOperation.of("index 'name'", "filter")`; never ignore it.
        """
        made = self.built(component, self.world())
        self.lacks(made, "filter")
        allowed = self.world().rows[:5]
        self.must_refuse(
            component, "search(…, allowed=…)", lambda: self.search(made, allowed=allowed)
        )

    def _only(self, hits: Hits, allowed: Any) -> Hits:
        """The first k of the hits that are allowed."""
        found = np.full((len(hits.rows), self.k), MISSING_ROW, np.int64)
        scores = np.full(found.shape, -np.inf, np.float32)
        for at, row in enumerate(hits.rows):
            places = np.flatnonzero(np.isin(row, allowed))[: self.k]
            found[at, : len(places)] = row[places]
            scores[at, : len(places)] = hits.scores[at, places]
        return Hits(found, scores)

"""The suite for scorers: one number for each pair, which depends on that pair alone.

It does not know which passages fit a question, so that it cannot tell scores that are upside down.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ragcore.testing.data import passages
from ragcore.testing.suite import SharedSuite
from ragcore.types import Passage

if TYPE_CHECKING:
    from ragcore.types import Scores

__all__ = ["ScorerSuite"]


class ScorerSuite(SharedSuite):
    """The laws of `ragcore.contracts.Scorer`.

    Attributes:
        questions: at least three, of different lengths, that the scorer can read.
        close: how far scores may lie apart, relative to the largest, where only the way of
            computing differs.
    """

    kind = "scorer"
    questions: ClassVar[Sequence[str]] = (
        "What is the capital of Kenya?",
        "Who?",
        "Where does the red river of that land meet the sea?",
    )
    close: ClassVar[float] = 1e-4

    def pairs(self) -> tuple[list[str], list[Passage]]:
        """Every question with every passage, 39 pairs; passages differ in length."""
        short = Passage("short", "", "Nairobi")
        every = [*passages(12, seed=1), short]
        count = len(self.questions)
        return list(self.questions) * len(every), [one for one in every for _ in range(count)]

    def scores(self, made: Any, questions: list[str], found: list[Passage]) -> Scores:
        """What a scorer gives, checked: float32 [P], finite."""
        scores: Scores = made.score(questions, found)
        assert isinstance(scores, np.ndarray), f"score gave {type(scores).__name__}, not an array"
        assert scores.dtype == np.float32, f"scores are {scores.dtype}: expected float32"
        assert scores.shape == (len(questions),), (
            f"{len(questions)} pairs have scores of shape {scores.shape}"
        )
        assert np.isfinite(scores).all(), "a score is not finite"
        return scores

    def test_capabilities_are_ones_that_exist(self, component: Any) -> None:
        """`capabilities` is a frozenset of names that ragcore knows, or of quite other ones.

        To mend: write `capabilities = frozenset()`; look for a name misspelt.
        """
        self.declares_what_is_known(self.made(component))

    def test_each_pair_has_a_score(self, component: Any) -> None:
        """Scores are float32 [P], finite.

        To mend: one number for each pair, questions[i] with passages[i]; log of 0 is no score.
        """
        self.scores(self.made(component), *self.pairs())

    def test_no_pairs_have_no_scores(self, component: Any) -> None:
        """Of no pairs, scores are float32 [0].

        To mend: return early, or stack with a shape that is known beforehand.
        """
        self.scores(self.made(component), [], [])

    def test_a_batch_equals_single_pairs(self, component: Any) -> None:
        """A pair has in a batch the score that it has alone.

        To mend: mask padding; scale by nothing that other pairs decide, as a softmax does.
        """
        made, (questions, found) = self.made(component), self.pairs()
        together = self.scores(made, questions, found)
        singly = [
            self.scores(made, [one], [other]) for one, other in zip(questions, found, strict=True)
        ]
        self._same(together, np.concatenate(singly), "in a batch and alone")

    def test_the_order_of_pairs_does_not_matter(self, component: Any) -> None:
        """In another order each pair has the score that it had.

        To mend: undo the order by which you sort for length.
        """
        made, (questions, found) = self.made(component), self.pairs()
        order = np.random.default_rng(7).permutation(len(questions))
        turned = self.scores(made, [questions[at] for at in order], [found[at] for at in order])
        self._same(turned, self.scores(made, questions, found)[order], "in another order")

    def test_the_question_and_the_passage_matter(self, component: Any) -> None:
        """Another question, or a passage of another text, has another score.

        To mend: look at what is put together for the model, pair by pair.
        """
        made, (questions, found) = self.made(component), self.pairs()
        scores = self.scores(made, questions, found).reshape(-1, len(self.questions))
        assert (np.ptp(scores, axis=1) > 0).any(), "all questions score the same"
        assert (np.ptp(scores, axis=0) > 0).any(), "all passages score the same"

    def test_scoring_twice_gives_the_same(self, component: Any) -> None:
        """Nothing is drawn at random, no call leaves something to the next, scores given stay.

        To mend: `.eval()` switches dropout off; key what is kept by question and passage; make a
        new array for each call.
        """
        made, (questions, found) = self.made(component), self.pairs()
        first = self.scores(made, questions, found)
        kept = first.copy()
        self.scores(made, questions[::-1], found)
        assert np.array_equal(first, kept), "a later call wrote into scores that were given out"
        self._same(self.scores(made, questions, found), kept, "the second time")

    def test_another_of_the_same_settings_agrees(self, component: Any) -> None:
        """A scorer made anew gives the same scores.

        To mend: seed what is drawn from the config; never use `hash` of a string.
        """
        found = self.scores(self.made(component), *self.pairs())
        self._same(self.scores(self.part(component).build(), *self.pairs()), found, "of another")

    def test_what_is_handed_in_is_left_alone(self, component: Any) -> None:
        """The lists that are handed in are not changed.

        To mend: sort a copy.
        """
        questions, found = self.pairs()
        before = copy.deepcopy((questions, found))
        self.scores(self.made(component), questions, found)
        assert (questions, found) == before, "score changed the lists that it was given"

    def test_odd_passages_are_no_error(self, component: Any) -> None:
        """Passages of other scripts, of signs alone, or very long, have finite scores.

        To mend: cut what is too long for the model, and mind texts without a known word.
        """
        texts = ["?", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 ﬁ Ǆ 東京", "word " * 3000]
        odd = [Passage(text[:3], "", text) for text in texts]
        self.scores(self.made(component), list(self.questions[:3]), odd)

    def test_threads_score_as_one(self, component: Any) -> None:
        """Pairs that are scored in several threads have the scores that they have alone.

        To mend: keep nothing of a call in the object; lock a tokenizer that cannot be shared.
        """
        made, (questions, found) = self.made(component), self.pairs()
        expected = self.scores(made, questions, found)

        def score(start: int) -> None:
            self._same(
                self.scores(made, questions[start:], found[start:]), expected[start:], "in a thread"
            )

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(score, range(12)))

    def _same(self, one: Scores, other: Scores, what: str) -> None:
        within = self.close * max(1.0, float(np.abs(other).max(initial=0.0)))
        gap = float(np.abs(one - other).max(initial=0.0))
        assert gap <= within, f"{what}: scores differ by up to {gap:.2g}"

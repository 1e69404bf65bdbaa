"""The suite for scorers: one number for each pair, which depends on that pair alone.

The suite does not know which passages fit a question, so it cannot detect reversed scores. The
laws of many, long and odd pairs are in `scoring.py`, those of scorers that tell whether a passage
answers in `answerability.py`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from ragcore.testing.answerability import AnswerabilityLaws
from ragcore.testing.manners import MannerLaws
from ragcore.types import Passage

__all__ = ["ScorerSuite"]


class ScorerSuite(AnswerabilityLaws, MannerLaws):
    """Test a component against `ragcore.contracts.Scorer`.

    Attributes:
        questions: at least three, of different lengths, that the scorer can read.
        close: the largest difference between scores where only the way of computing differs,
            relative to the largest score.
        many: pairs in the largest batch that is scored.
        longest_text: words of a text that the scorer reads to its last word.
    """

    def exercise(self, component: Any, folder: Path) -> Mapping[str, Any]:
        """Build a scorer, and score pairs."""
        return {"scores": self.scores(self.spec(component).build(), *self.pairs())}

    def test_capabilities_are_known(self, component: Any) -> None:
        """`capabilities` is a frozenset of names, none of them a known one misspelt.

        Fix: write `capabilities = frozenset()`; check the spelling.
        """
        self.declares_what_is_known(self.build(component))

    def test_each_pair_has_a_score(self, component: Any) -> None:
        """Scores are float32 [P] and finite.

        Fix: return one number for each pair, questions[i] with passages[i]; the log of 0 is not
        finite.
        """
        self.scores(self.build(component), *self.pairs())

    def test_no_pairs_have_no_scores(self, component: Any) -> None:
        """Without pairs, scores are float32 [0].

        Fix: return early, or stack with a shape that is known beforehand.
        """
        self.scores(self.build(component), [], [])

    def test_a_batch_equals_single_pairs(self, component: Any) -> None:
        """A pair has the same score in a batch as alone.

        Fix: mask padding; do not scale by what other pairs decide, as a softmax does.
        """
        scorer, (questions, passages) = self.build(component), self.pairs()
        together = self.scores(scorer, questions, passages)
        singly = [
            self.scores(scorer, [question], [passage])
            for question, passage in zip(questions, passages, strict=True)
        ]
        self._same(together, np.concatenate(singly), "in a batch and alone")

    def test_the_order_of_pairs_does_not_matter(self, component: Any) -> None:
        """In another order each pair keeps its score.

        Fix: undo the sort by length.
        """
        scorer, (questions, passages) = self.build(component), self.pairs()
        order = np.random.default_rng(7).permutation(len(questions))
        reordered = self.scores(scorer, [questions[i] for i in order], [passages[i] for i in order])
        self._same(reordered, self.scores(scorer, questions, passages)[order], "in another order")

    def test_the_question_and_the_passage_matter(self, component: Any) -> None:
        """Another question, or a passage with another text, has another score.

        Fix: check the input that is built for the model, pair by pair.
        """
        scorer, (questions, passages) = self.build(component), self.pairs()
        scores = self.scores(scorer, questions, passages).reshape(-1, len(self.questions))
        assert (np.ptp(scores, axis=1) > 0).any(), "all questions score the same"
        assert (np.ptp(scores, axis=0) > 0).any(), "all passages score the same"

    def test_scoring_is_repeatable(self, component: Any) -> None:
        """Nothing is drawn at random, no call affects the next, and earlier scores stay.

        Fix: `.eval()` switches dropout off; key caches by question and passage; make a new array
        for each call.
        """
        scorer, (questions, passages) = self.build(component), self.pairs()
        first = self.scores(scorer, questions, passages)
        copied = first.copy()
        self.scores(scorer, questions[::-1], passages)
        assert np.array_equal(first, copied), "a later call wrote into scores returned earlier"
        self._same(self.scores(scorer, questions, passages), copied, "the second time")

    def test_equal_settings_score_equally(self, component: Any) -> None:
        """A second scorer of the same settings gives the same scores.

        Fix: seed random weights from the config; never use `hash` of a string.
        """
        expected = self.scores(self.build(component), *self.pairs())
        scores = self.scores(self.spec(component).build(), *self.pairs())
        self._same(scores, expected, "of a second scorer")

    def test_arguments_are_not_changed(self, component: Any) -> None:
        """Scoring does not change the lists that it receives.

        Fix: sort a copy.
        """
        questions, passages = self.pairs()
        before = copy.deepcopy((questions, passages))
        self.scores(self.build(component), questions, passages)
        assert (questions, passages) == before, "score changed a list that it received"

    def test_unusual_passages_are_accepted(self, component: Any) -> None:
        """Passages in other scripts, of symbols alone, or very long, have finite scores.

        Fix: cut texts that are too long for the model, and handle texts without a known word.
        """
        texts = ["?", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 ﬁ Ǆ 東京", "word " * 3000]
        unusual = [Passage(text[:3], "", text) for text in texts]
        self.scores(self.build(component), list(self.questions[:3]), unusual)

    def test_threads_score_alike(self, component: Any) -> None:
        """Pairs scored in several threads have the same scores as in one.

        Fix: store nothing of a call in the object; lock a tokenizer that cannot be shared.
        """
        scorer, (questions, passages) = self.build(component), self.pairs()
        expected = self.scores(scorer, questions, passages)

        def score(start: int) -> None:
            self._same(
                self.scores(scorer, questions[start:], passages[start:]),
                expected[start:],
                "in a thread",
            )

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(score, range(12)))

"""Laws of scorers that tell whether a passage answers (capability `answerability`).

They cannot know which passages answer, so that they do not detect a probability turned around.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ragcore.testing.scoring import ScoringLaws
from ragcore.testing.texts import SAME_ID, renamed
from ragcore.types import Passage

if TYPE_CHECKING:
    from ragcore.types import Scores

__all__ = ["AnswerabilityLaws"]


class AnswerabilityLaws(ScoringLaws):
    """Test `ragcore.contracts.AnswerabilityScorer`; skipped for scorers of other contracts.

    See `ScorerSuite`, which has the attributes.
    """

    def test_that_a_passage_does_not_answer_has_a_log_probability(self, component: Any) -> None:
        """`log_unanswerable` is float32 [P], finite and at most 0; [0] without pairs.

        Fix: return natural logarithms, rounded to at most 0, and a least one in place of -inf.
        """
        scorer = self._answerability(component)
        self._log_p(scorer, *self.pairs())
        self._log_p(scorer, [], [])

    def test_whether_a_passage_answers_depends_on_its_pair_alone(self, component: Any) -> None:
        """A pair has the same log p in any batch and order, and under any id of the passage.

        Fix: mask padding; undo the sort by length; key caches by question, title and text.
        """
        scorer, (questions, passages) = self._answerability(component), self.pairs()
        together = self._log_p(scorer, questions, passages)
        order = np.random.default_rng(11).permutation(len(questions))
        shuffled = self._log_p(
            scorer,
            [questions[number] for number in order],
            [passages[number] for number in order],
        )
        self._same(shuffled, together[order], "log p in another order")
        asked = [questions[0]] * len(SAME_ID)
        by_new_ids = self._log_p(scorer, asked, renamed(SAME_ID))
        of_one_id = self._log_p(scorer, asked, SAME_ID)
        self._same(of_one_id, by_new_ids, "log p of passages of one id and of new ids")
        for number in (0, len(questions) // 2, len(questions) - 1):
            alone = self._log_p(scorer, [questions[number]], [passages[number]])
            self._same(alone, together[number : number + 1], "log p of one pair, alone")

    def test_question_and_passage_matter_for_whether_it_answers(self, component: Any) -> None:
        """Another question, or another passage, has another log p.

        Fix: check the input that is built for the model, pair by pair.
        """
        scorer, (questions, passages) = self._answerability(component), self.pairs()
        log_p = self._log_p(scorer, questions, passages).reshape(-1, len(self.questions))
        assert (np.ptp(log_p, axis=1) > 0).any(), "all questions have the same log p"
        assert (np.ptp(log_p, axis=0) > 0).any(), "all passages have the same log p"

    def test_passages_that_answer_rank_first(self, component: Any) -> None:
        """`score` is higher where `log_unanswerable` is lower: both order passages alike.

        Fix: return log(p / (1 - p)) of the same p as scores.
        """
        scorer, pairs = self._answerability(component), self.pairs()
        log_p, scores = self._log_p(scorer, *pairs), self.scores(scorer, *pairs)
        ranked = log_p[np.argsort(-scores, kind="stable")]
        assert np.diff(ranked).min(initial=0.0) >= -self.close * max(1.0, np.abs(log_p).max()), (
            "a pair of a higher score is less probable to have an answer"
        )

    def _answerability(self, component: Any) -> Any:
        scorer = self.build(component)
        self.needs(scorer, "answerability")
        return scorer

    def _log_p(self, scorer: Any, questions: Sequence[str], passages: Sequence[Passage]) -> Scores:
        """Return log p(z has no answer|x,z) of pairs, and check its type and range."""
        log_p: Scores = scorer.log_unanswerable(questions, passages)
        assert isinstance(log_p, np.ndarray), (
            f"log_unanswerable returned {type(log_p).__name__}, not an array"
        )
        assert log_p.dtype == np.float32, f"log_unanswerable is {log_p.dtype}: expected float32"
        assert log_p.shape == (len(questions),), (
            f"log_unanswerable of {len(questions)} pairs has the shape {log_p.shape}"
        )
        assert np.isfinite(log_p).all(), "log_unanswerable is not finite"
        assert (log_p <= 0).all(), f"log_unanswerable is up to {log_p.max()}: expected at most 0"
        return log_p

"""Wrong scorers that tell whether a passage answers, each `Answering` with one fault."""

from __future__ import annotations

import numpy as np

from ragcore.types import Passage
from tests.testing.mutants_scorer import Common


class Answering(Common):
    """A correct one: the more letters question and passage share, the more probable an answer."""

    capabilities = frozenset({"answerability"})

    def log_unanswerable(self, questions, passages):
        # 1 / (1 + exp(score)) is what the score is the logit of.
        scores = self.score(questions, passages).astype(np.float64)
        return (-np.logaddexp(0.0, scores)).astype(np.float32)


class WithoutTheMethod(Answering):
    log_unanswerable = None


class ReturnsAProbability(Answering):
    def log_unanswerable(self, questions, passages):
        return np.exp(super().log_unanswerable(questions, passages))


class IsInDoublePrecision(Answering):
    def log_unanswerable(self, questions, passages):
        return super().log_unanswerable(questions, passages).astype(np.float64)


class IsCertain(Answering):
    caught_by = "test_that_a_passage_does_not_answer_has_a_log_probability"

    def log_unanswerable(self, questions, passages):
        log_p = super().log_unanswerable(questions, passages)
        return np.where(log_p == log_p.min(initial=0), np.float32(-np.inf), log_p)


class FailsWithoutPairs(Answering):
    caught_by = "test_that_a_passage_does_not_answer_has_a_log_probability"

    def log_unanswerable(self, questions, passages):
        log_p = super().log_unanswerable(questions, passages)
        return log_p - log_p.max()


class DependsOnTheBatch(Answering):
    caught_by = "test_whether_a_passage_answers_depends_on_its_pair_alone"

    def log_unanswerable(self, questions, passages):
        log_p = super().log_unanswerable(questions, passages)
        return np.minimum(log_p - log_p.mean(dtype=np.float64), 0).astype(np.float32)


class KnowsPassagesByTheirIds(Answering):
    caught_by = "test_whether_a_passage_answers_depends_on_its_pair_alone"

    def __init__(self, config):
        super().__init__(config)
        self._known = {}

    def log_unanswerable(self, questions, passages):
        log_p = super().log_unanswerable(questions, passages)
        pairs = zip(questions, passages, log_p, strict=True)
        return np.array(
            [self._known.setdefault((q, passage.id), p) for q, passage, p in pairs], np.float32
        )


class IgnoresTheQuestion(Answering):
    caught_by = "test_question_and_passage_matter_for_whether_it_answers"

    def log_unanswerable(self, questions, passages):
        return super().log_unanswerable(["e"] * len(questions), passages)


class IgnoresThePassage(Answering):
    caught_by = "test_question_and_passage_matter_for_whether_it_answers"

    def log_unanswerable(self, questions, passages):
        return super().log_unanswerable(questions, [Passage("", "", "every")] * len(passages))


class IsTurnedAround(Answering):
    caught_by = "test_passages_that_answer_rank_first"

    def log_unanswerable(self, questions, passages):
        log_p = super().log_unanswerable(questions, passages).astype(np.float64)
        return np.log1p(-np.exp(log_p)).astype(np.float32)

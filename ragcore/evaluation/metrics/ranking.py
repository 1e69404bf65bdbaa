"""Metrics of retrieved passages: recall@k, MRR and nDCG, by ir-measures.

A passage is relevant if it answers the question (`is_relevant`). Where ids of passages that answer
are not known, only retrieved passages can be judged, and nDCG is then of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

from pydantic import Field

from ragcore.evaluation.metrics.base import Labels, Mean
from ragcore.evaluation.prediction import Prediction
from ragcore.registry.components import ComponentConfig

__all__ = ["MeanReciprocalRank", "Ndcg", "RecallAtK"]

_UNRETRIEVED: Final = "-"
"""Id of a relevant passage that no run retrieves, for questions without another relevant one."""

_IRRELEVANT: Final = "--"
"""Id of a retrieved passage that is never relevant, for questions without a retrieved one."""


class _Ranking(Mean):
    """The mean of a measure of ir-measures over all questions that can be judged."""

    class Config(ComponentConfig):
        """How many passages count."""

        k: int | None = Field(None, gt=0, description="only the first k passages; null for all")

    config: Config
    labels: ClassVar[Labels | None] = "passages"

    def _measure(self, depth: int) -> Any:
        """Return the measure of the first `depth` passages."""
        raise NotImplementedError

    def scores(self, predictions: Sequence[Prediction]) -> Sequence[float | None]:
        """Compute the measure of each question that can be judged."""
        from ir_measures import Qrel, ScoredDoc, iter_calc

        judged = [prediction for prediction in predictions if prediction.judged]
        longest = max((len(prediction.passages) for prediction in judged), default=1)
        depth = self.config.k or longest or 1
        qrels, run = [], []
        # Questions and passages go by their numbers: ids of one's own may occur twice.
        for number, prediction in enumerate(judged):
            name = f"q{number}"
            retrieved = {passage.id for passage in prediction.passages}
            relevant = [
                f"p{rank}" for rank, passage in enumerate(prediction.passages) if passage.answers
            ]
            relevant += [f"other {id_}" for id_ in set(prediction.relevant) - retrieved]
            qrels += [Qrel(name, passage, 1) for passage in relevant or [_UNRETRIEVED]]
            ranking = [f"p{rank}" for rank in range(len(prediction.passages))] or [_IRRELEVANT]
            # Scored by rank: ir-measures would reorder passages of equal score.
            run += [ScoredDoc(name, passage, float(-rank)) for rank, passage in enumerate(ranking)]
        results = iter_calc([self._measure(depth)], qrels, run)
        values = {result.query_id: result.value for result in results}
        numbers = iter(range(len(judged)))
        return [
            values[f"q{next(numbers)}"] if prediction.judged else None for prediction in predictions
        ]


class RecallAtK(_Ranking):
    """Share of questions with an answering passage in the first k: the paper's retrieval recall."""

    def _measure(self, depth: int) -> Any:
        from ir_measures import Success

        return Success @ depth


class MeanReciprocalRank(_Ranking):
    """Mean of 1 / rank of the first passage that answers; 0 where none of the first k does."""

    def _measure(self, depth: int) -> Any:
        from ir_measures import RR

        return RR @ depth


class Ndcg(_Ranking):
    """Normalised discounted cumulative gain of the first k passages."""

    def _measure(self, depth: int) -> Any:
        from ir_measures import nDCG

        return nDCG @ depth

"""Metrics of what was found: recall@k, MRR and nDCG, by ir-measures.

A passage is relevant if it answers (`is_relevant`): by its id where these are known, else by its
text. Only passages that were found can be judged by their text, so that nDCG is then of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

from pydantic import Field

from ragcore.evaluation.prediction import Prediction
from ragcore.registry.components import ComponentConfig

__all__ = ["MeanReciprocalRank", "Ndcg", "RecallAtK"]

_NOTHING: Final = "-"
"""A passage that is never found, for questions for which none that was found is relevant."""


class _Ranking:
    """A measure of ir-measures, as a metric; its mean is over all questions that can be judged."""

    class Config(ComponentConfig):
        """What may be set."""

        k: int | None = Field(None, gt=0, description="looks at so many passages; null at all")

    capabilities: ClassVar[frozenset[str]] = frozenset()
    resampled: ClassVar[bool] = True

    def __init__(self, config: Config) -> None:
        self.config = config

    def _measure(self, depth: int) -> Any:
        raise NotImplementedError

    def statistics(self, predictions: Sequence[Prediction]) -> list[Sequence[float] | None]:
        """The measure of each question, and 1."""
        from ir_measures import Qrel, ScoredDoc, iter_calc

        judged = [one for one in predictions if one.judged]
        depth = self.config.k or max((len(one.passages) for one in judged), default=1) or 1
        qrels, run = [], []
        for one in judged:
            relevant = {each.id for each in one.passages if each.answers} | set(one.relevant)
            qrels += [Qrel(one.id, passage, 1) for passage in relevant or {_NOTHING}]
            # By place, since equal scores would be put in an order of their own.
            run += [
                ScoredDoc(one.id, each.id, float(-place)) for place, each in enumerate(one.passages)
            ]
            if not one.passages:
                run.append(ScoredDoc(one.id, f"{_NOTHING}{_NOTHING}", 0.0))
        found = {
            each.query_id: each.value for each in iter_calc([self._measure(depth)], qrels, run)
        }
        return [(found[one.id], 1.0) if one.judged else None for one in predictions]

    def value(self, sums: Sequence[float]) -> float:
        """The mean."""
        return sums[0] / sums[1]


class RecallAtK(_Ranking):
    """Share of questions of whose first k passages one answers: the paper's retrieval recall."""

    def _measure(self, depth: int) -> Any:
        from ir_measures import Success

        return Success @ depth


class MeanReciprocalRank(_Ranking):
    """Mean of 1 / place of the first passage that answers; 0 where none of the k does."""

    def _measure(self, depth: int) -> Any:
        from ir_measures import RR

        return RR @ depth


class Ndcg(_Ranking):
    """Normalised discounted cumulative gain of the first k."""

    def _measure(self, depth: int) -> Any:
        from ir_measures import nDCG

        return nDCG @ depth

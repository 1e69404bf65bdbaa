"""Metrics of longer answers: BLEU-1 (sacrebleu), ROUGE-L (rouge-score), distinct tri-grams."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp
from typing import Any, ClassVar

from pydantic import Field

from ragcore.evaluation.metrics.base import Mean, NoSettings
from ragcore.evaluation.prediction import Prediction
from ragcore.registry.components import ComponentConfig

__all__ = ["Bleu1", "DistinctTrigrams", "RougeL", "bleu_1"]


def bleu_1(lowercase: bool = True) -> Any:
    """sacrebleu's BLEU of single words, international tokenization 13a."""
    from sacrebleu import BLEU

    return BLEU(max_ngram_order=1, lowercase=lowercase, effective_order=True)


class Bleu1:
    """Corpus BLEU-1, 0 to 100, against all right answers, by sacrebleu; not for patterns."""

    class Config(ComponentConfig):
        """What may be set."""

        lowercase: bool = Field(True, description="compare without case")

    capabilities: ClassVar[frozenset[str]] = frozenset()
    resampled: ClassVar[bool] = True

    def __init__(self, config: Config) -> None:
        self.config = config
        self._bleu = bleu_1(config.lowercase)

    def statistics(self, predictions: Sequence[Prediction]) -> list[Sequence[float] | None]:
        """Words that match, words said, and the length of the reference nearest in length."""
        found: list[Sequence[float] | None] = []
        for one in predictions:
            if not one.right or one.regex:
                found.append(None)
                continue
            score = self._bleu.sentence_score(one.answer, list(one.right))
            found.append((score.counts[0], score.totals[0], score.ref_len))
        return found

    def value(self, sums: Sequence[float]) -> float:
        """Precision times the penalty of what is too short (Papineni et al., 2002)."""
        matched, said, wanted = sums
        if not matched:
            return 0.0
        penalty = 1.0 if said >= wanted else exp(1 - wanted / said)
        return 100 * penalty * matched / said


class RougeL(Mean):
    """Mean ROUGE-L F1, 0 to 1, with the best of the right answers, by rouge-score."""

    def __init__(self, config: NoSettings) -> None:
        super().__init__(config)
        from rouge_score.rouge_scorer import RougeScorer

        self._scorer = RougeScorer(["rougeL"])

    def score(self, prediction: Prediction) -> float | None:
        """From 0 to 1."""
        if not prediction.right or prediction.regex:
            return None
        found = self._scorer.score_multi(list(prediction.right), prediction.answer)
        return float(found["rougeL"].fmeasure)


class DistinctTrigrams:
    """Distinct tri-grams over all tri-grams of all answers (paper, table 5), words as written."""

    Config: ClassVar[type[NoSettings]] = NoSettings
    capabilities: ClassVar[frozenset[str]] = frozenset()
    resampled: ClassVar[bool] = False

    def __init__(self, config: NoSettings) -> None:
        self.config = config

    def statistics(self, predictions: Sequence[Prediction]) -> list[Sequence[float] | None]:
        """Tri-grams that no answer before had, and all of them."""
        seen: set[tuple[str, ...]] = set()
        found: list[Sequence[float] | None] = []
        for one in predictions:
            words = one.answer.split()
            grams = [tuple(words[at : at + 3]) for at in range(len(words) - 2)]
            new = set(grams) - seen
            seen |= new
            found.append((float(len(new)), float(len(grams))) if grams else None)
        return found

    def value(self, sums: Sequence[float]) -> float:
        """From 0 to 1."""
        return sums[0] / sums[1]

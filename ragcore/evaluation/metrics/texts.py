"""Metrics of longer answers: BLEU-1 (sacrebleu), ROUGE-L (rouge-score), distinct tri-grams."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp
from typing import Any, ClassVar

from pydantic import Field

from ragcore.evaluation.metrics.base import Labels, Mean, NoSettings
from ragcore.evaluation.prediction import Prediction
from ragcore.questions.normalization import composed, letters_and_digits
from ragcore.registry.components import ComponentConfig

__all__ = ["Bleu1", "DistinctTrigrams", "RougeL", "bleu_1"]


def bleu_1(lowercase: bool = True) -> Any:
    """Make sacrebleu's BLEU of single words, with its tokenization 13a."""
    from sacrebleu import BLEU

    return BLEU(max_ngram_order=1, lowercase=lowercase, effective_order=True)


class Bleu1:
    """Corpus BLEU-1, 0 to 100, against all right answers, by sacrebleu; not for patterns."""

    class Config(ComponentConfig):
        """How words are compared."""

        lowercase: bool = Field(True, description="ignore case")

    capabilities: ClassVar[frozenset[str]] = frozenset()
    resampled: ClassVar[bool] = True
    labels: ClassVar[Labels | None] = "answers"

    def __init__(self, config: Config) -> None:
        self.config = config
        self._bleu = bleu_1(config.lowercase)

    def statistics(self, predictions: Sequence[Prediction]) -> list[Sequence[float] | None]:
        """Count an answer's matched words, its words, and the words of the nearest reference."""
        statistics: list[Sequence[float] | None] = []
        for prediction in predictions:
            if not prediction.right or prediction.regex:
                statistics.append(None)
                continue
            references = [composed(right) for right in prediction.right]
            score = self._bleu.sentence_score(composed(prediction.text), references)
            statistics.append((score.counts[0], score.totals[0], score.ref_len))
        return statistics

    def value(self, sums: Sequence[float]) -> float:
        """Compute precision times the brevity penalty (Papineni et al., 2002).

        The nearest reference is the one nearest in length.
        """
        matched, answer_words, reference_words = sums
        if not matched:
            return 0.0
        short = answer_words < reference_words
        penalty = exp(1 - reference_words / answer_words) if short else 1.0
        return 100 * penalty * matched / answer_words


class _LettersAndDigits:
    """A tokenizer for rouge-score: its own splits at every letter that is not ASCII."""

    def tokenize(self, text: str) -> list[str]:
        """Return the words of a text, as rouge-score's own tokenizer does for ASCII."""
        return letters_and_digits(text)


class RougeL(Mean):
    """Mean ROUGE-L F1, 0 to 1, with the best of the right answers, by rouge-score.

    Words are letters and digits of any script; of one without spaces each character is a word.
    """

    labels: ClassVar[Labels | None] = "answers"

    def __init__(self, config: ComponentConfig) -> None:
        super().__init__(config)
        from rouge_score.rouge_scorer import RougeScorer

        self._scorer = RougeScorer(["rougeL"], tokenizer=_LettersAndDigits())

    def score(self, prediction: Prediction) -> float | None:
        """Return a number from 0 to 1."""
        if not prediction.right or prediction.regex:
            return None
        scores = self._scorer.score_multi(list(prediction.right), prediction.text)
        return float(scores["rougeL"].fmeasure)


class DistinctTrigrams:
    """Distinct tri-grams over all tri-grams of all answers (paper, table 5), words as written."""

    Config: ClassVar[type[NoSettings]] = NoSettings
    capabilities: ClassVar[frozenset[str]] = frozenset()
    resampled: ClassVar[bool] = False

    def __init__(self, config: NoSettings) -> None:
        self.config = config

    def statistics(self, predictions: Sequence[Prediction]) -> list[Sequence[float] | None]:
        """Count the tri-grams that no earlier answer has, and all tri-grams."""
        seen: set[tuple[str, ...]] = set()
        statistics: list[Sequence[float] | None] = []
        for prediction in predictions:
            words = prediction.text.split()
            trigrams = list(zip(words, words[1:], words[2:], strict=False))
            new = set(trigrams) - seen
            seen |= new
            statistics.append((float(len(new)), float(len(trigrams))) if trigrams else None)
        return statistics

    def value(self, sums: Sequence[float]) -> float:
        """Compute the share of distinct tri-grams, 0 to 1."""
        return sums[0] / sums[1]

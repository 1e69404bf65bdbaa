"""The confidence in an answer: the probability that it is right, from its log p(y|x).

By Platt (1999), "Probabilistic outputs for support vector machines", with log p in place of the
margin: confidence = 1 / (1 + exp(-(slope · log p + intercept))). `ragcore calibrate` fits both
numbers (evaluation/confidence_fits.py).

Knows answers and the setting `rag.confidence`; knows nothing of what is right.
"""

from __future__ import annotations

from dataclasses import replace
from math import exp, isinf, tanh

from ragcore.config import ConfidenceConfig
from ragcore.types import Answer

__all__ = ["confidence_at", "with_confidence"]


def confidence_at(log_prob: float, config: ConfidenceConfig | None) -> float:
    """Compute the confidence in an answer of this log p(y|x), natural."""
    if config is None or config.slope is None or config.intercept is None:
        # Sums of rounded logarithms may exceed 0.
        return min(exp(log_prob), 1.0)
    # An answer of probability 0 is of no confidence by any slope but 0.
    logit = config.intercept + (config.slope * log_prob if config.slope else 0.0)
    if isinf(logit):
        return float(logit > 0)
    # The logistic function, by a formula that no logit overflows.
    return (1 + tanh(logit / 2)) / 2


def with_confidence(answer: Answer, config: ConfidenceConfig | None) -> Answer:
    """Return the answer with its confidence, withheld where that is below the threshold.

    The abstaining answer is never withheld, as it withholds already; its confidence is its p, since
    the fitted numbers are those of answers. An answer without log p has no confidence.
    """
    if config is None or answer.abstains or answer.log_prob is None:
        return answer
    confidence = confidence_at(answer.log_prob, config)
    return replace(answer, confidence=confidence, withheld=confidence < config.threshold)

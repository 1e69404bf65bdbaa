"""The confidence in an answer: the probability that it is right, from log p(y|x) and p(unknown|x).

By Platt (1999), "Probabilistic outputs for support vector machines", with two logarithms in place
of the margin:

    logit = slope · log p(y|x) + answering · log(1 - p(unknown|x)) + intercept
    confidence = 1 / (1 + exp(-logit))

With `rag.abstain`, log p(y|x) is conditional on the passages' answering, so that it says nothing of
how probable that is; the second term says it. With slope = answering = 1 their sum is the log of
p(passages answer) p(y|x, passages answer). Without `rag.abstain` there is no second term.
`ragcore calibrate` fits the numbers (evaluation/confidence_fits.py).

Knows answers and the setting `rag.confidence`; knows nothing of what is right.
"""

from __future__ import annotations

from dataclasses import replace
from math import exp, expm1, isinf, log, tanh
from typing import Final

from ragcore.config import ConfidenceConfig
from ragcore.types import Answer

__all__ = ["confidence_at", "log_answering", "with_confidence"]

_LEAST_LOG_ANSWERING: Final = -24 * log(2)
"""log p is a sum in single precision: of a p nearer to 1 it is not known how near it is."""


def log_answering(log_p_unknown: float) -> float:
    """Compute log(1 - p(unknown|x)) from log p(unknown|x), natural; at least log(2^-24)."""
    if log_p_unknown >= 0:
        # Sums of rounded logarithms may exceed 0.
        return _LEAST_LOG_ANSWERING
    return max(log(-expm1(log_p_unknown)), _LEAST_LOG_ANSWERING)


def confidence_at(
    log_prob: float, config: ConfidenceConfig | None, log_p_unknown: float | None = None
) -> float:
    """Compute the confidence in an answer.

    Args:
        log_prob: log p(y|x), natural.
        config: the setting `rag.confidence`.
        log_p_unknown: log p(unknown|x), natural; None where the pipeline never abstains, and the
            formula has no second term.
    """
    if config is None or config.slope is None or config.intercept is None:
        # Sums of rounded logarithms may exceed 0.
        return min(exp(log_prob), 1.0)
    # An answer of probability 0 is of no confidence by any slope but 0.
    logit = config.intercept + (config.slope * log_prob if config.slope else 0.0)
    if config.answering and log_p_unknown is not None:
        logit += config.answering * log_answering(log_p_unknown)
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
    unknown = None if answer.abstention is None else answer.abstention.log_prob
    confidence = confidence_at(answer.log_prob, config, unknown)
    return replace(answer, confidence=confidence, withheld=confidence < config.threshold)

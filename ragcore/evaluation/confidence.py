"""How far an answer's confidence can be trusted: reliability, risk and coverage, thresholds.

Confidence is `Prediction.confidence`, correctness `Prediction.correct`. Predictions whose
correctness is not known are left out everywhere. To abstain is correct where the question has no
answer and wrong where it has one; any other answer to a question without an answer is wrong.

    reliability   are answers of confidence 0.8 right eight times in ten?
    risk          share of the answers given that are wrong
    coverage      share of the questions that get an answer

An answer is given where its confidence is at least the threshold. One by which the pipeline
abstains is never given, whatever its confidence: it lowers the coverage and is no part of the risk.

Knows predictions; knows nothing of pipelines, figures or how curves are drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log2
from typing import TYPE_CHECKING, Final

import numpy as np

from ragcore.errors import MetricError
from ragcore.evaluation.prediction import Prediction

if TYPE_CHECKING:
    import numpy.typing as npt

    Column = npt.NDArray[np.float64]

__all__ = [
    "BINS",
    "ReliabilityBin",
    "RiskPoint",
    "at_threshold",
    "bin_of",
    "choose_threshold",
    "confidence_of",
    "reliability",
    "risk_coverage",
]

BINS: Final = 15
"""Guo et al. (2017) use as many."""

_ROUNDING: Final = 1e-4
"""By so much a confidence may exceed 1, as a sum of probabilities in single precision does."""


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """The answers whose confidence is in one interval.

    Attributes:
        low: lower end of the interval, which belongs to it.
        high: upper end, which belongs to the next bin; to this one where it is 1.
        confidence: mean confidence of the answers; None where there are none.
        accuracy: share of them that are right; None where there are none.
        count: how many there are.
    """

    low: float
    high: float
    confidence: float | None
    accuracy: float | None
    count: int


@dataclass(frozen=True, slots=True)
class RiskPoint:
    """What a threshold does.

    Attributes:
        coverage: share of the questions that get an answer, above 0.
        risk: share of these answers that are wrong.
        threshold: the lowest confidence among them.
    """

    coverage: float
    risk: float
    threshold: float


def confidence_of(prediction: Prediction) -> float:
    """Return a prediction's confidence, from 0 to 1.

    Raises:
        MetricError: it has none, or one that is no probability.
    """
    confidence = prediction.confidence
    if confidence is None:
        raise MetricError(
            f"question {prediction.id!r} has no confidence: its answer has no log p, as those of "
            "generators that give texts alone, or the run is older than confidences: use metrics "
            "that need none, such as exact_match, or evaluate with another generator"
        )
    if not 0 <= confidence <= 1 + _ROUNDING:
        raise MetricError(
            f"the confidence of question {prediction.id!r} is {confidence}: expected a probability"
        )
    return min(float(confidence), 1.0)


def bin_of(confidence: float | Column, bins: int) -> npt.NDArray[np.int64]:
    """Return the index of the bin that a confidence is in, or of each of several.

    Bins are equally wide; a confidence on the border of two is in the higher one.
    """
    return np.searchsorted(_edges(bins)[1:-1], confidence, side="right").astype(np.int64)


def reliability(predictions: Sequence[Prediction], bins: int = BINS) -> list[ReliabilityBin]:
    """Compare confidence with accuracy, bin by bin (DeGroot and Fienberg, 1983; Guo et al., 2017).

    Answers by which the pipeline abstains count like others: their confidence is the probability
    of abstaining, and they are right where there is no answer. Withheld answers do not count: their
    confidence is that of a best guess, and to withhold it is right or wrong for another reason.

    Args:
        predictions: any number.
        bins: into how many intervals of equal width 0 to 1 is divided.

    Returns:
        All bins, from 0 to 1; those without answers too.

    Raises:
        MetricError: there are fewer than one bin, or a confidence is missing or no probability.
    """
    if bins < 1:
        raise MetricError(f"{bins} bins: expected 1 or more")
    judged = [each for each in predictions if each.correct is not None and not each.withheld]
    confidence = np.array([confidence_of(each) for each in judged])  # [n]
    correct = np.array([bool(each.correct) for each in judged], np.float64)  # [n]
    index = bin_of(confidence, bins)  # [n]
    counts = np.bincount(index, minlength=bins)  # [bins]
    sums = np.bincount(index, confidence, bins)  # [bins]
    right = np.bincount(index, correct, bins)  # [bins]
    edges = _edges(bins)  # [bins + 1]
    return [
        ReliabilityBin(
            low=float(edges[number]),
            high=float(edges[number + 1]),
            confidence=float(sums[number] / count) if count else None,
            accuracy=float(right[number] / count) if count else None,
            count=int(count),
        )
        for number, count in enumerate(counts)
    ]


def risk_coverage(predictions: Sequence[Prediction]) -> list[RiskPoint]:
    """Compute risk and coverage of every threshold (El-Yaniv and Wiener, 2010).

    Returns:
        A point for each confidence that a given answer has, highest first, so that coverage rises
        from point to point and answers of equal confidence enter together. The last point is that
        of giving all answers. Empty where no answer is given.

    Raises:
        MetricError: a confidence is missing or no probability.
    """
    judged, confidence, wrong = _answered(predictions)
    thresholds, counts = np.unique(confidence, return_counts=True)  # [t] rising, [t]
    entering = np.searchsorted(thresholds, confidence)  # [n]
    errors = np.bincount(entering, wrong, len(thresholds))  # [t]
    answer_counts = np.cumsum(counts[::-1])  # [t], thresholds falling
    error_counts = np.cumsum(errors[::-1])  # [t]
    return [
        RiskPoint(coverage=int(count) / judged, risk=float(error / count), threshold=float(lowest))
        for count, error, lowest in zip(answer_counts, error_counts, thresholds[::-1], strict=True)
    ]


def choose_threshold(
    predictions: Sequence[Prediction], target: float, *, confidence_level: float | None = None
) -> float | None:
    """Choose the threshold that gives most answers at a risk of at most the target.

    Without a confidence level the risk is that of these predictions: that of other questions is
    higher more often than not, since the best of many thresholds was chosen. With one it is at
    most the target on new questions of the same kind, with that probability (Geifman and El-Yaniv,
    2017, algorithm 1): a binary search over the thresholds, each of whose risks is bounded by the
    tail of the binomial distribution at (1 - level) / steps. This needs many answers: a risk of 0
    in n answers is bounded by 3 / n or more at 0.95.

    Args:
        predictions: of the dev questions, never of those that the risk is reported on.
        target: the share of given answers that may be wrong, 0 to 1.
        confidence_level: such as 0.95; None for no guarantee.

    Returns:
        Answers of lower confidence are to be withheld. None where no threshold keeps to the target.

    Raises:
        MetricError: the target or the level is no probability, a confidence is missing or no
            probability, or a level needs scipy and that is not installed.
    """
    if not 0 <= target <= 1:
        raise MetricError(f"a target risk of {target}: expected a share of answers from 0 to 1")
    if confidence_level is not None and not 0 < confidence_level < 1:
        raise MetricError(
            f"a confidence level of {confidence_level}: expected a number between 0 and 1"
        )
    points = risk_coverage(predictions)
    if confidence_level is None:
        within = [point.threshold for point in points if point.risk <= target]
        return within[-1] if within else None
    judged = sum(each.correct is not None for each in predictions)
    steps = ceil(log2(len(points) + 1))
    chosen, low, high = None, 0, len(points)
    # The bounds rise with coverage, as far as confidence orders answers; where they do not, a point
    # that was not tried may be better, but none is chosen whose bound is above the target.
    while low < high:
        middle = (low + high) // 2
        point = points[middle]
        answers = round(point.coverage * judged)
        errors = round(point.risk * answers)
        bound = _upper_bound(errors, answers, (1 - confidence_level) / steps)
        if bound <= target:
            chosen, low = point.threshold, middle + 1
        else:
            high = middle
    return chosen


def at_threshold(
    predictions: Sequence[Prediction], threshold: float | None
) -> tuple[float | None, float]:
    """Compute risk and coverage where answers below a threshold are withheld.

    Args:
        predictions: any number.
        threshold: the lowest confidence of an answer that is given; None withholds all.

    Returns:
        The share of given answers that are wrong, None where none is given; and the share of the
        questions that get an answer.

    Raises:
        MetricError: a confidence is missing or no probability.
    """
    judged, confidence, wrong = _answered(predictions)
    above = confidence >= (np.inf if threshold is None else threshold)  # [n]
    count = int(above.sum())
    if not count:
        return None, 0.0
    return float(wrong[above].sum() / count), count / judged


def _answered(predictions: Sequence[Prediction]) -> tuple[int, Column, Column]:
    """Return how many predictions can be judged; and of given answers confidence and errors, [n].

    An error is 1 for a wrong answer and 0 for a right one.
    """
    judged = [each for each in predictions if each.correct is not None]
    answered = [each for each in judged if not each.abstained]
    confidence = np.array([confidence_of(each) for each in answered], np.float64)
    wrong = np.array([not each.correct for each in answered], np.float64)
    return len(judged), confidence, wrong


def _upper_bound(errors: int, answers: int, delta: float) -> float:
    """Bound the risk from above, wrongly with a probability of delta (Clopper and Pearson, 1934).

    It is the b for which Σ_{j=0}^{errors} C(answers, j) b^j (1 - b)^(answers - j) = delta.
    """
    try:
        from scipy.stats import beta
    except ModuleNotFoundError as missing:
        from ragcore.registry.installation import missing_package

        raise MetricError(missing_package(missing, "eval")) from None
    return 1.0 if errors == answers else float(beta.ppf(1 - delta, errors + 1, answers - errors))


def _edges(bins: int) -> Column:
    """Return the ends of equally wide bins, [bins + 1]; the last is 1 exactly."""
    return np.arange(bins + 1) / bins

"""Fit the confidence, the probability that an answer is right, and its threshold.

The confidence is 1 / (1 + exp(-(slope · log p + answering · log(1 - p(unknown)) + intercept))); the
second term is fitted where the pipeline abstains. The numbers maximise the likelihood of which
answers are right (Platt, 1999). As there, each of n right answers counts as right with probability
(n + 1) / (n + 2), not 1, and each of n wrong ones with 1 / (n + 2), not 0. So the numbers are
finite even where a threshold separates right from wrong. Neither slope is ever negative: of two
answers, one that is more probable and whose passages are more probable to answer never gets the
lower confidence. Without the second term the order stays that of p.

How good it is must be measured on other answers than it was fitted on: it is fitted five times on
four fifths of the answers, and each time applied to the last fifth.

Knows predictions; knows nothing of pipelines or files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ragcore.answering.confidence import confidence_at, log_answering
from ragcore.config import ConfidenceConfig
from ragcore.errors import MetricError
from ragcore.evaluation.confidence import (
    BINS,
    at_threshold,
    choose_threshold,
    risk_coverage,
)
from ragcore.evaluation.metrics.base import Mean
from ragcore.evaluation.metrics.confidence import Brier, ExpectedCalibrationError
from ragcore.evaluation.prediction import Prediction
from ragcore.registry.installation import missing_package

if TYPE_CHECKING:
    import numpy.typing as npt

    Column = npt.NDArray[np.float64]

__all__ = [
    "LEAST_ANSWERS",
    "ConfidenceFit",
    "ThresholdFit",
    "brier_score",
    "calibration_error",
    "fit_confidence",
    "fit_threshold",
    "obstacle",
    "with_confidences",
]

LEAST_ANSWERS: Final = 20
"""So many answers are needed to fit two or three numbers, and to test them by five folds."""

_FOLDS: Final = 5
_SEED: Final = 0
_DIGITS: Final = 6
_LEAST_LOG_P: Final = math.log(5e-324)
"""Of an answer of probability 0, for which no slope would do otherwise."""


@dataclass(frozen=True, slots=True)
class ConfidenceFit:
    """A fitted confidence, and how well it predicts answers that it was not fitted on.

    Attributes:
        slope: of the logit in log p; at least 0.
        intercept: the logit where log p is 0, and p(unknown) too.
        answers: how many answers it was fitted on; those by which the pipeline abstains are none.
        right: how many of them are right.
        ece_before: expected calibration error (Guo et al., 2017) of the pipeline's own confidence
            in the answers that it gave before the fit.
        ece: the same after the fit, by cross-validation.
        brier_before: mean squared difference of confidence and correctness (Brier, 1950), before.
        brier: the same after the fit, by cross-validation.
        answering: slope of the logit in log(1 - p(unknown)); at least 0. None where the pipeline
            never abstains.
    """

    slope: float
    intercept: float
    answers: int
    right: int
    ece_before: float
    ece: float
    brier_before: float
    brier: float
    answering: float | None = None

    @property
    def config(self) -> ConfidenceConfig:
        """The setting `rag.confidence`, which withholds no answer."""
        return ConfidenceConfig(
            slope=self.slope, answering=self.answering, intercept=self.intercept
        )

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain JSON-ready values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ThresholdFit:
    """The threshold that gives most answers within a risk, and what it does.

    Attributes:
        target: the share of given answers that may be wrong.
        threshold: answers of lower confidence are withheld; None where no threshold keeps to the
            target, so that all would be.
        risk: share of the given answers that are wrong, of the questions that it was chosen on;
            None where none is given.
        coverage: share of these questions that get an answer.
        held_out_risk: as `risk`, by cross-validation: confidence and threshold are fitted on four
            fifths of the answers, and count those of the last.
        held_out_coverage: as `coverage`, by cross-validation.
    """

    target: float
    threshold: float | None
    risk: float | None
    coverage: float
    held_out_risk: float | None
    held_out_coverage: float

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain JSON-ready values."""
        return asdict(self)


def obstacle(predictions: Sequence[Prediction]) -> str | None:
    """Say why no confidence can be fitted on these predictions; None where one can."""
    answers = _judged_answers(predictions)
    right = sum(bool(each.correct) for each in answers)
    if len(answers) < LEAST_ANSWERS:
        return (
            f"{len(answers)} answers whose correctness is known, expected {LEAST_ANSWERS} or more: "
            "give more questions"
        )
    if right in (0, len(answers)):
        return (
            f"all {len(answers)} answers are {'right' if right else 'wrong'}, expected some of "
            "both: give other questions"
        )
    return None


def fit_confidence(before: Sequence[Prediction], after: Sequence[Prediction]) -> ConfidenceFit:
    """Fit the confidence on the answers that a pipeline will give.

    Args:
        before: the pipeline's answers by its present settings, with their confidence.
        after: its answers to the same questions by the settings that the confidence is fitted for.

    Raises:
        MetricError: there is an `obstacle`, or scipy is not installed.
    """
    reason = obstacle(after)
    if reason is not None:
        raise MetricError(f"no confidence can be fitted: {reason}")
    answers = _judged_answers(after)
    abstains = all(each.log_p_unknown is not None for each in answers)
    config = _fit(answers, abstains=abstains)
    assert config.slope is not None
    assert config.intercept is not None
    held_out = [
        confident
        for rest, fold in _folds(answers)
        for confident in with_confidences(fold, _fit(rest, abstains=abstains))
    ]
    earlier = _judged_answers(before)
    return ConfidenceFit(
        slope=config.slope,
        intercept=config.intercept,
        answers=len(answers),
        right=sum(bool(each.correct) for each in answers),
        ece_before=calibration_error(earlier),
        ece=calibration_error(held_out),
        brier_before=brier_score(earlier),
        brier=brier_score(held_out),
        answering=config.answering,
    )


def fit_threshold(
    predictions: Sequence[Prediction], confidence: ConfidenceConfig, target: float
) -> ThresholdFit:
    """Choose the threshold of the largest coverage whose risk is at most the target.

    It is half-way between the lowest confidence of an answer that is given and the next lower one,
    so that a rounding error decides about neither; 0 where all are given.

    Args:
        predictions: answers that the confidence was fitted on.
        confidence: as fitted.
        target: the share of given answers that may be wrong, from 0 to 1.

    Raises:
        MetricError: the target is no share, or scipy is not installed.
    """
    confident = with_confidences(predictions, confidence)
    threshold = _threshold(confident, target)
    risk, coverage = at_threshold(confident, threshold)
    judged = [each for each in predictions if each.correct is not None]
    count_given = wrong = 0
    for rest, fold in _folds(judged):
        config = _fit(_judged_answers(rest), abstains=confidence.answering is not None)
        lowest = _threshold(with_confidences(rest, config), target)
        fold_risk, fold_coverage = at_threshold(with_confidences(fold, config), lowest)
        answered = round(fold_coverage * len(fold))
        count_given += answered
        wrong += round((fold_risk or 0.0) * answered)
    return ThresholdFit(
        target=target,
        threshold=threshold,
        risk=risk,
        coverage=coverage,
        held_out_risk=wrong / count_given if count_given else None,
        held_out_coverage=count_given / len(judged),
    )


def with_confidences(
    predictions: Sequence[Prediction], config: ConfidenceConfig
) -> list[Prediction]:
    """Return predictions with the confidence that a fit gives them.

    Where the pipeline abstains, the confidence stays that of abstaining; an answer without log p
    gets none.
    """
    return [
        each
        if each.abstained or each.log_p is None
        else replace(
            each,
            confidence=confidence_at(each.log_p, config, each.log_p_unknown),
            withheld=False,
        )
        for each in predictions
    ]


def _threshold(confident: Sequence[Prediction], target: float) -> float | None:
    """Choose the threshold of largest coverage within the target, between two confidences."""
    lowest = choose_threshold(confident, target)
    if lowest is None:
        return None
    below = [point.threshold for point in risk_coverage(confident) if point.threshold < lowest]
    if not below:
        return 0.0
    middle = float(f"{(lowest + below[0]) / 2:.{_DIGITS}g}")
    return middle if below[0] < middle <= lowest else lowest


def _fit(answers: Sequence[Prediction], *, abstains: bool) -> ConfidenceConfig:
    """Fit slopes and intercept on answers that are known to be right or wrong.

    Args:
        answers: at least one.
        abstains: whether all have log p(unknown|x), so that `answering` is fitted too.

    Raises:
        MetricError: scipy is not installed.
    """
    try:
        from scipy.optimize import minimize
    except ModuleNotFoundError as missing:
        raise MetricError(missing_package(missing, "eval")) from None
    columns = [np.maximum([each.log_p or 0.0 for each in answers], _LEAST_LOG_P)]  # [n]
    if abstains:
        columns.append(np.array([log_answering(each.log_p_unknown or 0.0) for each in answers]))
    # The intercept's column is 1.
    terms = np.stack([*columns, np.ones(len(answers))], axis=-1)  # [n, 2 or 3]
    right = np.array([bool(each.correct) for each in answers])  # [n]
    count = int(right.sum())
    targets = np.where(right, (count + 1) / (count + 2), 1 / (len(right) - count + 2))  # [n]

    def loss(numbers: Column) -> tuple[float, Column]:
        """Compute the mean of -log likelihood, and its gradient, as many as numbers."""
        logits = terms @ numbers  # [n]
        losses = np.logaddexp(0.0, logits) - targets * logits  # [n]
        excess = np.exp(-np.logaddexp(0.0, -logits)) - targets  # [n], confidence less target
        return float(losses.mean()), excess @ terms / len(terms)

    fitted = minimize(
        loss,
        np.array([*(1.0 for _ in columns), 0.0]),
        jac=True,
        method="L-BFGS-B",
        bounds=[*((0.0, None) for _ in columns), (None, None)],
        options={"ftol": 1e-14, "gtol": 1e-9},
    )
    # As they are written into a file.
    slope, *answering, intercept = (float(f"{number:.{_DIGITS}g}") for number in fitted.x)
    return ConfidenceConfig(
        slope=slope, answering=answering[0] if abstains else None, intercept=intercept
    )


def _folds(
    predictions: Sequence[Prediction],
) -> list[tuple[list[Prediction], list[Prediction]]]:
    """Split predictions five times into four fifths and one; always the same way."""
    fold_of = np.random.default_rng(_SEED).permutation(len(predictions)) % _FOLDS  # [n]
    return [
        (
            [each for each, number in zip(predictions, fold_of, strict=True) if number != fold],
            [each for each, number in zip(predictions, fold_of, strict=True) if number == fold],
        )
        for fold in range(_FOLDS)
    ]


def _judged_answers(predictions: Sequence[Prediction]) -> list[Prediction]:
    """Return those whose answer is no abstention, has log p, and is known to be right or wrong."""
    return [
        each
        for each in predictions
        if each.correct is not None and not each.abstained and each.log_p is not None
    ]


def calibration_error(predictions: Sequence[Prediction]) -> float:
    """Compute the metric `ece` of predictions; 0 where there are none."""
    return _value(ExpectedCalibrationError(ExpectedCalibrationError.Config(bins=BINS)), predictions)


def brier_score(predictions: Sequence[Prediction]) -> float:
    """Compute the metric `brier` of predictions; 0 where there are none."""
    return _value(Brier(Brier.Config()), predictions)


def _value(metric: Mean, predictions: Sequence[Prediction]) -> float:
    rows = [row for row in metric.statistics(predictions) if row is not None]
    return float(metric.value(np.sum(rows, axis=0))) if rows else 0.0

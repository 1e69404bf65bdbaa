"""Test the fit of the confidence and of its threshold, against the likelihood and by hand."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragcore.answering.confidence import confidence_at
from ragcore.config import ConfidenceConfig
from ragcore.errors import MetricError
from ragcore.evaluation.confidence_fits import (
    brier_score,
    calibration_error,
    fit_confidence,
    fit_threshold,
    obstacle,
    with_confidences,
)
from ragcore.evaluation.prediction import Prediction


def prediction(
    log_prob: float,
    correct: bool | None,
    *,
    abstained: bool = False,
    log_p_unknown: float | None = None,
) -> Prediction:
    return Prediction(
        id="q",
        question="q",
        right=("a",),
        regex=False,
        relevant=(),
        answer="a",
        log_prob=log_prob,
        correct=correct,
        passages=(),
        abstained=abstained,
        confidence=math.exp(log_prob),
        log_p_unknown=log_p_unknown,
    )


def drawn(count: int, slope: float, intercept: float, seed: int = 0) -> list[Prediction]:
    """Draw answers that are right with the probability of a known confidence."""
    rng = random.Random(seed)
    known = ConfidenceConfig(slope=slope, intercept=intercept)
    log_probs = [-3 * rng.random() for _ in range(count)]
    return [prediction(each, rng.random() < confidence_at(each, known)) for each in log_probs]


def drawn_abstaining(count: int, known: ConfidenceConfig, seed: int = 0) -> list[Prediction]:
    """Draw answers of a pipeline that abstains, right with the probability of a confidence."""
    rng = random.Random(seed)
    pairs = [(-3 * rng.random(), math.log(rng.random())) for _ in range(count)]
    return [
        prediction(
            log_prob,
            rng.random() < confidence_at(log_prob, known, unknown),
            log_p_unknown=unknown,
        )
        for log_prob, unknown in pairs
    ]


def smoothed_loss(predictions: list[Prediction], config: ConfidenceConfig) -> float:
    """Compute -log likelihood with Platt's targets, by the definition."""
    right = sum(bool(each.correct) for each in predictions)
    wrong = len(predictions) - right
    total = 0.0
    for each in predictions:
        target = (right + 1) / (right + 2) if each.correct else 1 / (wrong + 2)
        confidence = confidence_at(each.log_p, config, each.log_p_unknown)
        total -= target * math.log(confidence) + (1 - target) * math.log(1 - confidence)
    return total


@settings(max_examples=20, deadline=None)
@given(
    slope=st.floats(0.5, 5),
    intercept=st.floats(-1, 4),
    seed=st.integers(0, 1000),
    step=st.tuples(st.floats(-0.1, 0.1), st.floats(-0.1, 0.1)),
)
def test_no_numbers_near_the_fitted_ones_are_likelier(slope, intercept, seed, step):
    answers = drawn(60, slope, intercept, seed)
    if obstacle(answers):
        return
    fit = fit_confidence(answers, answers)
    near = ConfidenceConfig(slope=max(0.0, fit.slope + step[0]), intercept=fit.intercept + step[1])
    assert smoothed_loss(answers, fit.config) <= smoothed_loss(answers, near) + 1e-6


@settings(max_examples=20, deadline=None)
@given(
    slope=st.floats(0, 3),
    answering=st.floats(0, 3),
    intercept=st.floats(-1, 4),
    seed=st.integers(0, 1000),
    step=st.tuples(*[st.floats(-0.1, 0.1)] * 3),
)
def test_where_the_pipeline_abstains_no_three_numbers_nearby_are_likelier(
    slope, answering, intercept, seed, step
):
    known = ConfidenceConfig(slope=slope, answering=answering, intercept=intercept)
    answers = drawn_abstaining(60, known, seed)
    if obstacle(answers):
        return
    fit = fit_confidence(answers, answers)
    assert fit.answering is not None
    near = ConfidenceConfig(
        slope=max(0.0, fit.slope + step[0]),
        answering=max(0.0, fit.answering + step[1]),
        intercept=fit.intercept + step[2],
    )
    assert smoothed_loss(answers, fit.config) <= smoothed_loss(answers, near) + 1e-6


def test_both_slopes_that_answers_were_drawn_by_are_found_again():
    known = ConfidenceConfig(slope=2.0, answering=1.5, intercept=3.0)
    answers = drawn_abstaining(20_000, known)
    fit = fit_confidence(answers, answers)
    assert (fit.slope, fit.answering, fit.intercept) == pytest.approx((2.0, 1.5, 3.0), abs=0.2)
    assert fit.ece < 0.01 < fit.ece_before


def test_where_p_unknown_alone_tells_right_from_wrong_it_alone_counts():
    # log p is the same for right and wrong ones.
    answers = [
        prediction(-0.1 * (n % 5), n % 3 != 0, log_p_unknown=math.log(0.8 if n % 3 == 0 else 0.2))
        for n in range(60)
    ]
    fit = fit_confidence(answers, answers)
    assert fit.answering is not None
    assert fit.answering > 1
    assert fit.slope == pytest.approx(0, abs=0.05)
    confident = with_confidences(answers, fit.config)
    assert min(each.confidence for each in confident if each.correct) > 0.9
    assert max(each.confidence for each in confident if not each.correct) < 0.1
    alone = fit_confidence(answers, [replace(each, log_p_unknown=None) for each in answers])
    assert alone.answering is None
    assert fit.brier < alone.brier / 10
    threshold = fit_threshold(answers, fit.config, 0.0)
    assert (threshold.held_out_risk, threshold.held_out_coverage) == (0, pytest.approx(2 / 3))


def test_passages_that_answer_more_surely_never_lower_the_confidence():
    # The surer the pipeline is that passages do not answer, the more often it is right.
    answers = [prediction(-0.1, n > 15, log_p_unknown=math.log((n + 1) / 40)) for n in range(30)]
    fit = fit_confidence(answers, answers)
    assert fit.answering == 0


def test_the_confidence_that_answers_were_drawn_by_is_found_again():
    answers = drawn(20_000, 2.0, 1.5)
    fit = fit_confidence(answers, answers)
    assert fit.slope == pytest.approx(2.0, abs=0.1)
    assert fit.intercept == pytest.approx(1.5, abs=0.1)
    assert fit.ece < 0.01 < fit.ece_before
    assert fit.brier < fit.brier_before
    assert (fit.answers, fit.right) == (20_000, sum(bool(each.correct) for each in answers))


def test_answers_that_a_threshold_separates_get_finite_numbers():
    answers = [prediction(-0.1 - 0.01 * n, n < 15) for n in range(30)]
    fit = fit_confidence(answers, answers)
    confident = with_confidences(answers, fit.config)
    assert math.isfinite(fit.slope)
    assert min(each.confidence for each in confident[:15]) > 0.5
    assert max(each.confidence for each in confident[15:]) < 0.5
    # Never surer than the smoothed share that 15 right answers out of 15 allow.
    assert max(each.confidence for each in confident) < 1


def test_more_probable_answers_never_get_a_lower_confidence():
    # The less probable, the more often right.
    answers = [prediction(-0.1 * n, n > 15) for n in range(30)]
    fit = fit_confidence(answers, answers)
    assert fit.slope == 0
    share = (14 * 15 / 16 + 16 / 18) / 30
    assert with_confidences(answers, fit.config)[0].confidence == pytest.approx(share, abs=1e-5)


def test_answers_of_probability_zero_do_not_break_the_fit():
    answers = [*drawn(40, 2.0, 1.0), prediction(-math.inf, False)]
    fit = fit_confidence(answers, answers)
    assert math.isfinite(fit.slope + fit.intercept + fit.ece + fit.brier)


def test_the_figures_after_the_fit_are_of_answers_that_it_did_not_see():
    # Whether an answer is right has nothing to do with log p.
    rng = random.Random(1)
    answers = [prediction(-3 * rng.random(), rng.random() < 0.5) for _ in range(25)]
    fit = fit_confidence(answers, answers)
    seen = with_confidences(answers, fit.config)
    assert fit.brier > brier_score(seen)
    assert fit.brier_before == brier_score(answers)
    assert fit.ece_before == calibration_error(answers)


def test_abstentions_and_unjudged_answers_are_not_fitted_on():
    answers = drawn(50, 2.0, 1.0)
    others = [prediction(-0.01, False, abstained=True), prediction(-0.02, None)] * 9
    assert fit_confidence(answers, [*answers, *others]) == fit_confidence(answers, answers)


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ([], "0 answers whose correctness is known, expected 20 or more"),
        ([prediction(-1, n > 3) for n in range(19)], "19 answers whose"),
        ([prediction(-1, True)] * 30, "all 30 answers are right, expected some of both"),
        ([prediction(-1, False)] * 20, "all 20 answers are wrong"),
        ([prediction(-1, True, abstained=True)] * 30, "0 answers"),
    ],
)
def test_too_few_answers_are_refused_with_a_reason(answers, reason):
    assert reason in (obstacle(answers) or "")
    with pytest.raises(MetricError, match=reason):
        fit_confidence(answers, answers)


@pytest.mark.parametrize("target", [0.0, 0.05, 0.1, 0.3, 1.0])
def test_the_threshold_covers_as_many_as_the_risk_allows(target):
    answers = [*drawn(100, 3.0, 2.0), *[prediction(-0.01, False, abstained=True)] * 10]
    config = fit_confidence(answers, answers).config
    fit = fit_threshold(answers, config, target)
    confident = sorted(
        (each for each in with_confidences(answers, config) if not each.abstained),
        key=lambda each: -(each.confidence or 0),
    )
    errors = np.cumsum([not each.correct for each in confident])
    allowed = [count for count in range(1, 101) if errors[count - 1] / count <= target]
    if not allowed:
        assert (fit.threshold, fit.risk, fit.coverage) == (None, None, 0)
        return
    count = max(allowed)
    assert fit.coverage == pytest.approx(count / 110)
    assert fit.risk == pytest.approx(errors[count - 1] / count)
    if count == 100:
        assert fit.threshold == 0
    else:
        assert fit.threshold is not None
        # Between the last that is given and the first that is not.
        assert confident[count].confidence < fit.threshold < confident[count - 1].confidence


def test_the_held_out_risk_counts_answers_that_the_threshold_was_not_chosen_on():
    rng = random.Random(5)
    # Nothing to learn: whatever was chosen, half of the others are wrong.
    answers = [prediction(-rng.random(), rng.random() < 0.5) for _ in range(400)]
    fit = fit_threshold(answers, fit_confidence(answers, answers).config, 0.4)
    if fit.risk is not None:
        assert fit.risk <= 0.4
    assert fit.held_out_risk is None or fit.held_out_risk > 0.4
    assert 0 <= fit.held_out_coverage <= 1

"""Test reliability, risk and coverage, thresholds, and the metrics of confidence, by their laws."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragcore.errors import MetricError
from ragcore.evaluation.choosing import make_metrics
from ragcore.evaluation.confidence import (
    RiskPoint,
    at_threshold,
    choose_threshold,
    reliability,
    risk_coverage,
)
from ragcore.evaluation.figures import difference, figures
from ragcore.evaluation.prediction import Prediction


def prediction(
    confidence: float | None, correct: bool | None, abstained: bool = False
) -> Prediction:
    """Make a prediction; without `correct` the right answer is not known."""
    right = () if correct is None else ("x",)
    log_prob = math.log(confidence) if confidence else -math.inf
    return Prediction(
        *("q", "", right, False, (), "", log_prob, correct, ()),
        abstained=abstained,
        confidence=confidence,
    )


def value(name: str, predictions: list[Prediction]) -> float | None:
    (figure,) = figures(make_metrics([name]), predictions)
    assert figure.error is None, figure.error
    return figure.value


# Borders of bins, ties and arbitrary numbers.
probabilities = st.sampled_from([0.0, 0.1, 0.2, 1 / 3, 0.5, 0.9, 1.0]) | st.floats(0, 1)
rows = st.lists(st.builds(prediction, probabilities, st.none() | st.booleans(), st.booleans()))
judged_rows = st.lists(st.builds(prediction, probabilities, st.booleans()), min_size=1)


@given(rows, st.integers(1, 30))
def test_each_answer_is_in_the_bin_of_its_confidence(predictions, bins):
    expected = [[] for _ in range(bins)]
    for each in predictions:
        if each.correct is not None:
            below = sum(each.confidence >= edge / bins for edge in range(1, bins))
            expected[below].append(each)
    found = reliability(predictions, bins)
    assert [(each.low, each.high) for each in found] == [
        (number / bins, (number + 1) / bins) for number in range(bins)
    ]
    for found_bin, answers in zip(found, expected, strict=True):
        assert found_bin.count == len(answers)
        if not answers:
            assert found_bin.confidence is None
            assert found_bin.accuracy is None
            continue
        confidence = sum(each.confidence for each in answers) / len(answers)
        accuracy = sum(each.correct for each in answers) / len(answers)
        assert found_bin.confidence == pytest.approx(confidence)
        assert found_bin.accuracy == pytest.approx(accuracy)


def test_a_border_belongs_to_the_higher_bin_and_1_to_the_last():
    predictions = [prediction(confidence, True) for confidence in (0.0, 0.5, 0.75, 1.0)]
    assert [each.count for each in reliability(predictions, 4)] == [1, 0, 1, 2]
    assert [each.count for each in reliability([], 2)] == [0, 0]


@given(rows)
def test_the_last_point_is_that_of_giving_all_answers(predictions):
    judged = [each for each in predictions if each.correct is not None]
    answered = [each for each in judged if not each.abstained]
    points = risk_coverage(predictions)
    if not answered:
        assert points == []
        return
    assert points[-1] == RiskPoint(
        len(answered) / len(judged),
        sum(not each.correct for each in answered) / len(answered),
        min(each.confidence for each in answered),
    )
    assert len(points) == len({each.confidence for each in answered})
    for earlier, later in pairwise(points):
        assert earlier.coverage < later.coverage
        assert earlier.threshold > later.threshold


@given(rows)
def test_each_point_is_what_its_threshold_does(predictions):
    for point in risk_coverage(predictions):
        assert at_threshold(predictions, point.threshold) == (point.risk, point.coverage)


def test_to_abstain_lowers_the_coverage_and_not_the_risk():
    predictions = [
        prediction(0.9, True),
        prediction(0.8, False),
        prediction(0.99, True, abstained=True),
        prediction(0.99, False, abstained=True),
        prediction(0.99, None),
    ]
    assert risk_coverage(predictions) == [RiskPoint(1 / 4, 0.0, 0.9), RiskPoint(2 / 4, 0.5, 0.8)]
    assert at_threshold(predictions, 0.85) == (0.0, 1 / 4)
    assert at_threshold(predictions, 0.95) == (None, 0.0)
    assert at_threshold(predictions, None) == (None, 0.0)
    assert at_threshold([], 0.5) == (None, 0.0)


@given(rows, st.sampled_from([0.0, 0.1, 0.25, 1 / 3, 0.5, 1.0]))
def test_no_threshold_keeps_to_the_target_and_gives_more_answers(predictions, target):
    threshold = choose_threshold(predictions, target)
    judged = [each for each in predictions if each.correct is not None]
    answered = [each for each in judged if not each.abstained]
    allowed = []
    for least in {each.confidence for each in answered}:
        above = [each.correct for each in answered if each.confidence >= least]
        if Fraction(above.count(False), len(above)) <= Fraction(target).limit_denominator(1000):
            allowed.append(len(above) / len(judged))
    risk, coverage = at_threshold(predictions, threshold)
    assert (threshold is None) == (not allowed)
    if allowed:
        assert risk <= target
        assert coverage == max(allowed)


@given(rows, st.sampled_from([0.1, 0.3, 0.6]), st.sampled_from([0.5, 0.9]))
def test_a_guarantee_never_gives_more_answers(predictions, target, level):
    plain = choose_threshold(predictions, target)
    guaranteed = choose_threshold(predictions, target, confidence_level=level)
    if guaranteed is not None:
        assert plain is not None
        assert guaranteed >= plain
        assert at_threshold(predictions, guaranteed)[0] <= target


def test_the_bound_is_the_binomial_tail():
    """With n right answers of one confidence, b = 1 - δ^(1/n) solves (1 - b)^n = δ."""
    predictions = [prediction(0.7, True)] * 59
    bound = 1 - 0.05 ** (1 / 59)
    assert choose_threshold(predictions, bound + 1e-9, confidence_level=0.95) == 0.7
    assert choose_threshold(predictions, bound - 1e-9, confidence_level=0.95) is None
    # Of three thresholds two are tried, so that each bound has half of δ.
    more = [*predictions, *[prediction(0.5, False)] * 99, *[prediction(0.3, False)] * 99]
    bound = 1 - 0.025 ** (1 / 59)
    assert choose_threshold(more, bound + 1e-9, confidence_level=0.95) == 0.7
    assert choose_threshold(more, bound - 1e-9, confidence_level=0.95) is None
    assert choose_threshold([prediction(0.7, False)], 0.99, confidence_level=0.95) is None
    assert choose_threshold([], 0.5, confidence_level=0.95) is None


def test_the_target_is_kept_on_new_questions_as_often_as_the_level_says():
    """Where an answer of confidence c is right with probability c², the risk is known exactly."""
    rng = np.random.default_rng(18)
    target, missed, missed_plainly = 0.3, 0, 0
    for _ in range(200):
        confidences = rng.random(120)
        right = rng.random(120) < confidences**2
        predictions = [prediction(*pair) for pair in zip(confidences, right.tolist(), strict=True)]
        for level in (None, 0.8):
            threshold = choose_threshold(predictions, target, confidence_level=level)
            if threshold is None:
                continue
            # The mean of 1 - c² between the threshold and 1.
            risk = 1 - (1 - threshold**3) / (3 * (1 - threshold))
            if level is None:
                missed_plainly += risk > target
            else:
                missed += risk > target
    assert missed / 200 <= 0.2
    assert missed_plainly / 200 > 0.5


@pytest.mark.parametrize("target", [-0.1, 1.1, math.nan])
def test_a_target_is_a_share(target):
    with pytest.raises(MetricError, match="target risk of"):
        choose_threshold([], target)


@pytest.mark.parametrize("level", [0, 1, 95, math.nan])
def test_a_level_is_between_0_and_1(level):
    with pytest.raises(MetricError, match="confidence level of"):
        choose_threshold([], 0.5, confidence_level=level)


@pytest.mark.parametrize(
    ("confidence", "message"),
    [
        (None, "'q' has no confidence"),
        (math.nan, "'q' is nan"),
        (-0.1, "'q' is -0.1"),
        (1.5, "is 1.5"),
    ],
)
def test_a_confidence_is_a_probability(confidence, message):
    one = Prediction(*("q", "", ("x",), False, (), "", -1.0, True, ()), confidence=confidence)
    for function in (reliability, risk_coverage):
        with pytest.raises(MetricError, match=message):
            function([one])
    for figure in figures(make_metrics(["brier", "ece", "aurc"]), [one]):
        assert message in figure.error
    with pytest.raises(MetricError, match="0 bins"):
        reliability([], 0)


def test_a_confidence_may_exceed_1_by_rounding():
    rounded = prediction(1.0000002, True)
    assert reliability([rounded])[-1].confidence == 1.0
    assert value("brier", [rounded]) == value("ece", [rounded]) == 0.0


def test_metrics_of_confidence_by_hand():
    predictions = [
        prediction(0.9, True),
        prediction(0.8, False),
        prediction(0.6, True),
        prediction(0.2, False),
        prediction(0.5, None),
    ]
    assert value("brier", predictions) == pytest.approx((0.01 + 0.64 + 0.16 + 0.04) / 4)
    # Two bins: of confidence 2.3 / 3 and accuracy 2 / 3; of 0.2 and 0.
    assert value("ece@2", predictions) == pytest.approx((0.3 + 0.2) / 4)
    assert value("aurc", predictions) == pytest.approx((0 + 1 / 2 + 1 / 3 + 2 / 4) / 4)
    for name in ("brier", "ece", "aurc"):
        (figure,) = figures(make_metrics([name]), predictions)
        assert figure.questions == 4
        assert (figure.low is None) == (name == "aurc")
        assert value(name, [prediction(0.5, None)]) is None


@given(judged_rows, st.integers(1, 20))
def test_the_sums_of_the_bins_give_the_calibration_error(predictions, bins):
    error = sum(
        each.count / len(predictions) * abs(each.confidence - each.accuracy)
        for each in reliability(predictions, bins)
        if each.count
    )
    found = value(f"ece@{bins}", predictions)
    assert found == pytest.approx(error, abs=1e-12)
    assert 0 <= found <= 1


@given(st.lists(st.integers(0, 10), min_size=1, max_size=5, unique=True))
def test_the_error_is_0_where_each_bin_is_as_right_as_it_says(tenths):
    predictions = [
        prediction(tenth / 10, number < tenth) for tenth in tenths for number in range(10)
    ]
    assert value("ece@11", predictions) == pytest.approx(0, abs=1e-12)


@given(judged_rows)
def test_brier_is_the_error_of_confidence_and_what_varies(predictions):
    """Murphy (1973), over answers of equal confidence: reliability - resolution + uncertainty."""
    count = len(predictions)
    base = sum(each.correct for each in predictions) / count
    unreliable = resolution = 0.0
    for confidence in {each.confidence for each in predictions}:
        group = [each.correct for each in predictions if each.confidence == confidence]
        accuracy = sum(group) / len(group)
        unreliable += len(group) / count * (confidence - accuracy) ** 2
        resolution += len(group) / count * (accuracy - base) ** 2
    found = value("brier", predictions)
    assert found == pytest.approx(unreliable - resolution + base * (1 - base), abs=1e-9)
    # Jensen: the squared error is no less than the square of the calibration error.
    assert found >= value("ece", predictions) ** 2 - 1e-12


@given(
    st.lists(
        st.builds(prediction, st.sampled_from([0.2, 0.5, 0.9]), st.booleans(), st.booleans()),
        min_size=1,
        max_size=5,
    )
)
def test_the_area_is_the_mean_over_all_orders_of_ties(predictions):
    def rank(each: Prediction) -> float:
        return 1.0 if each.abstained else -each.confidence

    areas = []
    for order in permutations(predictions):
        if list(map(rank, order)) == sorted(map(rank, order)):
            wrong = np.cumsum([not each.correct for each in order])
            areas.append((wrong / np.arange(1, len(order) + 1)).mean())
    assert value("aurc", predictions) == pytest.approx(np.mean(areas))


def test_without_ties_the_area_is_the_mean_risk_of_the_points():
    predictions = [prediction((each + 0.5) / 40, each % 3 == 0) for each in range(40)]
    risks = [point.risk for point in risk_coverage(predictions)]
    assert value("aurc", predictions) == pytest.approx(np.mean(risks))


def test_calibration_errors_have_intervals_and_are_compared():
    rng = np.random.default_rng(5)
    confidences = rng.random(150)
    right = (rng.random(150) < confidences).tolist()
    calibrated = [prediction(*pair) for pair in zip(confidences, right, strict=True)]
    sure = [prediction(0.99, is_right) for is_right in right]
    (metric,) = make_metrics(["ece"]).values()
    (one,), (other,) = (figures({"ece": metric}, each) for each in (calibrated, sure))
    assert one.low < one.high < other.low < other.value < other.high
    # Of draws together as of each alone.
    table = np.array(one.by_question)  # [n, bins + 1]
    sums = np.stack([table.sum(axis=0), 2 * table[:50].sum(axis=0)], axis=1)
    assert metric.value(sums) == pytest.approx([metric.value(sums[:, n]) for n in (0, 1)])
    compared = difference("ece", metric, one, other)
    assert 0 < compared.low < other.value - one.value < compared.high
    assert compared.p < 0.01


def test_lower_is_better():
    for name, metric in make_metrics(["brier", "ece", "aurc"]).items():
        assert metric.better == "lower", name


@pytest.mark.parametrize(
    "name", ["ece@0", "ece@1.5", "ece@x", "ece@", "ece@1001", "brier@5", "ece@" + "9" * 5000]
)
def test_numbers_that_are_no_bins_are_errors(name):
    with pytest.raises(MetricError, match="metric"):
        make_metrics([name])

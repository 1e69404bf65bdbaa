"""Test comparisons with the baseline: laws, other libraries' p, and simulated errors."""

from __future__ import annotations

import time

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from ragcore.evaluation.choosing import make_metrics
from ragcore.evaluation.metrics.base import Mean, NoSettings
from ragcore.evaluation.resampling import EXCHANGES, p_values
from ragcore.experiments.results import Comparison
from ragcore.experiments.statistics import cohens_d, compare_with_baseline, holm
from tests.helpers.experiment_runs import made_report

MEAN = make_metrics(["log_prob"])["log_prob"]


class Lower(Mean):
    better = "lower"


class Neither(Mean):
    better = "neither"


class Loop(Mean):
    """A mean that does not compute many figures together."""

    def value(self, sums):
        return float(sums[0]) / float(sums[1])


def compared(baseline, *systems, metric: Mean = MEAN) -> list[Comparison]:
    """Compare lists of scores with the baseline's."""
    reports = [made_report({"m": scores}) for scores in (baseline, *systems)]
    return [rows["m"] for rows in compare_with_baseline({"m": metric}, reports[0], reports[1:])]


def table(scores) -> np.ndarray:
    return np.stack([np.asarray(scores, float), np.ones(len(scores))], axis=1)


scores = st.sampled_from([0.0, 0.1, 0.25, 0.3, 1 / 3, 1.0]) | st.floats(-5, 5, width=32)
pairs = st.lists(st.tuples(scores, scores), min_size=1, max_size=40)


@settings(max_examples=25, deadline=None)
@given(st.lists(scores, min_size=1, max_size=40))
def test_identical_systems_do_not_differ(same):
    (comparison,) = compared(same, same)
    assert (comparison.p, comparison.p_holm, comparison.effect) == (1.0, 1.0, 0.0)
    assert (comparison.difference, comparison.low, comparison.high) == (0.0, 0.0, 0.0)
    assert (comparison.wins, comparison.ties, comparison.losses) == (0, len(same), 0)
    assert not comparison.significant


@settings(max_examples=25, deadline=None)
@given(pairs)
def test_exchanging_the_two_negates_the_difference_and_leaves_p(rows):
    one, other = zip(*rows, strict=True)
    (there,), (back,) = compared(one, other), compared(other, one)
    assert back.difference == -there.difference
    assert back.p == there.p
    assert (back.wins, back.ties, back.losses) == (there.losses, there.ties, there.wins)
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low), abs=1e-9)
    assert back.effect == (None if there.effect is None else pytest.approx(-there.effect))


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holms_correction_is_monotone_and_no_smaller(ps):
    corrected = holm(ps)
    assert all(p <= p_holm <= 1 for p, p_holm in zip(ps, corrected, strict=True))
    in_order = [corrected[index] for index in np.argsort(ps, kind="stable")]
    assert in_order == sorted(in_order)
    # Never larger than Bonferroni's.
    assert all(q <= min(1, len(ps) * p) for p, q in zip(ps, corrected, strict=True))


def test_holms_correction_by_hand():
    # Holm (1979): 0.01 · 4, then 0.02 · 3, 0.03 · 2 and 0.04, each at least the one before.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.6, 0.001]) == pytest.approx([0.6, 0.002])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(scores, scores), min_size=2, max_size=8))
def test_p_of_few_questions_is_scipys_exact_one(rows):
    one, other = zip(*rows, strict=True)
    expected = scipy.stats.permutation_test(
        (np.array(other), np.array(one)),
        lambda x, y, axis=-1: x.mean(axis=axis) - y.mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=EXCHANGES,
    )
    assert compared(one, other)[0].p == pytest.approx(expected.pvalue, abs=1e-12)


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.1, 0.3])
def test_p_of_many_questions_is_scipys_within_its_error(shift):
    rng = np.random.default_rng(4)
    one = rng.random(80)
    other = one + shift + rng.normal(0, 0.4, 80)
    expected = scipy.stats.permutation_test(
        (other, one),
        lambda x, y, axis=-1: x.mean(axis=axis) - y.mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=EXCHANGES,
        rng=np.random.default_rng(5),
    ).pvalue
    (comparison,) = compared(one, other)
    # Both are shares of random exchanges: four standard errors of their difference.
    error = 4 * np.sqrt(2 * max(expected * (1 - expected), 1 / EXCHANGES) / EXCHANGES)
    assert comparison.p == pytest.approx(expected, abs=error)
    # Of normal differences the t-test asks nearly the same.
    assert comparison.p == pytest.approx(scipy.stats.ttest_rel(other, one).pvalue, abs=0.02)


def test_effect_sizes_by_hand():
    (comparison,) = compared([0.0, 0.0, 0.0, 0.0], [1.0, 2.0, 3.0, 2.0])
    gains = np.array([1.0, 2.0, 3.0, 2.0])
    assert comparison.effect == pytest.approx(2 / np.sqrt(2 / 3))
    # d is t by the square root of the number of questions.
    t = scipy.stats.ttest_rel(gains, np.zeros(4)).statistic
    assert comparison.effect == pytest.approx(t / 2)
    assert cohens_d(np.array([0.3, 0.1 + 0.2])) is None
    assert cohens_d(np.array([0.5])) is None
    assert cohens_d(np.zeros(3)) == 0.0


@pytest.mark.parametrize(
    ("metric", "counts"),
    [(MEAN, (2, 1, 0)), (Lower(NoSettings()), (0, 1, 2)), (Neither(NoSettings()), (None, 1, None))],
)
def test_wins_follow_the_metrics_direction(metric, counts):
    (comparison,) = compared([0.0, 0.0, 0.5], [1.0, 0.5, 0.5], metric=metric)
    assert (comparison.wins, comparison.ties, comparison.losses) == counts
    assert comparison.difference == pytest.approx(0.5)


def test_rounding_is_no_difference():
    scores = [-0.5, -8.25, -21.0, -3.0] * 5
    noise = [score * (1 + 3e-7 * (-1) ** index) for index, score in enumerate(scores)]
    (comparison,) = compared(scores, noise)
    assert (comparison.wins, comparison.ties, comparison.losses) == (0, 20, 0)
    assert (comparison.p, comparison.effect, comparison.difference) == (1, 0, 0)


def test_a_metric_that_is_no_mean_has_a_test_and_no_effect():
    metric = make_metrics(["bleu_1"])["bleu_1"]
    rng = np.random.default_rng(0)
    rows = [[tuple(map(float, rng.integers(1, 9, 3))) for _ in range(12)] for _ in range(2)]
    reports = [made_report({"b": [0.0] * 12}) for _ in rows]
    for report, numbers in zip(reports, rows, strict=True):
        object.__setattr__(report.figures[0], "by_question", tuple(numbers))
    (found,) = compare_with_baseline({"b": metric}, reports[0], reports[1:])
    comparison = found["b"]
    sums = [np.sum(numbers, axis=0) for numbers in rows]
    assert comparison.difference == pytest.approx(metric.value(sums[1]) - metric.value(sums[0]))
    assert 0 < comparison.p <= 1
    assert comparison.low < comparison.high
    assert (comparison.effect, comparison.wins, comparison.ties) == (None, None, None)


def test_a_figure_of_all_questions_together_has_a_difference_alone():
    metric = make_metrics(["selective_exact_match@80"])["selective_exact_match@80"]
    (comparison,) = compared([0.0, 1.0], [1.0, 1.0], metric=metric)
    assert comparison == Comparison(0.5, None, None, None, None, None, None, None, None, 2)


def test_comparisons_are_in_the_order_of_the_metrics():
    metrics = make_metrics(["f1", "log_prob_auroc", "hit@1"])
    reports = [made_report(dict.fromkeys(metrics, row)) for row in ([0.0, 1.0], [1.0, 1.0])]
    (found,) = compare_with_baseline(metrics, reports[0], reports[1:])
    assert list(found) == ["f1", "log_prob_auroc", "hit@1"]


def test_a_measure_that_counts_is_no_mean():
    (comparison,) = compared(
        [1.0, 2.0, 3.0], [2.0, 2.0, 5.0], metric=make_metrics(["NumRet"])["NumRet"]
    )
    assert comparison.difference == 3.0
    assert (comparison.effect, comparison.wins) == (None, None)


def test_questions_that_one_system_lacks_are_left_out_of_the_pair():
    baseline = made_report({"m": [0.0, None, 0.5, 1.0]}, ids=["a", "b", "c", "d"])
    system = made_report({"m": [1.0, 0.25, 9.0]}, ids=["d", "c", "b"])
    nothing = made_report({"m": [1.0]}, ids=["b"])
    absent = made_report({"other": [1.0]}, ids=["a"])
    found = compare_with_baseline({"m": MEAN}, baseline, [system, nothing, absent])
    assert found[0]["m"].questions == 2
    assert found[0]["m"].difference == pytest.approx((1 + 0.25) / 2 - (1 + 0.5) / 2)
    assert found[1:] == [{}, {}]


def test_correction_is_over_the_systems_of_a_metric():
    zeros, ones = [0.0] * 8, [1.0] * 8
    found = compared(zeros, ones, zeros, ones)
    # All ways: no exchange and all exchanged are as large, of 2^8.
    assert [each.p for each in found] == [2 / 2**8, 1.0, 2 / 2**8]
    assert [each.p_holm for each in found] == [6 / 2**8, 1.0, 6 / 2**8]


def test_metrics_that_take_arrays_and_others_have_the_same_test():
    rng = np.random.default_rng(2)
    one, other = rng.random(30), rng.random(30)
    assert not Loop.takes_arrays
    looped, together = p_values(
        [(Loop(NoSettings()), table(one), table(other)), (MEAN, table(one), table(other))]
    )
    assert looped == together


class Fragile(Mean):
    def value(self, sums):
        if sums[0] > 20:
            raise ValueError("too much")
        return float(sums[0])


def test_a_metric_that_fails_on_a_draw_leaves_the_others(caplog):
    reports = [made_report({"m": row, "f": row}) for row in ([1.0] * 14, [0.0] * 7 + [2.0] * 7)]
    metrics = {"m": MEAN, "f": Fragile(NoSettings())}
    (found,) = compare_with_baseline(metrics, reports[0], reports[1:])
    assert set(found) == {"m"}
    assert "f: no comparison with the baseline: too much" in caplog.text


class Ratio(Mean):
    """Sums by sums, which an exchange may leave without anything to divide by."""

    takes_arrays = True

    def value(self, sums):
        with np.errstate(invalid="ignore", divide="ignore"):
            return sums[0] / (sums[0] - 1)


# scipy's standard error of the draws.
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_a_figure_that_is_no_number_once_exchanged_is_not_significant(caplog):
    rows = [[3.0, 1.0, 0.0], [0.0, 0.0, 2.0]]
    reports = [made_report({"r": row}) for row in rows]
    (found,) = compare_with_baseline({"r": Ratio(NoSettings())}, reports[0], reports[1:])
    assert found == {}
    assert "r: no comparison with the baseline: its figure is no number" in caplog.text


def test_false_positives_are_as_many_as_the_level_says():
    """Of 1,000 experiments without an effect, 5 % are significant, within a 99 % interval."""
    rng = np.random.default_rng(7)
    experiments = 1000
    # Scores of nDCG's kind: many zeros and ties, skewed, the two systems alike in each question.
    difficulty = rng.beta(0.5, 0.8, (experiments, 40))
    draws = [
        np.round(np.clip(difficulty + rng.normal(0, 0.3, difficulty.shape), 0, 1), 2)
        for _ in range(2)
    ]
    ps = p_values([(MEAN, table(one), table(other)) for one, other in zip(*draws, strict=True)])
    low, high = scipy.stats.binom.interval(0.99, experiments, 0.05)
    assert low <= sum(p <= 0.05 for p in ps) <= high
    # Under no effect p is uniform.
    assert scipy.stats.kstest(ps, "uniform").pvalue > 0.01


def test_a_family_of_systems_has_few_false_positives():
    """Of 100 experiments of eight systems alike, some 5 have any system that is significant."""
    rng = np.random.default_rng(11)
    any_significant = 0
    for _ in range(100):
        difficulty = rng.random(25)
        rows = [np.clip(difficulty + rng.normal(0, 0.3, 25), 0, 1) for _ in range(9)]
        tables = [(MEAN, table(rows[0]), table(row)) for row in rows[1:]]
        any_significant += min(holm(p_values(tables))) <= 0.05
    assert any_significant <= scipy.stats.binom.ppf(0.995, 100, 0.05)


def test_a_real_effect_is_found():
    """A gain of 0.4 standard deviations in 100 questions is found 97 times of 100 by a t-test."""
    rng = np.random.default_rng(3)
    tables = []
    for _ in range(100):
        one = rng.random(100)
        tables.append((MEAN, table(one), table(one + 0.1 + rng.normal(0, 0.25, 100))))
    assert sum(p <= 0.05 for p in p_values(tables)) >= 92


def test_twelve_systems_and_ten_metrics_are_compared_in_seconds():
    rng = np.random.default_rng(0)
    names = [f"m{number}" for number in range(10)]
    reports = [made_report({name: rng.random(225) for name in names}) for _ in range(13)]
    before = time.process_time()
    found = compare_with_baseline(dict.fromkeys(names, MEAN), reports[0], reports[1:])
    assert time.process_time() - before < 10
    assert all(len(rows) == 10 for rows in found)

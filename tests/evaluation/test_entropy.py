"""Test metrics of the prior and the posterior, by their laws and against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy

from ragcore.errors import MetricError
from ragcore.evaluation.choosing import make_metrics
from ragcore.evaluation.figures import figures
from ragcore.evaluation.prediction import Prediction, RankedPassage

ENTROPIES = ("prior_entropy", "posterior_entropy", "prior_posterior_kl", "passages_for")


def prediction(prior: list[float], posterior: list[float] | None = None) -> Prediction:
    """Make a prediction that was read from passages of these probabilities."""
    pairs = zip(prior, prior if posterior is None else posterior, strict=True)
    passages = tuple(
        RankedPassage(f"p{rank}", "", 0.0, *pair, False) for rank, pair in enumerate(pairs)
    )
    return Prediction("q", "", (), False, (), "", -1.0, None, passages, confidence=math.exp(-1))


def value(name: str, *predictions: Prediction) -> float | None:
    (figure,) = figures(make_metrics([name]), predictions)
    assert figure.error is None, figure.error
    return figure.value


weights = st.lists(st.floats(0, 1) | st.just(1.0), min_size=1, max_size=8).filter(
    lambda each: sum(each) > 1e-3
)
distributions = weights.map(lambda each: (np.array(each) / sum(each)).tolist())


@st.composite
def pairs(draw: st.DrawFn) -> tuple[list[float], list[float]]:
    """Draw a prior without zeros and a posterior of as many passages."""
    prior = np.array(draw(st.lists(st.floats(1e-6, 1), min_size=1, max_size=8)))
    likelihoods = np.array([draw(st.floats(0, 1)) for _ in prior]) + 1e-9
    posterior = prior * likelihoods
    return (prior / prior.sum()).tolist(), (posterior / posterior.sum()).tolist()


@given(distributions)
def test_entropy_is_from_0_to_that_of_equal_shares(distribution):
    for name, one in (
        ("prior_entropy", prediction(distribution)),
        ("posterior_entropy", prediction([1.0] + [0.0] * (len(distribution) - 1), distribution)),
    ):
        found = value(name, one)
        assert found == pytest.approx(float(entropy(distribution)), abs=1e-9)
        assert 0 <= found <= math.log(len(distribution)) + 1e-9


def test_entropy_is_in_nats():
    assert value("prior_entropy", prediction([0.25] * 4)) == pytest.approx(math.log(4))
    assert value("prior_entropy", prediction([0.0, 1.0])) == 0.0
    # Sums that miss 1, as in single precision.
    assert value("prior_entropy", prediction([0.3333] * 3)) == pytest.approx(math.log(3), abs=1e-9)
    both = prediction([0.25] * 4), prediction([1.0])
    assert value("prior_entropy", *both) == pytest.approx(math.log(4) / 2)


@given(pairs())
def test_divergence_is_of_the_posterior_from_the_prior(pair):
    prior, posterior = pair
    found = value("prior_posterior_kl", prediction(prior, posterior))
    assert found == pytest.approx(float(entropy(posterior, prior)), abs=1e-9)
    assert found >= 0
    assert value("prior_posterior_kl", prediction(prior)) == pytest.approx(0, abs=1e-12)


def test_divergence_is_not_symmetric_and_finite():
    half, sure = [0.5, 0.5], [1.0, 0.0]
    assert value("prior_posterior_kl", prediction(half, sure)) == pytest.approx(math.log(2))
    assert 50 < value("prior_posterior_kl", prediction(sure, half)) < 52


@given(distributions, st.sampled_from([1, 50, 75, 90, 99, 99.9, 100]))
def test_so_many_passages_have_the_mass_and_fewer_have_not(distribution, mass):
    count = int(value(f"passages_for@{mass}", prediction(distribution)))
    falling = sorted(distribution, reverse=True)
    assert 1 <= count <= len(distribution)
    assert sum(falling[:count]) >= mass / 100 - 1e-6
    assert sum(falling[: count - 1]) < mass / 100


def test_passages_are_counted_by_falling_prior():
    rising = prediction([0.05, 0.05, 0.2, 0.7])
    assert value("passages_for@70", rising) == 1
    assert value("passages_for@90", rising) == 2
    assert value("passages_for", rising) == 4
    assert value("passages_for@99.9", prediction([0.9991, 0.0009]), rising) == (1 + 4) / 2
    # Sums that rounding makes too small.
    assert [value(f"passages_for@{10 * n}", prediction([0.1] * 10)) for n in range(1, 11)] == [
        float(n) for n in range(1, 11)
    ]


def test_questions_without_passages_are_left_out():
    for name in ENTROPIES:
        assert value(name, prediction([])) is None
        (figure,) = figures(make_metrics([name]), [prediction([]), prediction([0.5, 0.5])])
        assert figure.questions == 1


@pytest.mark.parametrize("wrong", [[math.nan, 1.0], [-0.5, 1.5], [0.0, 0.0], [math.inf, 1.0]])
def test_what_is_no_distribution_is_an_error(wrong):
    for name in ENTROPIES:
        (figure,) = figures(make_metrics([name]), [prediction(wrong)])
        assert "of question 'q' sums to" in figure.error


def test_no_value_is_better():
    names = [*ENTROPIES, "Judged@10", "NumQ", "NumRel", "NumRet"]
    assert {metric.better for metric in make_metrics(names).values()} == {"neither"}
    others = ["exact_match", "log_prob", "NumRet(rel=1)", "nDCG@10", "hit@5", "P(rel=2)@5"]
    assert {metric.better for metric in make_metrics(others).values()} == {"higher"}


@pytest.mark.parametrize(
    "name", ["passages_for@0", "passages_for@100.5", "passages_for@nan", "passages_for@1e2"]
)
def test_numbers_that_are_no_percentage_are_errors(name):
    with pytest.raises(MetricError, match="metric"):
        make_metrics([name])

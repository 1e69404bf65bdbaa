"""Compare the formulas with plain probabilities, and test the laws that follow from them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ragcore.marginalization import (
    geometric_log_prob,
    log_prior,
    next_token_log_prob,
    prefix_posterior,
    prior_of_answering,
    sequence_log_prob,
    token_log_prob,
    token_posterior,
)


def _case(seed: int, k: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    prior = log_prior(torch.randn(k, generator=rng, dtype=torch.float64))
    log_p = torch.log_softmax(torch.randn(k, length, 7, generator=rng, dtype=torch.float64), -1)
    return prior, log_p[..., 0]


cases = st.builds(_case, st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 5))


@given(cases)
def test_token_is_a_product_of_sums_and_sequence_a_sum_of_products(case):
    prior, log_p = case
    p_z, p = prior.exp().tolist(), log_p.exp().tolist()
    k, length = log_p.shape
    token = math.prod(sum(p_z[z] * p[z][i] for z in range(k)) for i in range(length))
    sequence = sum(p_z[z] * math.prod(p[z]) for z in range(k))
    assert math.isclose(token_log_prob(prior, log_p).exp(), token, rel_tol=1e-9)
    assert math.isclose(sequence_log_prob(prior, log_p).exp(), sequence, rel_tol=1e-9)


@given(cases)
def test_both_models_agree_on_one_token_targets_and_identical_passages(case):
    prior, log_p = case
    single = log_p[:, :1]
    torch.testing.assert_close(token_log_prob(prior, single), sequence_log_prob(prior, single))
    same = log_p[:1].expand_as(log_p)
    torch.testing.assert_close(token_log_prob(prior, same), sequence_log_prob(prior, same))


@given(cases)
def test_posteriors_sum_to_one_and_follow_bayes(case):
    prior, log_p = case
    token, prefix = token_posterior(prior, log_p), prefix_posterior(prior, log_p)
    for rows in (token, prefix):
        torch.testing.assert_close(rows.sum(-1), torch.ones(len(rows), dtype=torch.float64))
    joint = (prior.unsqueeze(-1) + log_p).exp()
    torch.testing.assert_close(token, (joint / joint.sum(0)).T)
    whole = (prior + log_p.sum(-1)).exp()
    torch.testing.assert_close(prefix[-1], whole / whole.sum())


@given(cases, st.randoms())
def test_the_order_of_passages_does_not_matter(case, random):
    prior, log_p = case
    order = list(range(len(prior)))
    random.shuffle(order)
    for marginal in (token_log_prob, sequence_log_prob):
        torch.testing.assert_close(marginal(prior, log_p), marginal(prior[order], log_p[order]))


@given(cases)
def test_missing_passages_and_padded_tokens_change_nothing(case):
    prior, log_p = case
    k, length = log_p.shape
    ragged_prior = torch.cat([prior, torch.full((2,), -math.inf, dtype=torch.float64)])
    ragged = torch.zeros(k + 2, length + 3, dtype=torch.float64)
    ragged[:k, :length] = log_p
    for marginal in (token_log_prob, sequence_log_prob):
        torch.testing.assert_close(marginal(prior, log_p), marginal(ragged_prior, ragged))


def test_the_prior_ignores_missing_passages_and_uses_its_temperature():
    scores = torch.tensor([2.0, 1.0, -math.inf])
    torch.testing.assert_close(log_prior(scores)[:2], log_prior(scores[:2]))
    assert log_prior(scores)[2] == -math.inf
    ratio = log_prior(scores, temperature=4.0)
    assert math.isclose(ratio[0] - ratio[1], 1 / 4, rel_tol=1e-5)


def test_a_one_token_answer_sends_gradient_to_the_retriever():
    scores = torch.tensor([1.0, 0.5, -math.inf], requires_grad=True)
    log_p = torch.tensor([[-0.1], [-3.0], [0.0]])
    for marginal in (token_log_prob, sequence_log_prob):
        (gradient,) = torch.autograd.grad(marginal(log_prior(scores), log_p), scores)
        assert torch.isfinite(gradient).all()
        assert gradient[0] > 0.01
        assert gradient[1] < -0.01
        assert gradient[2] == 0


def test_the_transition_is_normalised():
    prior = log_prior(torch.tensor([0.3, -1.0]))
    log_p = torch.log_softmax(torch.randn(2, 9), dim=-1)
    total = next_token_log_prob(prior, log_p).exp().sum()
    torch.testing.assert_close(total, torch.tensor(1.0))


def test_the_geometric_mean_is_small_where_one_passage_is_sure():
    prior = np.log([0.5, 0.25, 0.25])
    unknown = np.log([0.9, 0.9, 0.01])
    expected = 0.9**0.75 * 0.01**0.25
    assert math.exp(geometric_log_prob(prior, unknown)) == pytest.approx(expected)
    assert expected < math.exp(sequence_log_prob(prior, unknown[:, None]))
    # A passage that cannot say it decides, unless it has no prior.
    impossible = np.array([math.log(0.9), math.log(0.9), -math.inf])
    assert geometric_log_prob(prior, impossible) == -math.inf
    without = np.array([math.log(0.5), math.log(0.5), -math.inf])
    assert math.exp(geometric_log_prob(without, impossible)) == pytest.approx(0.9)


@pytest.mark.parametrize("array", [np.array, torch.tensor])
def test_a_small_prior_is_enough_for_a_passage_to_make_the_geometric_mean_zero(array):
    prior = log_prior(array([0.0, -70.0, -math.inf]))
    assert geometric_log_prob(prior, array([0.0, -math.inf, -math.inf])) == -math.inf
    assert geometric_log_prob(prior, array([0.0, 0.0, -math.inf])) == 0


@given(
    rows=st.lists(
        st.tuples(st.floats(-30, 30), st.lists(st.floats(-40, 0), min_size=3, max_size=3)),
        min_size=1,
        max_size=5,
    )
)
def test_the_geometric_mean_is_never_above_the_marginal(rows):
    prior = log_prior(np.array([score for score, _ in rows]))
    log_p = np.array([log_probs for _, log_probs in rows])
    geometric = geometric_log_prob(prior, log_p.sum(-1))
    assert geometric <= token_log_prob(prior, log_p) + 1e-9
    assert geometric <= sequence_log_prob(prior, log_p) + 1e-9


FORMULAS = {
    "prior": lambda scores, log_p: log_prior(scores, 0.7),
    "prior_of_answering": lambda scores, log_p: prior_of_answering(
        log_prior(scores), log_p.sum(-1)
    ),
    "geometric": lambda scores, log_p: geometric_log_prob(log_prior(scores), log_p.sum(-1)),
    "next_token": lambda scores, log_p: next_token_log_prob(log_prior(scores), log_p),
    "token": lambda scores, log_p: token_log_prob(log_prior(scores), log_p),
    "sequence": lambda scores, log_p: sequence_log_prob(log_prior(scores), log_p),
    "token_posterior": lambda scores, log_p: token_posterior(log_prior(scores), log_p),
    "prefix_posterior": lambda scores, log_p: prefix_posterior(log_prior(scores), log_p),
}


@pytest.mark.parametrize("name", FORMULAS)
@given(
    seed=st.integers(0, 10_000),
    shape=st.lists(st.integers(1, 5), min_size=2, max_size=3),
    scale=st.sampled_from([0.1, 1.0, 50.0, 1000.0]),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_arrays_of_numpy_and_of_torch_have_the_same_results(name, seed, shape, scale, dtype):
    """Also where passages do not exist, tokens are impossible, and numbers are large."""
    rng = np.random.default_rng(seed)
    scores = (scale * rng.standard_normal(shape)).astype(dtype)  # [..., k]
    missing = rng.random(shape) < 0.3
    missing[..., 0] = False
    scores[missing] = -np.inf
    log_p = (-scale * rng.random((*shape, 4))).astype(dtype)  # [..., k, T]
    # A token may be impossible under a passage, but not under all of them.
    log_p[..., 1:, :][rng.random((*shape[:-1], shape[-1] - 1, 4)) < 0.2] = -np.inf
    formula = FORMULAS[name]
    expected = formula(torch.from_numpy(scores), torch.from_numpy(log_p))
    actual = formula(scores, log_p)
    assert isinstance(actual, np.ndarray) or np.isscalar(actual)
    assert actual.dtype == dtype
    tolerance = 2e-5 if dtype == np.float32 else 1e-10
    np.testing.assert_allclose(actual, expected.numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [np.int64, np.float16, np.float32])
def test_a_prior_is_at_least_float32(dtype):
    scores = np.array([3, 2, 2], dtype)
    assert log_prior(scores).dtype == np.float32
    assert log_prior(torch.from_numpy(scores)).dtype == torch.float32
    expected = log_prior(torch.from_numpy(scores)).numpy()
    np.testing.assert_allclose(log_prior(scores), expected, rtol=1e-6)


@pytest.mark.parametrize(("k", "length"), [(20_000, 1), (5, 10_000)])
def test_thousands_of_passages_or_tokens_do_not_add_up_rounding_of_float32(k, length):
    rng = np.random.default_rng(k)
    prior = log_prior(3 * rng.standard_normal(k))
    log_p = -rng.exponential(size=(k, length))
    single = prior.astype(np.float32), log_p.astype(np.float32)
    np.testing.assert_allclose(log_prior(single[0]), prior, atol=1e-5)
    expected = next_token_log_prob(single[0].astype(np.float64), single[1].astype(np.float64))
    np.testing.assert_allclose(next_token_log_prob(*single), expected, atol=1e-6)
    # A log p of -10,000 has a precision of 1e-3 in float32, a difference of two a share of it.
    expected = prefix_posterior(single[0].astype(np.float64), single[1].astype(np.float64))
    np.testing.assert_allclose(prefix_posterior(*single), expected, atol=5e-4)

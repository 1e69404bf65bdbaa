"""Compare the losses with plain loops over the definition, and test the laws they follow."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ragcore.marginalization import log_prior
from ragcore.training.loss import (
    distillation_loss,
    marginal_loss,
    next_token_log_probs,
    smoothed_loss,
)
from ragcore.training.schedule import Batches, learning_rate_factor, seed_of

MODELS = ["token", "sequence"]


def drawn(seed: int, questions: int = 3, k: int = 4, length: int = 3, vocabulary: int = 5):
    """Draw scores with a missing passage, log p of all tokens, and targets of unequal lengths."""
    rng = torch.Generator().manual_seed(seed)
    scores = torch.randn(questions, k, generator=rng, dtype=torch.float64)
    scores[0, -1] = -torch.inf
    shape = (questions, k, length, vocabulary)
    everything = torch.randn(shape, generator=rng, dtype=torch.float64).log_softmax(-1)
    targets = torch.randint(vocabulary, (questions, length), generator=rng)
    targets[1, -1] = -1
    return scores, everything, targets


def at_targets(everything: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    chosen = targets.clamp(min=0)[:, None, :, None].expand(*everything.shape[:3], 1)
    return everything.gather(3, chosen)[..., 0].masked_fill(targets[:, None] < 0, 0.0)


def by_plain_loops(marginalize, scores, everything, targets) -> list[float]:
    losses = []
    for row, log_p, target in zip(scores, everything, targets, strict=True):
        prior = row.softmax(0).tolist()
        tokens = [token for token in target.tolist() if token >= 0]
        steps = [
            [log_p[z, i, y].exp().item() for z in range(len(prior))] for i, y in enumerate(tokens)
        ]
        if marginalize == "token":
            p = math.prod(sum(w * q for w, q in zip(prior, step, strict=True)) for step in steps)
        else:
            p = sum(w * math.prod(step[z] for step in steps) for z, w in enumerate(prior))
        losses.append(-math.log(p))
    return losses


@pytest.mark.parametrize("marginalize", MODELS)
@pytest.mark.parametrize("seed", range(5))
def test_the_loss_is_the_negative_log_of_the_marginal(marginalize, seed):
    scores, everything, targets = drawn(seed)
    losses = marginal_loss(marginalize, log_prior(scores), at_targets(everything, targets))
    assert losses.tolist() == pytest.approx(
        by_plain_loops(marginalize, scores, everything, targets)
    )


@pytest.mark.parametrize("marginalize", MODELS)
def test_next_token_log_probs_are_distributions_that_sum_to_the_marginal(marginalize):
    scores, everything, targets = drawn(1)
    log_p = next_token_log_probs(marginalize, log_prior(scores), everything, targets)
    assert torch.allclose(log_p.exp().sum(-1), torch.ones(3, 3, dtype=torch.float64))
    chosen = log_p.gather(2, targets.clamp(min=0)[..., None])[..., 0]
    total = -chosen.masked_fill(targets < 0, 0.0).sum(1)
    expected = marginal_loss(marginalize, log_prior(scores), at_targets(everything, targets))
    assert torch.allclose(total, expected)


@pytest.mark.parametrize("marginalize", MODELS)
def test_smoothing_by_0_is_the_loss_and_by_1_is_uniform(marginalize):
    scores, everything, targets = drawn(2)
    prior = log_prior(scores)
    plain = marginal_loss(marginalize, prior, at_targets(everything, targets))
    assert torch.allclose(smoothed_loss(marginalize, prior, everything, targets, 0.0), plain)
    log_p = next_token_log_probs(marginalize, prior, everything, targets)
    uniform = -log_p.mean(2).masked_fill(targets < 0, 0.0).sum(1)
    assert torch.allclose(smoothed_loss(marginalize, prior, everything, targets, 1.0), uniform)
    half = smoothed_loss(marginalize, prior, everything, targets, 0.5)
    assert torch.allclose(half, (plain + uniform) / 2)


@pytest.mark.parametrize("marginalize", MODELS)
def test_a_smoothed_gradient_is_finite_where_a_passage_is_missing(marginalize):
    scores, everything, targets = drawn(3)
    scores.requires_grad_()
    smoothed_loss(marginalize, log_prior(scores), everything, targets, 0.1).sum().backward()
    assert torch.isfinite(scores.grad).all()
    assert scores.grad[0, -1] == 0
    assert (scores.grad[1] != 0).all()


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 999),
    target=st.sampled_from(["likelihood", "posterior"]),
    direction=st.sampled_from(["target-prior", "prior-target"]),
    temperature=st.floats(0.3, 5.0),
)
def test_distillation_is_the_divergence_by_its_definition(seed, target, direction, temperature):
    scores, everything, targets = drawn(seed)
    log_p = at_targets(everything, targets)
    prior = log_prior(scores)
    losses = distillation_loss(
        prior, log_p, target=target, direction=direction, temperature=temperature
    )
    for row in range(3):
        exists = [z for z in range(4) if scores[row, z] > -math.inf]
        logits = log_p[row, exists].sum(1) + (prior[row, exists] if target == "posterior" else 0)
        p_target = (logits / temperature).softmax(0)
        p_prior = prior[row, exists].exp()
        p, q = (p_target, p_prior) if direction == "target-prior" else (p_prior, p_target)
        expected = (p * (p / q).log()).sum()
        assert losses[row].item() == pytest.approx(expected.item(), abs=1e-9)
        assert losses[row] >= -1e-12


def test_distillation_sends_no_gradient_to_the_generator():
    scores, everything, targets = drawn(4)
    scores.requires_grad_()
    log_p = at_targets(everything, targets).requires_grad_()
    for target, direction in itertools.product(
        ("likelihood", "posterior"), ("target-prior", "prior-target")
    ):
        loss = distillation_loss(log_prior(scores), log_p, target=target, direction=direction)
        of_scores, of_log_p = torch.autograd.grad(loss.sum(), [scores, log_p], allow_unused=True)
        assert of_log_p is None or not of_log_p.any()
        assert torch.isfinite(of_scores).all()
        assert of_scores[1].any()


@given(count=st.integers(1, 30), size=st.integers(1, 12), seed=st.integers(0, 5))
def test_each_epoch_has_every_example_once(count, size, seed):
    batches = Batches(count, size, seed)
    steps = -(-2 * count // size)
    row = [example for step in range(steps) for example in batches.at(step)]
    assert sorted(row[:count]) == sorted(row[count : 2 * count]) == list(range(count))
    assert Batches(count, size, seed).at(steps - 1) == batches.at(steps - 1)


def test_another_seed_has_another_order():
    assert Batches(50, 50, 0).at(0) != Batches(50, 50, 1).at(0) != Batches(50, 50, 1).at(1)
    assert seed_of("a", 1, 23) != seed_of("a", 12, 3)


def test_the_learning_rate_rises_and_falls():
    factors = [learning_rate_factor(step, 10, 3, "linear") for step in range(10)]
    assert factors[:3] == [0.25, 0.5, 0.75]
    assert factors[3] == 1.0
    assert factors == sorted(factors[:3]) + sorted(factors[3:], reverse=True)
    assert factors[-1] == pytest.approx(1 / 7)
    assert [learning_rate_factor(step, 10, 0, "none") for step in range(10)] == [1.0] * 10

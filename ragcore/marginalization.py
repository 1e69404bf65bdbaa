"""Compute marginals over passages: Lewis et al. (2020), section 2, as functions of arrays.

Each formula is written once, for NumPy arrays and for torch tensors, and returns what it was
passed. Knows arrays and token ids; knows nothing of retrieval or models. Everything is in log space
and float32 or better. B questions, k passages, T target tokens, V vocabulary. Two conventions let
batches of unequal lengths be plain arrays, and both follow from the formulas:

- a passage that does not exist has log prior -inf, so its weight is 0;
- a padded target position (token -1) has log probability 0.0 under every passage; since the prior
  sums to 1, it adds nothing to either marginal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Literal

from ragcore.arrays import (
    Array,
    at_least_float32,
    cumsum,
    log_not,
    log_softmax,
    logsumexp,
    softmax,
    weighted_sum,
)

if TYPE_CHECKING:
    import torch

__all__ = [
    "Marginal",
    "geometric_log_prob",
    "log_prior",
    "next_token_log_prob",
    "pad_targets",
    "prefix_posterior",
    "prior_of_answering",
    "sequence_log_prob",
    "token_log_prob",
    "token_posterior",
]

Marginal = Literal["token", "sequence"]
"""RAG-Token or RAG-Sequence."""

_ALMOST_CERTAIN: Final = -1e-6
"""The highest log p(unknown|x,z) that is used, so that each passage keeps some prior."""


def log_prior(scores: Array, temperature: float = 1.0) -> Array:
    """Compute log p(z|x), a log-softmax over the retrieved passages (paper, section 2.2).

    p(z|x) ∝ exp(score(z, x) / temperature). In the paper the score is the inner product d(z)ᵀq(x)
    and the temperature 1.

    Args:
        scores: [..., k]; -inf where there is no passage. At least one score is finite.
        temperature: above 1 flattens the prior, below 1 sharpens it.

    Returns:
        [..., k] float32 or the wider type of `scores`; exp sums to 1 over k.
    """
    # p(z|x) = exp(score(z, x)) / Σ_z' exp(score(z', x))
    return log_softmax(at_least_float32(scores) / temperature, -1)  # [..., k]


def prior_of_answering(log_prior: Array, abstains: Array) -> Array:
    """Condition a prior on the passage's holding an answer (ragcore/decoding/abstention.py).

    Args:
        log_prior: [..., k], log p(z|x).
        abstains: [..., k], log p(unknown|x,z).

    Returns:
        [..., k], log p(z|x, z answers).
    """
    # p(z|x, z answers) ∝ p(z|x) (1 − p(unknown|x,z))
    return log_softmax(log_prior + log_not(abstains, _ALMOST_CERTAIN), -1)  # [..., k]


def geometric_log_prob(log_prior: Array, log_p: Array) -> Array:
    """Compute the geometric mean of p(y|x,z) over passages, weighted by the prior.

    It is never above the marginal p(y|x) of RAG-Token or RAG-Sequence, and is low where y is
    improbable under one passage with some prior.

    Args:
        log_prior: [..., k], log p(z|x).
        log_p: [..., k], log p(y|x,z).

    Returns:
        [...], log Π_z p(y|x,z)^p(z|x) = Σ_z p(z|x) log p(y|x,z); -inf where y is impossible under
        a passage with some prior.
    """
    return weighted_sum(softmax(log_prior, -1), log_p, -1)  # [...]


def next_token_log_prob(log_prior: Array, log_p: Array) -> Array:
    """Compute RAG-Token's transition probability of every token y_i (paper, section 2.5).

    Args:
        log_prior: [..., k], log p(z|x).
        log_p: [..., k, V], log p(y_i|x,z,y_<i).

    Returns:
        [..., V], log Σ_z p(z|x) p(y_i|x,z,y_<i).
    """
    joint = log_prior[..., None] + log_p  # [..., k, V]
    # p'(y_i|x,y_<i) = Σ_z p(z|x) p(y_i|x,z,y_<i)
    return logsumexp(joint, -2)  # [..., V]


def token_log_prob(log_prior: Array, log_p: Array) -> Array:
    """Compute RAG-Token's log p(y|x) of a target (paper, section 2.1).

    Args:
        log_prior: [..., k], log p(z|x).
        log_p: [..., k, T], log p(y_i|x,z,y_<i) of the target's tokens.

    Returns:
        [...], Σ_i log Σ_z p(z|x) p(y_i|x,z,y_<i).
    """
    # p(y|x) = Π_i Σ_z p(z|x) p(y_i|x,z,y_<i)
    log_prob: Array = next_token_log_prob(log_prior, log_p).sum(-1)  # [..., T] → [...]
    return log_prob


def sequence_log_prob(log_prior: Array, log_p: Array) -> Array:
    """Compute RAG-Sequence's log p(y|x) of a target (paper, section 2.1).

    Arguments as `token_log_prob`.

    Returns:
        [...], log Σ_z p(z|x) Π_i p(y_i|x,z,y_<i).
    """
    joint = log_prior + log_p.sum(-1)  # [..., k]
    # p(y|x) = Σ_z p(z|x) Π_i p(y_i|x,z,y_<i)
    return logsumexp(joint, -1)  # [...]


def token_posterior(log_prior: Array, log_p: Array) -> Array:
    """Compute RAG-Token's posterior of the passages at each token (paper, figure 2).

    RAG-Token draws a passage for each token independently, so only y_i tells which one it was.

    Args:
        log_prior: [..., k], log p(z|x).
        log_p: [..., k, T], log p(y_i|x,z,y_<i).

    Returns:
        [..., T, k], p(z|x,y_<=i); rows sum to 1.
    """
    joint = log_prior[..., None] + log_p  # [..., k, T]
    # p(z|x,y_<=i) ∝ p(z|x) p(y_i|x,z,y_<i)
    return softmax(joint.swapaxes(-1, -2), -1)  # [..., T, k]


def prefix_posterior(log_prior: Array, log_p: Array) -> Array:
    """Compute RAG-Sequence's posterior of the passages after each prefix of the target.

    RAG-Sequence draws one passage for the whole answer. Arguments as `token_posterior`.

    Returns:
        [..., T, k], p(z|x,y_<=i); rows sum to 1, the last row is p(z|x,y).
    """
    # p(z|x,y_<=i) ∝ p(z|x) Π_{j<=i} p(y_j|x,z,y_<j)
    return token_posterior(log_prior, cumsum(log_p, -1))  # [..., T, k]


def pad_targets(targets: Sequence[Sequence[int]]) -> torch.Tensor:
    """Stack M targets of token ids into one int64 tensor [M, T], padded with -1."""
    import torch

    rows = [torch.tensor(target, dtype=torch.int64) for target in targets]
    padded: torch.Tensor = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1)
    return padded  # [M, T]

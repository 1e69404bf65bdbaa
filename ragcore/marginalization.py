"""Marginalisation over passages: Lewis et al. (2020), section 2, as tensor functions.

Knows tensors only; nothing of retrieval, tokens or models. Everything is in log space and float32
or better. B questions, k passages, T target tokens, V vocabulary. Two conventions let ragged
batches be plain tensors, and both follow from the formulas:

- a passage that does not exist has log prior -inf, and weighs nothing;
- a padded target position has log probability 0.0 under every passage, and since the prior sums
  to one it adds nothing to either marginal.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = [
    "log_prior",
    "next_token_log_prob",
    "prefix_posterior",
    "sequence_log_prob",
    "token_log_prob",
    "token_posterior",
]


def log_prior(scores: Tensor, temperature: float = 1.0) -> Tensor:
    """log p(z|x), a log-softmax over the passages that were found.

    p(z|x) ∝ exp(score(z, x) / temperature); the paper's inner product d(z)ᵀq(x), temperature 1.

    Args:
        scores: [..., k]; -inf where there is no passage. At least one is finite.
        temperature: above 1 flattens the prior, below 1 sharpens it.

    Returns:
        [..., k] float32 or the wider type of `scores`; exp sums to 1 over k.
    """
    scores = scores if scores.dtype == torch.float64 else scores.float()
    return torch.log_softmax(scores / temperature, dim=-1)


def next_token_log_prob(log_prior: Tensor, log_p: Tensor) -> Tensor:
    """RAG-Token's transition: log Σ_z p(z|x) p(y_i|x,z,y_<i) for every y_i.

    Args:
        log_prior: [..., k].
        log_p: [..., k, V].

    Returns:
        [..., V].
    """
    return torch.logsumexp(log_prior.unsqueeze(-1) + log_p, dim=-2)


def token_log_prob(log_prior: Tensor, log_p: Tensor) -> Tensor:
    """RAG-Token: log p(y|x) = Σ_i log Σ_z p(z|x) p(y_i|x,z,y_<i).

    Args:
        log_prior: [..., k].
        log_p: [..., k, T], log p(y_i|x,z,y_<i) of the target's tokens.

    Returns:
        [...].
    """
    return next_token_log_prob(log_prior, log_p).sum(dim=-1)


def sequence_log_prob(log_prior: Tensor, log_p: Tensor) -> Tensor:
    """RAG-Sequence: log p(y|x) = log Σ_z p(z|x) Π_i p(y_i|x,z,y_<i); shapes as `token_log_prob`."""
    return torch.logsumexp(log_prior + log_p.sum(dim=-1), dim=-1)


def token_posterior(log_prior: Tensor, log_p: Tensor) -> Tensor:
    """RAG-Token: p(z|x,y_<=i) ∝ p(z|x) p(y_i|x,z,y_<i), the paper's figure 2.

    Each token draws its passage anew, so that only y_i speaks for z.

    Args:
        log_prior: [..., k].
        log_p: [..., k, T].

    Returns:
        [..., T, k], rows sum to 1.
    """
    return torch.softmax((log_prior.unsqueeze(-1) + log_p).transpose(-1, -2), dim=-1)


def prefix_posterior(log_prior: Tensor, log_p: Tensor) -> Tensor:
    """RAG-Sequence: p(z|x,y_<=i) ∝ p(z|x) Π_{j<=i} p(y_j|x,z,y_<j), for every prefix.

    One passage is drawn for the whole answer; the last row is p(z|x,y). Shapes as
    `token_posterior`.
    """
    return token_posterior(log_prior, log_p.cumsum(dim=-1))

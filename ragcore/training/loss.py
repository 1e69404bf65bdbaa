"""Compute what training minimises: -log of the marginal, and a loss for the retriever alone.

Knows tensors only; knows nothing of retrieval or models. B questions, k passages, T target tokens,
V vocabulary. As in `ragcore.marginalization`, a passage that does not exist has log prior -inf, and
a padded target position has log-probability 0. Every loss is per question, [B].
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ragcore.marginalization import (
    Marginal,
    next_token_log_prob,
    sequence_log_prob,
    token_log_prob,
)

__all__ = ["distillation_loss", "marginal_loss", "next_token_log_probs", "smoothed_loss"]


def marginal_loss(marginalize: Marginal, log_prior: Tensor, log_p: Tensor) -> Tensor:
    """Compute the paper's loss, -log p(y|x) (section 2.4).

    Args:
        marginalize: RAG-Token or RAG-Sequence.
        log_prior: [B, k], log p(z|x).
        log_p: [B, k, T], log p(y_i|x,z,y_<i) of the target's tokens.

    Returns:
        [B].
    """
    if marginalize == "token":
        # -log Π_i Σ_z p(z|x) p(y_i|x,z,y_<i)
        return -token_log_prob(log_prior, log_p)  # [B]
    # -log Σ_z p(z|x) Π_i p(y_i|x,z,y_<i)
    return -sequence_log_prob(log_prior, log_p)  # [B]


def next_token_log_probs(
    marginalize: Marginal, log_prior: Tensor, log_p_all: Tensor, targets: Tensor
) -> Tensor:
    """Compute log p(v|x,y_<i) of every token v after every prefix of the target.

    RAG-Token draws a passage for each token: Σ_z p(z|x) p(v|x,z,y_<i). RAG-Sequence draws one for
    the answer, and the prefix tells something about which: Σ_z p(z|x,y_<i) p(v|x,z,y_<i). In both
    the sum over the target's own tokens is log p(y|x).

    Args:
        marginalize: RAG-Token or RAG-Sequence.
        log_prior: [B, k], log p(z|x).
        log_p_all: [B, k, T, V], log p(v|x,z,y_<i).
        targets: int64 [B, T], padded with -1.

    Returns:
        [B, T, V].
    """
    # RAG-Token: p(z|x) at every token.
    weights = log_prior.unsqueeze(-1).expand(-1, -1, targets.shape[1])  # [B, k, T]
    if marginalize == "sequence":
        index = targets.clamp(min=0)[:, None, :, None]  # [B, 1, T, 1]
        index = index.expand(-1, log_prior.shape[1], -1, -1)  # [B, k, T, 1]
        log_p = log_p_all.gather(3, index)[..., 0]  # [B, k, T]
        # log p(y_<i|x,z): the sum over the tokens before i, 0 for the first.
        before = torch.nn.functional.pad(log_p.cumsum(dim=2)[..., :-1], (1, 0))  # [B, k, T]
        # p(z|x,y_<i) ∝ p(z|x) p(y_<i|x,z)
        weights = torch.log_softmax(weights + before, dim=1)  # [B, k, T]
    # Σ_z w_z p(v|x,z,y_<i), from [B, T, k] and [B, T, k, V].
    return next_token_log_prob(weights.transpose(1, 2), log_p_all.transpose(1, 2))  # [B, T, V]


def smoothed_loss(
    marginalize: Marginal, log_prior: Tensor, log_p_all: Tensor, targets: Tensor, smoothing: float
) -> Tensor:
    """Compute `marginal_loss` with label smoothing (Szegedy et al., 2016) of the marginal.

    Each token's target is (1 - smoothing) on y_i and smoothing / V on every token. It is compared
    with the distribution that is decoded, the marginal, not with that of one passage. Tokens that
    no passage allows, as a second end token, are not among the V.

    Args:
        marginalize: RAG-Token or RAG-Sequence.
        log_prior: [B, k], log p(z|x).
        log_p_all: [B, k, T, V], log p(v|x,z,y_<i).
        targets: int64 [B, T], padded with -1.
        smoothing: from 0 to 1.

    Returns:
        [B].
    """
    impossible = torch.isneginf(log_p_all)  # [B, k, T, V]
    # Finite: a sum over -inf alone has no gradient, and would spoil that of the prior.
    log_p_all = log_p_all.masked_fill(impossible, torch.finfo(log_p_all.dtype).min / 2)
    log_p = next_token_log_probs(marginalize, log_prior, log_p_all, targets)  # [B, T, V]
    right = log_p.gather(2, targets.clamp(min=0)[:, :, None])[:, :, 0]  # [B, T]
    # Σ_v target(v) log p(v|x,y_<i)
    ignored = impossible.all(dim=1)  # [B, T, V]
    mean = log_p.masked_fill(ignored, 0.0).sum(dim=2) / (~ignored).sum(dim=2).clamp(min=1)
    by_token = (1 - smoothing) * right + smoothing * mean  # [B, T]
    return -by_token.masked_fill(targets < 0, 0.0).sum(dim=1)  # [B]


def distillation_loss(
    log_prior: Tensor,
    log_p: Tensor,
    *,
    target: Literal["likelihood", "posterior"] = "likelihood",
    direction: Literal["target-prior", "prior-target"] = "target-prior",
    temperature: float = 1.0,
) -> Tensor:
    """Compute the divergence between the prior and the generator's preference among the passages.

    The target is softmax_z(log p(y|x,z) / temperature), the generator's likelihood alone (the
    perplexity distillation of Izacard et al., 2022), or the posterior p(z|x,y), which includes the
    prior: softmax_z((log p(z|x) + log p(y|x,z)) / temperature). The target carries no gradient.

    Args:
        log_prior: [B, k], log p(z|x).
        log_p: [B, k, T], log p(y_i|x,z,y_<i).
        target: which of the two.
        direction: "target-prior" is KL(target || prior), which wants the prior to cover every
            passage that the target favours; "prior-target" is KL(prior || target), for which one
            such passage is enough.
        temperature: above 1 flattens the target.

    Returns:
        [B], at least 0.
    """
    exists = ~torch.isneginf(log_prior)  # [B, k]
    # log p(y|x,z) = Σ_i log p(y_i|x,z,y_<i)
    likelihood = log_p.sum(dim=2).masked_fill(~exists, -torch.inf)  # [B, k]
    logits = likelihood if target == "likelihood" else log_prior + likelihood
    log_target = torch.log_softmax(logits.detach() / temperature, dim=1)  # [B, k]
    log_p_z, log_q_z = (
        (log_target, log_prior) if direction == "target-prior" else (log_prior, log_target)
    )
    # KL(p || q) = Σ_z p(z) (log p(z) - log q(z)); -inf minus -inf would be NaN.
    difference = torch.where(exists, log_p_z, 0.0) - torch.where(exists, log_q_z, 0.0)  # [B, k]
    return (torch.where(exists, log_p_z, -torch.inf).exp() * difference).sum(dim=1)  # [B]

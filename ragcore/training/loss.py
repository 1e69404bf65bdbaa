"""What training minimises: the negative log of the marginal, and losses for the retriever alone.

Tensor functions, which know nothing of retrieval or models. B questions, k passages, T target
tokens, V vocabulary. As in `ragcore.marginalization` a passage that is not there has log prior
-inf, and a padded target position has log-probability 0. Every loss is by question, [B].
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
    """-log p(y|x), RAG-Token's or RAG-Sequence's (paper, section 2.4).

    Args:
        marginalize: which of the two.
        log_prior: [B, k].
        log_p: [B, k, T], log p(y_i|x,z,y_<i) of the target's tokens.

    Returns:
        [B].
    """
    if marginalize == "token":
        return -token_log_prob(log_prior, log_p)
    return -sequence_log_prob(log_prior, log_p)


def next_token_log_probs(
    marginalize: Marginal, log_prior: Tensor, log_p_all: Tensor, targets: Tensor
) -> Tensor:
    """log p(v|x,y_<i) of every token v after every prefix of the target.

    RAG-Token draws a passage for each token: Σ_z p(z|x) p(v|x,z,y_<i). RAG-Sequence draws one for
    the answer, of which the prefix has told something: Σ_z p(z|x,y_<i) p(v|x,z,y_<i). In both the
    sum over the target's own tokens is log p(y|x).

    Args:
        marginalize: which of the two.
        log_prior: [B, k].
        log_p_all: [B, k, T, V].
        targets: int64 [B, T], padded with -1.

    Returns:
        [B, T, V].
    """
    weights = log_prior.unsqueeze(-1).expand(-1, -1, targets.shape[1])
    if marginalize == "sequence":
        chosen = targets.clamp(min=0)[:, None, :, None].expand(-1, log_prior.shape[1], -1, -1)
        log_p = log_p_all.gather(3, chosen)[..., 0]
        before = torch.nn.functional.pad(log_p.cumsum(dim=2)[..., :-1], (1, 0))
        weights = torch.log_softmax(weights + before, dim=1)
    return next_token_log_prob(weights.transpose(1, 2), log_p_all.transpose(1, 2))


def smoothed_loss(
    marginalize: Marginal, log_prior: Tensor, log_p_all: Tensor, targets: Tensor, smoothing: float
) -> Tensor:
    """`marginal_loss` with label smoothing (Szegedy et al., 2016) of the marginal distribution.

    Each token's target is (1 - smoothing) on y_i and smoothing / V on every token. What is smoothed
    is what the model says when it is decoded, the marginal: not what it says of one passage.

    Args:
        marginalize: RAG-Token or RAG-Sequence.
        log_prior: [B, k].
        log_p_all: [B, k, T, V].
        targets: int64 [B, T], padded with -1.
        smoothing: from 0 to 1.

    Returns:
        [B].
    """
    log_p = next_token_log_probs(marginalize, log_prior, log_p_all, targets)
    right = log_p.gather(2, targets.clamp(min=0)[:, :, None])[:, :, 0]
    by_token = (1 - smoothing) * right + smoothing * log_p.mean(dim=2)
    return -by_token.masked_fill(targets < 0, 0.0).sum(dim=1)


def distillation_loss(
    log_prior: Tensor,
    log_p: Tensor,
    *,
    target: Literal["likelihood", "posterior"] = "likelihood",
    direction: Literal["target-prior", "prior-target"] = "target-prior",
    temperature: float = 1.0,
) -> Tensor:
    """How far the prior is from what the generator says of the passages; no gradient reaches that.

    The target is softmax_z(log p(y|x,z) / temperature), what the generator alone says (the
    perplexity distillation of Izacard et al., 2022), or the posterior p(z|x,y), which has the prior
    in it: softmax_z((log p(z|x) + log p(y|x,z)) / temperature).

    Args:
        log_prior: [B, k].
        log_p: [B, k, T].
        target: which of the two.
        direction: "target-prior" is KL(target || prior), which wants every passage covered that
            the target likes; "prior-target" is KL(prior || target), which is content with one.
        temperature: above 1 flattens the target.

    Returns:
        [B], at least 0.
    """
    likelihood = log_p.sum(dim=2).masked_fill(torch.isneginf(log_prior), -torch.inf)
    said = likelihood if target == "likelihood" else log_prior + likelihood
    wanted = torch.log_softmax(said.detach() / temperature, dim=1)
    one, other = (wanted, log_prior) if direction == "target-prior" else (log_prior, wanted)
    there = ~torch.isneginf(log_prior)
    gap = torch.where(there, one, 0.0) - torch.where(there, other, 0.0)
    return (torch.where(there, one, -torch.inf).exp() * gap).sum(dim=1)

"""Scoring of given targets: the two models' log-probs by definition, with every prefix's posterior.

No search here: thorough decoding ranks its candidates with this, `rag.log_prob` and the
abstention ask it for one target.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from ragcore.contracts import Generator, Read
from ragcore.decoding.beam import Hypothesis, Step
from ragcore.marginalization import (
    next_token_log_prob,
    prefix_posterior,
    token_posterior,
)

__all__ = ["Marginal", "pad_targets", "score_hypotheses", "score_targets"]

Marginal = Literal["token", "sequence"]


def score_hypotheses(
    marginalize: Marginal,
    generator: Generator,
    read: Read,
    pairs: Tensor,
    log_prior: Tensor,
    targets: Sequence[Sequence[int]],
) -> list[Hypothesis]:
    """Each target as a hypothesis with its exact log p(y|x) and posteriors, in the order given.

    Args:
        marginalize: RAG-Token or RAG-Sequence.
        generator: gives p(y_i|x,z,y_<i).
        read: the pairs that it has read.
        pairs: int64 [k], one question's.
        log_prior: [k], log p(z|x).
        targets: token ids, the end token last.
    """
    log_p = score_targets(generator, read, pairs, targets)
    log_prior = log_prior.to(log_p.device)
    if marginalize == "token":
        increments = next_token_log_prob(log_prior, log_p)
        posteriors = token_posterior(log_prior.double(), log_p.double())
    else:
        prefixes = next_token_log_prob(log_prior, log_p.cumsum(dim=-1))
        increments = prefixes.diff(dim=-1, prepend=torch.zeros_like(prefixes[:, :1]))
        posteriors = prefix_posterior(log_prior.double(), log_p.double())
    totals = increments.sum(dim=-1).tolist()
    rows = zip(targets, totals, increments.tolist(), posteriors.tolist(), strict=True)
    return [
        Hypothesis(
            steps=tuple(
                Step(token, log_prob, tuple(posterior))
                # Shorter targets end before their padding.
                for token, log_prob, posterior in zip(target, log_probs, weights, strict=False)
            ),
            log_prob=total,
            finished=True,
        )
        for target, total, log_probs, weights in rows
    ]


def score_targets(
    generator: Generator, read: Read, pairs: Tensor, targets: Sequence[Sequence[int]]
) -> Tensor:
    """log p(y_i|x,z,y_<i) of each target under each of the pairs [k]: [targets, k, T]."""
    padded = pad_targets(targets)
    count, k = len(targets), len(pairs)
    log_p = generator.score(read, pairs.repeat(count), padded.repeat_interleave(k, dim=0))
    return log_p.view(count, k, -1)


def pad_targets(targets: Sequence[Sequence[int]]) -> Tensor:
    """Targets as one int64 tensor [M, T], padded with -1."""
    rows = [torch.tensor(target, dtype=torch.int64) for target in targets]
    padded: Tensor = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1)
    return padded

"""Scoring of given targets: the two models' log-probs by definition, with every prefix's posterior.

No search here: thorough decoding ranks its candidates with this, `rag.log_prob` and the
abstention ask it for one target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from ragcore.contracts import Generator, Read
from ragcore.decoding.beam import Hypothesis, Step
from ragcore.decoding.checks import check_log_probs
from ragcore.decoding.question_prior import QuestionPrior
from ragcore.marginalization import (
    next_token_log_prob,
    prefix_posterior,
    token_posterior,
)

__all__ = ["Known", "Marginal", "marginalized", "pad_targets", "score_hypotheses", "score_targets"]

Marginal = Literal["token", "sequence"]

Known = Mapping[tuple[int, tuple[int, ...]], tuple[float, ...]]
"""log p(y_i|x,z,y_<i) of one question's (passage, target) where it is known already."""


def score_hypotheses(
    marginalize: Marginal,
    generator: Generator,
    read: Read,
    contexts: Sequence[QuestionPrior],
    targets: Sequence[Sequence[Sequence[int]]],
    *,
    known: Sequence[Known] | None = None,
) -> list[list[Hypothesis]]:
    """Each target as a hypothesis with its exact log p(y|x) and posteriors, in the order given.

    Args:
        marginalize: RAG-Token or RAG-Sequence.
        generator: gives p(y_i|x,z,y_<i).
        read: the pairs that it has read.
        contexts: one for each question.
        targets: for each question its targets, token ids with the end token last.
        known: for each question what need not be computed.
    """
    scored = score_targets(generator, read, contexts, targets, known=known)
    return [
        marginalized(marginalize, context, log_p, own)
        for context, log_p, own in zip(contexts, scored, targets, strict=True)
    ]


def score_targets(
    generator: Generator,
    read: Read,
    contexts: Sequence[QuestionPrior],
    targets: Sequence[Sequence[Sequence[int]]],
    *,
    known: Sequence[Known] | None = None,
) -> list[Tensor]:
    """log p(y_i|x,z,y_<i) of each question's targets under each of its passages.

    Everything that is not `known` is computed in one call of the generator; differentiable, the
    known aside. Arguments as `score_hypotheses`.

    Returns:
        For each question [targets, k, T], 0.0 where a target is shorter than T.

    Raises:
        GeneratorError: the generator gave what cannot be a log-probability.
    """
    known = known or [{}] * len(contexts)
    asked = [
        [
            (place, z)
            for place, target in enumerate(own)
            for z in range(len(context))
            if (z, tuple(target)) not in told
        ]
        for context, own, told in zip(contexts, targets, known, strict=True)
    ]
    pairs = [
        context.pairs[[z for _, z in rows]]
        for context, rows in zip(contexts, asked, strict=True)
        if rows
    ]
    fed = [own[place] for own, rows in zip(targets, asked, strict=True) for place, _ in rows]
    log_p = generator.score(read, torch.cat(pairs), pad_targets(fed)) if fed else torch.empty(0, 0)
    check_log_probs(generator, log_p)
    found, begin = [], 0
    for context, own, told, rows in zip(contexts, targets, known, asked, strict=True):
        longest = max(map(len, own))
        whole = log_p.new_zeros(len(own), len(context), longest)
        if rows:
            places = torch.tensor(rows, device=log_p.device)
            ours = log_p[begin : begin + len(rows), :longest]
            short = longest - ours.shape[1]
            ours = torch.nn.functional.pad(ours, (0, short))
            whole = whole.index_put((places[:, 0], places[:, 1]), ours)
            begin += len(rows)
        for place, target in enumerate(own):
            for z in range(len(context)):
                if (log_probs := told.get((z, tuple(target)))) is not None:
                    whole[place, z, : len(target)] = whole.new_tensor(log_probs)
        found.append(whole)
    return found


def pad_targets(targets: Sequence[Sequence[int]]) -> Tensor:
    """Targets as one int64 tensor [M, T], padded with -1."""
    rows = [torch.tensor(target, dtype=torch.int64) for target in targets]
    padded: Tensor = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1)
    return padded


def marginalized(
    marginalize: Marginal, context: QuestionPrior, log_p: Tensor, targets: Sequence[Sequence[int]]
) -> list[Hypothesis]:
    """One question's targets as hypotheses; log_p is [targets, k, T], as `score_targets` gives."""
    log_prior = context.log_prior.to(log_p.device)
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

"""Score given targets: both models' log-probs by definition, with the posterior at each token.

Knows priors and token ids; searches nothing. Thorough decoding ranks its candidates with this;
`rag.log_prob` and the abstention score one target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ragcore.contracts import Generator, Read
from ragcore.decoding.checks import check_log_probs
from ragcore.decoding.hypotheses import Hypothesis, Step
from ragcore.decoding.question_prior import QuestionPrior
from ragcore.marginalization import (
    Marginal,
    next_token_log_prob,
    pad_targets,
    prefix_posterior,
    token_posterior,
)

__all__ = ["Known", "marginalized", "score_hypotheses", "score_targets"]

Known = Mapping[tuple[int, tuple[int, ...]], tuple[float, ...]]
"""log p(y_i|x,z,y_<i) of one question's (passage, target), where it is known already."""


def score_hypotheses(
    marginalize: Marginal,
    generator: Generator,
    read: Read,
    priors: Sequence[QuestionPrior],
    targets: Sequence[Sequence[Sequence[int]]],
    *,
    known: Sequence[Known] | None = None,
) -> list[list[Hypothesis]]:
    """Score each target as a hypothesis with its exact log p(y|x) and posteriors.

    Args:
        marginalize: RAG-Token or RAG-Sequence.
        generator: computes p(y_i|x,z,y_<i).
        read: the pairs that it has read.
        priors: one for each of B questions.
        targets: for each question its targets, token ids with the end token last; one without it,
            as of an answer that a stop string ended, is scored as far as it goes.
        known: for each question, the log-probs that need not be computed.

    Returns:
        For each question its targets as hypotheses, in the same order.

    Raises:
        GeneratorError: a value that the generator returned is no log-probability.
    """
    scored = score_targets(generator, read, priors, targets, known=known)
    return [
        marginalized(marginalize, prior, log_p, question_targets)
        for prior, log_p, question_targets in zip(priors, scored, targets, strict=True)
    ]


def score_targets(
    generator: Generator,
    read: Read,
    priors: Sequence[QuestionPrior],
    targets: Sequence[Sequence[Sequence[int]]],
    *,
    known: Sequence[Known] | None = None,
) -> list[Tensor]:
    """Compute log p(y_i|x,z,y_<i) of each question's targets under each of its passages.

    Everything that is not `known` is computed in one call of the generator, and is differentiable.
    Arguments as `score_hypotheses`.

    Returns:
        For each question [targets, k, T]; 0.0 where a target is shorter than T.

    Raises:
        GeneratorError: a value that the generator returned is no log-probability.
    """
    known = known or [{}] * len(priors)
    # For each question the (target, passage) cells to compute.
    unknown = [
        [
            (row, z)
            for row, target in enumerate(question_targets)
            for z in range(len(prior))
            if (z, tuple(target)) not in question_known
        ]
        for prior, question_targets, question_known in zip(priors, targets, known, strict=True)
    ]
    pairs = [
        prior.pairs[[z for _, z in cells]]  # [cells]
        for prior, cells in zip(priors, unknown, strict=True)
        if cells
    ]
    fed = [
        question_targets[row]
        for question_targets, cells in zip(targets, unknown, strict=True)
        for row, _ in cells
    ]
    # [M, T], M the cells of all questions.
    log_p = _complete(generator, read, torch.cat(pairs), fed) if fed else torch.empty(0, 0)
    check_log_probs(generator, log_p)
    parts = torch.split(log_p, [len(cells) for cells in unknown])  # each [cells, T]
    return [
        _by_target_and_passage(len(prior), question_targets, cells, part, question_known)
        for prior, question_targets, cells, part, question_known in zip(
            priors, targets, unknown, parts, known, strict=True
        )
    ]


def _complete(
    generator: Generator, read: Read, pairs: Tensor, targets: Sequence[Sequence[int]]
) -> Tensor:
    """Score targets, of which some may lack the end token that a generator is promised; [M, T]."""
    eos = generator.eos_token_id
    if all(target and target[-1] == eos for target in targets):
        return generator.score(read, pairs, pad_targets(targets))
    ended = [target if target and target[-1] == eos else [*target, eos] for target in targets]
    log_p = generator.score(read, pairs, pad_targets(ended))  # [M, T + 1]
    longest = max(map(len, targets))
    lengths = torch.tensor(list(map(len, targets)), device=log_p.device)  # [M]
    added = torch.arange(log_p.shape[1], device=log_p.device) >= lengths[:, None]  # [M, T + 1]
    return log_p.masked_fill(added, 0.0)[:, :longest]


def _by_target_and_passage(
    k: int,
    targets: Sequence[Sequence[int]],
    cells: Sequence[tuple[int, int]],
    log_p: Tensor,
    known: Known,
) -> Tensor:
    """Arrange one question's computed and known log-probs as [targets, k, T].

    Args:
        k: the number of passages.
        targets: the question's targets.
        cells: the (target, passage) of each row of `log_p`.
        log_p: [cells, T'], where T' is the longest target of any question.
        known: the log-probs of all other cells.
    """
    longest = max(map(len, targets))
    table = log_p.new_zeros(len(targets), k, longest)  # [targets, k, T]
    if cells:
        index = torch.tensor(cells, device=log_p.device)  # [cells, 2]
        log_p = log_p[:, :longest]
        log_p = torch.nn.functional.pad(log_p, (0, longest - log_p.shape[1]))  # [cells, T]
        table = table.index_put((index[:, 0], index[:, 1]), log_p)
    for row, target in enumerate(targets):
        for z in range(k):
            if (log_probs := known.get((z, tuple(target)))) is not None:
                table[row, z, : len(target)] = table.new_tensor(log_probs)
    return table


def marginalized(
    marginalize: Marginal, prior: QuestionPrior, log_p: Tensor, targets: Sequence[Sequence[int]]
) -> list[Hypothesis]:
    """Marginalise one question's targets over its passages (paper, section 2.1).

    Args:
        marginalize: RAG-Token or RAG-Sequence.
        prior: the question's prior.
        log_p: [targets, k, T], as `score_targets` returns it.
        targets: token ids, the end token last.

    Returns:
        Each target as a hypothesis, in the same order.
    """
    log_prior = prior.log_prior.to(log_p.device)  # [k]
    if marginalize == "token":
        # p(y_i|x,y_<i) = Σ_z p(z|x) p(y_i|x,z,y_<i)
        increments = next_token_log_prob(log_prior, log_p)  # [targets, T]
        posteriors = token_posterior(log_prior.double(), log_p.double())  # [targets, T, k]
    else:
        # p(y_<=i|x) = Σ_z p(z|x) Π_{j<=i} p(y_j|x,z,y_<j)
        prefixes = next_token_log_prob(log_prior, log_p.cumsum(dim=-1))  # [targets, T]
        # p(y_i|x,y_<i) = p(y_<=i|x) / p(y_<i|x)
        increments = prefixes.diff(dim=-1, prepend=torch.zeros_like(prefixes[:, :1]))
        posteriors = prefix_posterior(log_prior.double(), log_p.double())  # [targets, T, k]
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

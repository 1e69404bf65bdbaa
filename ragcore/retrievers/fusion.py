"""Fusion: the hits of several retrievers for the same questions, put into one ranking.

Pure functions from hits to hits. Each gives every hit of every member a share, and adds up the
shares of a passage over the members that found it. They differ in the share:

    reciprocal_rank   w_m / (constant + rank)
    convex            w_m · (score - lowest) / (highest - lowest)
    mixture           w_m · p_m(z|x), summed as probabilities, given as their logarithm

Knows rows and scores; knows nothing of questions, passages, or how deep the members were searched.
The order of the members, each with its weight, changes no bit of the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ragcore.errors import ComponentError
from ragcore.retrievers.configs import RANK_CONSTANT
from ragcore.types import MISSING_ROW, Hits

if TYPE_CHECKING:
    import numpy.typing as npt

    Values = npt.NDArray[np.float64]

__all__ = ["RANK_CONSTANT", "convex", "mixture", "reciprocal_rank"]


def reciprocal_rank(
    members: Sequence[Hits],
    k: int,
    *,
    weights: Sequence[float] | None = None,
    constant: float = RANK_CONSTANT,
) -> Hits:
    """Fuse by Σ_m w_m / (constant + rank_m(z)), ranks from 1; the scores do not count.

    Reciprocal rank fusion: Cormack, Clarke and Büttcher, SIGIR 2009. A member that did not find a
    passage contributes 0 to it.

    Args:
        members: hits of the same B questions, [B, k_m] each; not changed.
        k: number of hits to return.
        weights: above 0, one for each member; None for 1 each.
        constant: at least 0; the larger it is, the less the first ranks stand out.

    Returns:
        [B, k], ties by row; missing hits where the members found fewer passages.

    Raises:
        ComponentError: there are no members, weights or questions differ in number, or k is
            below 1.
    """
    factors = _weights(members, weights)

    def shares(member_scores: Sequence[Values]) -> list[Values]:
        return [
            weight / (constant + np.arange(1.0, len(scores) + 1))
            for weight, scores in zip(factors, member_scores, strict=True)
        ]

    return _fused(members, k, shares, _sum, absent=0.0)


def convex(members: Sequence[Hits], k: int, *, weights: Sequence[float] | None = None) -> Hits:
    """Fuse by Σ_m w_m · (s_m(z) - min_m) / (max_m - min_m), from 0 to 1; weights sum to 1.

    min_m and max_m are the lowest and the highest score of member m's hits for the question. If
    they are equal, as with a single hit, each of its hits counts 1. A member that did not find a
    passage contributes 0 to it, as to its own last hit.

    Arguments, result and errors as in `reciprocal_rank`; weights are scaled to sum to 1.
    """
    factors = _weights(members, weights)
    total = math.fsum(factors)

    def shares(member_scores: Sequence[Values]) -> list[Values]:
        return [
            weight / total * _min_max(scores)
            for weight, scores in zip(factors, member_scores, strict=True)
        ]

    return _fused(members, k, shares, _sum, absent=0.0)


def mixture(
    members: Sequence[Hits],
    k: int,
    *,
    weights: Sequence[float] | None = None,
    temperatures: Sequence[float] | None = None,
) -> Hits:
    """Fuse by log p(z|x), where p(z|x) = Σ_m w_m p_m(z|x), each member having its own prior.

    p_m is the softmax of s_m / T_m over member m's hits, 0 elsewhere. The weights are scaled to sum
    to 1 over the members that found anything for the question, so p sums to 1 over all passages
    found. The softmax of the fused scores at temperature 1 is then p renormalised over the k
    passages: the prior that marginalisation computes from them.

    Args:
        members: as in `reciprocal_rank`.
        k: as in `reciprocal_rank`.
        weights: as in `reciprocal_rank`.
        temperatures: T_m, above 0, one for each member; None for 1 each.

    Result and errors as in `reciprocal_rank`.
    """
    factors = _weights(members, weights)
    divisors = _one_each(members, temperatures, "temperatures")

    def shares(member_scores: Sequence[Values]) -> list[Values]:
        # fsum rounds once, so that the order of members does not show here either.
        total = math.fsum(
            weight for weight, scores in zip(factors, member_scores, strict=True) if scores.size
        )
        member_logits = [
            scores / divisor for scores, divisor in zip(member_scores, divisors, strict=True)
        ]
        return [
            np.log(weight / total) + logits - np.logaddexp.reduce(logits)
            for weight, logits in zip(factors, member_logits, strict=True)
        ]

    return _fused(members, k, shares, _log_sum_exp, absent=-np.inf)


def _fused(
    members: Sequence[Hits],
    k: int,
    shares: Callable[[Sequence[Values]], list[Values]],
    combine: Callable[[Values], Values],
    *,
    absent: float,
) -> Hits:
    """Return the k passages of highest fused score for each question, [B, k].

    Args:
        members: hits of the same B questions, from M members.
        k: number of hits to return.
        shares: from the scores of each member's hits for a question to the shares of these hits.
        combine: from the shares [M, n] of n passages to their fused scores [n].
        absent: the share of a passage that a member did not find.
    """
    if k < 1:
        raise ComponentError(f"fusion was asked for {k} hits: ask for 1 or more")
    count = len(members[0].rows)
    rows = np.full((count, k), MISSING_ROW, np.int64)
    scores = np.full((count, k), -np.inf, np.float32)
    for i in range(count):
        exists = [hits.rows[i] != MISSING_ROW for hits in members]
        member_rows = [hits.rows[i, mask] for hits, mask in zip(members, exists, strict=True)]
        member_scores = [
            hits.scores[i, mask].astype(np.float64)
            for hits, mask in zip(members, exists, strict=True)
        ]
        union = np.unique(np.concatenate(member_rows))  # [n]
        if not len(union):
            continue
        table = np.full((len(members), len(union)), absent)  # [M, n]
        for line, hit_rows, share in zip(table, member_rows, shares(member_scores), strict=True):
            line[np.searchsorted(union, hit_rows)] = share
        # Ranked in float32, as they are returned: scores that are equal there are ties.
        fused = combine(table).astype(np.float32)  # [n]
        best = np.lexsort((union, -fused))[:k]
        rows[i, : len(best)], scores[i, : len(best)] = union[best], fused[best]
    return Hits(rows, scores)


def _min_max(scores: Values) -> Values:
    lowest, highest = scores.min(initial=np.inf), scores.max(initial=-np.inf)
    if highest <= lowest:
        return np.ones_like(scores)
    scaled: Values = (scores - lowest) / (highest - lowest)
    return scaled


def _sum(table: Values) -> Values:
    """Sum [M, n] over the members; sorted first, so that their order changes no bit."""
    total: Values = np.sort(table, axis=0).sum(axis=0)  # [n]
    return total


def _log_sum_exp(table: Values) -> Values:
    """Sum [M, n] over the members in log space; sorted first, as in `_sum`."""
    total: Values = np.logaddexp.reduce(np.sort(table, axis=0), axis=0)  # [n]
    return total


def _weights(members: Sequence[Hits], weights: Sequence[float] | None) -> list[float]:
    if not members:
        raise ComponentError("fusion was given no hits: pass those of one member or more")
    counts = [len(hits.rows) for hits in members]
    if len(set(counts)) > 1:
        raise ComponentError(
            f"fusion was given hits of {counts} questions: search all members for the same ones"
        )
    return _one_each(members, weights, "weights")


def _one_each(members: Sequence[Hits], values: Sequence[float] | None, name: str) -> list[float]:
    numbers = [1.0] * len(members) if values is None else [float(value) for value in values]
    if len(numbers) != len(members) or not all(0 < number < np.inf for number in numbers):
        raise ComponentError(
            f"fusion of {len(members)} members was given the {name} {numbers}: expected a finite "
            "number above 0 for each"
        )
    return numbers

"""Fusion: what several retrievers found for the same questions, put into one ranking.

Pure functions from hits to hits. Each gives every hit of every member a number, and sums the
numbers of a passage over the members that found it; what the number is makes the difference:

    reciprocal_rank   w_m / (constant + rank)
    convex            w_m · (score - lowest) / (highest - lowest)
    mixture           w_m · p_m(z|x), summed as probabilities, given as their logarithm

Knows rows and scores: neither questions nor passages, nor how deep the members were asked. The
order of the members, each with its weight, changes no bit of the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from ragcore.errors import ComponentError
from ragcore.types import MISSING_ROW, Hits

if TYPE_CHECKING:
    import numpy.typing as npt

    Values = npt.NDArray[np.float64]

__all__ = ["RANK_CONSTANT", "convex", "mixture", "reciprocal_rank"]

RANK_CONSTANT: Final = 60.0
"""What reciprocal rank fusion adds to each rank; the value of its authors."""


def reciprocal_rank(
    members: Sequence[Hits],
    k: int,
    *,
    weights: Sequence[float] | None = None,
    constant: float = RANK_CONSTANT,
) -> Hits:
    """Σ_m w_m / (constant + rank_m(z)), ranks from 1; scores themselves count nothing.

    Reciprocal rank fusion: Cormack, Clarke and Büttcher, SIGIR 2009. A passage that a member did
    not find has nothing from it.

    Args:
        members: hits of the same B questions, [B, k_m] each; untouched.
        k: how many to give.
        weights: above 0, one for each member; 1 each where None.
        constant: at least 0; the larger, the less the first ranks stand out.

    Returns:
        [B, k], ties by row; missing where fewer were found.

    Raises:
        ComponentError: no members, weights or questions that differ in number, or k below 1.
    """
    given = _weights(members, weights)

    def shares(found: Sequence[Values]) -> list[Values]:
        return [
            weight / (constant + np.arange(1.0, len(scores) + 1))
            for weight, scores in zip(given, found, strict=True)
        ]

    return _fused(members, k, shares, _sum, absent=0.0)


def convex(members: Sequence[Hits], k: int, *, weights: Sequence[float] | None = None) -> Hits:
    """Σ_m w_m · (s_m(z) - min_m) / (max_m - min_m), from 0 to 1; weights scaled to sum to 1.

    min_m and max_m are the lowest and the highest score that member m found for the question.
    Where they are equal, as of a single hit, each of its hits counts 1. A passage that a member did
    not find counts 0 there, as its last hit does.

    Arguments, result and errors as `reciprocal_rank`.
    """
    given = _weights(members, weights)
    total = math.fsum(given)

    def shares(found: Sequence[Values]) -> list[Values]:
        return [
            weight / total * _min_max(scores) for weight, scores in zip(given, found, strict=True)
        ]

    return _fused(members, k, shares, _sum, absent=0.0)


def mixture(
    members: Sequence[Hits],
    k: int,
    *,
    weights: Sequence[float] | None = None,
    temperatures: Sequence[float] | None = None,
) -> Hits:
    """log p(z|x), where p(z|x) = Σ_m w_m p_m(z|x): each member a memory with a prior of its own.

    p_m is the softmax of s_m / T_m over all that member m found, 0 elsewhere. The weights are
    scaled to sum to 1 over those members that found anything for the question: p sums to 1 over all
    that was found. So the softmax of the scores given, at temperature 1, is p renormalised over the
    k passages: the prior that marginalisation reads from them.

    Args:
        members, k, weights: as of `reciprocal_rank`.
        temperatures: T_m, above 0, one for each member; 1 each where None.

    Returns, raises: as `reciprocal_rank`.
    """
    given = _weights(members, weights)
    cooled = _one_each(members, temperatures, "temperatures")

    def shares(found: Sequence[Values]) -> list[Values]:
        # fsum rounds once, so that here too the order of members cannot show.
        heard = math.fsum(w for w, scores in zip(given, found, strict=True) if scores.size)
        logits = [scores / each for scores, each in zip(found, cooled, strict=True)]
        return [
            np.log(weight / heard) + own - np.logaddexp.reduce(own)
            for weight, own in zip(given, logits, strict=True)
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
    """The k passages whose shares combine to the most, for each question.

    Args:
        shares: from the scores that each member found for a question, to the shares of its hits.
        combine: the shares [M, n] of n passages to their fused scores [n].
        absent: the share of a passage that a member did not find.
    """
    if k < 1:
        raise ComponentError(f"fusion was asked for {k} hits: ask for 1 or more")
    count = len(members[0].rows)
    rows = np.full((count, k), MISSING_ROW, np.int64)
    scores = np.full((count, k), -np.inf, np.float32)
    for at in range(count):
        exists = [hits.rows[at] != MISSING_ROW for hits in members]
        held = [hits.rows[at, here] for hits, here in zip(members, exists, strict=True)]
        found = [
            hits.scores[at, here].astype(np.float64)
            for hits, here in zip(members, exists, strict=True)
        ]
        union = np.unique(np.concatenate(held))
        if not len(union):
            continue
        table = np.full((len(members), len(union)), absent)
        for line, own, share in zip(table, held, shares(found), strict=True):
            line[np.searchsorted(union, own)] = share
        # Ranked as they are given, in float32: scores that are equal there are ties.
        fused = combine(table).astype(np.float32)
        best = np.lexsort((union, -fused))[:k]
        rows[at, : len(best)], scores[at, : len(best)] = union[best], fused[best]
    return Hits(rows, scores)


def _min_max(scores: Values) -> Values:
    lowest, highest = scores.min(initial=np.inf), scores.max(initial=-np.inf)
    if highest <= lowest:
        return np.ones_like(scores)
    scaled: Values = (scores - lowest) / (highest - lowest)
    return scaled


def _sum(table: Values) -> Values:
    """Over the members [M, n]; sorted first, so that their order does not show in the last bit."""
    total: Values = np.sort(table, axis=0).sum(axis=0)
    return total


def _log_sum_exp(table: Values) -> Values:
    total: Values = np.logaddexp.reduce(np.sort(table, axis=0), axis=0)
    return total


def _weights(members: Sequence[Hits], weights: Sequence[float] | None) -> list[float]:
    if not members:
        raise ComponentError("fusion was given no hits: give those of one member or more")
    counts = [len(hits.rows) for hits in members]
    if len(set(counts)) > 1:
        raise ComponentError(
            f"fusion was given hits of {counts} questions: all members must be asked the same"
        )
    return _one_each(members, weights, "weights")


def _one_each(members: Sequence[Hits], values: Sequence[float] | None, name: str) -> list[float]:
    given = [1.0] * len(members) if values is None else [float(value) for value in values]
    if len(given) != len(members) or not all(0 < value < np.inf for value in given):
        raise ComponentError(
            f"fusion of {len(members)} members was given the {name} {given}: expected a finite "
            "number above 0 for each"
        )
    return given

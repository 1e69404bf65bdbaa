"""Marginalise the log-probs that every passage gives a text (paper, section 2.1).

Knows log-probs as NumPy arrays; imports no torch, and knows nothing of generators. Shapes: k
passages, T tokens.
"""

from __future__ import annotations

import numpy as np

from ragcore.arrays import FloatArray
from ragcore.marginalization import (
    Marginal,
    next_token_log_prob,
    prefix_posterior,
    token_posterior,
)
from ragcore.types import Candidate

__all__ = ["scored_candidate"]


def scored_candidate(
    marginalize: Marginal,
    text: str,
    tokens: tuple[str, ...],
    log_prior: FloatArray,
    log_p: FloatArray,
    passages: int,
) -> Candidate:
    """Marginalise one text over its passages (paper, section 2.1).

    Args:
        marginalize: RAG-Token or RAG-Sequence.
        text: the answer.
        tokens: [T], texts of its tokens.
        log_prior: [k], log p(z|x).
        log_p: [k, T], log p(y_i|x,z,y_<i).
        passages: how many there are; with none k is 1, the question alone.
    """
    if marginalize == "token":
        # p(y_i|x,y_<i) = Σ_z p(z|x) p(y_i|x,z,y_<i)
        increments = next_token_log_prob(log_prior, log_p)  # [T]
        posteriors = token_posterior
    else:
        # p(y_<=i|x) = Σ_z p(z|x) Π_{j<=i} p(y_j|x,z,y_<j)
        prefixes = next_token_log_prob(log_prior, log_p.cumsum(axis=-1))  # [T]
        # p(y_i|x,y_<i) = p(y_<=i|x) / p(y_<i|x)
        with np.errstate(invalid="ignore"):
            increments = np.diff(prefixes, prepend=0.0)  # [T]
        posteriors = prefix_posterior
    # A token that no passage allows, and any after it, has probability 0, and no passage a share.
    increments = np.where(np.isnan(increments), -np.inf, increments)  # [T]
    with np.errstate(invalid="ignore"):
        weights = np.nan_to_num(posteriors(log_prior, log_p))  # [T, k]
    return Candidate(
        token_ids=(),
        token_log_probs=tuple(increments.tolist()),
        priors=tuple(np.exp(log_prior).tolist()) if passages else (),
        posteriors=tuple(tuple(row) if passages else () for row in weights.tolist()),
        spans=((),) * passages,
        text=text,
        tokens=tokens,
    )

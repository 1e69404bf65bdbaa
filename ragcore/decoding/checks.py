"""Check that a generator's log-probabilities form a distribution.

A plugin that returns logits, or NaN, would otherwise give answers that look like any other.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ragcore.contracts import Generator, name_of
from ragcore.errors import GeneratorError

__all__ = ["check_distributions", "check_log_probs"]

_TOLERANCE = 1e-2
"""How far a row's sum may be from 1; sums over a large vocabulary in bfloat16 err by less."""


def check_distributions(generator: Generator, log_p: Tensor) -> None:
    """Refuse log-probabilities [M, V] whose rows do not sum to 1 over the vocabulary.

    Raises:
        GeneratorError: the probabilities of a row do not sum to 1, or are NaN.
    """
    sums = torch.logsumexp(log_p, dim=-1).exp()  # [M]
    # The negation catches NaN too.
    wrong = ~((sums - 1).abs() <= _TOLERANCE)
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise GeneratorError(
            f"generator {name_of(generator)}: `step` returned a row whose probabilities "
            f"sum to {float(sums[row]):.6g} (row {row} of {len(log_p)}): next-token "
            "log-probabilities must be normalised over the vocabulary, as log_softmax does"
        )


def check_log_probs(generator: Generator, log_p: Tensor) -> None:
    """Refuse log-probabilities of any shape that are NaN or above 0.

    Raises:
        GeneratorError: a value is NaN or above 0.
    """
    # The negation catches NaN too.
    wrong = ~(log_p <= _TOLERANCE)
    if bool(wrong.any()):
        raise GeneratorError(
            f"generator {name_of(generator)}: `score` or `step` returned "
            f"{float(log_p[wrong][0])} for a log-probability: it must be a number, and not above 0"
        )

"""Hold what a question is decoded over: its passages, as the generator read them, and their prior.

Knows positions and log-probabilities; knows nothing of texts or models.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["QuestionPrior"]


@dataclass(frozen=True, slots=True)
class QuestionPrior:
    """One question's k passages, at least one, and their prior.

    Attributes:
        pairs: int64 [k], the positions of its (question, passage) pairs in what the generator read.
        log_prior: float32 [k], log p(z|x); exp sums to 1.
    """

    pairs: Tensor
    log_prior: Tensor

    def __len__(self) -> int:
        """Return k, the number of passages."""
        return len(self.pairs)

    def apart(self) -> list[QuestionPrior]:
        """Split into k priors of one passage each, whose p(z|x) is 1."""
        certain = torch.zeros_like(self.log_prior[:1])  # [1]
        return [QuestionPrior(self.pairs[z : z + 1], certain) for z in range(len(self))]

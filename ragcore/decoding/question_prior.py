"""What a question is decoded over: its passages as the generator has read them, and their prior."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["QuestionPrior"]


@dataclass(frozen=True, slots=True)
class QuestionPrior:
    """One question's k passages.

    Attributes:
        pairs: int64 [k], the places of its (question, passage) pairs in what has been read.
        log_prior: float32 [k], log p(z|x); exp sums to 1.
    """

    pairs: Tensor
    log_prior: Tensor

    def __len__(self) -> int:
        """k, the number of passages."""
        return len(self.pairs)

    def apart(self) -> list[QuestionPrior]:
        """Each passage as a context of its own, of prior 1."""
        certain = torch.zeros_like(self.log_prior[:1])
        return [QuestionPrior(self.pairs[z : z + 1], certain) for z in range(len(self))]

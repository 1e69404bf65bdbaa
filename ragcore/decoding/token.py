"""RAG-Token decoding: a standard beam search on the marginal transition (paper, section 2.5).

    p'(y_i|x,y_<i) = Σ_z p(z|x) p(y_i|x,z,y_<i)

Every prefix is carried once per passage: n prefixes are n · k decoder rows, prefix-major.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ragcore.contracts import Generator, Read
from ragcore.marginalization import next_token_log_prob

__all__ = ["RagToken"]


class RagToken:
    """A `PrefixModel` of RAG-Token for one question."""

    def __init__(self, generator: Generator, read: Read, pairs: Tensor, log_prior: Tensor) -> None:
        """Read the question's k pairs, int64 [k], with log p(z|x) [k]."""
        self._generator = generator
        self._log_prior = log_prior
        self._state = generator.start(read, pairs)
        self._log_p = torch.empty(0)

    def step(self, tokens: Tensor | None) -> Tensor:
        """Marginal log-probs [n, V]; see `PrefixModel`."""
        k = len(self._log_prior)
        rows = None if tokens is None else tokens.repeat_interleave(k)
        log_p = self._generator.step(self._state, rows)
        self._log_p = log_p.view(-1, k, log_p.shape[-1])
        self._log_prior = self._log_prior.to(log_p.device)
        return next_token_log_prob(self._log_prior, self._log_p)

    def select(self, rows: Tensor) -> None:
        """See `PrefixModel`."""
        k = len(self._log_prior)
        self._state.select((rows.unsqueeze(1) * k + torch.arange(k)).flatten())

    def posterior(self, row: int, token: int) -> tuple[float, ...]:
        """p(z|x,y_<=i) ∝ p(z|x) p(y_i|x,z,y_<i)."""
        joint = self._log_prior + self._log_p[row, :, token]
        return tuple(torch.softmax(joint.double(), dim=0).tolist())

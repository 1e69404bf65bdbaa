"""Decode by RAG-Token: a standard beam search on the marginal transition (paper, section 2.5).

    p'(y_i|x,y_<i) = Σ_z p(z|x) p(y_i|x,z,y_<i)

Each token draws a passage independently, so the weights of the passages stay the prior.
"""

from __future__ import annotations

from torch import Tensor

from ragcore.decoding.dropping import DroppedAtFirst
from ragcore.decoding.prefixes import Prefixes

__all__ = ["RagToken"]


class RagToken(Prefixes):
    """A `PrefixModel` of RAG-Token."""

    _Dropped = DroppedAtFirst

    def _next_log_weights(self, log_weights: Tensor, joint: Tensor) -> Tensor:
        """Return the prior, log p(z|x), unchanged by the token; [n, K]."""
        return log_weights

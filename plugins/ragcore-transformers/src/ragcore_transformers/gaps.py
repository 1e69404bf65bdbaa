"""How far a decoding may be from a model's plain forward pass, because of rounding and no more.

With float32 weights that is a difference of log-probs. Coarser weights round large logits, so that
log-probs of rare tokens differ by several roundings and those of likely ones by little: there it is
the total variation between two distributions, judged by how far one token more moves them.

Measured on CPUs, the largest total variation: sound bfloat16 and int8 decodings of the trained
reader, BART, T5, Llama and Qwen with random weights 0.004 and less; with positions or reordering
wrong, the trained reader 0.16 and more, BART of random weights 0.09, where a token moves 0.35.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor

__all__ = ["Gaps"]

_FINE: Final = 1e-3
"""The largest difference of log-probs with float32 weights."""

_LEAST: Final = 0.01
_MOST: Final = 0.1
_SHARE: Final = 0.15
"""The largest total variation with coarser weights: this share of the most that a token more moves
a distribution, but no less than `_LEAST` and no more than `_MOST`."""


class Gaps:
    """The gaps found so far between a model's decoding and its plain forward pass."""

    def __init__(self, model: Any) -> None:
        """Judge by the precision of the model's weights."""
        self.fine: Final = _is_fine(model)
        self.largest = 0.0
        self._change = 0.0

    def compare(self, log_p: Tensor, expected: Tensor) -> None:
        """Compare log p [V] with those of a plain forward pass."""
        log_p, expected = log_p.cpu().float(), expected.cpu().float()
        # Where both are impossible there is no gap; NaN stays NaN, and is no small gap.
        difference = torch.where(log_p == expected, 0.0, (log_p - expected).abs()).max()
        gap = float(difference if self.fine else _apart(log_p, expected))
        if gap != gap or gap > self.largest:
            self.largest = gap

    def follow(self, before: Tensor, after: Tensor) -> None:
        """Note two distributions of a plain forward pass, log p [V], one token apart."""
        self._change = max(self._change, float(_apart(before, after)))

    @property
    def allowed(self) -> float:
        """The largest gap that rounding explains."""
        return _FINE if self.fine else min(_MOST, max(_LEAST, _SHARE * self._change))

    @property
    def exceeded(self) -> bool:
        """Whether the decoding is another one than the plain forward pass."""
        return not self.largest <= self.allowed


def _apart(log_p: Tensor, expected: Tensor) -> Tensor:
    """Return the total variation between two distributions, given as log p [V]."""
    return (log_p.cpu().float().exp() - expected.cpu().float().exp()).abs().sum() / 2


def _is_fine(model: Any) -> bool:
    """Return whether all weights are float32 or wider; int8 rows round activations, too."""
    tensors = [*model.parameters(), *model.buffers()]
    # A packed layer's weight is neither.
    tensors += [module.weight for module in model.modules() if hasattr(module, "weight")]
    coarse = (torch.int8, torch.uint8, torch.float16, torch.bfloat16)
    return not any(tensor.dtype in coarse for tensor in tensors)

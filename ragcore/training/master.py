"""AdamW for weights of less than float32 precision: it updates float32 copies of them.

A bfloat16 weight has eight bits of precision: an update of less than about 1/500 of the weight is
rounded away, and most updates are. So the sum is kept in a float32 copy, the master weight, and the
model's weight is the copy rounded (Micikevicius et al., 2018, section 3.1). AdamW's moments are
float32 too. Weights that are float32 already are updated themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

__all__ = ["MasterAdamW"]


class MasterAdamW(torch.optim.AdamW):
    """AdamW with float32 copies of the weights that are less precise."""

    def __init__(self, groups: Iterable[dict[str, Any]], *, weight_decay: float) -> None:
        """Copy the weights that need it.

        Args:
            groups: of weights under "params", as torch's optimisers take them.
            weight_decay: AdamW's.
        """
        self._masters: dict[Tensor, Tensor] = {}
        of_masters = [
            {**group, "params": [self._copied(weight) for weight in group["params"]]}
            for group in groups
        ]
        super().__init__(of_masters, weight_decay=weight_decay)
        # Hooks, because torch would call others' hooks twice around an overridden `step`.
        self.register_step_pre_hook(lambda *_: self._take_gradients())
        self.register_step_post_hook(lambda *_: self._round())

    def master(self, weight: Tensor) -> Tensor:
        """Return what is updated for a weight: its float32 copy, or the weight itself."""
        return self._masters.get(weight, weight)

    @torch.no_grad()
    def reset_masters(self) -> None:
        """Set the copies to the model's weights, after these were loaded."""
        for weight, master in self._masters.items():
            master.copy_(weight)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of the copies and of the model's weights."""
        super().zero_grad(set_to_none)
        for weight in self._masters:
            weight.grad = None

    def _take_gradients(self) -> None:
        """Give the copies the gradients of the model's weights."""
        for weight, master in self._masters.items():
            master.grad = None if weight.grad is None else weight.grad.to(master)

    @torch.no_grad()
    def _round(self) -> None:
        """Set the model's weights to the copies, rounded."""
        for weight, master in self._masters.items():
            weight.copy_(master)

    def _copied(self, weight: Tensor) -> Tensor:
        if weight.dtype in (torch.float32, torch.float64):
            return weight
        self._masters[weight] = weight.detach().to(torch.float32, copy=True)
        return self._masters[weight]

"""Linear layers in int8, for a CPU: a quarter of the memory, and some four times the speed.

Each row of a weight has a scale of its own, found when the model is loaded; each row of an input
has one too, found when it comes. So what a layer makes of a row does not depend on the rows beside
it, and products of integers are exact. Embeddings and norms stay float32. Nothing can be trained.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from ragcore.errors import GeneratorError

__all__ = ["Int8Linear", "quantize"]

_TOP: Final = 127
"""The largest quantised number; the smallest is its negative, so that zero is exact."""

_TOP_WITHOUT_VNNI: Final = 63
"""Of a weight, on CPUs that add two products in 16 bits: 2 · 255 · 63 still fits."""

_TINY: Final = 1e-30
"""Stands for the scale of a row of zeros."""


class Int8Linear(nn.Module):
    """What `nn.Linear` computes, to about one part in a hundred; from float32 to float32.

    Attributes:
        weight: int8 [rows, columns].
        scales: float32 [rows]; `weight * scales[:, None]` is the weight.
        bias: float32 [rows] or None.
    """

    weight: Tensor
    scales: Tensor
    bias: Tensor | None

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features = linear.in_features
        self.out_features = linear.out_features
        weight = linear.weight.detach().float()
        scales = (weight.abs().amax(dim=1) / _top_of_weights()).clamp(min=_TINY)
        self.register_buffer("weight", (weight / scales[:, None]).round().to(torch.int8))
        self.register_buffer("scales", scales)
        bias = None if linear.bias is None else linear.bias.detach().float()
        self.register_buffer("bias", bias)

    def forward(self, states: Tensor) -> Tensor:
        """[…, columns] to […, rows], float32."""
        rows = states.reshape(-1, self.in_features)
        scales = (rows.abs().amax(dim=1, keepdim=True) / _TOP).clamp_(min=_TINY)
        quantised = (rows / scales).round_().to(torch.int8)
        found = torch._int_mm(quantised, self.weight.t()).float().mul_(scales).mul_(self.scales)
        if self.bias is not None:
            found += self.bias
        return found.view(*states.shape[:-1], self.out_features)


def quantize(model: nn.Module) -> None:
    """Put an `Int8Linear` in the place of every linear layer of a model, its head's too.

    Raises:
        GeneratorError: this torch has no product of int8 matrices on a CPU.
    """
    try:
        torch._int_mm(*torch.zeros(2, 1, 1, dtype=torch.int8))
    except (AttributeError, NotImplementedError, RuntimeError) as fault:
        raise GeneratorError(
            f"torch {torch.__version__} cannot multiply int8 matrices on this CPU ({fault}): set "
            "dtype to float32, or install a newer torch"
        ) from fault
    model.requires_grad_(False)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            # Not of subclasses, which may compute something else.
            if type(child) is nn.Linear:
                setattr(module, name, Int8Linear(child))


def _top_of_weights() -> int:
    asked = getattr(torch.cpu, "_is_vnni_supported", None)
    return _TOP if asked is not None and asked() else _TOP_WITHOUT_VNNI

"""Linear layers in int8, for a CPU: a quarter of the memory, and some four times the speed.

Each row of a weight has its own scale, computed when the model is loaded; each row of an input has
one too, computed in the call. So a layer's output for a row does not depend on the other rows, and
products of integers are exact. Embeddings and norms stay float32. Nothing can be trained.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any, Final

import torch
from torch import Tensor, nn

from ragcore.errors import GeneratorError
from ragcore_transformers import kernels
from ragcore_transformers.packed import SMALL
from ragcore_transformers.trials import BLOCK, compare, first_rows

__all__ = ["Int8Linear", "PackedInt8Linear", "project", "quantize"]

_TOP: Final = 127
"""The largest quantised number; the smallest is its negative, so that zero is exact."""

_TOP_WITHOUT_VNNI: Final = 63
"""Of a weight, on CPUs that add two products in 16 bits: 2 · 255 · 63 still fits. Vectors that a
memory keeps are computed with it on every CPU, so that they do not depend on the machine."""

_TINY: Final = 1e-30
"""The scale of a row of zeros."""


class Int8Linear(nn.Module):
    """Computes as `nn.Linear` to about one part in a hundred, from float32 to float32.

    Attributes:
        weight: int8 [rows, columns].
        scales: float32 [rows]; `weight * scales[:, None]` is the weight.
        bias: float32 [rows] or None.
    """

    weight: Tensor
    scales: Tensor
    bias: Tensor | None

    def __init__(self, linear: nn.Linear, *, portable: bool = False) -> None:
        """Quantise a layer; a `portable` one has the same numbers on every machine."""
        super().__init__()
        self.in_features = linear.in_features
        self.out_features = linear.out_features
        weight = linear.weight.detach().float()
        top = _TOP_WITHOUT_VNNI if portable else _top_of_weights()
        scales = (weight.abs().amax(dim=1) / top).clamp(min=_TINY)
        self.register_buffer("weight", (weight / scales[:, None]).round().to(torch.int8))
        self.register_buffer("scales", scales)
        bias = None if linear.bias is None else linear.bias.detach().float()
        self.register_buffer("bias", bias)

    def forward(self, states: Tensor) -> Tensor:
        """Multiply states […, columns] with the weight: […, rows], float32."""
        quantised, scales = _quantised(states.reshape(-1, self.in_features))
        product = torch._int_mm(quantised, self.weight.t())  # [n, rows], int32
        output = product.float().mul_(self.scales).mul_(scales)
        if self.bias is not None:
            output += self.bias
        return output.view(*states.shape[:-1], self.out_features)


class PackedInt8Linear(nn.Module):
    """An `Int8Linear` whose product and scales are one kernel: see kernels.py.

    Attributes:
        bias: float32 [rows] or None.
    """

    bias: Tensor | None

    def __init__(self, linear: Int8Linear) -> None:
        super().__init__()
        self.in_features = linear.in_features
        self.out_features = linear.out_features
        self.register_buffer("bias", linear.bias)
        with torch.inference_mode(False), torch.no_grad():
            self._blocks = [
                (kernels.pack_int8(weight), scales, torch.zeros(len(scales), dtype=torch.int64))
                for weight, scales in zip(
                    torch.split(linear.weight, BLOCK),
                    torch.split(linear.scales, BLOCK),
                    strict=True,
                )
            ]

    @property
    def weight(self) -> Tensor:
        """Return zeros int8 [rows, columns], which tell models dtype and shape, and no number."""
        return torch.zeros(1, dtype=torch.int8).expand(self.out_features, self.in_features)

    def forward(self, states: Tensor) -> Tensor:
        """Multiply states […, columns] with the weight: […, rows], float32."""
        rows = states.reshape(-1, self.in_features)
        out = torch.empty(len(rows), self.out_features)
        return self.into(rows, out).view(*states.shape[:-1], self.out_features)

    def __deepcopy__(self, memo: dict[int, Any]) -> PackedInt8Linear:
        """Return a copy that shares the packed weight, which torch cannot copy and none changes."""
        memo.update((id(block), block) for block, _, _ in self._blocks)
        layer = type(self).__new__(type(self))
        memo[id(self)] = layer
        layer.__dict__ = copy.deepcopy(self.__dict__, memo)
        return layer

    def into(self, states: Tensor, out: Tensor) -> Tensor:
        """Multiply states [n, columns] with the weight, into `out` float32 [n, rows]; return it."""
        return self.fill(*_shifted(states), out)

    def fill(self, shifted: Tensor, scales: Tensor, out: Tensor) -> Tensor:
        """Multiply as `into` does, states that are quantised already, each with its scale."""
        begin = 0
        for block in self._blocks:
            product = kernels.multiply_int8(shifted, *block)  # [n, rows of the block]
            end = begin + product.shape[1]
            if self.bias is None:
                torch.mul(product, scales, out=out[:, begin:end])
            else:
                torch.addcmul(self.bias[begin:end], product, scales, out=out[:, begin:end])
            begin = end
        return out


def project(layers: Iterable[nn.Module], states: Tensor) -> Iterator[Tensor]:
    """Multiply states [n, columns] with one layer after another, and quantise them once for all."""
    quantised: tuple[Tensor, Tensor] | None = None
    for layer in layers:
        if isinstance(layer, PackedInt8Linear):
            quantised = _shifted(states) if quantised is None else quantised
            yield layer.fill(*quantised, torch.empty(len(states), layer.out_features))
        else:
            yield layer(states)


def quantize(model: nn.Module, *, portable: bool = False) -> None:
    """Replace every linear layer of a model by an `Int8Linear`, its head too.

    Args:
        model: changed in place.
        portable: use only such integers as every CPU multiplies without overflow, a bit less than
            some can: then the model computes the same on all machines, up to the order of sums.

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
                setattr(module, name, _fastest(child, portable=portable))


def _fastest(linear: nn.Linear, *, portable: bool) -> nn.Module:
    plain = Int8Linear(linear, portable=portable)
    if linear.weight.numel() < SMALL or not kernels.can_pack_int8():
        return plain
    part = first_rows(linear)
    sample = Int8Linear(part)
    trial = compare(part, sample, lambda: PackedInt8Linear(sample), torch.int8)
    return PackedInt8Linear(plain) if trial.faster else plain


def _quantised(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return states [n, columns] as int8, and the scale of each, float32 [n, 1]."""
    rows = rows.float()
    scales = (rows.abs().amax(dim=1, keepdim=True) / _TOP).clamp_(min=_TINY)
    return (rows / scales).round_().to(torch.int8), scales


def _shifted(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return states [n, columns] as uint8 with a zero of 128, and the scale of each."""
    quantised, scales = _quantised(rows)
    # The highest bit flips.
    return quantised.view(torch.uint8).bitwise_xor_(kernels.INT8_ZERO), scales


def _top_of_weights() -> int:
    has_vnni = getattr(torch.cpu, "_is_vnni_supported", None)
    return _TOP if has_vnni is not None and has_vnni() else _TOP_WITHOUT_VNNI

"""Products with a matrix that never changes, by oneDNN: the only user of torch's private operators.

torch multiplies float32 matrices by MKL, which runs on some processors at half their speed, and it
reads bfloat16 and int8 weights in an order that suits no kernel. oneDNN reorders ("packs") a weight
once. torch offers this to its compiler only, so each operator is tried once, against torch's plain
product, before it is used; where it is missing or differs, callers use the plain product.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor

__all__ = [
    "INT8_ZERO",
    "can_pack",
    "can_pack_int8",
    "multiply",
    "multiply_int8",
    "pack",
    "pack_int8",
    "unpack",
]

INT8_ZERO: Final = 128
"""What uint8 states hold for zero."""

_ROWS: Final = 256
"""Rows of states that packing prepares for; any other number is multiplied too."""

# What torch raises for an operator that it does not have, or that this processor cannot run.
_ABSENT: Final = (AttributeError, NotImplementedError, RuntimeError, TypeError)


def _mkldnn() -> Any:
    return torch.ops.mkldnn


def _onednn() -> Any:
    return torch.ops.onednn


def pack(weight: Tensor) -> Tensor:
    """Return a weight [rows, columns] on a CPU, float32 or bfloat16, in oneDNN's order."""
    packed: Tensor = _mkldnn()._reorder_linear_weight(weight.detach().contiguous(), _ROWS)
    return packed


def unpack(packed: Tensor) -> Tensor:
    """Return the weight [rows, columns] that was packed, bit for bit."""
    return packed.to_dense()


def multiply(states: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    """Return states [n, columns] · weightᵀ + bias, [n, rows]; all of one dtype."""
    product: Tensor = _mkldnn()._linear_pointwise(states, packed, bias, "none", [], "")
    return product


def pack_int8(weight: Tensor) -> Tensor:
    """Return a weight int8 [rows, columns] on a CPU in oneDNN's order."""
    packed: Tensor = _onednn().qlinear_prepack(weight.contiguous(), None)
    return packed


def multiply_int8(states: Tensor, packed: Tensor, scales: Tensor, zeros: Tensor) -> Tensor:
    """Return (states - INT8_ZERO) · weightᵀ · scales, float32 [n, rows].

    Args:
        states: uint8 [n, columns].
        packed: by `pack_int8`.
        scales: float32 [rows].
        zeros: int64 [rows], all 0.
    """
    product: Tensor = _onednn().qlinear_pointwise(
        states, 1.0, INT8_ZERO, packed, scales, zeros, None, 1.0, 0, torch.float32, "none", [], ""
    )
    return product


@functools.cache
def can_pack(dtype: torch.dtype) -> bool:
    """Return whether packed products are there, and right, in float32 or bfloat16."""
    weight = _pattern(48, 80).to(dtype)
    states, bias = _pattern(5, 80).to(dtype), _pattern(1, 48)[0].to(dtype)

    def agrees() -> bool:
        packed = pack(weight)
        product = multiply(states, packed, bias)
        # Small integers: sums are exact in either order.
        plain = torch.nn.functional.linear(states.float(), weight.float(), bias.float())
        return torch.equal(unpack(packed), weight) and torch.equal(product, plain.to(dtype))

    return _works(agrees)


@functools.cache
def can_pack_int8() -> bool:
    """Return whether packed int8 products are there, and exact."""
    weight, states = _pattern(48, 80).to(torch.int8) * 21, _pattern(5, 80).to(torch.int8) * 42

    def agrees() -> bool:
        scales = torch.full((48,), 0.5)
        shifted = (states.int() + INT8_ZERO).to(torch.uint8)
        product = multiply_int8(
            shifted, pack_int8(weight), scales, torch.zeros(48, dtype=torch.int64)
        )
        return torch.equal(product, (states.double() @ weight.double().t() * 0.5).float())

    return _works(agrees)


def _pattern(rows: int, columns: int) -> Tensor:
    """Return a matrix [rows, columns] of the integers -3 … 3, float32."""
    return ((torch.arange(rows * columns) * 5 + 1) % 7 - 3).float().view(rows, columns)


def _works(agrees: Callable[[], bool]) -> bool:
    try:
        with torch.inference_mode(False), torch.no_grad():
            return agrees()
    except _ABSENT:
        return False

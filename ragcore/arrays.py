"""Do for NumPy arrays and torch tensors what the two libraries write differently.

NumPy arrays go to NumPy, anything else is a tensor and goes to its own methods: torch is never
imported here, so that a program without it can use this module. Knows arrays; knows nothing of
passages or models. The array API standard has no softmax and no log-sum-exp, which are most of what
is needed.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

__all__ = [
    "Array",
    "FloatArray",
    "at_least_float32",
    "cumsum",
    "log_not",
    "log_softmax",
    "logsumexp",
    "softmax",
    "to_numpy",
    "weighted_sum",
    "without_gradient",
]

FloatArray: TypeAlias = npt.NDArray[np.floating[Any]]
"""A NumPy array of floating-point numbers."""

Array = TypeVar("Array", FloatArray, "torch.Tensor")
"""A NumPy array or a tensor; a function returns what it was passed."""


def at_least_float32(values: Array) -> Array:
    """Convert to float32, unless the type is float64 already."""
    if isinstance(values, np.ndarray):
        return values if values.dtype == np.float64 else values.astype(np.float32, copy=False)
    is_double = values.is_floating_point() and values.itemsize == 8
    return values if is_double else values.float()


def logsumexp(values: Array, axis: int) -> Array:
    """Compute log Σ exp along an axis, which the result no longer has; -inf for terms of 0."""
    if isinstance(values, np.ndarray):
        total: FloatArray = _log_sum(values, axis).squeeze(axis)
        return total
    return values.logsumexp(axis)


def log_softmax(values: Array, axis: int) -> Array:
    """Compute log(exp(x) / Σ exp) along an axis; at least one value there is finite."""
    if isinstance(values, np.ndarray):
        # The largest becomes 0, so that large values lose no digit in the sum.
        shifted: FloatArray = values - values.max(axis=axis, keepdims=True)
        return shifted - _log_sum(shifted, axis)
    return values.log_softmax(axis)


def cumsum(values: Array, axis: int) -> Array:
    """Compute running sums along an axis, added in float64 and rounded once."""
    if isinstance(values, np.ndarray):
        # NumPy adds in the type of the values, and thousands of float32 drift apart.
        sums: FloatArray = values.cumsum(axis=axis, dtype=np.float64)
        return sums.astype(values.dtype)
    return values.cumsum(axis)


def softmax(values: Array, axis: int) -> Array:
    """Compute exp(x) / Σ exp along an axis; at least one value there is finite."""
    if isinstance(values, np.ndarray):
        weights: FloatArray = np.exp(values - values.max(axis=axis, keepdims=True))
        total = weights.sum(axis=axis, keepdims=True, dtype=np.float64)
        shares: FloatArray = weights / total.astype(weights.dtype)
        return shares
    return values.softmax(axis)


def log_not(values: Array, at_most: float) -> Array:
    """Compute log(1 − exp(x)), where x counts as `at_most` if it is larger; that is below 0."""
    if isinstance(values, np.ndarray):
        complement: FloatArray = np.log(-np.expm1(np.minimum(values, at_most)))
        return complement
    return (-values.clamp(max=at_most).expm1()).log()


def weighted_sum(weights: Array, values: Array, axis: int) -> Array:
    """Compute Σ w·x along an axis, where a weight of 0 leaves out even a value of -inf."""
    if isinstance(weights, np.ndarray):
        total: FloatArray = (weights * np.where(weights > 0, values, 0)).sum(axis=axis)
        return total
    return (weights * values.where(weights > 0, 0)).sum(axis)


def to_numpy(values: FloatArray | torch.Tensor) -> npt.NDArray[np.float32]:
    """Return vectors, of NumPy or of torch on any device, as a NumPy array of float32."""
    if not isinstance(values, np.ndarray):
        values = values.detach().float().cpu().numpy()
    return values.astype(np.float32, copy=False)


def without_gradient() -> AbstractContextManager[Any]:
    """Return a block in which torch records no gradient; where torch is not loaded, it is empty."""
    # Without the module nobody has a tensor.
    torch = sys.modules.get("torch")
    return nullcontext() if torch is None else torch.no_grad()


def _log_sum(values: FloatArray, axis: int) -> FloatArray:
    """Compute log Σ exp along an axis, which stays with the length 1."""
    largest = values.max(axis=axis, keepdims=True)
    # Where every term is 0 there is nothing to factor out.
    finite = np.where(np.isneginf(largest), values.dtype.type(0), largest)
    # Thousands of float32 would drift apart.
    terms = np.exp(values - finite)
    with np.errstate(divide="ignore"):
        log_total = np.log(terms.sum(axis=axis, keepdims=True, dtype=np.float64))
    total: FloatArray = (finite + log_total).astype(values.dtype)
    return total

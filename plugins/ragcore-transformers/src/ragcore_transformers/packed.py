"""Linear layers with packed weights, where a trial shows that they are faster.

A weight is held once: a packed layer drops the plain one, and `unpack` returns it bit for bit,
which training needs. Knows modules and kernels.py; knows no architecture.
"""

from __future__ import annotations

import copy
import logging
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeGuard, cast

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from ragcore.errors import UnsupportedOperation
from ragcore_transformers import kernels
from ragcore_transformers.trials import BLOCK, compare, first_rows, rows_of

__all__ = ["SMALL", "PackedLinear", "is_large", "pack_model", "unpack_model"]

_LOG: Final = logging.getLogger(__name__)

SMALL: Final = 1 << 16
"""Weights of fewer numbers stay plain: their products take no time."""

_FINE: Final = 1e-3
_COARSE: Final = 0.1
"""How far a model's results may be from those with plain layers, in float32 and in bfloat16, in
lengths of their own spread: what sums in another order explain."""

# What models raise at a layer that lacks a member of the plain one.
_FAULTS: Final = (AttributeError, LookupError, RuntimeError, TypeError, ValueError)


class PackedLinear(nn.Module):
    """Computes as the `nn.Linear` that it was made of, up to the order of sums; without gradients.

    Attributes:
        bias: of the layer, or None.
        is_read: whether `weight` was asked for.
        transposed: whether the layer stores its weight as [columns, rows].
    """

    bias: Tensor | None
    is_read: bool

    def __init__(self, linear: nn.Linear | Conv1D, *, tied: bool = False) -> None:
        """Pack a layer; a `tied` weight is also that of another module, and stays in memory."""
        super().__init__()
        weight = rows_of(linear)
        self.out_features, self.in_features = weight.shape
        self.register_parameter("bias", linear.bias)
        # In tuples, so that they are no part of this module.
        self._shell = (_without_weight(linear),)
        self._tied = (linear.weight,) if tied else ()
        self._trained = linear.weight.requires_grad
        self.is_read = False
        self.transposed = isinstance(linear, Conv1D)
        with torch.inference_mode(False), torch.no_grad():
            self._blocks = [kernels.pack(block) for block in torch.split(weight, BLOCK)]
        self._bias_blocks = (
            [None] * len(self._blocks)
            if linear.bias is None
            else list(torch.split(linear.bias.detach(), BLOCK))
        )

    @property
    def weight(self) -> Tensor:
        """Return NaN [rows, columns], which tells models dtype, device and shape, and no number."""
        self.is_read = True
        nan = torch.full((1,), torch.nan, dtype=self._blocks[0].dtype)
        return nan.expand(self.out_features, self.in_features)

    def forward(self, states: Tensor) -> Tensor:
        """Multiply states […, columns] with the weight: […, rows].

        Raises:
            UnsupportedOperation: the states need a gradient.
        """
        self._refuse_gradients(states)
        rows = self._rows(states)
        if len(self._blocks) == 1:
            product = kernels.multiply(rows, self._blocks[0], self._bias_blocks[0])
        else:
            product = self._fill(rows, rows.new_empty(len(rows), self.out_features))
        return product.view(*states.shape[:-1], self.out_features)

    def __deepcopy__(self, memo: dict[int, Any]) -> PackedLinear:
        """Return a copy that shares the packed weight, which torch cannot copy and none changes."""
        memo.update((id(block), block) for block in self._blocks)
        layer = type(self).__new__(type(self))
        memo[id(self)] = layer
        layer.__dict__ = copy.deepcopy(self.__dict__, memo)
        return layer

    def into(self, states: Tensor, out: Tensor) -> Tensor:
        """Multiply states [n, columns] with the weight, into `out` [n, rows]; return it."""
        self._refuse_gradients(states)
        return self._fill(self._rows(states), out)

    def unpacked(self) -> nn.Linear | Conv1D:
        """Return the layer that this one was made of."""
        (linear,) = self._shell
        if self._tied:
            parameter = cast(nn.Parameter, self._tied[0])
        else:
            with torch.inference_mode(False), torch.no_grad():
                weight = torch.cat([kernels.unpack(block) for block in self._blocks])
                weight = weight.t().contiguous() if isinstance(linear, Conv1D) else weight
            parameter = nn.Parameter(weight, requires_grad=self._trained)
        # The weight comes first, as in a layer that was never packed: optimizers and the norm of
        # gradients take parameters in their order.
        others = {name: value for name, value in linear._parameters.items() if name != "weight"}
        linear._parameters = {"weight": parameter, **others, "bias": self._parameters["bias"]}
        return linear.train(self.training)

    def _rows(self, states: Tensor) -> Tensor:
        # A caller's autocast may have made the states narrower.
        return states.reshape(-1, self.in_features).to(self._blocks[0].dtype)

    def _fill(self, rows: Tensor, out: Tensor) -> Tensor:
        begin = 0
        for block, bias in zip(self._blocks, self._bias_blocks, strict=True):
            product = kernels.multiply(rows, block, bias)
            out[:, begin : begin + product.shape[1]] = product
            begin += product.shape[1]
        return out

    @staticmethod
    def _refuse_gradients(states: Tensor) -> None:
        if torch.is_grad_enabled() and states.requires_grad:
            raise UnsupportedOperation.of("a packed linear layer", "compute gradients")


def pack_model(model: nn.Module, forward: Callable[[], Tensor]) -> None:
    """Pack the linear layers of a model for which that is faster here; others stay as they are.

    Layers of the same shape are tried once in a process. All stay as they are if the model computes
    something else with packed ones, as it does where it reads a layer's weight itself.

    Args:
        model: in eval mode.
        forward: runs the model on some input, and returns what it computes, of any shape:
            log-probs, vectors, scores.
    """
    allowed = _FINE if _is_fine(model) else _COARSE
    with torch.inference_mode(False), torch.no_grad():
        # A copy: the model may write its next result into the same memory.
        expected = forward().clone()
        _pack(model)
        for unpack in (_unpack_read, unpack_model):
            gap = _gap(forward, expected)
            if gap <= allowed:
                return
            unpack(model)
    _LOG.info(
        "%s computes something else with packed layers (off by %.2g): unpacked",
        type(model).__name__,
        gap,
    )


def _is_fine(model: nn.Module) -> bool:
    return all(value.dtype in (torch.float32, torch.float64) for value in model.parameters())


def _gap(forward: Callable[[], Tensor], expected: Tensor) -> float:
    """Return how far a model is from what it computed with plain layers; NaN where it fails."""
    try:
        return _distance(forward(), expected)
    except _FAULTS as fault:
        _LOG.info("packed layers raise %s: %s", type(fault).__name__, fault)
        return torch.nan


def _distance(results: Tensor, expected: Tensor) -> float:
    """Return the length of the difference, in lengths of the expected numbers' own spread."""
    results, expected = results.double(), expected.double()
    # Where both are infinite there is no gap; NaN stays NaN, and is no small gap.
    gap = torch.where(results == expected, 0.0, results - expected).norm()
    finite = expected[expected.isfinite()]
    # Log-probs lie around a mean that says little; a single number has no spread.
    spread = (finite - finite.mean()).norm() if finite.numel() > 1 else finite.norm()
    return float(gap / spread.clamp(min=torch.finfo(torch.float32).tiny))


def _pack(model: nn.Module) -> None:
    uses = Counter(id(value) for _, value in model.named_parameters(remove_duplicate=False))
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if not is_large(child) or not kernels.can_pack(child.weight.dtype):
                continue
            part = first_rows(child)
            if compare(part, part, partial(PackedLinear, part), child.weight.dtype).faster:
                packed = PackedLinear(child, tied=uses[id(child.weight)] > 1)
                setattr(module, name, packed)


def unpack_model(model: nn.Module) -> None:
    """Make every packed layer of a model plain again, with the numbers that it had."""
    _unpack(model, lambda _: True)


def _unpack_read(model: nn.Module) -> None:
    """Make those layers plain whose weights the model has read."""
    _unpack(model, lambda layer: layer.is_read)


def _unpack(model: nn.Module, chosen: Callable[[PackedLinear], bool]) -> None:
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, PackedLinear) and chosen(child):
                setattr(module, name, child.unpacked())


def is_large(module: nn.Module) -> TypeGuard[nn.Linear | Conv1D]:
    """Return whether a module is a linear layer on a CPU whose kernel is worth a trial."""
    # Not of subclasses, which may compute something else.
    return (
        type(module) in (nn.Linear, Conv1D)
        and isinstance(module.weight, Tensor)
        and module.weight.device.type == "cpu"
        and module.weight.numel() >= SMALL
        and module.weight.dtype in (torch.float32, torch.bfloat16)
    )


def _without_weight(linear: nn.Linear | Conv1D) -> nn.Linear | Conv1D:
    """Return a copy of a layer that shares all its members but the weight, which it lacks."""
    shell = copy.copy(linear)
    shell._parameters = {
        name: value for name, value in linear._parameters.items() if name != "weight"
    }
    return shell

"""Linear layers with packed weights, where a trial shows that they are faster.

A weight is held once: a packed layer drops the plain one, and `unpack` returns it bit for bit,
which training needs. Knows modules and kernels.py; knows no architecture.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Final, TypeGuard

import torch
from torch import Tensor, nn

from ragcore.errors import UnsupportedOperation
from ragcore.process.fork import new_rlock
from ragcore_transformers import kernels
from ragcore_transformers.gaps import Gaps

__all__ = [
    "BLOCK",
    "SMALL",
    "PackedLinear",
    "first_rows",
    "is_faster",
    "pack_model",
    "unpack_model",
]

_LOG: Final = logging.getLogger(__name__)

SMALL: Final = 1 << 16
"""Weights of fewer numbers stay plain: their products take no time."""

BLOCK: Final = 4096
"""Rows of a weight in one product; the results stay in a CPU's caches."""

_TRIED_ROWS: Final = 64
"""Rows of states in the trial: some questions' beams; more rows favour packing as much."""

_ROUNDS: Final = 4

_GAIN: Final = 0.95
"""A packed layer is used where it takes at most this share of the plain one's time."""

_trials: dict[tuple[int, int, torch.dtype], bool] = {}

_TRYING: Final = new_rlock()
"""Two trials at once would each put back the other's number of threads."""


class PackedLinear(nn.Module):
    """Computes as the `nn.Linear` that it was made of, up to the order of sums; without gradients.

    Attributes:
        bias: of the layer, or None.
    """

    bias: Tensor | None

    def __init__(self, linear: nn.Linear, *, tied: bool = False) -> None:
        """Pack a layer; a `tied` weight is also that of another module, and stays in memory."""
        super().__init__()
        self.in_features = linear.in_features
        self.out_features = linear.out_features
        self.register_parameter("bias", linear.bias)
        # In a tuple, so that it is no parameter of this module.
        self._tied = (linear.weight,) if tied else ()
        self._trained = linear.weight.requires_grad
        with torch.inference_mode(False), torch.no_grad():
            self._blocks = [kernels.pack(block) for block in torch.split(linear.weight, BLOCK)]
        self._bias_blocks = (
            [None] * len(self._blocks)
            if linear.bias is None
            else list(torch.split(linear.bias.detach(), BLOCK))
        )

    @property
    def weight(self) -> Tensor:
        """Return NaN [rows, columns], which tells models dtype, device and shape, and no number."""
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

    def into(self, states: Tensor, out: Tensor) -> Tensor:
        """Multiply states [n, columns] with the weight, into `out` [n, rows]; return it."""
        self._refuse_gradients(states)
        return self._fill(self._rows(states), out)

    def unpacked(self) -> nn.Linear:
        """Return the layer that this one was made of."""
        linear = nn.Linear(self.in_features, self.out_features, bias=False, device="meta")
        if self._tied:
            (linear.weight,) = self._tied
        else:
            with torch.inference_mode(False), torch.no_grad():
                weight = torch.cat([kernels.unpack(block) for block in self._blocks])
            linear.weight = nn.Parameter(weight, requires_grad=self._trained)
        linear.register_parameter("bias", self._parameters["bias"])
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
        forward: runs the model on some input, and returns log-probs [V].
    """
    with torch.inference_mode(False), torch.no_grad():
        gaps, expected = Gaps(model), forward()
        _pack(model)
        gaps.compare(forward(), expected)
    if gaps.exceeded:
        unpack_model(model)
        _LOG.info("%s computes something else with packed layers: unpacked", type(model).__name__)


def _pack(model: nn.Module) -> None:
    uses = Counter(id(value) for _, value in model.named_parameters(remove_duplicate=False))
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if not _can_pack(child):
                continue
            part = first_rows(child)
            if is_faster(part, part, PackedLinear(part), child.weight.dtype):
                packed = PackedLinear(child, tied=uses[id(child.weight)] > 1)
                setattr(module, name, packed)


def unpack_model(model: nn.Module) -> None:
    """Make every packed layer of a model plain again, with the numbers that it had."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, PackedLinear):
                setattr(module, name, child.unpacked())


def _can_pack(module: nn.Module) -> TypeGuard[nn.Linear]:
    # Not of subclasses, which may compute something else.
    return (
        type(module) is nn.Linear
        and module.weight.device.type == "cpu"
        and module.weight.numel() >= SMALL
        and module.weight.dtype in (torch.float32, torch.bfloat16)
        and kernels.can_pack(module.weight.dtype)
    )


def first_rows(linear: nn.Linear) -> nn.Linear:
    """Return a layer of the first rows of another, one block at most: enough to time it."""
    part = nn.Linear(linear.in_features, min(linear.out_features, BLOCK), device="meta")
    part.weight = nn.Parameter(linear.weight[:BLOCK], requires_grad=False)
    bias = None if linear.bias is None else linear.bias[:BLOCK]
    part.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
    return part


def is_faster(part: nn.Linear, plain: nn.Module, packed: nn.Module, dtype: torch.dtype) -> bool:
    """Time a layer against its packed form, or recall the trial of another of its shape.

    Args:
        part: by `first_rows`.
        plain: `part`, or made of it.
        packed: what may replace `plain`.
        dtype: of the weight of `plain`.
    """
    key = (part.out_features, part.in_features, dtype)
    with _TRYING:
        if key not in _trials:
            with torch.inference_mode(False), torch.no_grad():
                states = torch.ones(_TRIED_ROWS, part.in_features, dtype=part.weight.dtype)
                time_plain, time_packed = _times(states, plain, packed)
            _trials[key] = time_packed <= _GAIN * time_plain
            _LOG.debug(
                "linear layer %d x %d, %s: %.2f ms plain, %.2f ms packed",
                *key,
                time_plain * 1e3,
                time_packed * 1e3,
            )
        return _trials[key]


def _times(states: Tensor, *modules: nn.Module) -> list[float]:
    """Return the shortest processor time of each module in seconds, run in turns.

    In one thread: the time on the clock says little on a busy machine.
    """
    shortest = [float("inf")] * len(modules)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(_ROUNDS):
            for number, module in enumerate(modules):
                begin = time.thread_time()
                module(states)
                shortest[number] = min(shortest[number], time.thread_time() - begin)
    finally:
        torch.set_num_threads(threads)
    return shortest

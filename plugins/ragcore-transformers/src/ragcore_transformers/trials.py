"""Trials of kernels: one layer of each shape is timed, once in a process.

Knows what a layer of some shape takes; knows nothing of models or of how kernels work.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from ragcore.process.fork import new_rlock
from ragcore_transformers.timing import shortest_times

__all__ = ["BLOCK", "Shape", "Trial", "compare", "first_rows", "known_trial", "rows_of", "shape_of"]

_LOG: Final = logging.getLogger(__name__)

BLOCK: Final = 4096
"""Rows of a weight in one product; the results stay in a CPU's caches."""

_TRIED_ROWS: Final = 64
"""Rows of states in a trial: some questions' beams; more rows favour packing as much."""

_FEW_ROWS: Final = 4
"""A single question's beams, or one short question to encode: packing may lose."""

_GAIN: Final = 0.95
"""A packed layer is used where it takes at most this share of the plain one's time, on the mean of
many rows and few."""

_LOSS: Final = 1.05
"""The largest share with many rows, in which most time is spent, whatever few rows gain."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a layer's speed depends on.

    Attributes:
        rows: of the weight that is timed, `BLOCK` at most.
        columns: of the weight.
        dtype: of the weight.
        transposed: whether the weight is stored as [columns, rows], as GPT-2's are.
    """

    rows: int
    columns: int
    dtype: torch.dtype
    transposed: bool = False


@dataclass(frozen=True, slots=True)
class Trial:
    """Processor seconds of one product in one thread.

    Attributes:
        plain: of a layer as it is, with many rows of states.
        packed: of the packed layer, with as many.
        plain_few: of a layer as it is, with few rows.
        packed_few: of the packed layer, with as few.
    """

    plain: float
    packed: float
    plain_few: float
    packed_few: float

    @property
    def faster(self) -> bool:
        """Whether the packed layer is to be used."""
        many, few = self.packed / self.plain, self.packed_few / self.plain_few
        return many <= _LOSS and (many * few) ** 0.5 <= _GAIN

    @property
    def best(self) -> float:
        """The time of the layer that is used."""
        return self.packed if self.faster else self.plain


_trials: dict[Shape, Trial] = {}

_TRYING: Final = new_rlock()
"""A shape is tried once, also where several threads load models."""


def rows_of(linear: nn.Linear | Conv1D) -> Tensor:
    """Return a layer's weight as [rows, columns]; GPT-2's layers store it as [columns, rows]."""
    weight: Tensor = linear.weight.detach()
    return weight.t() if isinstance(linear, Conv1D) else weight


def first_rows(linear: nn.Linear | Conv1D) -> nn.Linear:
    """Return a layer of the first rows of another, one block at most: enough to time it."""
    weight = rows_of(linear)[:BLOCK]
    part = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    # A view: in the order of the layer's own memory, on which its speed depends.
    part.weight = nn.Parameter(weight, requires_grad=False)
    bias = None if linear.bias is None else linear.bias[:BLOCK]
    part.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
    return part


def shape_of(part: nn.Linear, dtype: torch.dtype) -> Shape:
    """Return the shape of a layer by `first_rows` whose weight is of some dtype when it is used."""
    transposed = not part.weight.is_contiguous()
    return Shape(part.out_features, part.in_features, dtype, transposed)


def known_trial(shape: Shape) -> Trial | None:
    """Return the trial of a shape; None if there was none in this process."""
    return _trials.get(shape)


def compare(
    part: nn.Linear, plain: nn.Module, pack: Callable[[], nn.Module], dtype: torch.dtype
) -> Trial:
    """Time a layer against its packed form, or recall the trial of another of its shape.

    Args:
        part: by `first_rows`.
        plain: `part`, or made of it.
        pack: makes what may replace `plain`.
        dtype: of the weight of `plain`.
    """
    shape = shape_of(part, dtype)
    with _TRYING:
        if shape not in _trials:
            with torch.inference_mode(False), torch.no_grad():
                _trials[shape] = trial = _try(part, plain, pack())
            _LOG.debug(
                "linear layer %d x %d, %s: %.2f ms plain, %.2f ms packed; with few rows of states "
                "%.3f ms plain, %.3f ms packed",
                shape.rows,
                shape.columns,
                dtype,
                trial.plain * 1e3,
                trial.packed * 1e3,
                trial.plain_few * 1e3,
                trial.packed_few * 1e3,
            )
        return _trials[shape]


def _try(part: nn.Linear, plain: nn.Module, packed: nn.Module) -> Trial:
    many, few = (
        torch.ones(rows, part.in_features, dtype=part.weight.dtype)
        for rows in (_TRIED_ROWS, _FEW_ROWS)
    )
    layers = (plain, packed)
    return Trial(
        *shortest_times(*(partial(layer, many) for layer in layers)),
        *shortest_times(*(partial(layer, few) for layer in layers)),
    )

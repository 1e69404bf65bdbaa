"""Trials of kernels: one layer of each shape is timed, once in a process.

Knows how to time a layer and what it took; knows nothing of models or of how kernels work.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from ragcore.process.fork import new_rlock

__all__ = ["BLOCK", "Shape", "Trial", "compare", "first_rows", "known_trial", "rows_of", "shape_of"]

_LOG: Final = logging.getLogger(__name__)

BLOCK: Final = 4096
"""Rows of a weight in one product; the results stay in a CPU's caches."""

_TRIED_ROWS: Final = 64
"""Rows of states in a trial: some questions' beams; more rows favour packing as much."""

_ROUNDS: Final = 4

_GAIN: Final = 0.95
"""A packed layer is used where it takes at most this share of the plain one's time."""


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
    """Processor seconds of one product in one thread."""

    plain: float
    packed: float

    @property
    def faster(self) -> bool:
        """Whether the packed layer is to be used."""
        return self.packed <= _GAIN * self.plain

    @property
    def best(self) -> float:
        """The time of the layer that is used."""
        return self.packed if self.faster else self.plain


_trials: dict[Shape, Trial] = {}

_TRYING: Final = new_rlock()
"""Two trials at once would each put back the other's number of threads."""


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
                states = torch.ones(_TRIED_ROWS, part.in_features, dtype=part.weight.dtype)
                _trials[shape] = trial = Trial(*_times(states, plain, pack()))
            _LOG.debug(
                "linear layer %d x %d, %s: %.2f ms plain, %.2f ms packed",
                shape.rows,
                shape.columns,
                dtype,
                trial.plain * 1e3,
                trial.packed * 1e3,
            )
        return _trials[shape]


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

"""What `ragcore check --speed` prints of a loaded model: a line for each shape of its layers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from ragcore_transformers import kernels
from ragcore_transformers.dtypes import Choice, dtype_name
from ragcore_transformers.int8 import Int8Linear, PackedInt8Linear
from ragcore_transformers.packed import SMALL, PackedLinear
from ragcore_transformers.trials import BLOCK, Shape, known_trial

__all__ = ["dtype_line", "encoder_lines", "kernel_lines"]

_PACKED: Final = (PackedLinear, PackedInt8Linear)
_PLAIN: Final = (nn.Linear, Conv1D, Int8Linear)


@dataclass(frozen=True, slots=True)
class _Kind:
    """What layers of one line have in common."""

    rows: int
    columns: int
    dtype: torch.dtype
    device: str
    transposed: bool
    packed: bool

    @property
    def tried(self) -> Shape:
        return Shape(min(self.rows, BLOCK), self.columns, self.dtype, self.transposed)


def dtype_line(dtype: str, choice: Choice | None) -> str:
    """Say which dtype a model has, and why where `auto` chose it."""
    return f"dtype {dtype}" + ("" if choice is None else f", chosen by auto: {choice.reason}")


def kernel_lines(model: nn.Module) -> list[str]:
    """Say of the linear layers of each shape, largest first, which kernel they use and why."""
    kinds = Counter(kind for module in model.modules() if (kind := _kind(module)) is not None)
    if not kinds:
        return ["no linear layers"]
    order = sorted(kinds, key=lambda kind: (-kind.rows * kind.columns, kind.rows, kind.packed))
    return [
        f"{kinds[kind]} x linear {kind.rows} x {kind.columns}, {dtype_name(kind.dtype)}: "
        f"{_reason(kind)}"
        for kind in order
    ]


def encoder_lines(
    configured: str, questions: tuple[str, nn.Module], passages: tuple[str, nn.Module]
) -> list[str]:
    """Say of an encoder which dtypes and kernels it uses.

    Args:
        configured: its setting `dtype`.
        questions: the dtype of the model of questions, and that model.
        passages: likewise; it may be the same model.
    """
    dtype, model = questions
    chosen = ", chosen by auto" if configured == "auto" else ""
    if model is passages[1]:
        return [f"dtype {dtype}{chosen}", *kernel_lines(model)]
    return [
        f"questions: dtype {dtype}{chosen}",
        *kernel_lines(model),
        f"passages: dtype {passages[0]}",
        *kernel_lines(passages[1]),
    ]


def _kind(module: nn.Module) -> _Kind | None:
    # Not of subclasses, which may compute something else.
    if type(module) not in (*_PACKED, *_PLAIN):
        return None
    weight = module.weight
    if not isinstance(weight, Tensor):
        return None
    rows, columns = weight.shape[::-1] if isinstance(module, Conv1D) else weight.shape
    transposed = isinstance(module, Conv1D) or bool(getattr(module, "transposed", False))
    packed = isinstance(module, _PACKED)
    return _Kind(rows, columns, weight.dtype, weight.device.type, transposed, packed)


def _reason(kind: _Kind) -> str:
    trial = known_trial(kind.tried)
    name, why = "packed" if kind.packed else "plain", ""
    if not kind.packed:
        if kind.device != "cpu":
            return f"plain: it is on {kind.device}"
        if kind.rows * kind.columns < SMALL:
            return f"plain: fewer than {SMALL:,} weights"
        if not _can_pack(kind.dtype):
            return "plain: this torch has no packed product of this type here"
        if trial is not None and trial.faster:
            why = "; packed, the model computes something else, or it is trained"
    if trial is None:
        return f"{name}: not tried"
    part = f" for the first {BLOCK:,} rows" if kind.rows > BLOCK else ""
    times = (
        f"{trial.plain * 1e3:.2f} ms plain, {trial.packed * 1e3:.2f} ms packed{part}; few rows of "
        f"states {trial.plain_few * 1e3:.2f} and {trial.packed_few * 1e3:.2f}"
    )
    return f"{name} ({times}){why}"


def _can_pack(dtype: torch.dtype) -> bool:
    return kernels.can_pack_int8() if dtype == torch.int8 else kernels.can_pack(dtype)

"""The setting `dtype: auto`: bfloat16 where it is faster here, and computes what float32 does.

Weights are bfloat16 then; sums of products, softmax and log-probabilities stay float32. Knows
trials of layers and gaps of log-probs; knows no architecture.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from ragcore_transformers import kernels
from ragcore_transformers.gaps import Gaps
from ragcore_transformers.packed import PackedLinear, is_large, unpack_model
from ragcore_transformers.probing import understood
from ragcore_transformers.trials import compare, first_rows, rows_of

__all__ = [
    "Choice",
    "GeneratorDtype",
    "choose_dtype",
    "dtype_name",
    "restore_float32",
    "weights_dtype",
]

_LOG: Final = logging.getLogger(__name__)

_LOADED: Final = {"bfloat16": torch.bfloat16, "float16": torch.float16}
"""What weights are loaded as; those of other settings are float32 first, whatever they become."""

_GAIN: Final = 0.75
"""bfloat16 is used where the linear layers take at most this share of their time in float32."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What `auto` chose.

    Attributes:
        dtype: float32 or bfloat16.
        reason: why, as a clause.
    """

    dtype: torch.dtype
    reason: str


class GeneratorDtype:
    """The dtype that `auto` chose for a generator, if it was asked, and the way back for training.

    Attributes:
        choice: what `auto` chose; None where the dtype is set by name.
    """

    def __init__(
        self,
        name: str,
        model: Any,
        log_probs: Callable[[], Tensor],
        reload: Callable[[], nn.Module],
        *,
        auto: bool,
    ) -> None:
        """Choose a dtype and give it to the model where it is `auto`; see `choose_dtype`.

        Args:
            name: of the model, for errors.
            model: see `choose_dtype`.
            log_probs: likewise.
            reload: likewise.
            auto: whether the setting `dtype` is that.
        """
        self._model, self._reload = model, reload
        self.choice: Choice | None = None
        if auto:
            with understood(name, model):
                self.choice = choose_dtype(model, log_probs, reload)

    def make_trainable(self) -> None:
        """Make the model the checkpoint's own: plain layers, and float32 where auto chose."""
        unpack_model(self._model)
        if self.choice is not None and self.choice.dtype == torch.bfloat16:
            restore_float32(self._model, self._reload())
            self.choice = Choice(torch.float32, "it is trained")

    def unpack_for_gradients(self) -> None:
        """Make packed layers plain if gradients are enabled, since they have none.

        What `auto` chose stays until the model is trained.
        """
        if torch.is_grad_enabled():
            unpack_model(self._model)


def choose_dtype(
    model: Any, log_probs: Callable[[], Tensor], reload: Callable[[], nn.Module]
) -> Choice:
    """Choose a model's dtype, and give its weights this dtype.

    Args:
        model: a checkpoint of Hugging Face's in float32, in eval mode, with plain layers.
        log_probs: runs it, and returns the log-probs [n, V] of the tokens after 1, 2, … n tokens.
        reload: loads the checkpoint in float32 again.
    """
    faster, reason = _is_faster(model)
    choice = Choice(torch.float32, reason)
    if faster:
        with torch.inference_mode(False), torch.no_grad():
            expected = log_probs().clone()
            _narrow(model)
            gaps, narrow = Gaps(model), log_probs()
        for number, row in enumerate(expected):
            gaps.compare(narrow[number], row)
            if number:
                gaps.follow(expected[number - 1], row)
        if gaps.exceeded:
            restore_float32(model, reload())
            reason = f"in bfloat16 its probabilities would be off by {gaps.largest:.2g}"
            choice = Choice(torch.float32, reason)
        else:
            reason = f"{reason}, and probabilities differ by {gaps.largest:.1g}"
            choice = Choice(torch.bfloat16, reason)
    _LOG.info("%s: %s, %s", type(model).__name__, dtype_name(choice.dtype), choice.reason)
    return choice


def dtype_name(dtype: torch.dtype) -> str:
    """Return the name as in YAML, such as "float32"."""
    return str(dtype).removeprefix("torch.")


def weights_dtype(setting: str) -> torch.dtype:
    """Return the dtype in which weights are loaded, by the setting `dtype`."""
    return _LOADED.get(setting, torch.float32)


def restore_float32(model: Any, fresh: nn.Module) -> None:
    """Give a model the weights of a checkpoint loaded in float32, in place."""
    exact = fresh.state_dict()
    with torch.inference_mode(False), torch.no_grad():
        for name, value in model.state_dict(keep_vars=True).items():
            value.data = exact[name].to(value.device)


def _narrow(model: Any) -> None:
    """Make weights bfloat16, except those that the model's class wants in float32."""
    wide = [re.compile(key) for key in getattr(model, "_keep_in_fp32_modules_strict", None) or ()]
    # What a model computes when it is made, such as rotations, is not in its state, and stays wide.
    for name, value in model.state_dict(keep_vars=True).items():
        if value.dtype == torch.float32 and not any(key.search(name) for key in wide):
            value.data = value.data.to(torch.bfloat16)


def _is_faster(model: Any) -> tuple[bool, str]:
    """Return whether bfloat16 is faster on the model's device, and what says so."""
    device = model.device
    if device.type != "cpu":
        native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return native, f"this device computes bfloat16 {'itself' if native else 'in no faster way'}"
    seconds = {torch.float32: 0.0, torch.bfloat16: 0.0}
    for layer in model.modules():
        if is_large(layer):
            part = first_rows(layer)
            for dtype in seconds:
                share = len(rows_of(layer)) / part.out_features
                seconds[dtype] += share * _seconds(part, dtype)
    if not seconds[torch.float32]:
        return False, "no linear layer is so large that bfloat16 would be faster"
    share = seconds[torch.bfloat16] / seconds[torch.float32]
    return share <= _GAIN, f"linear layers take {share:.2f} of float32's time in bfloat16 here"


def _seconds(part: nn.Linear, dtype: torch.dtype) -> float:
    """Return the seconds of a layer by `first_rows` with the faster kernel of a dtype."""
    cast = nn.Linear(part.in_features, part.out_features, device="meta")
    cast.weight = nn.Parameter(part.weight.to(dtype), requires_grad=False)
    bias = part.bias
    cast.bias = None if bias is None else nn.Parameter(bias.to(dtype), requires_grad=False)
    pack = (lambda: PackedLinear(cast)) if kernels.can_pack(dtype) else (lambda: cast)
    return compare(cast, cast, pack, dtype).best

"""The precision in which an encoder's model computes: as stored, float32, bfloat16 or int8.

Only the transformers within a model change. What follows them, such as pooling and normalising,
gets float32, so that vectors have the lengths they should. A memory keeps the precision of its
passages' vectors: `chosen_dtype` gives what is kept, and `with_chosen_dtype` reads it.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar, get_args

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ragcore.errors import (
    GeneratorError,
    MemoryMismatchError,
    PluginError,
    UnsupportedOperation,
)
from ragcore_transformers.configs import DprConfig, EncoderDtype, SentenceConfig
from ragcore_transformers.int8 import quantize
from ragcore_transformers.packed import pack_model, unpack_model
from ragcore_transformers.timing import shortest_times

__all__ = [
    "Precision",
    "chosen_dtype",
    "described",
    "prepare",
    "prepare_both",
    "trainable",
    "with_chosen_dtype",
]

_LOG: Final = logging.getLogger(__name__)

_PROBES: Final = ["a", "b " * 5, "c d " * 30]
"""Of unlike lengths, to compare two ways in which a model computes."""

_KEY: Final = "passage_dtype"

Config = TypeVar("Config", SentenceConfig, DprConfig)

Part = tuple[str, Any, Callable[[Any, list[str]], Tensor]]
"""A model's name, the model, and what encodes texts with such a model as vectors [n, d]."""

_GAIN: Final = 0.75
"""`auto` is bfloat16 where the model then takes at most this share of the time."""

_ALIKE: Final = 0.99
"""The least cosine of each vector with the exact one for `auto` to be bfloat16; all-MiniLM-L6-v2
has 0.9999 over 64 passages."""

_FLOATS: Final = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float16: "float16"}


@dataclass(frozen=True, slots=True)
class Precision:
    """A model that is ready to encode.

    Attributes:
        model: the one that was passed or, with `auto`, perhaps a copy.
        dtype: of its weights, such as "float32".
        changed: whether that is not how the checkpoint stores them.
        narrowed: whether `auto` made it narrower than the checkpoint, which training wants back.
    """

    model: Any
    dtype: str
    changed: bool
    narrowed: bool = False


def prepare_both(
    config: SentenceConfig | DprConfig, passages: Part, questions: Part
) -> tuple[Precision, Precision]:
    """Give the models of questions and of passages the precisions that a config asks for.

    Args:
        config: an encoder's.
        passages: the model as loaded, in eval mode; it is changed.
        questions: likewise; it may be the same one.

    Returns:
        Those of questions and of passages: of one model where both are the same.

    Raises:
        PluginError: int8 is not possible here.
    """
    passage_dtype = config.passage_dtype or config.dtype
    if passages[1] is not questions[1]:
        return prepare(questions, config.dtype), prepare(passages, passage_dtype)
    name, model, encode = questions
    if _resolved(config.dtype, model) == _resolved(passage_dtype, model):
        of_both = prepare(passages, passage_dtype)
        return of_both, of_both
    of_questions = prepare((name, copy.deepcopy(model), encode), config.dtype)
    of_passages = prepare(passages, passage_dtype)
    if of_questions.dtype == of_passages.dtype:
        # What `auto` chose is what passages have: one model serves.
        of_questions = replace(of_questions, model=of_passages.model)
    return of_questions, of_passages


def chosen_dtype(config: SentenceConfig | DprConfig, passages: Precision) -> dict[str, str]:
    """Return what a memory keeps of its passages' precision; nothing where it is the checkpoint's.

    Memories of releases without this setting keep nothing either.
    """
    # Where float32 is asked for by name, the memory opens with the same config.
    named = (config.passage_dtype or config.dtype) == "float32"
    return {_KEY: passages.dtype} if passages.changed or named else {}


def with_chosen_dtype(config: Config, chosen: Mapping[str, str]) -> Config:
    """Return an encoder's config for a memory that keeps `chosen`, by `chosen_dtype`.

    Raises:
        MemoryMismatchError: the memory's precision is none that this release has.
    """
    dtype = chosen.get(_KEY, "checkpoint")
    if dtype not in get_args(EncoderDtype):
        raise MemoryMismatchError(
            f"a memory was built with passage_dtype {dtype!r}; this release has "
            f"{', '.join(get_args(EncoderDtype))}: upgrade ragcore, or rebuild the memory"
        )
    if config.passage_dtype is not None or config.dtype == dtype:
        return config
    return config.model_copy(update={_KEY: dtype})


def described(passages: Precision) -> str:
    """Return the end of a fingerprint; nothing where vectors are those of the checkpoint."""
    return f",dtype={passages.dtype}" if passages.changed else ""


def trainable(precision: Precision, reload: Callable[[], Any]) -> Precision:
    """Return a model as training wants it: plain layers, and as stored where `auto` narrowed it.

    Args:
        precision: by `prepare_both`, or by this function.
        reload: loads the model's checkpoint again.

    Raises:
        UnsupportedOperation: its weights are int8.
    """
    if precision.dtype == "int8":
        raise UnsupportedOperation(
            "an encoder of dtype int8 cannot be trained: set its dtype to float32 or bfloat16"
        )
    if precision.narrowed:
        model = reload()
        return Precision(model, _stored(model), changed=False)
    unpack_model(precision.model)
    return precision


def prepare(part: Part, dtype: str) -> Precision:
    """Give a model a precision, and pack its layers where it runs on a CPU.

    Args:
        part: the model as loaded, in eval mode; it is changed.
        dtype: as configured.

    Raises:
        PluginError: int8 is not possible here.
    """
    name, model, encode = part

    def vectors(model: Any) -> Tensor:
        return encode(model, _PROBES)

    stored = _stored(model)
    dtype = _resolved(dtype, model)
    if dtype == "auto":
        narrow = _narrow_if_better(name, model, vectors)
        model, dtype = (model, stored) if narrow is None else (narrow, "bfloat16")
        _LOG.info("encoder %r computes in %s", name, dtype)
        return Precision(model, dtype, changed=narrow is not None, narrowed=narrow is not None)
    if dtype == "int8":
        # What stays plain reads the layers' float32 numbers.
        _cast(model, torch.float32)
        _quantize(name, model)
    elif dtype != stored:
        _cast(model, torch.bfloat16 if dtype == "bfloat16" else torch.float32)
    _pack(model, vectors)
    return Precision(model, dtype, changed=dtype != stored)


def _resolved(dtype: str, model: nn.Module) -> str:
    """Return a precision by its name, or "auto" where it is still to be chosen."""
    stored = _stored(model)
    # No precision is narrower and as exact.
    is_stored = dtype == "checkpoint" or (dtype == "auto" and stored == "bfloat16")
    return stored if is_stored else dtype


def _narrow_if_better(
    name: str, model: nn.Module, vectors: Callable[[Any], Tensor]
) -> nn.Module | None:
    """Return a copy in bfloat16, if it is faster here and gives vectors that are alike."""
    device = _device(model)
    # Before its layers are packed, which would be shared, and which no cast reaches.
    narrow = copy.deepcopy(model)
    _pack(model, vectors)
    if device.type != "cpu" and not (
        device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    ):
        return None
    _cast(narrow, torch.bfloat16)
    _pack(narrow, vectors)
    with torch.inference_mode(False), torch.no_grad():
        alike = torch.cosine_similarity(vectors(narrow), vectors(model)).min()
        if not alike >= _ALIKE:
            _LOG.info("encoder %r: vectors in bfloat16 have cosines down to %.3f", name, alike)
            return None
        if device.type != "cpu":
            return narrow
        seconds, narrow_seconds = shortest_times(lambda: vectors(model), lambda: vectors(narrow))
    share = narrow_seconds / seconds
    _LOG.info("encoder %r: in bfloat16 it takes %.2f of the time", name, share)
    return narrow if share <= _GAIN else None


def _pack(model: nn.Module, vectors: Callable[[Any], Tensor]) -> None:
    device = _device(model)
    # Packed layers are for a CPU.
    if device.type == "cpu":
        pack_model(model, lambda: vectors(model))


def _quantize(name: str, model: nn.Module) -> None:
    device = _device(model)
    if device.type != "cpu":
        raise PluginError(
            f"encoder {name!r}: dtype int8 is for a CPU and the model is on {device}: set dtype to "
            "bfloat16, or device to cpu"
        )
    try:
        for core in _cores(model):
            # Vectors are kept in memories, which move to other machines.
            quantize(core, portable=True)
    except GeneratorError as fault:
        raise PluginError(f"encoder {name!r}: {fault}") from fault


def _cast(model: nn.Module, dtype: torch.dtype) -> None:
    """Give a model's transformers weights of another precision, and the rest float32."""
    for core in _cores(model):
        # What a model computes when it is made, such as rotations, is a buffer and stays wide.
        for weight in core.parameters():
            if weight.dtype in _FLOATS:
                weight.data = weight.data.to(dtype)
    if isinstance(model, PreTrainedModel):
        return
    for part in model.children():
        if any(True for _ in _cores(part)):
            part.register_forward_hook(_widened)
        else:
            for weight in part.parameters():
                weight.data = weight.data.float()


def _cores(model: nn.Module) -> Iterator[nn.Module]:
    """Give the transformers within a model, each once and not those within another."""
    if isinstance(model, PreTrainedModel):
        yield model
        return
    for part in model.children():
        yield from _cores(part)


def _widened(module: nn.Module, inputs: Any, output: Any) -> Any:
    """Return sentence-transformers' features with float32 numbers."""
    if not isinstance(output, dict):
        return output
    return {
        name: value.float()
        if isinstance(value, Tensor) and value.dtype in (torch.bfloat16, torch.float16)
        else value
        for name, value in output.items()
    }


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters(), torch.empty(0)).device


def _stored(model: nn.Module) -> str:
    """Return the precision of the weights, that of most numbers; "float32" where there are none."""
    counts: dict[torch.dtype, int] = {}
    for weight in model.parameters():
        counts[weight.dtype] = counts.get(weight.dtype, 0) + weight.numel()
    most = max(counts, key=counts.__getitem__, default=torch.float32)
    return _FLOATS.get(most, str(most).removeprefix("torch."))

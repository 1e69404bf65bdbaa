"""Small files for models: matrices as int8 with a scale for each row ("int8-rows").

`config.json` says `"ragcore_weights": "int8-rows"`. `model.safetensors` holds each matrix W as
int8 [rows, columns] under its name and float16 [rows] under `NAME.scale`, so that W ≈ int8 ·
scale[:, None]; every other tensor as float16; tied weights once, under one of their names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSeq2SeqLM, GenerationConfig

from ragcore.errors import GeneratorError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

__all__ = ["FORMAT", "load_int8_rows", "quantize_rows", "save_int8_rows"]

FORMAT: Final = "int8-rows"

_SCALE: Final = ".scale"


def quantize_rows(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Quantise a matrix [rows, columns] to int8 and float16 scales [rows].

    The error of a weight is at most half the scale of its row (and what float16 rounds away).
    """
    matrix = matrix.detach().float()
    scale = (matrix.abs().amax(dim=1) / 127).to(torch.float16)  # [rows]
    # A row too small for float16 becomes zero.
    divisor = torch.where(scale > 0, scale.float(), torch.inf)
    rounded = torch.round(matrix / divisor[:, None]).clamp(-127, 127)
    return rounded.to(torch.int8), scale


def save_int8_rows(model: PreTrainedModel, folder: Path) -> None:
    """Write a model's configuration and weights; the caller saves the tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    model.config.save_pretrained(folder)
    # Models that generate nothing, such as those for extractive QA, have none.
    generation = getattr(model, "generation_config", None)
    if generation is not None:
        generation.save_pretrained(folder)
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["ragcore_weights"] = FORMAT
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    matrices = {name for name, value in model.named_parameters() if value.ndim == 2}
    stored: dict[str, torch.Tensor] = {}
    # Tied weights are one tensor in memory, and are written once.
    for names in _tied(model).values():
        name = names[0]
        value = model.state_dict()[name]
        if name in matrices:
            stored[name], stored[name + _SCALE] = quantize_rows(value)
        else:
            stored[name] = value.to(torch.float16).contiguous()
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})


def load_int8_rows(
    folder: Path, config: PreTrainedConfig, loader: Any = AutoModelForSeq2SeqLM
) -> PreTrainedModel:
    """Load the model in `folder`, float32.

    Args:
        folder: holds the weights.
        config: of the model.
        loader: the auto class of Hugging Face's.

    Raises:
        GeneratorError: the file is missing or damaged, or does not hold exactly what the model has.
    """
    path = folder / "model.safetensors"
    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        raise GeneratorError(
            f"{path} cannot be read ({error}): it should hold the weights of a model whose "
            f"config.json says ragcore_weights: {FORMAT}"
        ) from error
    weights = _dequantize(stored, path)
    # The model is float32 from here on, and says so where it is saved.
    if hasattr(config, "ragcore_weights"):
        del config.ragcore_weights
    # Without memory: random weights, which take seconds to draw, would only be replaced.
    with torch.device("meta"):
        model: PreTrainedModel = loader.from_config(config)
    _refuse_misfit(model, weights, path)
    if _computed_buffers(model):
        # Such as BERT's positions, which only Hugging Face's own loading computes again.
        library_class: Any = type(model)
        loaded: PreTrainedModel = library_class.from_pretrained(
            None, config=config, state_dict=weights, dtype=torch.float32
        )
        return loaded
    _put(model, weights)
    if (folder / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(folder)
    return model


def _dequantize(stored: Mapping[str, torch.Tensor], path: Path) -> dict[str, torch.Tensor]:
    weights = {}
    for name, value in stored.items():
        if name.endswith(_SCALE) and name.removesuffix(_SCALE) in stored:
            continue
        if value.dtype != torch.int8:
            weights[name] = value.float()
            continue
        scale = stored.get(name + _SCALE)
        if value.ndim != 2 or scale is None or scale.shape != value.shape[:1]:
            raise GeneratorError(
                f"{path}: {name!r} is int8 of shape {tuple(value.shape)} with "
                f"{'no scale' if scale is None else f'a scale of shape {tuple(scale.shape)}'}: "
                f"{FORMAT} needs a matrix, and a scale for each row under {name + _SCALE!r}"
            )
        weights[name] = value.float() * scale.float()[:, None]
    return weights


def _put(model: PreTrainedModel, weights: Mapping[str, torch.Tensor]) -> None:
    """Put weights into a model that was made without memory; tied names get one tensor."""
    empty = model.state_dict(keep_vars=True)
    state: dict[str, torch.Tensor] = {}
    for names in _tied(model).values():
        stored = [weights[name] for name in names if name in weights]
        # Only BART's bias of the logits may be missing, which is zero in a new model.
        value = stored[0] if stored else torch.zeros(empty[names[0]].shape)
        if isinstance(empty[names[0]], torch.nn.Parameter):
            value = torch.nn.Parameter(value, requires_grad=empty[names[0]].requires_grad)
        state |= dict.fromkeys(names, value)
    model.load_state_dict(state, assign=True)


def _computed_buffers(model: PreTrainedModel) -> set[str]:
    """Return the names of buffers that a model computes when it is made, and never stores."""
    return {name for name, _ in model.named_buffers()} - set(model.state_dict())


def _refuse_misfit(model: PreTrainedModel, weights: Mapping[str, Any], path: Path) -> None:
    expected = model.state_dict()
    optional = [re.compile(key) for key in model._keys_to_ignore_on_load_missing or ()]
    missing = [
        names[0]
        for names in _tied(model).values()
        if not any(name in weights for name in names)
        and not any(pattern.search(names[0]) for pattern in optional)
    ]
    unexpected = sorted(set(weights) - set(expected))
    misshapen = [
        f"{name} {tuple(value.shape)} instead of {tuple(expected[name].shape)}"
        for name, value in weights.items()
        if name in expected and value.shape != expected[name].shape
    ]
    faults = [
        f"{fault}: {', '.join(names[:5])}{' …' if len(names) > 5 else ''}"
        for fault, names in (
            ("missing", missing),
            ("not of this model", unexpected),
            ("of another shape", misshapen),
        )
        if names
    ]
    if faults:
        raise GeneratorError(
            f"{path} does not fit the {type(model).__name__} that config.json describes: "
            f"{'; '.join(faults)}. Export the weights again from the model they belong to"
        )


def _tied(model: PreTrainedModel) -> dict[int, list[str]]:
    """Group the names of the model's tensors by tensor; a tied one has several."""
    names: dict[int, list[str]] = {}
    for name, value in model.state_dict(keep_vars=True).items():
        names.setdefault(id(value), []).append(name)
    return names

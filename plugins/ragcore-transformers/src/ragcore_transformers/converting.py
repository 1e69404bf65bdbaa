"""Convert a folder's pytorch_model.bin, or its shards, to safetensors.

The old format is a pickle, which can hold code. It is read by torch's restricted unpickler, which
makes tensors and nothing else. Knows files of weights; knows nothing of models.
"""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Final

import torch
from huggingface_hub import save_torch_state_dict
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ragcore.disk.temporary import temporary_folder
from ragcore.errors import GeneratorError

__all__ = ["Converted", "convert"]

_WEIGHTS: Final = "pytorch_model.bin"
_INDEX: Final = "pytorch_model.bin.index.json"
_SHARD: Final = "5GB"
"""The largest file that is written, as transformers has it."""


@dataclass(frozen=True, slots=True)
class Converted:
    """What was converted.

    Attributes:
        read: names of the files that were read.
        written: names of the files that were written.
        tensors: how many weights they have.
    """

    read: list[str]
    written: list[str]
    tensors: int


def convert(folder: Path) -> Converted:
    """Write a folder's weights as safetensors next to the files that they come from.

    Weights that share memory, such as tied embeddings, are written once, as transformers does.

    Args:
        folder: of a model.

    Raises:
        GeneratorError: there is nothing to convert, or it was converted before; a file is damaged,
            holds more than tensors, or the written weights differ.
    """
    if not folder.is_dir():
        raise GeneratorError(f"{folder}: there is no such folder; check the path")
    known = sorted(path.name for path in folder.glob("*.safetensors"))
    if known:
        raise GeneratorError(
            f"{folder} has weights as safetensors already ({known[0]}): remove them to convert "
            f"{_WEIGHTS} again"
        )
    files = _files(folder)
    weights: dict[str, Tensor] = {}
    for file in files:
        weights.update(_read(file))
    try:
        # In the same folder, so that a finished file is put in place by one renaming.
        with temporary_folder(folder, ".converting-") as staging:
            # A copy: names of shared weights are removed from it.
            save_torch_state_dict(dict(weights), staging, max_shard_size=_SHARD)
            _compare(weights, staging)
            # The index comes last, so that all shards are there once it names them.
            written = sorted(staging.iterdir(), key=lambda path: path.suffix == ".json")
            for path in written:
                os.replace(path, folder / path.name)
    except (OSError, SafetensorError) as fault:
        raise GeneratorError(f"{folder} cannot be written to: {fault}") from fault
    return Converted([file.name for file in files], [path.name for path in written], len(weights))


def _files(folder: Path) -> list[Path]:
    index = folder / _INDEX
    if not index.is_file():
        if not (folder / _WEIGHTS).is_file():
            raise GeneratorError(
                f"{folder} has neither {_WEIGHTS} nor {_INDEX}: nothing to convert"
            )
        return [folder / _WEIGHTS]
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as fault:
        raise GeneratorError(f"{index} cannot be read: {fault!r}") from fault
    for name in names:
        if not isinstance(name, str) or Path(name).name != name:
            raise GeneratorError(f"{index} names {name!r}, which is no file of its folder")
        if not (folder / name).is_file():
            raise GeneratorError(f"{index} names {name}, and there is no such file")
    return [folder / name for name in names]


def _read(file: Path) -> dict[str, Tensor]:
    """Read a file's tensors; those of a zip file, as torch writes since 1.6, stay on disk."""
    try:
        content: Any = torch.load(
            file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file)
        )
    except UnpicklingError as fault:
        raise GeneratorError(
            f"{file} holds more than tensors, which could be code, or is damaged: only a file that "
            "`torch.save` wrote of a model's state_dict is converted"
        ) from fault
    except (OSError, RuntimeError, ValueError, EOFError, LookupError) as fault:
        reason = str(fault).strip().partition("\n")[0]
        raise GeneratorError(f"{file} cannot be read: {reason}") from fault
    other = (
        [key for key, value in content.items() if not isinstance(value, Tensor)]
        if isinstance(content, dict)
        else [type(content).__name__]
    )
    if other:
        raise GeneratorError(
            f"{file} is no state_dict of a model: {other[0]!r} is no tensor; a checkpoint of a "
            "training must be saved as a model first, by save_pretrained"
        )
    return dict(content)


def _compare(weights: dict[str, Tensor], folder: Path) -> None:
    """Check that files have every weight, or the one that it shares its memory with, bit for bit.

    Raises:
        GeneratorError: one differs.
    """
    stored: set[str] = set()
    shared: dict[str, str] = {}
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (it is no mapping)
                if not _equal(file.get_tensor(name), weights[name]):
                    raise GeneratorError(f"{name} was not written as it is in {folder.parent}")
                stored.add(name)
            shared.update(file.metadata() or {})
    for name in weights.keys() - stored:
        twin = shared.get(name)
        if twin not in stored or not _equal(weights[name], weights[twin]):
            raise GeneratorError(f"{name} of {folder.parent} was not written")


def _equal(first: Tensor, second: Tensor) -> bool:
    """Return whether two tensors have the same bits, NaN included."""
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    return torch.equal(
        first.contiguous().reshape(-1).view(torch.uint8),
        second.contiguous().reshape(-1).view(torch.uint8),
    )

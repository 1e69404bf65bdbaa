"""Checkpoints: weights that are trained and the optimiser's state, as safetensors.

    checkpoints/step-000200/
        weights.safetensors     those that are trained; the others are where they came from
        optimizer.safetensors   AdamW's moments, under the weights' names
        state.json              the step, the best so far, and a digest of the settings
    checkpoints/best-000100/    weights.safetensors alone

A checkpoint is written beside its place and renamed in, and the one before it is then removed: a
process that is killed leaves the old one or the new. Random numbers need no place here, since they
are drawn from the seed and the step (`schedule.py`).
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ragcore.errors import TrainingError

__all__ = [
    "best_place",
    "forget_best",
    "latest",
    "load_checkpoint",
    "restore_weights",
    "save_best",
    "save_checkpoint",
    "steps_of",
    "trained_weights",
]

_NAME: Final = re.compile(r"step-\d{6,}")
_WEIGHTS, _OPTIMIZER, _STATE = "weights.safetensors", "optimizer.safetensors", "state.json"


def save_checkpoint(
    folder: Path,
    step: int,
    module: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    state: Mapping[str, Any],
) -> None:
    """Write the checkpoint of a step, and then remove those of other steps.

    Args:
        folder: of the checkpoints; made where it is missing.
        step: how many steps were made.
        module: whose weights that require a gradient are kept.
        optimizer: whose state is kept.
        state: JSON-ready values to go on from.
    """
    with _written(folder, f"step-{step:06d}") as new:
        save_file(trained_weights(module), new / _WEIGHTS)
        save_file(_moments(module, optimizer), new / _OPTIMIZER)
        (new / _STATE).write_text(json.dumps(state) + "\n", encoding="utf-8")
    for old in _steps(folder):
        if steps_of(old) != step:
            shutil.rmtree(old)


def save_best(folder: Path, step: int, module: torch.nn.Module) -> None:
    """Keep the weights of a step; those kept before stay until `forget_best`."""
    with _written(folder, best_place(folder, step).name) as new:
        save_file(trained_weights(module), new / _WEIGHTS)


def forget_best(folder: Path, *, but: int) -> None:
    """Remove kept weights, but those of one step."""
    for old in folder.glob("best-*"):
        if old != best_place(folder, but):
            shutil.rmtree(old)


def best_place(folder: Path, step: int) -> Path:
    """Where the kept weights of a step are."""
    return folder / f"best-{step:06d}"


def steps_of(place: Path) -> int:
    """How many steps a checkpoint is of."""
    return int(place.name.removeprefix("step-"))


@contextmanager
def _written(folder: Path, name: str) -> Iterator[Path]:
    """A new folder to write into, which then takes this name; one that has it is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    new = folder / f".new-{os.getpid()}"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    yield new
    place = folder / name
    if place.exists():
        shutil.rmtree(place)
    new.rename(place)


def _steps(folder: Path) -> list[Path]:
    return [one for one in folder.glob("step-*") if _NAME.fullmatch(one.name)]


def latest(folder: Path) -> Path | None:
    """The checkpoint of the most steps in a folder; None where there is none."""
    return max(_steps(folder), key=steps_of, default=None)


def load_checkpoint(
    place: Path, module: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """Put a checkpoint's weights and moments in place; what `state` was.

    Raises:
        TrainingError: it cannot be read, or is of another model.
    """
    try:
        state: dict[str, Any] = json.loads((place / _STATE).read_text(encoding="utf-8"))
        moments = load_file(place / _OPTIMIZER)
    except Exception as error:
        raise _unreadable(place, error) from error
    restore_weights(place, module)
    by_name = dict(module.named_parameters())
    for key, value in moments.items():
        kind, _, name = key.partition(":")
        weight = by_name[name]
        optimizer.state[weight][kind] = value if kind == "step" else value.to(weight.device)
    return state


def restore_weights(place: Path, module: torch.nn.Module) -> None:
    """Put a checkpoint's weights in place.

    Raises:
        TrainingError: it cannot be read, or is of another model.
    """
    try:
        held = load_file(place / _WEIGHTS)
    except Exception as error:
        raise _unreadable(place, error) from error
    own = trained_weights(module)
    if {name: value.shape for name, value in held.items()} != {
        name: value.shape for name, value in own.items()
    }:
        raise TrainingError(
            f"{place} holds the weights of another model than the pipeline's: begin anew with "
            "--fresh, or train into another folder"
        )
    with torch.no_grad():
        for name, weight in own.items():
            weight.copy_(held[name])


def trained_weights(module: torch.nn.Module) -> dict[str, Tensor]:
    """The weights that are trained, by name; one that has several names has its first."""
    return {
        name: weight.detach() for name, weight in module.named_parameters() if weight.requires_grad
    }


def _moments(module: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    kept: dict[str, Tensor] = {}
    for name, weight in module.named_parameters():
        for kind, value in optimizer.state.get(weight, {}).items():
            kept[f"{kind}:{name}"] = torch.as_tensor(value).detach().contiguous()
    return kept


def _unreadable(place: Path, error: Exception) -> TrainingError:
    return TrainingError(
        f"{place} cannot be read ({type(error).__name__}: {error}): remove it to go on from an "
        "earlier checkpoint, or begin anew with --fresh"
    )

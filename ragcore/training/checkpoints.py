"""Checkpoints: weights that are trained and the optimiser's state, as safetensors.

    checkpoints/step-000200/
        weights.safetensors     those that are trained; the others are where they came from
        optimizer.safetensors   AdamW's moments, under the weights' names
        state.json              the step, the best so far, and what the training was told

A checkpoint is written beside its place and renamed in, and the one before it is then removed: a
process that is killed leaves the old one or the new. Random numbers need no place here, since they
are drawn from the seed and the step (`schedule.py`).
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ragcore.errors import TrainingError

__all__ = ["latest", "load_checkpoint", "restore_weights", "save_checkpoint", "trained_weights"]

_NAME: Final = re.compile(r"step-\d{6,}")
_WEIGHTS, _OPTIMIZER, _STATE = "weights.safetensors", "optimizer.safetensors", "state.json"


def save_checkpoint(
    folder: Path,
    step: int,
    module: torch.nn.Module,
    optimizer: torch.optim.Optimizer | None,
    state: Mapping[str, Any],
    *,
    name: str | None = None,
) -> Path:
    """Write a checkpoint, and then remove those of other steps.

    Args:
        folder: of the checkpoints; made where it is missing.
        step: how many steps were made.
        module: whose weights that require a gradient are kept.
        optimizer: whose state is kept; none for weights that are only to be looked up again.
        state: JSON-ready values to go on from.
        name: of the checkpoint, where it is no step of the row; it replaces one of that name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    new = folder / f".new-{os.getpid()}"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    save_file(trained_weights(module), new / _WEIGHTS)
    if optimizer is not None:
        save_file(_moments(module, optimizer), new / _OPTIMIZER)
    (new / _STATE).write_text(json.dumps({"step": step, **state}) + "\n", encoding="utf-8")
    place = folder / (name or f"step-{step:06d}")
    if place.exists():
        shutil.rmtree(place)
    new.rename(place)
    if name is None:
        for old in folder.iterdir():
            if _NAME.fullmatch(old.name) and old != place:
                shutil.rmtree(old)
    return place


def latest(folder: Path) -> Path | None:
    """The checkpoint of the most steps in a folder; None where there is none."""
    found = [one for one in folder.glob("step-*") if _NAME.fullmatch(one.name)]
    return max(found, key=lambda one: int(one.name.removeprefix("step-")), default=None)


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

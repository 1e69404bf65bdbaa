"""Save and load checkpoints: the trained weights and the optimiser's state, as safetensors.

    checkpoints/step-000200/
        weights.safetensors     the trained weights; all others are still where they came from
        optimizer.safetensors   AdamW's moments, under the weights' names; float32 copies of weights
        state.json              the step, the best so far, and a digest of the settings
    checkpoints/best-000100/    weights.safetensors alone

A checkpoint is written in a folder of its own, then renamed into place, and only then is the
previous one removed: a process that is killed leaves the old one or the new. The state of random
number generators is not saved, since they are seeded by the seed and the step (`schedule.py`).
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
from ragcore.training.master import MasterAdamW

__all__ = [
    "best_folder",
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
_MASTER: Final = "master"


def save_checkpoint(
    folder: Path,
    step: int,
    module: torch.nn.Module,
    optimizer: MasterAdamW,
    state: Mapping[str, Any],
) -> None:
    """Write the checkpoint of a step, then remove those of other steps.

    Args:
        folder: of all checkpoints; created where it is missing.
        step: the steps done.
        module: its weights that require a gradient are saved.
        optimizer: its state is saved.
        state: JSON-ready values to resume from.
    """
    with _new_folder(folder, f"step-{step:06d}") as new:
        save_file(trained_weights(module), new / _WEIGHTS)
        save_file(_moments(module, optimizer), new / _OPTIMIZER)
        (new / _STATE).write_text(json.dumps(state) + "\n", encoding="utf-8")
    for old in _steps(folder):
        if steps_of(old) != step:
            shutil.rmtree(old)


def save_best(folder: Path, step: int, module: torch.nn.Module) -> None:
    """Save the weights of a step; those saved before remain until `forget_best`."""
    with _new_folder(folder, best_folder(folder, step).name) as new:
        save_file(trained_weights(module), new / _WEIGHTS)


def forget_best(folder: Path, *, keep: int) -> None:
    """Remove the weights that `save_best` saved, except those of step `keep`."""
    for old in folder.glob("best-*"):
        if old != best_folder(folder, keep):
            shutil.rmtree(old)


def best_folder(folder: Path, step: int) -> Path:
    """Return the folder that `save_best` writes a step's weights to."""
    return folder / f"best-{step:06d}"


def steps_of(checkpoint: Path) -> int:
    """Return how many steps a checkpoint has done."""
    return int(checkpoint.name.removeprefix("step-"))


@contextmanager
def _new_folder(folder: Path, name: str) -> Iterator[Path]:
    """Give a new folder to write into, then rename it; a folder of that name is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    new = folder / f".new-{os.getpid()}"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    yield new
    target = folder / name
    if target.exists():
        shutil.rmtree(target)
    new.rename(target)


def _steps(folder: Path) -> list[Path]:
    return [path for path in folder.glob("step-*") if _NAME.fullmatch(path.name)]


def latest(folder: Path) -> Path | None:
    """Return the checkpoint of the most steps in a folder; None where it has none."""
    return max(_steps(folder), key=steps_of, default=None)


def load_checkpoint(
    checkpoint: Path, module: torch.nn.Module, optimizer: MasterAdamW
) -> dict[str, Any]:
    """Load a checkpoint's weights and moments, and return its `state`.

    Raises:
        TrainingError: it cannot be read, or is of another model.
    """
    try:
        state: dict[str, Any] = json.loads((checkpoint / _STATE).read_text(encoding="utf-8"))
        moments = load_file(checkpoint / _OPTIMIZER)
    except Exception as error:
        raise _unreadable(checkpoint, error) from error
    restore_weights(checkpoint, module)
    optimizer.reset_masters()
    by_name = dict(module.named_parameters())
    for key, value in moments.items():
        kind, _, name = key.partition(":")
        master = optimizer.master(by_name[name])
        if kind == _MASTER:
            with torch.no_grad():
                master.copy_(value)
        else:
            optimizer.state[master][kind] = value if kind == "step" else value.to(master.device)
    return state


def restore_weights(checkpoint: Path, module: torch.nn.Module) -> None:
    """Load a checkpoint's weights into the module.

    Raises:
        TrainingError: it cannot be read, or is of another model.
    """
    try:
        saved = load_file(checkpoint / _WEIGHTS)
    except Exception as error:
        raise _unreadable(checkpoint, error) from error
    weights = trained_weights(module)
    if {name: value.shape for name, value in saved.items()} != {
        name: value.shape for name, value in weights.items()
    }:
        raise TrainingError(
            f"{checkpoint} has the weights of another model than the pipeline's: start again with "
            "--fresh, or train into another folder"
        )
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(saved[name])


def trained_weights(module: torch.nn.Module) -> dict[str, Tensor]:
    """Return the trained weights by name; a weight with several names has its first."""
    return {
        name: weight.detach() for name, weight in module.named_parameters() if weight.requires_grad
    }


def _moments(module: torch.nn.Module, optimizer: MasterAdamW) -> dict[str, Tensor]:
    moments: dict[str, Tensor] = {}
    for name, weight in module.named_parameters():
        master = optimizer.master(weight)
        if master is not weight:
            moments[f"{_MASTER}:{name}"] = master
        for kind, value in optimizer.state.get(master, {}).items():
            moments[f"{kind}:{name}"] = torch.as_tensor(value).detach().contiguous()
    return moments


def _unreadable(checkpoint: Path, error: Exception) -> TrainingError:
    return TrainingError(
        f"{checkpoint} cannot be read ({type(error).__name__}: {error}): remove it to resume from "
        "an earlier checkpoint, or start again with --fresh"
    )

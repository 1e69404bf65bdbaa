"""Helpers for laws of training: change weights, and load what was saved."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragcore.registry.components import ComponentSpec
from ragcore.testing.variants import changed

if TYPE_CHECKING:
    import torch

__all__ = ["loaded", "moved", "resumed", "saved", "scaled"]

_SETTINGS = "settings.json"
_WEIGHTS = "weights"


def moved(module: torch.nn.Module) -> None:
    """Change every trainable weight a little, as a training step does.

    The change is the same at each call.
    """
    import torch

    drawn = torch.Generator().manual_seed(11)
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    assert weights, "trained_module() has no weight that can be trained"
    with torch.no_grad():
        for weight in weights:
            weight.add_(0.05 * torch.randn(weight.shape, generator=drawn).to(weight))


def scaled(module: torch.nn.Module, factor: float) -> None:
    """Multiply every matrix of weights, which makes distributions more uneven."""
    import torch

    with torch.no_grad():
        for weight in module.parameters():
            if weight.ndim >= 2:
                weight.mul_(factor)


def loaded(spec: ComponentSpec[Any], settings: Mapping[str, str], folder: Path) -> Any:
    """Build the component whose trained weights were saved into a folder."""
    assert settings, "save_trained() names nothing that the config should say"
    for key, path in settings.items():
        assert not Path(path).is_absolute(), (
            f"save_trained() says {key}: {path}, which holds only until the folder moves: expected "
            "a path inside it"
        )
    inside = {key: str(folder / path) for key, path in settings.items()}
    for key, path in inside.items():
        assert Path(path).exists(), f"save_trained() says {key}: {path}, which is not there"
    return changed(spec, inside).build()


def saved(component: Any, folder: Path) -> None:
    """Save trained weights, and the settings that load them, into an existing empty folder."""
    component.trained_module()
    (folder / _WEIGHTS).mkdir()
    settings = component.save_trained(folder / _WEIGHTS)
    (folder / _SETTINGS).write_text(json.dumps(settings), encoding="utf-8")


def resumed(spec: ComponentSpec[Any], folder: Path) -> Any:
    """Build the component that `saved` has saved; None where it saved none."""
    path = folder / _SETTINGS
    if not path.exists():
        return None
    return loaded(spec, json.loads(path.read_text(encoding="utf-8")), folder / _WEIGHTS)

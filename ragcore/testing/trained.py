"""Laws of what can be trained: what moves, what stays, and that it comes back from disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragcore.registry.components import ComponentSpec
from ragcore.testing.variants import changed

if TYPE_CHECKING:
    import torch

__all__ = ["loaded", "moved"]


def moved(module: torch.nn.Module) -> None:
    """Move every weight a little, as a step of training does; the same way at each call."""
    import torch

    drawn = torch.Generator().manual_seed(11)
    weights = [one for one in module.parameters() if one.requires_grad]
    assert weights, "trained_module() has no weight that can be trained"
    with torch.no_grad():
        for one in weights:
            one.add_(0.05 * torch.randn(one.shape, generator=drawn).to(one))


def loaded(part: ComponentSpec[Any], said: Mapping[str, str], folder: Path) -> Any:
    """The component whose trained weights were saved into a folder."""
    assert said, "save_trained() names nothing that the config should say"
    inside = {key: str(folder / path) for key, path in said.items()}
    for key, path in inside.items():
        assert Path(path).exists(), f"save_trained() says {key}: {path}, which is not there"
    return changed(part, inside).build()

"""What is kept of a training or an evaluation, so that it can be repeated elsewhere."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from ragcore import __version__
from ragcore.registry.discovery import registry

__all__ = ["environment", "portable"]

_LIBRARIES: Final = (
    "torch",
    "numpy",
    "accelerate",
    "transformers",
    "sentence-transformers",
    "tokenizers",
    "peft",
    "faiss-cpu",
    "scipy",
    "ir-measures",
    "rouge-score",
    "sacrebleu",
)


def environment() -> dict[str, Any]:
    """Versions of what the numbers depend on."""
    found = {"ragcore": __version__}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {"python": platform.python_version(), "machine": platform.machine(), **found}


def portable(value: Any, folder: Path) -> Any:
    """A config whose paths do as long as the project, which the folder is in, stays together.

    What lies beside the folder, or beside its parent, is said from there; a model that a plugin
    ships by its name; other paths stay whole.
    """
    match value:
        case dict():
            return {key: portable(one, folder) for key, one in value.items()}
        case list():
            return [portable(one, folder) for one in value]
        case str() if os.path.isabs(value):
            shipped = registry().shipped_model(Path(value))
            if shipped is not None:
                return shipped
            near = Path(value).resolve().is_relative_to(folder.parent.parent)
            return os.path.relpath(Path(value).resolve(), folder) if near else value
        case _:
            return value

"""What a training or an evaluation records, so that it can be repeated elsewhere."""

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
    "model2vec",
    "tokenizers",
    "peft",
    "faiss-cpu",
    "scipy",
    "ir-measures",
    "rouge-score",
    "sacrebleu",
)


def environment() -> dict[str, Any]:
    """Return the versions of what the numbers depend on."""
    versions = {"ragcore": __version__}
    for name in _LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {"python": platform.python_version(), "machine": platform.machine(), **versions}


def portable(value: Any, folder: Path, project: Path | None = None) -> Any:
    """Rewrite a config's paths so that a project can be moved as a whole.

    Paths below the project become relative to the folder. The path of a
    model that a plugin ships becomes the model's name. Other paths stay absolute.

    Args:
        value: a config as plain values.
        folder: the folder that the rewritten config is written into.
        project: what is moved as a whole; the parent of the folder's parent where it is None.
    """
    match value:
        case dict():
            return {key: portable(inner, folder, project) for key, inner in value.items()}
        case list():
            return [portable(item, folder, project) for item in value]
        case str() if os.path.isabs(value):
            shipped = registry().shipped_model(Path(value))
            if shipped is not None:
                return shipped
            near = Path(value).resolve().is_relative_to(project or folder.parent.parent)
            return os.path.relpath(Path(value).resolve(), folder) if near else value
        case _:
            return value

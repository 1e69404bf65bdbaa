"""The types of paths and models in configs: they are resolved, and remember what was written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, ValidationInfo

from ragcore.registry.written import WrittenPath, WrittenText

__all__ = ["ConfigPath", "ModelName", "names_model"]


def _resolve_path(value: Path, info: ValidationInfo) -> Path:
    if "\0" in str(value):
        raise ValueError("a path cannot have the character NUL in it")
    expanded, base = _expanded(value), _base(info)
    if expanded.is_absolute():
        return WrittenPath.of(expanded, written=str(value), base=None)
    return WrittenPath.of(base / expanded, written=str(value), base=base.absolute())


def _expanded(path: Path) -> Path:
    """Put a home folder in the place of ~ or ~user."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError(f"there is no home folder for {path.parts[0]!r}") from None


def _exists(path: Path) -> bool:
    """Return whether there is something at a path; a text too long to be one is none."""
    try:
        return path.exists()
    except OSError:
        return False


def _resolve_model(value: str, info: ValidationInfo) -> str:
    from ragcore.registry.discovery import registry

    folder = registry().model_folder(value)
    if folder is not None:
        return WrittenText.of(str(folder), written=value, base=None)
    if "\0" in value:
        raise ValueError("a model's name cannot have the character NUL in it")
    path, base = _expanded(Path(value)), _base(info)
    local = base / path
    if _exists(local):
        start = None if path.is_absolute() else base.absolute()
        return WrittenText.of(str(local), written=value, base=start)
    if path.is_absolute() and (info.context or {}).get("recorded"):
        # Manifests once recorded the folder of a shipped model, in an environment that has moved.
        shipped = registry().model_folder(path.name)
        if shipped is not None:
            return WrittenText.of(str(shipped), written=path.name, base=None)
    return value


def _base(info: ValidationInfo) -> Path:
    """Return the folder that relative paths of a config start from."""
    return Path((info.context or {}).get("base", "."))


def names_model(*hints: Any) -> bool:
    """Return whether annotations are, or have in them, `ModelName`."""
    return any(
        getattr(hint, "func", None) is _resolve_model or names_model(*get_args(hint))
        for hint in hints
    )


ConfigPath = Annotated[Path, AfterValidator(_resolve_path)]
"""A path in a config; relative to the folder of the file that it is written in."""

ModelName = Annotated[str, AfterValidator(_resolve_model)]
"""A model: one that a plugin ships (`ragcore_models`), a folder, or a name on a model hub."""

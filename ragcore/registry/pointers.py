"""Where a config's record names places on this machine, as JSON pointers (RFC 6901).

Knows the types of paths and models in configs; knows nothing of components.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from pydantic import BaseModel

from ragcore.registry.configs import yaml_key
from ragcore.registry.paths import names_model
from ragcore.registry.written import WrittenPath, WrittenText

__all__ = ["bases", "escaped", "pointers"]


@runtime_checkable
class _Recorded(Protocol):
    """A component spec within a config, which knows its own record."""

    def record_base(self) -> Path | None: ...

    def record_paths(self) -> list[str]: ...


def bases(value: Any) -> Iterator[Path]:
    """Yield the folders that relative paths in a config, or a value in one, started from."""
    match value:
        case BaseModel():
            for name in type(value).model_fields:
                yield from bases(getattr(value, name))
        case dict():
            for item in value.values():
                yield from bases(item)
        case list() | tuple():
            for item in value:
                yield from bases(item)
        case WrittenPath() | WrittenText() if value.base is not None:
            yield value.base
        case _Recorded():
            base = value.record_base()
            if base is not None:
                yield base


def pointers(value: Any, model: bool = False) -> Iterator[str]:
    """Yield where a config's record names places on this machine.

    Args:
        value: a config, or a value in one.
        model: whether a text in it is a model's name.
    """
    match value:
        case BaseModel():
            for name, field in type(value).model_fields.items():
                hints = (*field.metadata, field.annotation)
                for pointer in pointers(getattr(value, name), names_model(*hints)):
                    yield f"/{escaped(yaml_key(name, field))}{pointer}"
        case dict():
            for key, item in value.items():
                for pointer in pointers(item, model):
                    yield f"/{escaped(str(key))}{pointer}"
        case list() | tuple():
            for number, item in enumerate(value):
                for pointer in pointers(item, model):
                    yield f"/{number}{pointer}"
        case Path() | WrittenText():
            yield ""
        case str() if model and Path(value).is_absolute():
            yield ""
        case _Recorded():
            yield from value.record_paths()


def escaped(key: str) -> str:
    """Return a key as JSON pointers have it."""
    return key.replace("~", "~0").replace("/", "~1")

"""Parts: what a config says where it names a component.

A field annotated `Part` with a kind may be written in YAML as `{use: NAME, …}`; whoever reads the
config (ragcore/config.py) finds the class registered under NAME, checks the rest against the
class's `Config`, and puts a `Part` there. The component that owns the field calls `build()`.

    class Config(PartConfig):
        encoder: Annotated[Part, Kind("encoder")]
        depth: int = 32
"""

from __future__ import annotations

import json
import threading
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo

__all__ = ["ConfigPath", "Kind", "ModelName", "Part", "PartConfig"]


class PartConfig(BaseModel):
    """The base of every component's `Config`: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


@dataclass(frozen=True, slots=True)
class Kind:
    """Marks a field of type `Part` with the kind of component that it takes."""

    name: str


@dataclass(frozen=True, slots=True)
class Part:
    """A component that a config names: kind, registered name, class, checked config."""

    kind: str
    use: str
    component: Any
    config: BaseModel

    def build(self, **given: Any) -> Any:
        """A new component; `given` are the keyword arguments that its contract adds."""
        return self.component(self.config, **given)

    def shared(self) -> Any:
        """One component for all who ask with an equal config, as long as somebody holds it.

        For what is heavy and has no state, as an encoder's weights: two versions of a memory that
        are open at once read with one copy.
        """
        key = json.dumps([self.kind, self.to_dict()], sort_keys=True)
        with _LOCK:
            held = _SHARED.get(key)
            if held is None:
                held = self.build()
                _SHARED[key] = held
            return held

    def to_dict(self) -> dict[str, Any]:
        """The part as YAML would say it, every default written out."""
        return {"use": self.use, **to_plain(self.config)}


_SHARED: Final[weakref.WeakValueDictionary[str, Any]] = weakref.WeakValueDictionary()
_LOCK: Final = threading.RLock()


def to_plain(config: BaseModel) -> dict[str, Any]:
    """A config as JSON-ready values; nested parts become `{use: …}` mappings."""
    return {name: _plain(getattr(config, name)) for name in type(config).model_fields}


def _plain(value: Any) -> Any:
    match value:
        case Part():
            return value.to_dict()
        case BaseModel():
            return to_plain(value)
        case Path():
            return str(value)
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case _:
            return value


def _base(info: ValidationInfo) -> Path:
    return Path((info.context or {}).get("base", "."))


def _resolve_path(value: Path, info: ValidationInfo) -> Path:
    value = value.expanduser()
    return value if value.is_absolute() else _base(info) / value


def _resolve_model(value: str, info: ValidationInfo) -> str:
    from ragcore.plugins import registry

    folder = registry().model_folder(value)
    if folder is not None:
        return str(folder)
    local = _resolve_path(Path(value), info)
    return str(local) if local.exists() else value


ConfigPath = Annotated[Path, AfterValidator(_resolve_path)]
"""A path in a config; relative to the folder of the file that says it."""

ModelName = Annotated[str, AfterValidator(_resolve_model)]
"""A model: one that a plugin ships (`ragcore_models`), a folder, or a name on a model hub."""

"""Parts: what a config says where it names a component.

A field annotated `Part` with a kind may be written in YAML as `{use: NAME, …}`; whoever reads the
config (ragcore/config) finds the class registered under NAME, checks the rest against the
class's `Config`, and puts a `Part` there. The component that owns the field calls `build()`.

    class Config(PartConfig):
        encoder: Annotated[Part, Kind("encoder")]
        depth: int = 32
"""

from __future__ import annotations

import json
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, ValidationInfo
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

__all__ = [
    "ConfigPath",
    "Kind",
    "ModelName",
    "Part",
    "PartConfig",
    "part_from_dict",
    "to_plain",
    "yaml_key",
]


PART_MARK: Final = "x-ragcore-part"


class PartConfig(BaseModel):
    """The base of every component's `Config`: frozen, and an unknown key is an error."""

    # Defaults are validated too: a default path starts from the file's folder like a written one.
    model_config = ConfigDict(
        extra="forbid", frozen=True, arbitrary_types_allowed=True, validate_default=True
    )


@dataclass(frozen=True, slots=True)
class Kind:
    """Marks a field of type `Part` with the kind of component that it takes."""

    name: str

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        """A mark in the JSON Schema, for `ragcore schema` to put the kind's components there."""
        return {PART_MARK: self.name}


@dataclass(frozen=True, slots=True)
class Part:
    """A component that a config names: kind, registered name, class, checked config.

    `secrets` says where in the config a secret stands and how it was written, {("token",):
    "${env:TOKEN}"}; what `to_dict` gives, and so every file, holds that text instead.
    """

    kind: str
    use: str
    component: Any
    config: BaseModel = field(repr=False)
    secrets: Mapping[tuple[str | int, ...], str] = field(
        default_factory=dict, repr=False, compare=False
    )

    def build(self, **given: Any) -> Any:
        """A new component; `given` are the keyword arguments that its contract adds."""
        return self.component(self.config, **given)

    def shared(self) -> Any:
        """One component for all who ask with an equal config, as long as somebody holds it.

        For what is heavy and has no state, as an encoder's weights: two versions of a memory that
        are open at once read with one copy.
        """
        key = self.component, json.dumps(self._said(hidden=False), sort_keys=True)
        with _LOCK:
            held = _SHARED.get(key)
            if held is None:
                held = self.build()
                _SHARED[key] = held
            return held

    def to_dict(self) -> dict[str, Any]:
        """The part as YAML would say it, every default written out, no secret in it."""
        return self._said(hidden=True)

    def _said(self, hidden: bool) -> dict[str, Any]:
        said = {"use": self.use, **_fields(self.config, hidden)}
        for path, text in self.secrets.items() if hidden else ():
            _put(said, path, text)
        return said


_SHARED: Final[weakref.WeakValueDictionary[tuple[Any, str], Any]] = weakref.WeakValueDictionary()
_LOCK: Final = threading.RLock()


def to_plain(value: Any) -> Any:
    """A config, or a value in one, as JSON-ready values; parts become `{use: …}` mappings."""
    return _plain(value, hidden=True)


def yaml_key(name: str, field: FieldInfo) -> str:
    """The key of a config's field in YAML: its alias if it has one, as a field `from_` needs."""
    return field.validation_alias if isinstance(field.validation_alias, str) else name


def part_from_dict(kind: str, data: Mapping[str, Any]) -> Part:
    """The part that `Part.to_dict` gave, as a manifest keeps it.

    For what ragcore wrote itself; what people write is read by `ragcore.config`, which knows the
    line of each fault.

    Args:
        kind: such as "retriever".
        data: `{use: NAME, …}`, nested parts likewise.

    Raises:
        UnknownComponentError: no plugin gives the component.
        ConfigError: there is no `use`, it names a secret, or the component's `Config` (of
            another release, say) refuses the rest.
    """
    from ragcore.errors import ConfigError
    from ragcore.registry.discovery import registry

    said = dict(data)
    use = said.pop("use", None)
    if not isinstance(use, str):
        raise ConfigError(f"{kind}: found {data!r}, expected a mapping with 'use'")
    component = registry().load(kind, use)
    for name, about in component.Config.model_fields.items():
        key, inner = yaml_key(name, about), _kind_in(*about.metadata, about.annotation)
        if key in said and inner is not None:
            said[key] = _parts_in(said[key], inner)
    if "${env:" in json.dumps(said, default=str):
        raise ConfigError(
            f"{kind} {use!r}: its recorded config names a secret, {said!r}: give the {kind} from a "
            "pipeline file, where secrets are filled in"
        )
    try:
        config = component.Config.model_validate(said)
    except ValidationError as error:
        raise ConfigError(
            f"{kind} {use!r}: its recorded config does not fit the component that is installed: "
            f"{error}: give the {kind} from a pipeline file instead"
        ) from None
    return Part(kind, use, component, config)


def _kind_in(*hints: Any) -> str | None:
    """The kind of the parts that a field holds, however deep in its annotation."""
    for hint in hints:
        found = hint.name if isinstance(hint, Kind) else _kind_in(*get_args(hint))
        if found is not None:
            return found
    return None


def _parts_in(value: Any, kind: str) -> Any:
    if isinstance(value, list):
        return [_parts_in(item, kind) for item in value]
    if isinstance(value, dict) and "use" not in value:
        return {key: _parts_in(item, kind) for key, item in value.items()}
    return part_from_dict(kind, value) if isinstance(value, dict) else value


def _fields(config: BaseModel, hidden: bool) -> dict[str, Any]:
    fields = type(config).model_fields.items()
    return {yaml_key(name, field): _plain(getattr(config, name), hidden) for name, field in fields}


def _plain(value: Any, hidden: bool) -> Any:
    match value:
        case Part():
            return value._said(hidden)
        case BaseModel():
            return _fields(value, hidden)
        case Path():
            return str(value)
        case dict():
            return {str(key): _plain(item, hidden) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item, hidden) for item in value]
        case _:
            return to_jsonable_python(value)


def _put(said: Any, path: tuple[str | int, ...], text: str) -> None:
    """Put `text` at a path, or as deep on the way to it as the value goes."""
    key, *rest = path
    inner = said[key] if isinstance(said, dict) and key in said else None
    if isinstance(said, list) and isinstance(key, int) and key < len(said):
        inner = said[key]
    if rest and isinstance(inner, dict | list):
        _put(inner, tuple(rest), text)
    else:
        said[key] = text


def _base(info: ValidationInfo) -> Path:
    return Path((info.context or {}).get("base", "."))


def _resolve_path(value: Path, info: ValidationInfo) -> Path:
    value = value.expanduser()
    return value if value.is_absolute() else _base(info) / value


def _resolve_model(value: str, info: ValidationInfo) -> str:
    from ragcore.registry.discovery import registry

    folder = registry().model_folder(value)
    if folder is not None:
        return str(folder)
    local = _resolve_path(Path(value), info)
    return str(local) if local.exists() else value


ConfigPath = Annotated[Path, AfterValidator(_resolve_path)]
"""A path in a config; relative to the folder of the file that says it."""

ModelName = Annotated[str, AfterValidator(_resolve_model)]
"""A model: one that a plugin ships (`ragcore_models`), a folder, or a name on a model hub."""

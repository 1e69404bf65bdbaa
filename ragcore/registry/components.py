"""Component specs: what a config holds where it names a component.

A field annotated `ComponentSpec[Contract]` is written in YAML as `{use: NAME, …}`. The config
reader (ragcore/config) looks up the class registered under NAME, checks the other keys against the
class's `Config`, and sets the field to a `ComponentSpec`. The component that owns the field calls
`build()`.

    class Config(ComponentConfig):
        encoder: ComponentSpec[Encoder]
        depth: int = 32

The contract in the brackets (`ragcore.contracts`) is the kind of component that the field takes.
"""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import CoreSchema, core_schema, to_jsonable_python

from ragcore.contracts.component import remember_name
from ragcore.errors import PluginError
from ragcore.process.fork import new_rlock
from ragcore.registry.configs import config_class, yaml_key
from ragcore.registry.conformance import KINDS, check_class, check_instance, check_loaded
from ragcore.registry.paths import ConfigPath, ModelName
from ragcore.registry.pointers import bases, pointers
from ragcore.registry.written import WrittenText, as_written

__all__ = [
    "ConfigPath",
    "ModelName",
    "ComponentSpec",
    "config_class",
    "kind_of",
    "ComponentConfig",
    "keep_shared",
    "spec_from_dict",
    "to_plain",
    "yaml_key",
]


COMPONENT_MARK: Final = "x-ragcore-component"


class ComponentConfig(BaseModel):
    """Base class of every component's `Config`: frozen, and an unknown key is an error."""

    # Defaults are validated too: a default path starts from the file's folder like a written one.
    model_config = ConfigDict(
        extra="forbid", frozen=True, arbitrary_types_allowed=True, validate_default=True
    )


T = TypeVar("T")
Spelling = Callable[[Path | str], str]
"""How a path, or a model's name, is written."""


class ComponentSpec(Generic[T]):
    """A component that a config names but that is not built yet; immutable.

    Not a dataclass: pydantic would check its fields instead of calling
    `__get_pydantic_core_schema__`.

    Attributes:
        kind: kind of component, such as "retriever".
        use: the name under which the component is registered.
        component: the component's class; where None was passed, the one registered under `use`,
            imported at its first use.
        config: a validated instance of the class's `Config`.
        secrets: paths of secrets in the config, with the text in the file: {("token",):
            "${env:TOKEN}"}. `to_dict`, and so every file written from it, has that text instead.
    """

    def __init__(
        self,
        kind: str,
        use: str,
        component: Any | None,
        config: BaseModel,
        secrets: Mapping[tuple[str | int, ...], str] = MappingProxyType({}),
    ) -> None:
        self.kind = kind
        self.use = use
        self._component = component
        self.config = config
        self.secrets = secrets

    @property
    def component(self) -> Any:
        """The component's class.

        Raises:
            PluginError: its module cannot be imported, or it lacks members of its contract.
        """
        if self._component is None:
            from ragcore.registry.discovery import registry

            component = registry().load(self.kind, self.use)
            check_class(self.kind, self.use, component)
            self._component = component
        return self._component

    def __repr__(self) -> str:
        # The config is left out, since it may hold a secret.
        return f"ComponentSpec({self.kind!r}, {self.use!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ComponentSpec):
            return NotImplemented
        same = (self.kind, self.use, self.config) == (other.kind, other.use, other.config)
        # Two specs of registered classes are compared without importing these.
        lazy = self._component is None and other._component is None
        return same and (lazy or self.component == other.component)

    def __hash__(self) -> int:
        return hash((self.kind, self.use))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> CoreSchema:
        """Return a schema that accepts specs of the kind that the annotation names."""
        kind = kind_of(source)

        def check_kind(spec: ComponentSpec[Any]) -> ComponentSpec[Any]:
            if spec.kind != kind:
                raise ValueError(f"expected a component of kind {kind!r}, found {spec.kind!r}")
            return spec

        schema = core_schema.is_instance_schema(
            cls, cls_repr="ComponentSpec", metadata={COMPONENT_MARK: kind}
        )
        return core_schema.no_info_after_validator_function(
            check_kind, schema, metadata={COMPONENT_MARK: kind}
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        """Mark the field, so that `ragcore schema` inserts the components of its kind."""
        return {COMPONENT_MARK: schema["metadata"][COMPONENT_MARK]}

    def build(self, **arguments: Any) -> T:
        """Build a new component; `arguments` are the keywords that its contract adds.

        Raises:
            PluginError: the component lacks members of its contract.
        """
        check_class(self.kind, self.use, self.component)
        component: T = self.component(self.config, **arguments)
        check_instance(self.kind, self.use, component)
        remember_name(component, self.use)
        return component

    def load(self, folder: Path, *, mmap: bool = True) -> T:
        """Load a component that this class saved in a folder, with this spec's config.

        Raises:
            PluginError: the component lacks members of its contract.
        """
        check_class(self.kind, self.use, self.component)
        component: T = self.component.load(folder, self.config, mmap=mmap)
        check_loaded(self.kind, self.use, component, self.component)
        return component

    def shared(self) -> T:
        """Return the component that all specs with an equal config share, building it if needed.

        It lives as long as a caller refers to it. For heavy components without state, such as an
        encoder's weights: two versions of a memory that are open at the same time use one copy.
        """
        key = self.component, json.dumps(self._payload(hidden=False), sort_keys=True)
        with _LOCK:
            component: T | None = _SHARED.get(key)
            if component is None:
                component = self.build()
                _SHARED[key] = component
            return component

    def to_dict(self) -> dict[str, Any]:
        """Return the spec as YAML writes it, with every default and without secrets."""
        return self._payload(hidden=True)

    def to_record(self) -> dict[str, Any]:
        """Return the spec as `to_dict` does, with paths and models as the user wrote them.

        What is recorded this way still holds where the project is moved, or its environment is;
        relative paths in it start from `record_base`. A path that starts from another folder than
        that is absolute.
        """
        return self._payload(hidden=True, spell=partial(as_written, base=self.record_base()))

    def record_base(self) -> Path | None:
        """Return the folder that relative paths of `to_record` start from; None without such."""
        return next(bases(self.config), None)

    def record_paths(self) -> list[str]:
        """List where paths and models are in `to_record`, as JSON pointers (RFC 6901).

        Those are the fields with the annotations `ConfigPath`, `Path` and `ModelName`, as far as
        they name a place on this machine.
        """
        return list(pointers(self.config))

    def _payload(self, hidden: bool, spell: Spelling = str) -> dict[str, Any]:
        """Return `use` and the config's fields.

        Args:
            hidden: replace secrets by their `${env:…}`.
            spell: how paths and texts are written.
        """
        payload = {"use": self.use, **_fields(self.config, hidden, spell)}
        for path, text in self.secrets.items() if hidden else ():
            _put(payload, path, text)
        return payload


def kind_of(hint: Any) -> str:
    """Return the kind of component that an annotation `ComponentSpec[Contract]` takes.

    Raises:
        PluginError: the annotation names no contract, or one that configs cannot name.
    """
    contract = next(iter(get_args(hint)), None)
    kind = KINDS.get(contract)
    if kind is None:
        raise PluginError(
            f"found the annotation {hint!r}, expected ComponentSpec with a contract, such as "
            f"ComponentSpec[Encoder]; contracts: {', '.join(known.__name__ for known in KINDS)}"
        )
    return kind


_SHARED: Final[weakref.WeakValueDictionary[tuple[Any, str], Any]] = weakref.WeakValueDictionary()
_LOCK: Final = new_rlock()


@contextmanager
def keep_shared() -> Iterator[None]:
    """Keep all components that are shared now until the block ends; see `ComponentSpec.shared`.

    A block that drops one memory and then opens another would otherwise load an encoder twice.
    """
    with _LOCK:
        components = list(_SHARED.values())
    yield
    components.clear()


def to_plain(value: Any) -> Any:
    """Convert a config, or a value in one, to JSON-ready values; specs become `{use: …}`."""
    return _plain(value, hidden=True)


def spec_from_dict(
    kind: str, data: Mapping[str, Any], *, base: str | Path | None = None
) -> ComponentSpec[Any]:
    """Rebuild the spec from what `to_dict` or `to_record` returned, as a manifest records it.

    For records that ragcore wrote itself. Files that people write are read by `ragcore.config`,
    which knows the line of each fault.

    Args:
        kind: kind of component, such as "retriever".
        data: `{use: NAME, …}`, nested specs likewise.
        base: the folder that relative paths of a record start from; the working folder where None.

    Raises:
        UnknownComponentError: no plugin provides the component.
        ConfigError: `use` is missing, the record names a secret, or the component's `Config` (of
            another release, for example) rejects the other keys.
    """
    from ragcore.errors import ConfigError
    from ragcore.registry.discovery import registry

    settings = dict(data)
    use = settings.pop("use", None)
    if not isinstance(use, str):
        raise ConfigError(f"{kind}: found {data!r}, expected a mapping with 'use'")
    use = registry().current_name(kind, use)
    model = config_class(kind, use)
    for name, field in model.model_fields.items():
        key, inner = yaml_key(name, field), _kind_in(*field.metadata, field.annotation)
        if key in settings and inner is not None:
            settings[key] = _specs_in(settings[key], inner, base)
    if "${env:" in json.dumps(settings, default=str):
        raise ConfigError(
            f"{kind} {use!r}: its recorded config names a secret, {settings!r}: pass the {kind} "
            "from a pipeline file, where secrets are filled in"
        )
    try:
        config = model.model_validate(settings, context=_context(base))
    except ValidationError as error:
        raise ConfigError(
            f"{kind} {use!r}: its recorded config does not fit the installed component: {error}: "
            f"pass the {kind} from a pipeline file instead"
        ) from None
    return ComponentSpec(kind, use, None, config)


def _context(base: str | Path | None) -> dict[str, Any]:
    """Return what validators are told of a record; see paths.py."""
    return {} if base is None else {"base": base, "recorded": True}


def _kind_in(*hints: Any) -> str | None:
    """Return the kind of the specs that a field holds, at any depth of its annotation."""
    for hint in hints:
        kind = kind_of(hint) if get_origin(hint) is ComponentSpec else _kind_in(*get_args(hint))
        if kind is not None:
            return kind
    return None


def _specs_in(value: Any, kind: str, base: str | Path | None) -> Any:
    if isinstance(value, list):
        return [_specs_in(item, kind, base) for item in value]
    if isinstance(value, dict) and "use" not in value:
        return {key: _specs_in(item, kind, base) for key, item in value.items()}
    return spec_from_dict(kind, value, base=base) if isinstance(value, dict) else value


def _fields(config: BaseModel, hidden: bool, spell: Spelling) -> dict[str, Any]:
    fields = type(config).model_fields.items()
    return {
        yaml_key(name, field): _plain(getattr(config, name), hidden, spell)
        for name, field in fields
    }


def _plain(value: Any, hidden: bool, spell: Spelling = str) -> Any:
    match value:
        case ComponentSpec():
            return value._payload(hidden, spell)
        case BaseModel():
            return _fields(value, hidden, spell)
        case Path() | WrittenText():
            return spell(value)
        case dict():
            return {str(key): _plain(item, hidden, spell) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item, hidden, spell) for item in value]
        case _:
            return to_jsonable_python(value)


def _put(payload: Any, path: tuple[str | int, ...], text: str) -> None:
    """Put `text` at a path, or where the path leaves the nested dicts and lists."""
    key, *rest = path
    inner = payload[key] if isinstance(payload, dict) and key in payload else None
    if isinstance(payload, list) and isinstance(key, int) and key < len(payload):
        inner = payload[key]
    if rest and isinstance(inner, dict | list):
        _put(inner, tuple(rest), text)
    else:
        payload[key] = text

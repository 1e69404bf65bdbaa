"""A tree of YAML and a pydantic model, walked side by side: a checked config, or every fault.

Knows how a `ComponentSpec` is written (`{use: NAME, …}`), how a secret is (`${env:NAME}`), and how
to say what is wrong in plain words. Works for any model, a plugin's as well as the pipeline's.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo

from ragcore.config.hints import Takes, hint_of, keys_of
from ragcore.config.reasons import count, reason
from ragcore.config.source import (
    Entry,
    Items,
    Mapping,
    Node,
    Scalar,
    Source,
    SourcePosition,
    clip,
    describe,
)
from ragcore.errors import PluginError, RagcoreError, nearest
from ragcore.registry.components import ComponentSpec
from ragcore.registry.discovery import registry

__all__ = ["ConfigReader", "config_class"]

M = TypeVar("M", bound=BaseModel)

_SECRET: Final = re.compile(r"\$\{env:([^}]*)(\}?)")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


_NUMBER: Final = re.compile(r"[-+]?[0-9]+(\.[0-9]+)?")
_BOOLEANS: Final = {"yes": "true", "on": "true", "no": "false", "off": "false"}


class _Faulty:
    """Stands for a value whose fault is noted already."""

    def __repr__(self) -> str:
        return "<faulty>"


_FAULTY: Final = _Faulty()


class ConfigReader:
    """Reads configs out of one source's tree, noting faults there."""

    def __init__(self, source: Source, base: Path) -> None:
        """`base` is the folder that relative paths in the config start from."""
        self._source = source
        self._base = base
        self._secrets: dict[str, str] = {}

    def read(self, node: Node, model: type[M], title: str) -> M | None:
        """The config that a tree says, or None where it has a fault.

        Args:
            node: the tree of the whole model.
            model: what to read it as.
            title: what a message calls it, as in "missing key 'memory' in the pipeline".
        """
        if not isinstance(node, Mapping):
            keys = ", ".join(keys_of(model))
            self._source.fault(
                node.place, f"{title} must be a mapping of {keys}; found {describe(node)}"
            )
            return None
        read = self._model(node, model, title)
        return read if isinstance(read, model) else None

    def _model(
        self, node: Mapping, model: type[BaseModel], title: str, use: Entry | None = None
    ) -> BaseModel | _Faulty:
        fields = keys_of(model)
        allowed = [*(["use"] if use else []), *fields]
        data: dict[str, Any] = {}
        mistyped: set[str | None] = set()
        sound = True
        for key, entry in node.entries.items():
            if use is entry:
                continue
            if key in fields:
                data[key] = self._value(entry.value, Takes.of([hint_of(fields[key])]), key)
            elif model.model_config.get("extra") == "allow":
                data[key] = self._plain(entry.value)
            else:
                sound = False
                mistyped.add(nearest(key, allowed))
                self._source.fault(
                    entry.place,
                    f"unknown key {key!r} in {title}{self._chosen_by(use, entry.place)}: "
                    f"{_suggest(key, allowed)}allowed: {', '.join(allowed) or 'none'}",
                )
        try:
            read = model.model_validate(data, context={"base": self._base})
        except ValidationError as error:
            for one in error.errors(include_url=False, include_context=True):
                self._explain(one, node, data, fields, title, use, mistyped)
            return _FAULTY
        except RagcoreError as error:
            self._source.fault(node.place, self._hide(str(error)))
            return _FAULTY
        # A component's validators are foreign code, and pydantic lets other errors through.
        except Exception as error:
            raise PluginError(
                f"{title} cannot check its config: {type(error).__name__}: {error}"
            ) from error
        return read if sound else _FAULTY

    def _chosen_by(self, use: Entry | None, place: SourcePosition) -> str:
        """Names the override that chose the component, where it made the file's keys wrong."""
        if use is None or use.value.place.origin in (0, place.origin):
            return ""
        return f" (chosen by {self._source.where(use.value.place)})"

    def _value(self, node: Node, takes: Takes, key: str) -> Any:
        """A node as what a field's annotation asks for, as far as its structure goes."""
        match node:
            case Mapping():
                return self._mapping(node, takes, key)
            case Items() if takes.items:
                inner = Takes.of(takes.items)
                return [self._value(item, inner, key) for item in node.items]
            case Items() if takes.other:
                return self._plain(node)
            case Scalar():
                value = self._expand(node)
                if isinstance(value, _Faulty) or takes.scalar(value):
                    return value
        return self._mismatch(node, takes, key)

    def _mapping(self, node: Mapping, takes: Takes, key: str) -> Any:
        if takes.part is not None:
            return self._part(node, takes.part)
        if len(takes.models) == 1:
            return self._model(node, takes.models[0], repr(key))
        if takes.values:
            inner = Takes.of(takes.values)
            return {name: self._value(one.value, inner, name) for name, one in node.entries.items()}
        # Which of several models is meant, only pydantic can say.
        if takes.models or takes.other:
            return self._plain(node)
        return self._mismatch(node, takes, key)

    def _part(self, node: Mapping, kind: str) -> ComponentSpec[Any] | _Faulty:
        use = node.entries.get("use")
        known = _installed(kind)
        if use is None:
            close = nearest("use", list(node.entries))
            place = node.entries[close].place if close else node.place
            wrong = f"unknown key {close!r}: did you mean 'use'? " if close else ""
            self._source.fault(
                place,
                f"{wrong}missing key 'use', which names the {kind}: write {{use: NAME, …}}; "
                f"installed: {known}",
            )
            return _FAULTY
        name = self._expand(use.value) if isinstance(use.value, Scalar) else None
        if not isinstance(name, str):
            if name is not _FAULTY:
                self._source.fault(
                    use.value.place,
                    f"use: expected the name of {_a(kind)}, found {describe(use.value)}; "
                    f"installed: {known}",
                )
            return _FAULTY
        try:
            component = registry().load(kind, name)
            model = config_class(kind, name, component)
            config = self._model(node, model, f"{kind} {_text(use.value)!r}", use)
        except PluginError as error:
            self._source.fault(use.value.place, self._hide(str(error)))
            return _FAULTY
        if isinstance(config, _Faulty):
            return config
        return ComponentSpec(kind, name, component, config, _secrets_of(node))

    def _mismatch(self, node: Node, takes: Takes, key: str) -> _Faulty:
        if self._source.is_faulty(node.place):
            return _FAULTY
        inner = Takes.of(takes.items)
        if takes.part or (inner.part and isinstance(node, Scalar)):
            message = self._not_a_part(node, takes.part or str(inner.part), in_list=not takes.part)
        else:
            message = f"expected {takes.words()}, found {describe(node)}{_hint(node, takes)}"
        self._source.fault(node.place, f"{key}: {message}")
        return _FAULTY

    def _not_a_part(self, node: Node, kind: str, in_list: bool) -> str:
        named = node.text if isinstance(node, Scalar) and isinstance(node.value, str) else ""
        form = f"{{use: {named}}}" if named else "{use: NAME, …}"
        what = f"a list of {kind}s" if in_list else f"{_a(kind)} as a mapping with 'use'"
        return (
            f"expected {what}, found {describe(node)}: write {f'[{form}]' if in_list else form}; "
            f"installed: {_installed(kind)}"
        )

    def _plain(self, node: Node) -> Any:
        match node:
            case Mapping():
                return {k: self._plain(entry.value) for k, entry in node.entries.items()}
            case Items():
                return [self._plain(item) for item in node.items]
            case Scalar():
                return self._expand(node)

    def _expand(self, node: Scalar) -> Any:
        """A scalar's value, secrets put in."""
        if not isinstance(node.value, str):
            return node.value
        sound = True

        def put_in(match: re.Match[str]) -> str:
            nonlocal sound
            name, closed = match.groups()
            if not closed or not _NAME.fullmatch(name):
                message = f"a secret is written ${{env:NAME}}, found {clip(match.group())}"
            elif name not in os.environ:
                message = f"the environment variable {name} is not set: export {name}=…"
            else:
                self._secrets[os.environ[name]] = match.group()
                return os.environ[name]
            sound = False
            self._source.fault(node.place, message)
            return ""

        expanded = _SECRET.sub(put_in, node.value)
        return expanded if sound else _FAULTY

    def _hide(self, message: str) -> str:
        """A message that somebody else wrote, without the secrets that it may quote."""
        shown = {repr(value)[1:-1]: text for value, text in self._secrets.items()} | self._secrets
        for value in sorted(filter(None, shown), key=len, reverse=True):
            message = message.replace(value, shown[value])
        return message

    def _explain(
        self,
        error: Any,
        node: Mapping,
        data: dict[str, Any],
        fields: dict[str, FieldInfo],
        title: str,
        use: Entry | None,
        mistyped: set[str | None],
    ) -> None:
        """Turn one of pydantic's errors into a fault at the node that it is about."""
        place, found, key = node.place, None, ""
        here: Node = node
        value: Any = data
        for step in error["loc"]:
            if isinstance(here, Mapping) and step in here.entries:
                here, key = here.entries[step].value, str(step)
            elif isinstance(here, Items) and isinstance(step, int) and step < len(here.items):
                here = here.items[step]
            else:
                break
            value = value[step] if not isinstance(value, _Faulty) else value
            place, found = here.place, here
            if isinstance(value, _Faulty):
                return
        kind = error["type"]
        if kind == "missing" and found is None:
            name = str(error["loc"][0])
            if name not in mistyped:
                self._source.fault(
                    place,
                    f"missing key {name!r} in {title}{self._chosen_by(use, place)}"
                    + _how_to_write(name, fields.get(name)),
                )
            return
        if found is None:
            message = self._hide(reason(error))
            # A model's own check that begins with a key's name is about that key.
            about = node.entries.get(message.partition(" ")[0].rstrip(":"))
            self._source.fault(about.value.place if about else place, f"{message} (in {title})")
            return
        # A validator's own words name the value or do not, as their author chose.
        value_said = "" if error["type"] == "value_error" else f", found {_found(found)}"
        self._source.fault(place, f"{key}: {self._hide(reason(error))}{value_said}")


def config_class(kind: str, name: str, component: Any) -> type[BaseModel]:
    """A component's `Config`.

    Raises:
        PluginError: it has none, or one that is not ready for use.
    """
    model = getattr(component, "Config", None)
    what = f"{kind} {name!r} ({getattr(component, '__qualname__', component)!s})"
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise PluginError(
            f"{what} has no class 'Config': its plugin must give it one, a ragcore.ComponentConfig "
            "whose fields are the keys that YAML may say"
        )
    if not model.__pydantic_complete__:
        try:
            model.model_rebuild()
        except (PydanticUserError, NameError) as error:
            raise PluginError(
                f"{what} has a 'Config' with an annotation that cannot be resolved ({error}): "
                "import its names outside of TYPE_CHECKING"
            ) from error
    return model


def _suggest(word: str, known: list[str]) -> str:
    close = nearest(word, known)
    return f"did you mean {close!r}? " if close else ""


def _how_to_write(name: str, field: FieldInfo | None) -> str:
    """What to put under a missing key: for a part its form, else its description."""
    if field is None:
        return ""
    kind = Takes.of([hint_of(field)]).part
    if kind:
        return f": write {name}: {{use: NAME, …}}; installed: {_installed(kind)}"
    return f": {field.description}" if field.description else ""


def _hint(node: Node, takes: Takes) -> str:
    """What may have been meant by a scalar of the wrong type."""
    value = node.value if isinstance(node, Scalar) else None
    if value is None:
        return ""
    if len(takes.literals) == 1 and not takes.scalars:
        return f": write {takes.literals[0]}"
    if takes.literals and isinstance(value, str):
        close = nearest(value, [str(one) for one in takes.literals])
        return f": did you mean {close!r}?" if close else ""
    if str in takes.scalars:
        return ": put it in quotes"
    if isinstance(value, str) and _NUMBER.fullmatch(value) and takes.scalars & {int, float}:
        return ": remove the quotes"
    if bool in takes.scalars and str(value).lower() in _BOOLEANS:
        return f": write {_BOOLEANS[str(value).lower()]}"
    return ""


def _installed(kind: str) -> str:
    return ", ".join(registry().names(kind)) or "none"


def _text(node: Node) -> str:
    return node.text if isinstance(node, Scalar) else describe(node)


def _found(node: Node) -> str:
    if isinstance(node, Scalar) and isinstance(node.value, int | float):
        return node.text
    return count(len(node.items), "item") if isinstance(node, Items) else describe(node)


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _secrets_of(node: Mapping) -> dict[tuple[str | int, ...], str]:
    """Where in a part a secret stands, as a path of keys and indices, and how it was written."""
    found: dict[tuple[str | int, ...], str] = {}

    def collect(inner: Node, path: tuple[str | int, ...]) -> None:
        match inner:
            case Scalar(value=str()) if _SECRET.search(inner.text):
                found[path] = inner.text
            case Items():
                for index, item in enumerate(inner.items):
                    collect(item, (*path, index))
            case Mapping():
                for key, entry in inner.entries.items():
                    collect(entry.value, (*path, key))
            case _:
                pass

    collect(node, ())
    return found

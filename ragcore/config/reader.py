"""Check a YAML tree against a pydantic model: gives a config, or every fault by position.

Knows how a `ComponentSpec` is written (`{use: NAME, …}`), how a secret is (`${env:NAME}`), and how
to say what is wrong in plain words. Works for any model, a plugin's as well as the pipeline's, and
knows nothing of which keys a pipeline has.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from ragcore.config.hints import AcceptedValues, hint_of, keys_of
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
from ragcore.registry.components import ComponentSpec, config_class
from ragcore.registry.discovery import registry

__all__ = ["ConfigReader", "secrets_of"]

M = TypeVar("M", bound=BaseModel)

_SECRET: Final = re.compile(r"\$\{env:([^}]*)(\}?)")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


_NUMBER: Final = re.compile(r"[-+]?[0-9]+(\.[0-9]+)?")
_BOOLEANS: Final = {"yes": "true", "on": "true", "no": "false", "off": "false"}


class _Faulty:
    """Stands for a value whose fault has been added already."""

    def __repr__(self) -> str:
        return "<faulty>"


_FAULTY: Final = _Faulty()


class ConfigReader:
    """Reads configs from one source's tree, and adds the faults to the source."""

    def __init__(self, source: Source, base: Path) -> None:
        """Read trees of `source`; relative paths in the config start from the folder `base`."""
        self._source = source
        self._base = base
        self._secrets: dict[str, str] = {}

    def read(self, node: Node, model: type[M], title: str) -> M | None:
        """Read the config of a tree, or return None where it has a fault.

        Args:
            node: the tree of the whole model.
            model: what to read it as.
            title: what a message calls it, as in "missing key 'memory' in the pipeline".
        """
        if not isinstance(node, Mapping):
            keys = ", ".join(keys_of(model))
            self._source.fault(
                node.position, f"{title} must be a mapping of {keys}; found {describe(node)}"
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
                if not fields[key].repr and isinstance(entry.value, Scalar):
                    self._conceal(entry.value)
                data[key] = self._value(entry.value, AcceptedValues.of([hint_of(fields[key])]), key)
            elif model.model_config.get("extra") == "allow":
                data[key] = self._plain(entry.value)
            else:
                sound = False
                mistyped.add(nearest(key, allowed))
                self._source.fault(
                    entry.position,
                    f"unknown key {key!r} in {title}{self._chosen_by(use, entry.position)}: "
                    f"{_suggest(key, allowed)}allowed: {', '.join(allowed) or 'none'}",
                )
        try:
            read = model.model_validate(data, context={"base": self._base})
        except ValidationError as error:
            for detail in error.errors(include_url=False, include_context=True):
                self._explain(detail, node, data, fields, title, use, mistyped)
            return _FAULTY
        except RagcoreError as error:
            self._source.fault(node.position, self._hide(str(error)))
            return _FAULTY
        # Validators of a plugin may raise any error, and pydantic only wraps ValueErrors.
        except Exception as error:
            raise PluginError(
                f"{title} cannot check its config: {type(error).__name__}: {error}"
            ) from error
        return read if sound else _FAULTY

    def _chosen_by(self, use: Entry | None, position: SourcePosition) -> str:
        """Name the override that chose the component, where it made the file's keys wrong."""
        if use is None or use.value.position.origin in (0, position.origin):
            return ""
        return f" (chosen by {self._source.where(use.value.position)})"

    def _value(self, node: Node, accepted: AcceptedValues, key: str) -> Any:
        """Read a node as a field's annotation asks, as far as its structure goes."""
        match node:
            case Mapping():
                return self._mapping(node, accepted, key)
            case Items() if accepted.items:
                inner = AcceptedValues.of(accepted.items)
                return [self._value(item, inner, key) for item in node.items]
            case Items() if accepted.other:
                return self._plain(node)
            case Scalar():
                value = self._expand(node)
                if isinstance(value, _Faulty) or accepted.allows_scalar(value):
                    return value
        return self._mismatch(node, accepted, key)

    def _mapping(self, node: Mapping, accepted: AcceptedValues, key: str) -> Any:
        if accepted.component_kind is not None:
            return self._component(node, accepted.component_kind)
        if len(accepted.models) == 1:
            return self._model(node, accepted.models[0], repr(key))
        if accepted.values:
            inner = AcceptedValues.of(accepted.values)
            return {
                name: self._value(entry.value, inner, name) for name, entry in node.entries.items()
            }
        # Only pydantic can say which of several models is meant.
        if accepted.models or accepted.other:
            return self._plain(node)
        return self._mismatch(node, accepted, key)

    def _component(self, node: Mapping, kind: str) -> ComponentSpec[Any] | _Faulty:
        use = node.entries.get("use")
        known = _installed(kind)
        if use is None:
            close = nearest("use", list(node.entries))
            position = node.entries[close].position if close else node.position
            wrong = f"unknown key {close!r}: did you mean 'use'? " if close else ""
            self._source.fault(
                position,
                f"{wrong}missing key 'use', which names the {kind}: write {{use: NAME, …}}; "
                f"installed: {known}",
            )
            return _FAULTY
        name = self._expand(use.value) if isinstance(use.value, Scalar) else None
        if not isinstance(name, str):
            if name is not _FAULTY:
                self._source.fault(
                    use.value.position,
                    f"use: expected the name of {_a(kind)}, found {describe(use.value)}; "
                    f"installed: {known}",
                )
            return _FAULTY
        try:
            model = config_class(kind, name)
            config = self._model(node, model, f"{kind} {_text(use.value)!r}", use)
        except PluginError as error:
            self._source.fault(use.value.position, self._hide(str(error)))
            return _FAULTY
        if isinstance(config, _Faulty):
            return config
        use_now = registry().current_name(kind, name)
        return ComponentSpec(kind, use_now, None, config, secrets_of(node))

    def _mismatch(self, node: Node, accepted: AcceptedValues, key: str) -> _Faulty:
        if self._source.is_faulty(node.position):
            return _FAULTY
        inner = AcceptedValues.of(accepted.items)
        if accepted.component_kind or (inner.component_kind and isinstance(node, Scalar)):
            message = self._not_a_component(
                node,
                accepted.component_kind or str(inner.component_kind),
                in_list=not accepted.component_kind,
            )
        else:
            message = f"expected {accepted.words()}, found {describe(node)}{_hint(node, accepted)}"
        self._source.fault(node.position, f"{key}: {message}")
        return _FAULTY

    def _not_a_component(self, node: Node, kind: str, in_list: bool) -> str:
        name = node.text if isinstance(node, Scalar) and isinstance(node.value, str) else ""
        form = f"{{use: {name}}}" if name else "{use: NAME, …}"
        expected = f"{_a(kind)} as a mapping with 'use'"
        if in_list:
            form, expected = f"[{form}]", f"a list of {kind}s"
        return (
            f"expected {expected}, found {describe(node)}: write {form}; "
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
        """Return a scalar's value, with its secrets filled in from the environment."""
        if not isinstance(node.value, str):
            return node.value
        sound = True

        def fill_in(match: re.Match[str]) -> str:
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
            self._source.fault(node.position, message)
            return ""

        expanded = _SECRET.sub(fill_in, node.value)
        return expanded if sound else _FAULTY

    def _conceal(self, node: Scalar) -> None:
        """Keep a secret that is written out from every message; `${env:NAME}` may be shown."""
        if isinstance(node.value, str) and not _SECRET.fullmatch(node.value):
            self._source.conceal(node.text)
            self._source.conceal(node.value)

    def _hide(self, message: str) -> str:
        """Replace each secret that another's message quotes by `${env:NAME}`."""
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
        """Turn one of pydantic's errors into a fault at the node that it names."""
        position, faulty, key = node.position, None, ""
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
            position, faulty = here.position, here
            if isinstance(value, _Faulty):
                return
        kind = error["type"]
        if kind == "missing" and faulty is None:
            name = str(error["loc"][0])
            if name not in mistyped:
                self._source.fault(
                    position,
                    f"missing key {name!r} in {title}{self._chosen_by(use, position)}"
                    + _how_to_write(name, fields.get(name)),
                )
            return
        if faulty is None:
            message = self._hide(reason(error))
            # A model's own check that begins with a key's name is about that key.
            entry = node.entries.get(message.partition(" ")[0].rstrip(":"))
            self._source.fault(
                entry.value.position if entry else position, f"{message} (in {title})"
            )
            return
        # A validator's own message names the value or not, as its author chose.
        value_found = "" if error["type"] == "value_error" else f", found {_value_text(faulty)}"
        self._source.fault(position, f"{key}: {self._hide(reason(error))}{value_found}")


def _suggest(word: str, known: list[str]) -> str:
    close = nearest(word, known)
    return f"did you mean {close!r}? " if close else ""


def _how_to_write(name: str, field: FieldInfo | None) -> str:
    """Say what to write under a missing key: for a component its form, else the description."""
    if field is None:
        return ""
    kind = AcceptedValues.of([hint_of(field)]).component_kind
    if kind:
        return f": write {name}: {{use: NAME, …}}; installed: {_installed(kind)}"
    return f": {field.description}" if field.description else ""


def _hint(node: Node, accepted: AcceptedValues) -> str:
    """Suggest what a scalar of the wrong type may have been meant to be."""
    value = node.value if isinstance(node, Scalar) else None
    if value is None:
        return ""
    if len(accepted.literals) == 1 and not accepted.scalars:
        return f": write {accepted.literals[0]}"
    if accepted.literals and isinstance(value, str):
        close = nearest(value, [str(literal) for literal in accepted.literals])
        return f": did you mean {close!r}?" if close else ""
    if str in accepted.scalars:
        return ": put it in quotes"
    if isinstance(value, str) and _NUMBER.fullmatch(value) and accepted.scalars & {int, float}:
        return ": remove the quotes"
    if bool in accepted.scalars and str(value).lower() in _BOOLEANS:
        return f": write {_BOOLEANS[str(value).lower()]}"
    return ""


def _installed(kind: str) -> str:
    return ", ".join(registry().names(kind)) or "none"


def _text(node: Node) -> str:
    return node.text if isinstance(node, Scalar) else describe(node)


def _value_text(node: Node) -> str:
    if isinstance(node, Scalar) and isinstance(node.value, int | float):
        return node.text
    return count(len(node.items), "item") if isinstance(node, Items) else describe(node)


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def secrets_of(node: Mapping) -> dict[tuple[str | int, ...], str]:
    """Return how each secret in a component is written, by its path of keys and indices."""
    secrets: dict[tuple[str | int, ...], str] = {}

    def collect(inner: Node, path: tuple[str | int, ...]) -> None:
        match inner:
            case Scalar(value=str()) if _SECRET.search(inner.text):
                secrets[path] = inner.text
            case Items():
                for index, item in enumerate(inner.items):
                    collect(item, (*path, index))
            case Mapping():
                for key, entry in inner.entries.items():
                    collect(entry.value, (*path, key))
            case _:
                pass

    collect(node, ())
    return secrets

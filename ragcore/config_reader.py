"""A tree of YAML and a pydantic model, walked side by side: a checked config, or every fault.

Knows how a `Part` is written (`{use: NAME, …}`), how a secret is (`${env:NAME}`), and how to say
what is wrong in plain words. Works for any model, a plugin's as well as the pipeline's.
"""

from __future__ import annotations

import os
import re
import types
from collections.abc import Callable, Iterable
from collections.abc import Mapping as AbstractMapping
from collections.abc import Sequence as AbstractSequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo

from ragcore.errors import PluginError, RagcoreError
from ragcore.parts import Kind, Part, yaml_key
from ragcore.plugins import nearest, registry
from ragcore.yaml_source import Entry, Items, Mapping, Node, Place, Scalar, Source, clip, describe

__all__ = ["ConfigReader", "arms", "config_class", "part_kind"]

M = TypeVar("M", bound=BaseModel)

_SECRET: Final = re.compile(r"\$\{env:([^}]*)(\}?)")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WORDS: Final = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    type(None): "nothing",
}


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
            keys = ", ".join(_keys(model))
            self._source.fault(
                node.place, f"{title} must be a mapping of {keys}; found {describe(node)}"
            )
            return None
        read = self._model(node, model, title)
        return read if isinstance(read, model) else None

    def _model(
        self, node: Mapping, model: type[BaseModel], title: str, use: Entry | None = None
    ) -> BaseModel | _Faulty:
        fields = {yaml_key(name, field): field for name, field in model.model_fields.items()}
        allowed = [*(["use"] if use else []), *fields]
        data: dict[str, Any] = {}
        mistyped: set[str | None] = set()
        sound = True
        for key, entry in node.entries.items():
            if use is entry:
                continue
            if key in fields:
                data[key] = self._value(entry.value, [_hint(fields[key])], key)
            elif model.model_config.get("extra") == "allow":
                data[key] = self._plain(entry.value, key)
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
        return read if sound else _FAULTY

    def _chosen_by(self, use: Entry | None, place: Place) -> str:
        """Names the override that chose the component, where it made the file's keys wrong."""
        if use is None or use.value.place.origin in (0, place.origin):
            return ""
        return f" (chosen by {self._source.where(use.value.place)})"

    def _value(self, node: Node, hints: list[Any], key: str) -> Any:
        """A node as what a field's annotation asks for, as far as its structure goes."""
        choices = [arm for hint in hints for arm in arms(hint)]
        if isinstance(node, Mapping):
            return self._mapping(node, choices, key)
        if isinstance(node, Items):
            inner = [_inner(arm, 0) for arm in choices if _is_list(arm)]
            if inner:
                return [self._value(item, inner, key) for item in node.items]
        elif _accepts(node, choices):
            return self._scalar(node, choices, key)
        return self._mismatch(node, choices, key)

    def _mapping(self, node: Mapping, choices: list[Any], key: str) -> Any:
        for arm in choices:
            kind = part_kind(arm)
            if kind is not None:
                return self._part(node, kind)
        models = [arm for arm in choices if _is_model(arm)]
        if len(models) == 1:
            return self._model(node, models[0], repr(key))
        inner = [_inner(arm, 1) for arm in choices if _is_dict(arm)]
        if inner:
            return {
                name: self._value(entry.value, inner, name) for name, entry in node.entries.items()
            }
        if models or _unknown(choices):
            return self._plain(node, key)
        return self._mismatch(node, choices, key)

    def _part(self, node: Mapping, kind: str) -> Part | _Faulty:
        use = node.entries.get("use")
        names = registry().names(kind)
        known = ", ".join(names) or "none"
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
        name = self._scalar(use.value, [str], "use") if isinstance(use.value, Scalar) else None
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
            config = self._model(node, model, f"{kind} {name!r}", use)
        except PluginError as error:
            self._source.fault(use.value.place, self._hide(str(error)))
            return _FAULTY
        if isinstance(config, _Faulty):
            return config
        return Part(kind, name, component, config, _secrets_of(node))

    def _scalar(self, node: Scalar, choices: list[Any], key: str) -> Any:
        value = self._expand(node)
        if isinstance(value, _Faulty):
            return value
        literals = [option for arm in choices for option in _literals(arm)]
        kinds = _scalar_kinds(choices)
        if None in kinds or type(value) in kinds or (type(value) is int and float in kinds):
            return value
        if any(type(value) is type(option) and value == option for option in literals):
            return value
        return self._mismatch(node, choices, key)

    def _mismatch(self, node: Node, choices: list[Any], key: str) -> _Faulty:
        parts = [kind for kind in map(part_kind, choices) if kind]
        literals = [option for arm in choices for option in _literals(arm)]
        found = describe(node)
        if parts:
            known = ", ".join(registry().names(parts[0])) or "none"
            name = node.value if isinstance(node, Scalar) and isinstance(node.value, str) else None
            hint = f"write {{use: {clip(name)[1:-1]}}}" if name else "write {use: NAME, …}"
            if any(_is_list(arm) for arm in choices):
                hint = f"write [{hint.removeprefix('write ')}]" if name else "write a list of them"
            self._source.fault(
                node.place,
                f"{key}: expected {_a(parts[0])} as a mapping with 'use', found {found}: {hint}; "
                f"installed: {known}",
            )
            return _FAULTY
        hint = ""
        value = node.value if isinstance(node, Scalar) else None
        kinds = _scalar_kinds(choices)
        if literals and isinstance(value, str):
            hint = _suggest(value, [str(option) for option in literals])
        elif str in kinds and value is not None:
            hint = "put it in quotes"
        elif bool in kinds and isinstance(value, str) and value.lower() in _BOOLEANS:
            hint = f"write {_BOOLEANS[value.lower()]}"
        elif isinstance(value, str) and _number(value) in kinds:
            hint = "remove the quotes"
        hint = f": {hint.rstrip('? ')}{'?' if hint.endswith('? ') else ''}" if hint else ""
        self._source.fault(node.place, f"{key}: expected {_expected(choices)}, found {found}{hint}")
        return _FAULTY

    def _plain(self, node: Node, key: str) -> Any:
        match node:
            case Mapping():
                return {k: self._plain(entry.value, k) for k, entry in node.entries.items()}
            case Items():
                return [self._plain(item, key) for item in node.items]
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
        for value in sorted(filter(None, self._secrets), key=len, reverse=True):
            message = message.replace(value, self._secrets[value])
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
            message = self._hide(_reason(error))
            # A model's own check that begins with a key's name is about that key.
            about = node.entries.get(message.partition(" ")[0].rstrip(":"))
            self._source.fault(about.value.place if about else place, f"{message} (in {title})")
            return
        self._source.fault(place, f"{key}: {self._hide(_reason(error))}, found {_found(found)}")


_BOOLEANS: Final = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false"} | {
    "n": "false",
    "true": "true",
    "false": "false",
}


def config_class(kind: str, name: str, component: Any) -> type[BaseModel]:
    """A component's `Config`.

    Raises:
        PluginError: it has none, or one that is not ready for use.
    """
    model = getattr(component, "Config", None)
    what = f"{kind} {name!r} ({getattr(component, '__qualname__', component)!s})"
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise PluginError(
            f"{what} has no class 'Config': its plugin must give it one, a ragcore.PartConfig "
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


def _hint(field: FieldInfo) -> Any:
    """A field's annotation with its metadata put back."""
    if not field.metadata:
        return field.annotation
    return Annotated.__class_getitem__((field.annotation, *field.metadata))  # type: ignore[attr-defined]


def arms(hint: Any) -> list[Any]:
    """The alternatives of an annotation: those of a union, or itself; `Annotated` stays on."""
    bare = _bare(hint)
    if get_origin(bare) in (Union, types.UnionType):
        return [arm for inner in get_args(bare) for arm in arms(inner)]
    if get_origin(hint) is Annotated and get_origin(get_args(hint)[0]) is Annotated:
        return arms(get_args(hint)[0])
    return [hint]


def part_kind(hint: Any) -> str | None:
    """The kind of a `Part` field, or None for other fields."""
    if _bare(hint) is not Part:
        return None
    for mark in get_args(hint)[1:] if get_origin(hint) is Annotated else ():
        if isinstance(mark, Kind):
            return mark.name
    raise PluginError("a field of type Part needs a Kind: Annotated[Part, Kind('encoder')]")


def _bare(hint: Any) -> Any:
    while get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    return hint


def _inner(arm: Any, position: int) -> Any:
    given = [given for given in get_args(_bare(arm)) if given is not Ellipsis]
    return given[min(position, len(given) - 1)] if given else Any


def _is_list(arm: Any) -> bool:
    bare = get_origin(_bare(arm)) or _bare(arm)
    return bare in (list, tuple, set, frozenset, AbstractSequence, Iterable)


def _is_dict(arm: Any) -> bool:
    return (get_origin(_bare(arm)) or _bare(arm)) in (dict, AbstractMapping)


def _is_model(arm: Any) -> bool:
    bare = _bare(arm)
    return isinstance(bare, type) and issubclass(bare, BaseModel)


def _is_structure(arm: Any) -> bool:
    return bool(part_kind(arm)) or _is_list(arm) or _is_dict(arm) or _is_model(arm)


def _literals(arm: Any) -> tuple[Any, ...]:
    bare = _bare(arm)
    return get_args(bare) if get_origin(bare) is Literal else ()


def _scalar_kinds(choices: list[Any]) -> set[type | None]:
    """The plain types that alternatives take; None stands for one that only pydantic can judge."""
    kinds: set[type | None] = set()
    for arm in choices:
        bare = _bare(arm)
        if bare is None or bare is type(None):
            kinds.add(type(None))
        elif bare in _WORDS:
            kinds.add(bare)
        elif bare is Path:
            kinds.add(str)
        elif not (_literals(arm) or _is_structure(arm)):
            kinds.add(None)
    return kinds


def _unknown(choices: list[Any]) -> bool:
    return None in _scalar_kinds(choices)


def _accepts(node: Scalar, choices: list[Any]) -> bool:
    return bool(_scalar_kinds(choices)) or any(_literals(arm) for arm in choices)


def _number(text: str) -> type | None:
    for kind in (int, float):
        try:
            kind(text)
        except ValueError:
            continue
        return kind
    return bool


def _expected(choices: list[Any]) -> str:
    words: list[str] = []
    literals = [str(option) for arm in choices for option in _literals(arm)]
    if literals:
        words.append(literals[0] if len(literals) == 1 else "one of " + ", ".join(literals))
    for arm in choices:
        bare = _bare(arm)
        if _is_list(arm):
            words.append("a list")
        elif _is_dict(arm):
            words.append("a mapping")
        elif _is_model(arm):
            words.append("a mapping of " + ", ".join(_keys(bare)))
        elif bare is Path:
            words.append("a path")
        elif bare is not type(None) and bare in _WORDS:
            words.append(_WORDS[bare])
    return " or ".join(dict.fromkeys(words)) or "another value"


def _keys(model: type[BaseModel]) -> list[str]:
    return [yaml_key(name, field) for name, field in model.model_fields.items()]


def _suggest(word: str, known: list[str]) -> str:
    close = nearest(word, known)
    return f"did you mean {close!r}? " if close else ""


def _how_to_write(name: str, field: FieldInfo | None) -> str:
    """What to put under a missing key: for a part its form, else its description."""
    if field is None:
        return ""
    kinds = [kind for kind in map(part_kind, arms(_hint(field))) if kind]
    if kinds:
        known = ", ".join(registry().names(kinds[0])) or "none"
        return f": write {name}: {{use: NAME, …}}; installed: {known}"
    return f": {field.description}" if field.description else ""


_REASONS: Final[dict[str, Callable[[dict[str, Any]], str]]] = {
    "greater_than": lambda c: f"must be greater than {c['gt']:g}",
    "greater_than_equal": lambda c: f"must be at least {c['ge']:g}",
    "less_than": lambda c: f"must be less than {c['lt']:g}",
    "less_than_equal": lambda c: f"must be at most {c['le']:g}",
    "multiple_of": lambda c: f"must be a multiple of {c['multiple_of']:g}",
    "finite_number": lambda c: "must be a finite number",
    "string_too_short": lambda c: f"must have at least {_count(c['min_length'], 'character')}",
    "string_too_long": lambda c: f"must have at most {_count(c['max_length'], 'character')}",
    "string_pattern_mismatch": lambda c: f"must match {c['pattern']}",
    "too_short": lambda c: f"must have at least {_count(c['min_length'], 'item')}",
    "too_long": lambda c: f"must have at most {_count(c['max_length'], 'item')}",
    "missing": lambda c: "a key is missing",
}


def _reason(error: Any) -> str:
    """Why pydantic refuses a value, in our words where there are some."""
    context = error.get("ctx") or {}
    if error["type"] == "value_error":
        return str(context.get("error", error["msg"]))
    if error["type"] in _REASONS:
        return _REASONS[error["type"]](context)
    message = str(error["msg"]).replace("Input should", "should")
    return message[:1].lower() + message[1:]


def _found(node: Node) -> str:
    if isinstance(node, Scalar) and isinstance(node.value, int | float):
        return node.text
    return _count(len(node.items), "item") if isinstance(node, Items) else describe(node)


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


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

"""Which values a field's annotation accepts, sorted by how YAML writes them.

Knows type annotations; knows nothing of positions in a file.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ragcore.registry.components import ComponentSpec, kind_of, yaml_key

__all__ = ["AcceptedValues", "hint_of", "keys_of"]

_WORDS: Final = {str: "a string", int: "an integer", float: "a number", bool: "true or false"}
_LISTS: Final = (list, tuple, set, frozenset, Sequence, Iterable)
_DICTS: Final = (dict, Mapping)


@dataclass(slots=True)
class AcceptedValues:
    """The values that an annotation accepts.

    Attributes:
        component_kind: the kind of component, where it accepts one.
        models: the pydantic models that a mapping may be.
        items: for each type of list that it accepts, the annotation of an item.
        values: for each type of dict, the annotation of a value.
        literals: the values of a `Literal`.
        scalars: the plain types among str, int, float, bool and NoneType.
        path: whether a string is a path.
        other: whether it accepts something that only pydantic can judge.
    """

    component_kind: str | None = None
    models: list[type[BaseModel]] = field(default_factory=list)
    items: list[Any] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    literals: list[Any] = field(default_factory=list)
    scalars: set[type] = field(default_factory=set)
    path: bool = False
    other: bool = False

    @classmethod
    def of(cls, hints: Iterable[Any]) -> AcceptedValues:
        """Collect what any of these annotations accepts."""
        accepted = cls()
        for hint in hints:
            for alternative in _alternatives(hint):
                accepted._add(alternative)
        return accepted

    def _add(self, hint: Any) -> None:
        origin = get_origin(hint) or hint
        arguments = [argument for argument in get_args(hint) if argument is not Ellipsis] or [
            Any,
            Any,
        ]
        if origin is ComponentSpec:
            self.component_kind = kind_of(hint)
        elif origin in _LISTS:
            self.items.append(arguments[0])
        elif origin in _DICTS:
            self.values.append(arguments[-1])
        elif origin is Literal:
            self.literals.extend(arguments)
        elif hint is None or hint is type(None):
            self.scalars.add(type(None))
        elif hint in _WORDS:
            self.scalars.add(hint)
        elif hint is Path:
            self.scalars.add(str)
            self.path = True
        elif isinstance(hint, type) and issubclass(hint, BaseModel):
            self.models.append(hint)
        else:
            self.other = True

    def allows_scalar(self, value: object) -> bool:
        """Tell whether a scalar is of an accepted type, or one of the accepted values."""
        if self.other or type(value) in self.scalars:
            return True
        if type(value) is int and float in self.scalars:
            return True
        # 1 == True in Python, but not in a file.
        return any(type(value) is type(literal) and value == literal for literal in self.literals)

    def words(self) -> str:
        """Describe the accepted values, except components, for a message."""
        alternatives: list[str] = []
        if self.literals:
            values = ", ".join(map(str, self.literals))
            alternatives.append(values if len(self.literals) == 1 else f"one of {values}")
        if self.path:
            alternatives.append("a path")
        alternatives += [
            word
            for kind, word in _WORDS.items()
            if kind in self.scalars and not (kind is str and self.path)
        ]
        if self.items:
            alternatives.append("a list")
        alternatives += ["a mapping of " + ", ".join(keys_of(model)) for model in self.models]
        if self.values:
            alternatives.append("a mapping")
        return " or ".join(alternatives) or "another value"


def hint_of(field: FieldInfo) -> Any:
    """Return a field's annotation together with its metadata."""
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


def keys_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return a model's fields by their keys in YAML, in order."""
    return {yaml_key(name, field): field for name, field in model.model_fields.items()}


def _alternatives(hint: Any) -> Iterator[Any]:
    """Yield the members of a union, nested ones too, each without `Annotated`."""
    origin = get_origin(hint)
    if origin is Annotated:
        yield from _alternatives(get_args(hint)[0])
    elif origin in (Union, types.UnionType):
        for member in get_args(hint):
            yield from _alternatives(member)
    else:
        yield hint

"""What a field's annotation takes, sorted by how YAML writes it, and said in words."""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ragcore.registry.components import ComponentSpec, kind_of, yaml_key

__all__ = ["Takes", "hint_of", "keys_of"]

_WORDS: Final = {str: "a string", int: "an integer", float: "a number", bool: "true or false"}
_LISTS: Final = (list, tuple, set, frozenset, Sequence, Iterable)
_DICTS: Final = (dict, Mapping)


@dataclass(slots=True)
class Takes:
    """The alternatives of an annotation.

    Attributes:
        part: the kind of component, where it takes one.
        models: the pydantic models that a mapping may be.
        items: for each kind of list that it takes, the annotation of an item.
        values: for each kind of dict, the annotation of a value.
        literals: the values of a `Literal`.
        scalars: the plain types among str, int, float, bool and NoneType.
        path: whether a string is a path.
        other: whether it takes something that only pydantic can judge.
    """

    part: str | None = None
    models: list[type[BaseModel]] = field(default_factory=list)
    items: list[Any] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    literals: list[Any] = field(default_factory=list)
    scalars: set[type] = field(default_factory=set)
    path: bool = False
    other: bool = False

    @classmethod
    def of(cls, hints: Iterable[Any]) -> Takes:
        """What any of these annotations takes."""
        takes = cls()
        for hint in hints:
            for bare in _alternatives(hint):
                takes._add(bare)
        return takes

    def _add(self, bare: Any) -> None:
        origin = get_origin(bare) or bare
        given = [one for one in get_args(bare) if one is not Ellipsis] or [Any, Any]
        if origin is ComponentSpec:
            self.part = kind_of(bare)
        elif origin in _LISTS:
            self.items.append(given[0])
        elif origin in _DICTS:
            self.values.append(given[-1])
        elif origin is Literal:
            self.literals.extend(given)
        elif bare is None or bare is type(None):
            self.scalars.add(type(None))
        elif bare in _WORDS:
            self.scalars.add(bare)
        elif bare is Path:
            self.scalars.add(str)
            self.path = True
        elif isinstance(bare, type) and issubclass(bare, BaseModel):
            self.models.append(bare)
        else:
            self.other = True

    def scalar(self, value: object) -> bool:
        """Whether a scalar is of a type, or one of the values, that it takes."""
        if self.other or type(value) in self.scalars:
            return True
        if type(value) is int and float in self.scalars:
            return True
        # 1 == True in Python, but not in a file.
        return any(type(value) is type(one) and value == one for one in self.literals)

    def words(self) -> str:
        """What it takes, parts aside, as a message says it."""
        said: list[str] = []
        if self.literals:
            values = ", ".join(map(str, self.literals))
            said.append(values if len(self.literals) == 1 else f"one of {values}")
        if self.path:
            said.append("a path")
        said += [
            word
            for kind, word in _WORDS.items()
            if kind in self.scalars and not (kind is str and self.path)
        ]
        if self.items:
            said.append("a list")
        said += ["a mapping of " + ", ".join(keys_of(model)) for model in self.models]
        if self.values:
            said.append("a mapping")
        return " or ".join(said) or "another value"


def hint_of(field: FieldInfo) -> Any:
    """A field's annotation with its metadata put back."""
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


def keys_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """A model's fields by their keys in YAML, in order."""
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

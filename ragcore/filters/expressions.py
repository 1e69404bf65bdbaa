"""Which passages may be found: a filter over their metadata, read from YAML or JSON.

    {country: Chad, year: {gte: 2016}}            both must hold
    {or: [{country: Chad}, {not: {year: 2018}}]}

Knows the words of a filter, its faults, and whether one value meets one comparison; where a
passage's values come from it does not (`filtering.py`). A filter is data and never runs code.

Types are strict: a number equals numbers only (2016 and 2016.0 are equal), a string strings, and a
boolean is no number. What is of another type, or a list or a mapping, is not equal, and neither
less nor greater. A field that a passage lacks meets no comparison, `ne` among them; `not` turns
that around with all else, so that `{not: {country: Chad}}` holds for passages without a country.
"""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from ragcore.errors import QuestionError, nearest

__all__ = [
    "AllOf",
    "AnyOf",
    "FieldCondition",
    "FilterFault",
    "Filter",
    "Not",
    "both",
    "faults_of",
    "read_where",
    "where_from_json",
]

Scalar = str | int | float | bool | None

_ORDER: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
}
_OPERATORS: Final = ("eq", "ne", *_ORDER, "in")
_WORDS: Final = ("and", "or", "not")
_DEEPEST: Final = 32


@dataclass(frozen=True, slots=True)
class FieldCondition:
    """One field against a value, or against several for `in`.

    Attributes:
        field: a key of the passages' metadata.
        operator: eq, ne, lt, lte, gt, gte or in.
        value: what it is compared with; of `in` a tuple.
    """

    field: str
    operator: str
    value: Scalar | tuple[Scalar, ...]

    def holds(self, value: object) -> bool:
        """Whether a value that a passage has meets it; strings are ordered by code point."""
        found = _typed(value)
        match self.operator:
            case "in":
                assert isinstance(self.value, tuple)
                return found is not None and found in map(_typed, self.value)
            case "eq" | "ne":
                return (found is not None and found == _typed(self.value)) == (
                    self.operator == "eq"
                )
            case order:
                expected = _typed(self.value)
                return (
                    found is not None
                    and expected is not None
                    and found[0] == expected[0]
                    and _ORDER[order](found[1], expected[1])
                )


@dataclass(frozen=True, slots=True)
class AllOf:
    """Holds where all its parts do."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Holds where at least one of its parts does."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Holds where its part does not, a passage that lacks the part's field included."""

    part: Filter


Filter = FieldCondition | AllOf | AnyOf | Not


class FilterFault(NamedTuple):
    """What is wrong with a filter, and where: the keys and places that lead there."""

    path: tuple[str | int, ...]
    message: str


def read_where(said: object) -> Filter:
    """The filter that a mapping says.

    Args:
        said: plain values, as YAML or JSON give them.

    Raises:
        QuestionError: it is not a filter; all faults, each with its path.

    >>> read_where({"year": {"gte": 2016}})
    FieldCondition(field='year', operator='gte', value=2016)
    """
    reader = _Reader()
    found = reader.filter(said, ())
    if found is None or reader.faults:
        raise QuestionError(
            "\n".join(f"{_shown(fault.path)}: {fault.message}" for fault in reader.faults)
        )
    return found


def where_from_json(text: str) -> dict[str, Any]:
    """What a JSON text says, for `read_where`.

    Raises:
        QuestionError: it is not JSON, has a key twice, or is no filter.
    """
    try:
        said = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise QuestionError(
            f"where: {text!r} cannot be read as JSON ({error}): expected a mapping such as "
            '{"country": "Chad"}'
        ) from None
    read_where(said)
    return dict(said)


def faults_of(said: object) -> list[FilterFault]:
    """All that is wrong with a filter; empty where `read_where` would read it."""
    reader = _Reader()
    reader.filter(said, ())
    return reader.faults


def both(one: Filter | None, other: Filter | None) -> Filter | None:
    """The filter that holds where both do; None allows all."""
    if one is None or other is None:
        return other if one is None else one
    return AllOf((one, other))


class _Reader:
    """Reads filters, noting faults instead of stopping at the first."""

    def __init__(self) -> None:
        self.faults: list[FilterFault] = []

    def filter(self, said: object, path: tuple[str | int, ...]) -> Filter | None:
        if not isinstance(said, Mapping) or not said:
            self._fault(
                path,
                f"expected a mapping such as {{country: Chad}} or {{or: [...]}}, found "
                f"{_described(said)}",
            )
            return None
        if len(path) > _DEEPEST:
            self._fault(path, f"nested deeper than {_DEEPEST} levels: no filter needs that")
            return None
        return _all(
            [part for key, value in said.items() if (part := self._part(key, value, (*path, key)))]
        )

    def _part(self, key: object, value: object, path: tuple[str | int, ...]) -> Filter | None:
        if not isinstance(key, str):
            self._fault(path, f"a field must be a string, found {_described(key)}")
            return None
        match key:
            case "not":
                inner = self.filter(value, path)
                return None if inner is None else Not(inner)
            case "and" | "or":
                if not isinstance(value, list | tuple) or not value:
                    self._fault(path, f"expected a list of filters, found {_described(value)}")
                    return None
                read = [self.filter(one, (*path, at)) for at, one in enumerate(value)]
                parts = [one for one in read if one is not None]
                return _all(parts) if key == "and" else AnyOf(tuple(parts))
        if not isinstance(value, Mapping):
            return self._comparison(key, "eq", value, path)
        if not value:
            self._fault(
                path, f"expected a value or operators ({', '.join(_OPERATORS)}): found {{}}"
            )
        return _all(
            [
                part
                for word, operand in value.items()
                if (part := self._comparison(key, word, operand, (*path, word)))
            ]
        )

    def _comparison(
        self, field: str, word: Any, value: Any, path: tuple[str | int, ...]
    ) -> FieldCondition | None:
        if word not in _OPERATORS:
            close = nearest(str(word), [*_OPERATORS, *_WORDS])
            hint = f"did you mean {close!r}? " if close in _OPERATORS else ""
            if word in _WORDS or close in _WORDS:
                hint = "and, or, not stand around fields, as in {not: {field: value}}; "
            self._fault(
                path, f"unknown operator {word!r}: {hint}expected one of {', '.join(_OPERATORS)}"
            )
            return None
        if word == "in":
            if not isinstance(value, list | tuple) or not value:
                self._fault(path, f"expected a list of values, found {_described(value)}")
                return None
            wrong = [at for at, one in enumerate(value) if _typed(one) is None]
            for at in wrong:
                self._fault((*path, at), _not_a_value(value[at]))
            return None if wrong else FieldCondition(field, word, tuple(value))
        typed = _typed(value)
        if typed is None:
            listed = isinstance(value, list | tuple) and word == "eq"
            self._fault(path, _not_a_value(value) + (": write {in: [...]}" if listed else ""))
            return None
        if word in _ORDER and typed[0] not in ("number", "string"):
            self._fault(path, f"expected a number or a string, found {_described(value)}")
            return None
        return FieldCondition(field, word, value)

    def _fault(self, path: tuple[str | int, ...], message: str) -> None:
        self.faults.append(FilterFault(path, message))


def _all(parts: list[Any]) -> Filter | None:
    """The parts as one; None where faults have left none of them."""
    if len(parts) < 2:
        return parts[0] if parts else None
    return AllOf(tuple(parts))


def _typed(value: object) -> tuple[str, Any] | None:
    """A value with its type, so that 1 is not True; None for what equals nothing."""
    match value:
        case None:
            return "null", None
        case bool():
            return "boolean", value
        case int():
            return "number", value
        case float() if math.isfinite(value):
            return "number", value
        case str():
            return "string", value
        case _:
            return None


def _described(value: object) -> str:
    match value:
        case Mapping():
            return "a mapping" if value else "an empty mapping"
        case list() | tuple():
            return "a list" if value else "an empty list"
        case None:
            return "null"
        case bool():
            return f"the boolean {str(value).lower()}"
        case int() | float():
            return f"the number {value}"
        case str():
            return f"the string {value[:60]!r}"
        case _:
            return f"{type(value).__name__} {str(value)[:60]!r}"


def _not_a_value(value: object) -> str:
    return f"expected a string, a finite number, a boolean or null, found {_described(value)}"


def _shown(path: tuple[str | int, ...]) -> str:
    steps = [f"[{step}]" if isinstance(step, int) else f".{step}" for step in path]
    return "where" + "".join(steps)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} is there twice")
    return found

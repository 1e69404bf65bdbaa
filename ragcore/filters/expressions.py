"""Filter expressions: conditions on passages' metadata, read from YAML or JSON.

    {country: Chad, year: {gte: 2016}}            both must hold
    {or: [{country: Chad}, {not: {year: 2018}}]}

Knows the syntax of a filter, its faults, and whether one value meets one condition; knows nothing
of where a passage's values come from (`evaluation.py`). A filter is data and never runs code.

Types are strict: a number equals only numbers (2016 and 2016.0 are equal), a string only strings,
and a boolean is no number. A value of another type, a list or a mapping is not equal, and neither
less nor greater; `any` and `all` look into lists. A field that a passage lacks meets no condition
but `exists: false`, not even `ne`; `not` inverts that like any other result, so that
`{not: {country: Chad}}` holds for passages without a country.

`$id` and `$title` are the passage's own id and title. The sign keeps them apart from metadata: were
they `id` and `title`, one passage with such a key would change what a filter means for all.
"""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from ragcore.errors import QuestionError, nearest

__all__ = [
    "AllOf",
    "AnyOf",
    "FieldCondition",
    "FilterFault",
    "Filter",
    "Not",
    "OWN_FIELDS",
    "both",
    "faults_of",
    "read_where",
    "typed",
    "where_from_json",
]

Scalar = str | int | float | bool | None
Typed = tuple[str, Any]
"""The name of a type, and a value of it."""

_ORDER: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
}
_OF_LISTS: Final = ("in", "any", "all")
_OPERATORS: Final = ("eq", "ne", *_ORDER, *_OF_LISTS, "exists", "prefix")
_WORDS: Final = ("and", "or", "not")
_MAX_DEPTH: Final = 32
_MOST_FAULTS: Final = 20
"""Faults that an error names."""
_LONGEST_NAME: Final = 100
"""Characters of a name from a filter that an error shows."""
_MOST_BITS: Final = 14_000
"""Of a whole number; Python prints none of more than 4,300 digits."""

OWN_FIELDS: Final[dict[str, Literal["id", "title"]]] = {"$id": "id", "$title": "title"}
"""Fields of the passage itself, by the name that a filter has for them."""


@dataclass(frozen=True, slots=True)
class FieldCondition:
    """A condition on one field: an operator and a value to compare with.

    Attributes:
        field: a key of the passages' metadata, or one of `OWN_FIELDS`.
        operator: eq, ne, lt, lte, gt, gte, in, any, all, exists or prefix.
        value: the value to compare with; for `in`, `any` and `all` a tuple of values, for `exists`
            a boolean.
    """

    field: str
    operator: str
    value: Scalar | tuple[Scalar, ...]

    def holds(self, value: object) -> bool:
        """Return whether a value that a passage has meets the condition; see `test`."""
        return self.test()(value)

    def holds_where_absent(self) -> bool:
        """Return whether the condition is met by a passage that lacks the field."""
        return self.operator == "exists" and not self.value

    def test(self) -> Callable[[object], bool]:
        """Return what tells whether a value meets the condition; to be called for many values.

        Strings compare by code point. For `any` and `all` a value that is no list counts as a list
        of one.
        """
        match self.operator:
            case "in":
                wanted = self.wanted()
                return lambda value: typed(value) in wanted
            case "any":
                wanted = self.wanted()
                return lambda value: not wanted.isdisjoint(_items(value))
            case "all":
                wanted = self.wanted()
                return lambda value: wanted.issubset(_items(value))
            case "exists":
                exists = bool(self.value)
                return lambda value: exists
            case "prefix":
                prefix = str(self.value)
                return lambda value: isinstance(value, str) and value.startswith(prefix)
        expected = typed(self.value)
        assert expected is not None
        match self.operator:
            case "eq":
                return lambda value: typed(value) == expected
            case "ne":
                return lambda value: typed(value) != expected
        compare = _ORDER[self.operator]

        def in_order(value: object) -> bool:
            actual = typed(value)
            return (
                actual is not None and actual[0] == expected[0] and compare(actual[1], expected[1])
            )

        return in_order

    def wanted(self) -> frozenset[Typed]:
        """Return the distinct values of `in`, `any` or `all`, each with its type."""
        assert isinstance(self.value, tuple)
        return frozenset(filter(None, map(typed, self.value)))


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
    """Holds where its part does not, also for a passage that lacks the part's field."""

    part: Filter


Filter = FieldCondition | AllOf | AnyOf | Not


class FilterFault(NamedTuple):
    """A fault of a filter, and the path of keys and list positions that leads to it."""

    path: tuple[str | int, ...]
    message: str


def read_where(expression: object) -> Filter:
    """Read a filter from a mapping.

    Args:
        expression: plain values, as a YAML or JSON reader returns them.

    Raises:
        QuestionError: it is no filter; the message has its faults, each with its path, 20 at most.

    >>> read_where({"year": {"gte": 2016}})
    FieldCondition(field='year', operator='gte', value=2016)
    """
    reader = _Reader()
    where = reader.filter(expression, ())
    if where is None or reader.faults:
        lines = [
            f"{_path_text(fault.path)}: {fault.message}" for fault in reader.faults[:_MOST_FAULTS]
        ]
        more = len(reader.faults) - len(lines)
        raise QuestionError("\n".join([*lines, f"and {more:,} more faults"] if more else lines))
    return where


def where_from_json(text: str) -> dict[str, Any]:
    """Parse a filter's JSON text to the mapping that `read_where` takes.

    Raises:
        QuestionError: it is not JSON, has a key twice, or is no filter.
    """
    try:
        expression = json.loads(text, object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        raise QuestionError(
            f"where: {text[:200]!r} cannot be read as JSON ({error}): expected a mapping such as "
            '{"country": "Chad"}'
        ) from None
    read_where(expression)
    return dict(expression)


def faults_of(expression: object) -> list[FilterFault]:
    """List all faults of a filter; empty if `read_where` accepts it."""
    reader = _Reader()
    reader.filter(expression, ())
    return reader.faults


def both(first: Filter | None, second: Filter | None) -> Filter | None:
    """Combine two filters to one that holds where both do; None allows all."""
    if first is None or second is None:
        return second if first is None else first
    return AllOf((first, second))


class _Reader:
    """Reads filters and collects all faults instead of stopping at the first."""

    def __init__(self) -> None:
        self.faults: list[FilterFault] = []

    def filter(self, expression: object, path: tuple[str | int, ...]) -> Filter | None:
        if not isinstance(expression, Mapping) or not expression:
            self._fault(
                path,
                f"expected a mapping such as {{country: Chad}} or {{or: [...]}}, found "
                f"{_described(expression)}",
            )
            return None
        if len(path) > _MAX_DEPTH:
            self._fault(path, f"nested deeper than {_MAX_DEPTH} levels: simplify the filter")
            return None
        parts = [self._part(key, value, (*path, key)) for key, value in expression.items()]
        return _all(parts)

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
                parts = [self.filter(item, (*path, i)) for i, item in enumerate(value)]
                if key == "and":
                    return _all(parts)
                return AnyOf(tuple(part for part in parts if part is not None))
        if not isinstance(value, Mapping):
            return self._condition(key, "eq", value, path)
        if not value:
            self._fault(
                path, f"expected a value or operators ({', '.join(_OPERATORS)}): found {{}}"
            )
        return _all(
            [self._condition(key, word, operand, (*path, word)) for word, operand in value.items()]
        )

    def _condition(
        self, field: str, word: Any, value: Any, path: tuple[str | int, ...]
    ) -> FieldCondition | None:
        if word not in _OPERATORS:
            close = nearest(str(word)[:_LONGEST_NAME], [*_OPERATORS, *_WORDS])
            hint = f"did you mean {close!r}? " if close in _OPERATORS else ""
            if word in _WORDS or close in _WORDS:
                hint = "and, or, not stand around fields, as in {not: {field: value}}; "
            self._fault(
                path,
                f"unknown operator {_shown(word)}: {hint}expected one of {', '.join(_OPERATORS)}",
            )
            return None
        if word in _OF_LISTS:
            if not isinstance(value, list | tuple) or not value:
                self._fault(path, f"expected a list of values, found {_described(value)}")
                return None
            invalid = [i for i, item in enumerate(value) if typed(item) is None]
            for i in invalid:
                self._fault((*path, i), _not_a_value(value[i]))
            return None if invalid else FieldCondition(field, word, tuple(value))
        if word == "exists" and not isinstance(value, bool):
            self._fault(path, f"expected true or false, found {_described(value)}")
            return None
        if word == "prefix" and not isinstance(value, str):
            self._fault(path, f"expected a string, found {_described(value)}")
            return None
        operand = typed(value)
        if operand is None:
            is_list = isinstance(value, list | tuple) and word == "eq"
            hint = ": write {in: [...]}, or {any: [...]} where the field is a list"
            self._fault(path, _not_a_value(value) + (hint if is_list else ""))
            return None
        if word in _ORDER and operand[0] not in ("number", "string"):
            self._fault(path, f"expected a number or a string, found {_described(value)}")
            return None
        return FieldCondition(field, word, value)

    def _fault(self, path: tuple[str | int, ...], message: str) -> None:
        self.faults.append(FilterFault(path, message))


def _all(parts: Sequence[Filter | None]) -> Filter | None:
    """Combine the parts without faults to one filter; None if none is left."""
    valid = tuple(part for part in parts if part is not None)
    if len(valid) < 2:
        return valid[0] if valid else None
    return AllOf(valid)


def _items(value: object) -> Iterator[Typed | None]:
    """Yield the values of a list with their types; a value that is no list is the only one."""
    if isinstance(value, list):
        yield from map(typed, value)
    else:
        yield typed(value)


def typed(value: object) -> Typed | None:
    """Return a value with its type, so that 1 is not True; None for one that equals nothing."""
    match value:
        case None:
            return "null", None
        case bool():
            return "boolean", value
        case int() if value.bit_length() <= _MOST_BITS:
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
        case int() if value.bit_length() > _MOST_BITS:
            return "a whole number of more than 4,200 digits"
        case int() | float():
            return f"the number {value}"
        case str():
            return f"the string {value[:60]!r}"
        case _:
            return f"{type(value).__name__} {str(value)[:60]!r}"


def _not_a_value(value: object) -> str:
    return f"expected a string, a finite number, a boolean or null, found {_described(value)}"


def _path_text(path: tuple[str | int, ...]) -> str:
    steps = [
        f"[{step}]" if isinstance(step, int) else f".{str(step)[:_LONGEST_NAME]}" for step in path
    ]
    return "where" + "".join(steps)


def _shown(word: object) -> str:
    return repr(word[:_LONGEST_NAME] if isinstance(word, str) else str(word)[:_LONGEST_NAME])


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {repeated!r} is there twice")
    return mapping

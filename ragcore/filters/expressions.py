"""Filter expressions: conditions on passages' metadata, read from YAML or JSON.

    {country: Chad, year: {gte: 2016}}            both must hold
    {or: [{country: Chad}, {not: {year: 2018}}]}

Knows the syntax of a filter, its faults, and whether one value meets one condition; knows nothing
of where a passage's values come from (`evaluation.py`). A filter is data and never runs code.

Types are strict: a number equals only numbers (2016 and 2016.0 are equal), a string only strings,
and a boolean is no number. A value of another type, a list or a mapping is not equal, and neither
less nor greater. A field that a passage lacks meets no condition, not even `ne`; `not` inverts that
like any other result, so that `{not: {country: Chad}}` holds for passages without a country.
"""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Callable, Mapping, Sequence
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
_MAX_DEPTH: Final = 32


@dataclass(frozen=True, slots=True)
class FieldCondition:
    """A condition on one field: an operator and a value to compare with.

    Attributes:
        field: a key of the passages' metadata.
        operator: eq, ne, lt, lte, gt, gte or in.
        value: the value to compare with; for `in` a tuple of values.
    """

    field: str
    operator: str
    value: Scalar | tuple[Scalar, ...]

    def holds(self, value: object) -> bool:
        """Return whether a passage's value meets the condition; strings compare by code point."""
        actual = _typed(value)
        match self.operator:
            case "in":
                assert isinstance(self.value, tuple)
                return actual is not None and actual in map(_typed, self.value)
            case "eq" | "ne":
                equal = actual is not None and actual == _typed(self.value)
                return equal == (self.operator == "eq")
            case order:
                expected = _typed(self.value)
                return (
                    actual is not None
                    and expected is not None
                    and actual[0] == expected[0]
                    and _ORDER[order](actual[1], expected[1])
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
        QuestionError: it is no filter; the message has all faults, each with its path.

    >>> read_where({"year": {"gte": 2016}})
    FieldCondition(field='year', operator='gte', value=2016)
    """
    reader = _Reader()
    where = reader.filter(expression, ())
    if where is None or reader.faults:
        raise QuestionError(
            "\n".join(f"{_path_text(fault.path)}: {fault.message}" for fault in reader.faults)
        )
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
            invalid = [i for i, item in enumerate(value) if _typed(item) is None]
            for i in invalid:
                self._fault((*path, i), _not_a_value(value[i]))
            return None if invalid else FieldCondition(field, word, tuple(value))
        typed = _typed(value)
        if typed is None:
            is_list = isinstance(value, list | tuple) and word == "eq"
            self._fault(path, _not_a_value(value) + (": write {in: [...]}" if is_list else ""))
            return None
        if word in _ORDER and typed[0] not in ("number", "string"):
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


def _typed(value: object) -> tuple[str, Any] | None:
    """Return a value with its type, so that 1 is not True; None for one that equals nothing."""
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


def _path_text(path: tuple[str | int, ...]) -> str:
    steps = [f"[{step}]" if isinstance(step, int) else f".{step}" for step in path]
    return "where" + "".join(steps)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {repeated!r} is there twice")
    return mapping

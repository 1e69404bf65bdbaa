"""Filters as databases can evaluate them: on typed columns, with the meaning of ragcore's filters.

A filter's types are strict and its fields may be missing, a column has one type and NULL. Here a
filter becomes conditions on columns that mean the same in any database, or none at all. Knows
filters and the types of columns; knows no database's language: `written` is passed how a condition
is spelt.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from ragcore.filters.expressions import (
    OWN_FIELDS,
    AllOf,
    AnyOf,
    FieldCondition,
    Filter,
    Not,
    typed,
)

__all__ = [
    "LONGEST_TEXT",
    "ColumnKind",
    "Compare",
    "Every",
    "Negated",
    "OneOf",
    "Predicate",
    "Present",
    "Some",
    "check_columns",
    "column_value",
    "columns_of",
    "metadata_of",
    "predicate_of",
    "written",
]

ColumnKind = Literal["text", "int"]

LONGEST_TEXT: Final = 16_000
"""Bytes of UTF-8 in a column; databases for vectors have a limit for each text."""

_LARGEST: Final = (1 << 63) - 1
_LAST: Final = 0x10FFFF
"""The last code point."""


@dataclass(frozen=True, slots=True)
class Present:
    """Holds where a column has a value, not NULL."""

    field: str


@dataclass(frozen=True, slots=True)
class OneOf:
    """Holds where a column has one of some values; of none, it never holds, nor for NULL."""

    field: str
    values: tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Compare:
    """Holds where a column's value is less or greater; never for NULL.

    Attributes:
        field: whose column is compared.
        operator: one of <, <=, > and >=.
        value: of the column's type; texts compare by code point, as their UTF-8 does by bytes.
    """

    field: str
    operator: Literal["<", "<=", ">", ">="]
    value: str | int


@dataclass(frozen=True, slots=True)
class Negated:
    """Holds where its part does not."""

    part: Predicate


@dataclass(frozen=True, slots=True)
class Every:
    """Holds where all its parts do."""

    parts: tuple[Predicate, ...]


@dataclass(frozen=True, slots=True)
class Some:
    """Holds where at least one of its parts does."""

    parts: tuple[Predicate, ...]


Predicate = Present | OneOf | Compare | Negated | Every | Some


def check_columns(columns: Mapping[str, ColumnKind]) -> None:
    """Check the fields that a config makes columns of.

    Raises:
        ValueError: a field is one of the passage itself, or has no name.
    """
    for field in columns:
        if not field or field in OWN_FIELDS:
            raise ValueError(
                f"{field!r} is no field of metadata, whose values can be in a column: name one, as "
                "in {year: int}"
            )


def column_value(kind: ColumnKind, value: object) -> str | int | None:
    """Return a value of metadata as a column of a kind has it; None where it does not fit there.

    A whole number may be written as a float. What does not fit: a value of another type, also a
    list and null, a number beyond 64 bits, a text with a NUL character or above `LONGEST_TEXT`.
    """
    kind_and_value = typed(value)
    if kind_and_value is None:
        return None
    name, plain = kind_and_value
    if kind == "text":
        return plain if name == "string" and _is_storable(plain) else None
    if name != "number" or abs(plain) > _LARGEST or plain != int(plain):
        return None
    return int(plain)


def predicate_of(where: Filter, columns: Mapping[str, ColumnKind]) -> Predicate | None:
    """Return a filter as conditions on columns; None where these cannot say what it means.

    Args:
        where: the filter.
        columns: the kind of each field's column, in which NULL is for passages without the field,
            and each other passage has the field's value.
    """
    match where:
        case FieldCondition(field=field):
            kind = columns.get(field)
            if kind is None or field in OWN_FIELDS:
                return None
            return _of_condition(where, kind)
        case Not():
            part = predicate_of(where.part, columns)
            return None if part is None else Negated(part)
        case AllOf() | AnyOf():
            parts = [predicate_of(part, columns) for part in where.parts]
            known = tuple(part for part in parts if part is not None)
            if len(known) < len(parts):
                return None
            return Every(known) if isinstance(where, AllOf) else Some(known)


def written(predicate: Predicate, spell: Callable[[Present | OneOf | Compare], str]) -> str:
    """Return a predicate as an expression with `and`, `or`, `not` and parentheses.

    Args:
        predicate: any.
        spell: returns the expression of a condition on one column, which is true or false also for
            NULL; called in the order of the text.
    """
    match predicate:
        case Negated():
            return f"(not {written(predicate.part, spell)})"
        case Every() | Some():
            word = " and " if isinstance(predicate, Every) else " or "
            return "(" + word.join(written(part, spell) for part in predicate.parts) + ")"
        case _:
            return f"({spell(predicate)})"


def _of_condition(condition: FieldCondition, kind: ColumnKind) -> Predicate | None:
    field, value = condition.field, condition.value
    present = Present(field)
    match condition.operator:
        case "exists":
            return present if value else Negated(present)
        case "eq":
            return _one_of(field, kind, [value])
        case "ne":
            return Every((present, Negated(_one_of(field, kind, [value]))))
        case "in" | "any":
            return _one_of(field, kind, [each for _, each in condition.wanted()])
        case "all":
            # No column has a list, and a single value is a list of one.
            wanted = [each for _, each in condition.wanted()]
            return _one_of(field, kind, wanted if len(wanted) == 1 else [])
        case "prefix":
            return _beginning(field, str(value)) if kind == "text" else OneOf(field, ())
    kind_and_value = typed(value)
    assert kind_and_value is not None  # `read_where` accepts nothing else.
    if (kind_and_value[0] == "string") != (kind == "text"):
        return OneOf(field, ())
    if isinstance(value, str):
        # What is neither stored nor sent may still be less or greater.
        return _ordered(field, condition.operator, value) if _is_text(value) else None
    return _within(field, condition.operator, kind_and_value[1])


def _one_of(field: str, kind: ColumnKind, values: Iterable[Any]) -> OneOf:
    fitting = (column_value(kind, value) for value in values)
    return OneOf(field, tuple(sorted(value for value in fitting if value is not None)))


def _ordered(field: str, operator: str, value: str | int) -> Compare:
    match operator:
        case "lt":
            return Compare(field, "<", value)
        case "lte":
            return Compare(field, "<=", value)
        case "gt":
            return Compare(field, ">", value)
        case _:
            return Compare(field, ">=", value)


def _within(field: str, operator: str, value: float) -> Predicate:
    """Compare whole numbers with any number, by whole numbers of 64 bits."""
    whole = math.ceil(value) if operator in ("lt", "gte") else math.floor(value)
    if abs(whole) <= _LARGEST:
        return _ordered(field, operator, whole)
    is_below = operator in ("lt", "lte")
    return Present(field) if is_below == (whole > 0) else OneOf(field, ())


def _beginning(field: str, prefix: str) -> Predicate:
    """Return what holds for texts that begin so: those from it up to the next that do not."""
    if not _is_text(prefix):
        return OneOf(field, ())
    if not prefix:
        return Present(field)
    first: Predicate = Compare(field, ">=", prefix)
    head = prefix.rstrip(chr(_LAST))
    if not head:
        return first
    following = ord(head[-1]) + 1
    # Between them are those of which no text consists.
    end = head[:-1] + chr(0xE000 if following == 0xD800 else following)
    return Every((first, Compare(field, "<", end)))


def _is_text(value: str) -> bool:
    """Return whether databases take a text: it has no NUL character and no lone surrogate."""
    return "\0" not in value and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _is_storable(value: str) -> bool:
    return _is_text(value) and len(value.encode("utf-8")) <= LONGEST_TEXT


def columns_of(
    columns: Mapping[str, ColumnKind], metadata: Sequence[Mapping[str, Any]]
) -> tuple[list[list[str | int | None]], frozenset[str]]:
    """Return the values of n passages' metadata by column, and the fields with one that fits not.

    Args:
        columns: the kind of each field's column.
        metadata: of n passages.

    Returns:
        For each column n values, None for NULL; and the fields of those columns in which NULL may
        stand for a value, so that a filter on them cannot be evaluated there.
    """
    values: list[list[str | int | None]] = []
    unfit: set[str] = set()
    for field, kind in columns.items():
        column = [column_value(kind, each[field]) if field in each else None for each in metadata]
        if any(
            value is None and field in each for value, each in zip(column, metadata, strict=True)
        ):
            unfit.add(field)
        values.append(column)
    return values, frozenset(unfit)


def metadata_of(
    columns: Mapping[str, ColumnKind],
    values: Iterable[Sequence[str | int | None]],
    unfit: frozenset[str],
) -> list[dict[str, Any]]:
    """Return metadata of which `columns_of` has these values, and the same fields as unfit.

    Args:
        columns: the kind of each field's column.
        values: of each passage, one for each column.
        unfit: fields of columns in which NULL may stand for a value.
    """
    # A list fits in no column.
    absent: dict[str, Any] = {field: [] for field in unfit}
    return [
        absent
        | {field: value for field, value in zip(columns, each, strict=True) if value is not None}
        for each in values
    ]

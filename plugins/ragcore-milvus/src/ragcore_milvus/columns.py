"""Columns of metadata as fields of a collection, and filters on them as expressions of Milvus.

    c0, c1, …       a column's value: a text as the hexadecimal digits of its UTF-8, which have the
                    same order and need no quotes; or a whole number
    k0, k1, …       whether there is one, since fields are never missing

Knows fields and expressions; knows nothing of vectors or connections.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pymilvus import DataType

from ragcore.filters.predicates import (
    LONGEST_TEXT,
    ColumnKind,
    Compare,
    OneOf,
    Predicate,
    Present,
    written,
)

__all__ = ["Values", "add_fields", "condition_of", "fields_of", "read_value", "stored_value"]

Values = Sequence[str | int | None]
"""A column's values; None where a passage lacks the field."""


def add_fields(schema: Any, columns: Mapping[str, ColumnKind]) -> None:
    """Add the fields of columns to the schema of a collection."""
    for number, kind in enumerate(columns.values()):
        if kind == "text":
            schema.add_field(f"c{number}", DataType.VARCHAR, max_length=2 * LONGEST_TEXT)
        else:
            schema.add_field(f"c{number}", DataType.INT64)
        schema.add_field(f"k{number}", DataType.BOOL)


def fields_of(count: int) -> list[str]:
    """Return the fields of so many columns."""
    return [f"{letter}{number}" for number in range(count) for letter in "ck"]


def stored_value(number: int, kind: ColumnKind, value: str | int | None) -> dict[str, Any]:
    """Return the fields of an entity that have the value of a column."""
    stored: str | int = "" if kind == "text" else 0
    if value is not None:
        stored = value.encode("utf-8").hex() if isinstance(value, str) else value
    return {f"c{number}": stored, f"k{number}": value is not None}


def read_value(entity: Mapping[str, Any], number: int, kind: ColumnKind) -> str | int | None:
    """Return the value of a column from the fields of an entity."""
    if not entity[f"k{number}"]:
        return None
    stored = entity[f"c{number}"]
    return bytes.fromhex(stored).decode("utf-8") if kind == "text" else int(stored)


def condition_of(predicate: Predicate, columns: Mapping[str, ColumnKind]) -> str:
    """Return a predicate as an expression.

    Args:
        predicate: on these columns.
        columns: the kind of each field, in the order of the columns.
    """
    numbers = {field: number for number, field in enumerate(columns)}

    def spell(leaf: Present | OneOf | Compare) -> str:
        number = numbers[leaf.field]
        known = f"k{number} == true"
        match leaf:
            case Present():
                return known
            case OneOf() if leaf.values:
                return f"{known} and c{number} in [{','.join(map(_literal, leaf.values))}]"
            case OneOf():
                return "row < 0"
            case Compare():
                return f"{known} and c{number} {leaf.operator} {_literal(leaf.value)}"

    return written(predicate, spell)


def _literal(value: str | int) -> str:
    return f'"{value.encode("utf-8").hex()}"' if isinstance(value, str) else str(value)

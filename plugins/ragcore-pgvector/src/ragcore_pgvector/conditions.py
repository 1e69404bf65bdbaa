"""Which rows of a table a search may find, as a condition of SQL.

Knows how a filter's predicate and a list of rows are spelt; knows nothing of vectors. Fields and
values are never part of the text: columns have numbers, and values are parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ragcore.filters.predicates import (
    ColumnKind,
    Compare,
    OneOf,
    Predicate,
    Present,
    written,
)
from ragcore_pgvector.tables import column
from ragcore_pgvector.wire import row_array

if TYPE_CHECKING:
    from ragcore.types import Rows

__all__ = ["Condition", "condition_of", "condition_of_rows"]


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on the table `t`.

    Attributes:
        sql: the expression.
        parameters: its values.
        is_list: whether it lists rows.
    """

    sql: str
    parameters: tuple[Any, ...]
    is_list: bool = False


def condition_of_rows(rows: Rows) -> Condition:
    """Return the condition that a row is one of rows [n], int64."""
    return Condition("t.row = any(%b::bigint[])", (row_array(rows),), is_list=True)


def condition_of(predicate: Predicate, columns: Mapping[str, ColumnKind]) -> Condition:
    """Return a predicate as a condition that is true or false, also for NULL.

    Args:
        predicate: on these columns.
        columns: the kind of each field, in the order of the columns.
    """
    parameters: list[Any] = []
    names = {field: f"t.{column(number)}" for number, field in enumerate(columns)}

    def spell(leaf: Present | OneOf | Compare) -> str:
        name = names[leaf.field]
        kind = "text" if columns[leaf.field] == "text" else "bigint"
        match leaf:
            case Present():
                return f"{name} is not null"
            case OneOf():
                parameters.append(list(leaf.values))
                return f"coalesce({name} = any(%s::{kind}[]), false)"
            case Compare():
                parameters.append(leaf.value)
                return f"coalesce({name} {leaf.operator} %s::{kind}, false)"

    return Condition(written(predicate, spell), tuple(parameters))

"""Turn the values of tables into those of JSON, which metadata are written as."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from ragcore.errors import CorpusError

__all__ = ["json_value"]


def json_value(value: Any, name: str, where: str) -> Any:
    """Return a value as JSON has it.

    Dates and times become ISO 8601; decimal numbers a number, whole where they have no decimal
    places; durations seconds; NaN, which tables write for no value, null. Lists and structures keep
    their form.

    Args:
        value: of a column.
        name: of the column, for errors.
        where: file and row, for errors.

    Raises:
        CorpusError: JSON has no such value: bytes, an infinite number, an object.
    """
    if isinstance(value, str):  # as most are
        return value
    match value:
        case None | bool() | int():
            return value
        case float():
            if math.isinf(value):
                raise CorpusError(
                    f"{where}: {name} is {value}, which JSON cannot hold: write a finite number or "
                    "null"
                )
            return None if math.isnan(value) else value
        case datetime() | date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case UUID():
            return str(value)
        case Decimal():
            return _number(value, name, where)
        case Mapping():
            return {str(key): json_value(item, name, where) for key, item in value.items()}
        case list() | tuple():
            return [json_value(item, name, where) for item in value]
        case _:
            raise CorpusError(
                f"{where}: {name} is {type(value).__name__}, which metadata cannot hold: leave the "
                "column out by naming those to keep, as in metadata: [url, date]"
            )


def _number(value: Decimal, name: str, where: str) -> Any:
    if not value.is_finite():
        return json_value(float(value), name, where)
    exponent = value.as_tuple().exponent
    return int(value) if exponent == 0 else float(value)

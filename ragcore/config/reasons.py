"""Say in plain words why pydantic refuses a value.

Knows pydantic's error types; knows nothing of positions in a file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

__all__ = ["count", "reason"]

_REASONS: Final[dict[str, Callable[[dict[str, Any]], str]]] = {
    "greater_than": lambda limits: f"must be greater than {limits['gt']:g}",
    "greater_than_equal": lambda limits: f"must be at least {limits['ge']:g}",
    "less_than": lambda limits: f"must be less than {limits['lt']:g}",
    "less_than_equal": lambda limits: f"must be at most {limits['le']:g}",
    "multiple_of": lambda limits: f"must be a multiple of {limits['multiple_of']:g}",
    "finite_number": lambda limits: "must be a finite number",
    "string_too_short": lambda limits: (
        f"must have at least {count(limits['min_length'], 'character')}"
    ),
    "string_too_long": lambda limits: (
        f"must have at most {count(limits['max_length'], 'character')}"
    ),
    "string_pattern_mismatch": lambda limits: f"must match {limits['pattern']}",
    "too_short": lambda limits: f"must have at least {count(limits['min_length'], 'item')}",
    "too_long": lambda limits: f"must have at most {count(limits['max_length'], 'item')}",
}


def reason(error: Any) -> str:
    """Return the reason of one of `ValidationError.errors()`; a validator's own words are kept."""
    context = error.get("ctx") or {}
    if error["type"] == "value_error":
        return str(context.get("error", error["msg"]))
    if error["type"] in _REASONS:
        return _REASONS[error["type"]](context)
    message = str(error["msg"]).replace("Input should", "should")
    return message[:1].lower() + message[1:]


def count(number: int, noun: str) -> str:
    """Write a number with its noun: "1 item", "2 items"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"

"""What a passage tells of its document: bounded, ready for JSON, and never a false location."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["LOCATION", "bounded", "clean_text", "document_metadata", "shortened"]

LOCATION: Final = frozenset({"path", "heading", "page", "line", "span", "mtime"})
"""Keys that the corpus itself sets; a document's own are dropped."""

_MOST_CHARACTERS: Final = 4096
"""Characters of a document's own metadata together; each of its passages has them."""

_MOST_VALUES: Final = 256
_DEPTH: Final = 6
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_LARGEST: Final = 10**19
"""Numbers from here on are printed as text: not every reader of JSON knows them."""


class _TooMuchError(Exception):
    """A value is too large, or nested too deeply."""


def clean_text(text: str) -> str:
    """Replace lone surrogates, which are no Unicode text, by U+FFFD; positions stay."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def shortened(text: str, characters: int) -> str:
    """Return a text on one line, cut at so many characters."""
    line = " ".join(clean_text(text[: characters * 4]).split())
    return line if len(line) <= characters else f"{line[: characters - 1].rstrip()}…"


def document_metadata(metadata: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return a document's own metadata as passages have them, and the keys that are left out.

    Args:
        metadata: that the reader found: untrusted, of any size.

    Returns:
        Those that fit into 4,096 characters together, in their order; and the other keys, the names
        of which are locations or whose values are too large.
    """
    fitting: dict[str, Any] = {}
    dropped: list[str] = []
    budget = _Budget()
    for key, value in metadata.items():
        name = clean_text(str(key))
        if name in LOCATION:
            dropped.append(name)
            continue
        before = budget.characters, budget.values
        try:
            budget.take(name)
            fitting[name] = bounded(value, budget)
        except _TooMuchError:
            budget.characters, budget.values = before
            dropped.append(shortened(name, 80))
    return fitting, dropped


class _Budget:
    """How much metadata may still hold."""

    def __init__(self) -> None:
        self.characters = _MOST_CHARACTERS
        self.values = _MOST_VALUES

    def take(self, text: str) -> None:
        self.values -= 1
        self.characters -= len(text)
        if self.characters < 0 or self.values < 0:
            raise _TooMuchError


def bounded(value: Any, budget: _Budget, depth: int = 0) -> Any:
    """Return a value as JSON has it.

    Raises:
        _TooMuchError: it is larger than what is left, or nested more than six levels deep, as a
            value that contains itself is.
    """
    if depth > _DEPTH:
        raise _TooMuchError
    if value is None or isinstance(value, bool):
        budget.take("")
        return value
    if isinstance(value, int) and abs(value) < _LARGEST:
        budget.take("0" * 8)
        return int(value)
    if isinstance(value, float):
        budget.take("0" * 8)
        return float(value) if math.isfinite(value) else None
    if isinstance(value, str):
        budget.take(value)
        return clean_text(value)
    if isinstance(value, Mapping):
        result = {}
        for key, item in value.items():
            name = clean_text(str(key))
            budget.take(name)
            result[name] = bounded(item, budget, depth + 1)
        return result
    if isinstance(value, list | tuple | set | frozenset):
        # A set has no order of its own.
        items = sorted(value, key=str) if isinstance(value, set | frozenset) else value
        return [bounded(item, budget, depth + 1) for item in items]
    if isinstance(value, int):
        # Python refuses to print an integer of many thousand digits.
        if value.bit_length() > _MOST_CHARACTERS:
            raise _TooMuchError
        budget.take(str(value))
        return str(value)
    isoformat = getattr(value, "isoformat", None)
    text = clean_text(str(isoformat() if isoformat is not None else value))
    budget.take(text)
    return text

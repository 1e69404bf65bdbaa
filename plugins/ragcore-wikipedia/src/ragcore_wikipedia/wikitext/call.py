"""A template's call: its name and its parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Call", "parameters"]

_NO_NAME = re.compile(r"[<>\[\]{}\n]")
_LONGEST_NAME = 80


@dataclass(frozen=True, slots=True)
class Call:
    """A template with its parameters, whose own templates and links are rendered.

    Attributes:
        name: lower case, words separated by blanks.
        positional: unnamed and numbered parameters, in order.
        named: the others.
        inside: what it stands in: "page", "template", "link" or "table".
    """

    name: str
    positional: tuple[str, ...]
    named: Mapping[str, str]
    inside: str = "page"

    def at(self, position: int, default: str = "") -> str:
        """Return the positional parameter at `position`, from 0."""
        return self.positional[position] if position < len(self.positional) else default


def parameters(name: str, parts: list[str], *, inside: str = "page") -> Call:
    """Split parameters by kind."""
    positional: list[str] = []
    named: dict[str, str] = {}
    numbered: dict[int, str] = {}
    for part in parts:
        key, equals, value = part.partition("=")
        key = key.strip()
        if not equals or not key or len(key) > _LONGEST_NAME or _NO_NAME.search(key):
            positional.append(part.strip())
        elif key.isdecimal():
            numbered[int(key)] = value.strip()
        else:
            named[key] = value.strip()
    for number, value in sorted(numbered.items()):
        if number <= len(positional):
            if number > 0:
                positional[number - 1] = value
        elif number <= len(positional) + 8:
            positional += [""] * (number - 1 - len(positional)) + [value]
    return Call(name, tuple(positional), named, inside)

"""Keep text apart from markup while a page is rendered.

A few characters of Unicode's private use area stand for what was already rendered: a block, a line
break, a character that looks like markup but is text. A page may contain them only by mistake, so
`clear` removes them first.
"""

from __future__ import annotations

import re

__all__ = ["BLOCK", "BREAK", "NOTHING", "block_mark", "clear", "literal", "restore"]

_OPEN, _CLOSE = "\ue000", "\ue001"
BREAK = "\ue002"
"""A line break inside a value or cell."""

NOTHING = "\ue02f"
"""What a template without text leaves in a table, so that the bars around it do not touch."""

BLOCK = re.compile(f"{_OPEN}([0-9]+){_CLOSE}")
"""The place of a block; group 1 is its number."""

_MARKUP = "{}[]|<>=*#:;'!&_-\n \t"
_FIRST = 0xE010
_TO_MARKS = {ord(character): _FIRST + at for at, character in enumerate(_MARKUP)}
_FROM_MARKS = {mark: character for character, mark in _TO_MARKS.items()} | {ord(NOTHING): ""}
_RESERVED = re.compile(f"[\ue000-\ue02f\ud800-\udfff\x00-\x08\x0b\x0c\x0e-\x1f{chr(0x7F)}]")
_MARKED = re.compile("[\ue010-\ue02f]")


def block_mark(number: int) -> str:
    """Return the mark of block `number`."""
    return f"{_OPEN}{number}{_CLOSE}"


def clear(text: str) -> str:
    """Remove marks, control characters and lone surrogates from a page's text."""
    return _RESERVED.sub("", text)


def literal(text: str) -> str:
    """Return `text` with marks for all characters that could be markup."""
    return text.translate(_TO_MARKS)


def restore(text: str) -> str:
    """Replace marks by the characters they stand for."""
    return text.translate(_FROM_MARKS) if _MARKED.search(text) else text

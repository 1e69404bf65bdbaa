"""Compile a pattern of Python's `re` for the package regex, with the meaning that `re` gives it.

The two share most of their syntax, but not all: regex reads `a{e}` as an a with any errors and
`[[:alpha:]]` as a letter, and its `\\w` takes combining marks. So a pattern is parsed by Python's
own parser, and written again from what that understood. Knows nothing of answers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any, Final

import regex  # type: ignore[import-untyped, unused-ignore]

__all__ = ["compiled"]

# What `str.isalnum` is true of, and the underscore.
_WORD: Final = r"\p{L}\p{N}_"
# `str.isspace` is also true of the four separators of information.
_SPACE: Final = r"\s\x1c-\x1f"
_SETS: Final[Mapping[Any, tuple[str, str, bool]]] = {
    codes.CATEGORY_DIGIT: (r"\p{Nd}", "0-9", True),
    codes.CATEGORY_NOT_DIGIT: (r"\p{Nd}", "0-9", False),
    codes.CATEGORY_SPACE: (_SPACE, r" \t\n\r\f\v", True),
    codes.CATEGORY_NOT_SPACE: (_SPACE, r" \t\n\r\f\v", False),
    codes.CATEGORY_WORD: (_WORD, "0-9A-Za-z_", True),
    codes.CATEGORY_NOT_WORD: (_WORD, "0-9A-Za-z_", False),
}
"""Members of a category, those of ASCII, and whether the category has them or all others."""

_LETTERS: Final = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL}


def compiled(pattern: str, flags: int) -> Any:
    """Compile a pattern.

    Args:
        pattern: in the syntax of `re`.
        flags: of `re`.

    Raises:
        re.error: it is no pattern of `re`.
        regex.error: the package cannot compile it.
    """
    tree = _parser.parse(pattern, flags)
    flags = tree.state.flags
    options = regex.VERSION0
    for letter, flag in _LETTERS.items():
        options |= getattr(regex, letter.upper()) if flags & flag else 0
    return regex.compile(_sequence(tree, bool(flags & re.ASCII)), options)


def _sequence(elements: Any, ascii_only: bool) -> str:
    return "".join(_element(opcode, argument, ascii_only) for opcode, argument in elements)


def _element(opcode: Any, argument: Any, ascii_only: bool) -> str:
    """Write one element of a parsed pattern: its opcode and its argument."""
    write = partial(_sequence, ascii_only=ascii_only)
    if opcode is codes.LITERAL:
        return re.escape(chr(argument))
    if opcode is codes.NOT_LITERAL:
        return f"[^{re.escape(chr(argument))}]"
    if opcode is codes.ANY:
        return "."
    if opcode is codes.IN:
        return _class(argument, ascii_only)
    if opcode is codes.BRANCH:
        return f"(?:{'|'.join(map(write, argument[1]))})"
    if opcode is codes.SUBPATTERN:
        return _group(argument, ascii_only)
    if opcode in _REPEATS:
        least, most, inner = argument
        limit = "" if most is codes.MAXREPEAT else most
        return f"(?:{write(inner)}){{{least},{limit}}}{_REPEATS[opcode]}"
    if opcode is codes.AT:
        return _position(argument, ascii_only)
    if opcode is codes.GROUPREF:
        return rf"\g<{argument}>"
    return _condition(opcode, argument, write)


_REPEATS: Final = {
    codes.MAX_REPEAT: "",
    codes.MIN_REPEAT: "?",
    codes.POSSESSIVE_REPEAT: "+",
}


def _condition(opcode: Any, argument: Any, write: Callable[[Any], str]) -> str:
    """Write what looks around, never goes back, or depends on a group."""
    if opcode is codes.ATOMIC_GROUP:
        return f"(?>{write(argument)})"
    if opcode in (codes.ASSERT, codes.ASSERT_NOT):
        direction, inner = argument
        shortest, longest = inner.getwidth()
        if direction < 0 and shortest != longest:
            # As `re` does, once it has parsed a pattern.
            raise re.error("look-behind requires fixed-width pattern")
        sign = "=" if opcode is codes.ASSERT else "!"
        return f"(?{'<' if direction < 0 else ''}{sign}{write(inner)})"
    if opcode is codes.GROUPREF_EXISTS:
        group, present, absent = argument
        return f"(?({group}){write(present)}|{write(absent or [])})"
    if opcode is codes.FAILURE:
        return "(?!)"
    raise re.error(f"{opcode} is not supported")


def _group(argument: Any, ascii_only: bool) -> str:
    number, added, removed, inner = argument
    ascii_only = bool(added & re.ASCII) or (ascii_only and not added & re.UNICODE)
    content = _sequence(inner, ascii_only)
    if number is not None:
        # Groups are numbered as they open, so each keeps its number.
        return f"({content})"
    on = "".join(letter for letter, flag in _LETTERS.items() if added & flag)
    off = "".join(letter for letter, flag in _LETTERS.items() if removed & flag)
    return f"(?{on}{'-' if off else ''}{off}:{content})"


def _class(members: Any, ascii_only: bool) -> str:
    """Write a class of characters, of which a category may have all but some."""
    negated = members[0][0] is codes.NEGATE
    listed, others = "", []
    for opcode, argument in members[negated:]:
        if opcode is codes.LITERAL:
            listed += re.escape(chr(argument))
        elif opcode is codes.RANGE:
            listed += "-".join(re.escape(chr(end)) for end in argument)
        else:
            everywhere, in_ascii, positive = _SETS[argument]
            sign = "" if positive else "^"
            if ascii_only:
                # Ignoring case, [a-z] has the long s and the sign of kelvin.
                others.append(f"(?-i:[{sign}{in_ascii}])")
            elif positive:
                listed += everywhere
            else:
                others.append(f"[^{everywhere}]")
    if not others:
        return f"[{'^' if negated else ''}{listed}]"
    # A class cannot hold "all but these" together with other members.
    choice = "|".join([*([f"[{listed}]"] if listed else []), *others])
    return rf"(?:(?!{choice})(?s:.))" if negated else f"(?:{choice})"


def _position(at: Any, ascii_only: bool) -> str:
    word = _class([(codes.CATEGORY, codes.CATEGORY_WORD)], ascii_only)
    if at is codes.AT_BOUNDARY:
        return f"(?:(?<={word})(?!{word})|(?<!{word})(?={word}))"
    if at is codes.AT_NON_BOUNDARY:
        return f"(?:(?<={word})(?={word})|(?<!{word})(?!{word}))"
    return _POSITIONS[at]


_POSITIONS: Final = {
    codes.AT_BEGINNING: "^",
    codes.AT_END: "$",
    codes.AT_BEGINNING_STRING: r"\A",
    codes.AT_END_STRING: r"\Z",
}

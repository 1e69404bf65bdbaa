"""What prompts need of a tokenizer: the template's special tokens are special, a field's are text.

Passages, questions and answers are untrusted. A special token that one of them spells out is
tokenized letter by letter, and cannot end a turn or begin another. Knows no tokenizer's library.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Piece", "PromptTokenizer", "SpecialToken", "any_of", "disarmed_ids"]


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a prompt: the template's own text (trusted), or the value of a field."""

    text: str
    trusted: bool


@dataclass(frozen=True, slots=True)
class SpecialToken:
    """A special token that a text spells out, and its span there."""

    token_id: int
    start: int
    end: int


class PromptTokenizer(Protocol):
    """A tokenizer as prompts use it; safe to use from several threads."""

    @property
    def opening(self) -> Sequence[int]:
        """Return the tokens that belong before a text that is no chat."""
        ...

    def prompt_ids(self, prompts: Sequence[Sequence[Piece]]) -> list[list[int]]:
        """Return the ids of prompts, with the special tokens of trusted pieces alone."""
        ...

    def text_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of plain texts: nothing is added, and nothing is a special token."""
        ...

    def text_ends(self, text: str) -> list[int]:
        """Return the end of each token in a plain text."""
        ...

    def special_tokens_in(self, text: str) -> list[SpecialToken]:
        """Return the special tokens that a trusted text spells out, in order."""
        ...


def disarmed_ids(tokenizer: PromptTokenizer, pieces: Sequence[Piece]) -> list[int]:
    """Return the ids of a prompt of which only the trusted pieces' special tokens are special.

    The text between two of them is tokenized as a whole, across pieces.
    """
    ids: list[int] = []
    text = ""
    for piece in pieces:
        begin = 0
        for special in tokenizer.special_tokens_in(piece.text) if piece.trusted else []:
            before = text + piece.text[begin : special.start]
            ids += [*tokenizer.text_ids([before])[0], special.token_id]
            text, begin = "", special.end
        text += piece.text[begin:]
    return ids + tokenizer.text_ids([text])[0]


def any_of(texts: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern that matches any of these texts, the longest first."""
    ordered = sorted(texts, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, ordered)) or r"(?!)")

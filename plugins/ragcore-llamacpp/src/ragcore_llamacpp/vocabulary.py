"""The tokenizer that a GGUF file holds, as prompts and answers use it.

llama.cpp tokenizes; what it parses as a special token is decided here, since a passage must not be
able to spell one. Knows tokens and their text; knows nothing of weights.
"""

from __future__ import annotations

import codecs
import ctypes
from collections.abc import Sequence
from functools import cached_property
from typing import Final

import llama_cpp
import numpy as np

from ragcore.errors import GeneratorError
from ragcore.prompts.tokens import Piece, SpecialToken, any_of, disarmed_ids
from ragcore_llamacpp.library import Model

__all__ = ["Vocabulary"]

_UNKNOWN: Final = 1 << 0
_CONTROL: Final = 1 << 3
_ADDED: Final = _UNKNOWN | _CONTROL | 1 << 4
_LSTRIP: Final = 1 << 7
_RSTRIP: Final = 1 << 8
"""Attributes of a token, `llama_token_attr`; the last two: white space next to it belongs to it."""


class Vocabulary:
    """See `ragcore.prompts.tokens.PromptTokenizer`; safe to use from several threads.

    Attributes:
        size: V.
        special: the ids of tokens that no plain text is tokenized to, by their text.
        added: the same, and of those that the model's makers added to the tokenizer's own.
        end_ids: the tokens that end an answer, by the file or by llama.cpp's list of their names.
    """

    def __init__(self, model: Model) -> None:
        """Read all tokens of a model."""
        self._model = model
        self._pointer = model.vocabulary
        self.size: int = llama_cpp.llama_vocab_n_tokens(self._pointer)
        attributes = {
            token: attribute
            for token in range(self.size)
            if (attribute := llama_cpp.llama_vocab_get_attr(self._pointer, token)) & _ADDED
        }
        named = {self.eos, llama_cpp.llama_vocab_eot(self._pointer)} - {None, -1}
        self.end_ids = frozenset(
            token
            for token in {*attributes, *named}
            if llama_cpp.llama_vocab_is_eog(self._pointer, token)
        )
        # A text's unknown words are unknown tokens, which end nothing.
        self._control = self.end_ids | {
            token for token, attribute in attributes.items() if attribute & _CONTROL
        }
        self.added: dict[str, int] = {
            self.text_of_token(token): token for token in sorted({*attributes, *self.end_ids})
        }
        self.added.pop("", None)
        self.special: dict[str, int] = {
            text: token
            for text, token in self.added.items()
            if token in self._control or attributes[token] & _UNKNOWN
        }
        self._spelled = any_of(self.special)
        self._strips = {
            token: (
                bool(attributes.get(token, 0) & _LSTRIP),
                bool(attributes.get(token, 0) & _RSTRIP),
            )
            for token in self.special.values()
        }

    @property
    def eos(self) -> int | None:
        """Return the end token that the file names."""
        with self._model.in_use():
            token: int = llama_cpp.llama_vocab_eos(self._pointer)
        return token if token >= 0 else None

    def text_of_token(self, token: int) -> str:
        """Return how the vocabulary spells a token; empty for none (-1)."""
        if token < 0:
            return ""
        with self._model.in_use():
            text: bytes = llama_cpp.llama_vocab_get_text(self._pointer, token)
        return text.decode("utf-8", "replace")

    @property
    def bos_text(self) -> str:
        """Return how the vocabulary spells the token that begins texts; empty for none."""
        with self._model.in_use():
            return self.text_of_token(llama_cpp.llama_vocab_bos(self._pointer))

    @property
    def opening(self) -> list[int]:
        """Return the token put before a text, if the file says that one is."""
        with self._model.in_use():
            token: int = llama_cpp.llama_vocab_bos(self._pointer)
            begins = llama_cpp.llama_vocab_get_add_bos(self._pointer) and token >= 0
        return [token] if begins else []

    def prompt_ids(self, prompts: Sequence[Sequence[Piece]]) -> list[list[int]]:
        """Return the ids of prompts, with the special tokens of trusted pieces alone."""
        return [disarmed_ids(self, pieces) for pieces in prompts]

    def text_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of plain texts: nothing is added, and nothing is a special token."""
        with self._model.in_use():
            return [self._plain(text) for text in texts]

    def text_ends(self, text: str) -> list[int]:
        """Return the end of each token in a plain text.

        A token that ends inside a character ends before it.
        """
        with self._model.in_use():
            sizes = [len(self._piece(token)) for token in self._plain(text)]
        # SentencePiece's tokenizers put a space before a text.
        length = len(text.encode("utf-8", "replace"))
        added = max(0, sum(sizes) - length)
        ends = np.clip(np.cumsum(sizes, dtype=np.int64) - added, 0, length)  # in bytes
        starts = np.cumsum([len(character.encode("utf-8", "replace")) for character in text])
        return [int(end) for end in np.searchsorted(starts, ends, side="right")]

    def special_tokens_in(self, text: str) -> list[SpecialToken]:
        """Return the special tokens that a trusted text spells out, in order."""
        specials = []
        for match in self._spelled.finditer(text):
            token = self.special[match.group()]
            before, after = self._strips[token]
            start, end = match.span()
            if before:
                start = len(text[:start].rstrip())
            if after:
                end += len(text[end:]) - len(text[end:].lstrip())
            specials.append(SpecialToken(token, start, end))
        return specials

    def text(self, token_ids: Sequence[int], *, settled: bool = False) -> str:
        """Return the text of tokens, single-spaced, without special tokens.

        Args:
            token_ids: the tokens of an answer, or its first ones.
            settled: leave out a last character that is incomplete.
        """
        return " ".join(self.verbatim(token_ids, settled=settled).split())

    def verbatim(self, token_ids: Sequence[int], *, settled: bool = False) -> str:
        """Return the same text with white space as it was written."""
        with self._model.in_use():
            data = b"".join(self._piece(token) for token in token_ids if token not in self._control)
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        return decoder.decode(data, final=not settled)

    def _plain(self, text: str) -> list[int]:
        """Tokenize one plain text."""
        if not text:
            return []
        # A lone surrogate, which is no character, is read as a question mark.
        data = text.encode("utf-8", "replace")
        room = len(data) + 8
        while True:
            tokens = (llama_cpp.llama_token * room)()
            count = llama_cpp.llama_tokenize(
                self._pointer, data, len(data), tokens, room, False, False
            )
            if count >= 0:
                ids = list(tokens[:count])
                break
            if -count <= room:
                raise GeneratorError(
                    f"model {self._model.name!r} cannot tokenize a text of {len(data)} bytes: use "
                    "shorter passages"
                )
            room = -count
        # SentencePiece's merges may end in a control token that the text spells.
        if self._control.isdisjoint(ids):
            return ids
        return [
            part
            for token in ids
            for part in (self._letters(token) if token in self._control else [token])
        ]

    def _letters(self, token: int) -> list[int]:
        """Return the tokens of a special token's text, letter by letter."""
        return [
            self._by_piece[letter]
            for letter in (character.encode() for character in self.text_of_token(token))
            if letter in self._by_piece
        ]

    @cached_property
    def _by_piece(self) -> dict[bytes, int]:
        """The ordinary tokens by what they write."""
        return {
            self._piece(token): token for token in range(self.size) if token not in self._control
        }

    def _piece(self, token: int) -> bytes:
        """Return what a token writes."""
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            count = llama_cpp.llama_token_to_piece(self._pointer, token, buffer, size, 0, True)
            if count >= 0:
                return buffer.raw[:count]
            size = -count

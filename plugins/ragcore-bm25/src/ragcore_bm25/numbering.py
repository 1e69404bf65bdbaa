"""Number the terms of many texts, analysing each spelling once.

The analyser cuts words at white space, so a text's terms are those of its space-separated pieces,
one after the other. A piece as it stands in a text, with its full stop or comma, is a *surface*;
most surfaces of a corpus are repeats, and are looked up. All that is done for every word of a
corpus runs inside the interpreter's own functions; only a new surface is worked on in Python.

Knows the analyser and the vocabulary; knows no passage, no title and no count.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from ragcore_bm25.analyser import Analyser
from ragcore_bm25.vocabulary import Vocabulary

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.int32]

__all__ = ["Numbering"]

_PIECE: Final = 1 << 15
"""Bytes of text numbered in one call, about a millisecond's work: other threads wait so long."""

_SURFACES: Final = 1 << 19
"""Surfaces that are remembered, some 100 bytes each, before all are forgotten."""

_LONGEST: Final = 64
"""Bytes of the longest surface that is remembered. Longer ones are seldom repeated: clauses in
scripts without spaces, addresses, encoded data."""

_END: Final = b"\xff"
"""Stands between texts; no text has this byte in UTF-8."""

_ENDED: Final = -1
"""The number that stands for the end of a text."""


def _prepared() -> bytes:
    """Return the table by which the bytes of a text are replaced before it is cut.

    ASCII letters become lower case, which the analyser would do. Other ASCII characters become
    spaces, as neither is in a word; except the stop and the comma, which numbers and initials have
    inside, and the underscore, next to which initials do not begin.
    """
    table = bytearray(range(256))
    for code in range(128):
        lower = chr(code).lower()
        table[code] = ord(lower) if lower.isalnum() or lower in ".,_" else ord(" ")
    return bytes(table)


_PREPARED: Final = _prepared()

_packed: Final = struct.Struct("=i").pack
"""Returns a number as numpy has it in an int32 array."""


class Numbering:
    """Turn texts into the numbers of their terms; not for several threads at once."""

    def __init__(self, analyser: Analyser, vocabulary: Vocabulary) -> None:
        """Add the terms that are new to this vocabulary, in the order in which they come."""
        self._surfaces = _Surfaces(analyser, vocabulary)

    def numbers(self, texts: Iterable[str]) -> tuple[Numbers, Numbers]:
        """Return the term numbers of texts, as `Analyser.terms` has the terms of each.

        Returns:
            Tokens, int32 [all terms], text after text; and how many each text has, int32 [texts].
        """
        parts = [self._numbered(piece) for piece in _pieces(texts)]
        numbers = np.concatenate(parts) if parts else np.zeros(0, np.int32)
        is_end = numbers == _ENDED
        lengths = np.diff(np.flatnonzero(is_end), prepend=-1) - 1
        return numbers[~is_end], lengths.astype(np.int32)

    def _numbered(self, piece: Sequence[bytes]) -> Numbers:
        """Return the term numbers of encoded texts, with _ENDED after each."""
        surfaces = (b" \xff ".join(piece) + b" \xff").translate(_PREPARED).split()
        known = self._surfaces
        known.forget_if_full()
        return np.frombuffer(b"".join(map(known.__getitem__, surfaces)), np.int32)


class _Surfaces(dict[bytes, bytes]):
    """The term numbers of each surface; of a new one they are made when it is looked up."""

    def __init__(self, analyser: Analyser, vocabulary: Vocabulary) -> None:
        super().__init__({_END: _packed(_ENDED)})
        self._analyser, self._vocabulary = analyser, vocabulary
        # The number of each word of surfaces that are more than a word.
        self._words: dict[str, bytes] = {}

    def __missing__(self, surface: bytes) -> bytes:
        word = surface.strip(b".,")
        if not word.isalnum():
            text = surface.decode("utf-8", "surrogatepass")
            numbers = b"".join(map(self._number_of, self._analyser.words(text)))
        elif len(word) < len(surface):
            numbers = self[word]
        else:
            numbers = self._number(word.decode("ascii"))
        if len(surface) <= _LONGEST:
            self[surface] = numbers
        return numbers

    def forget_if_full(self) -> None:
        """Forget all surfaces if there are too many; their terms stay in the vocabulary."""
        if len(self) > _SURFACES:
            self.clear()
            self[_END] = _packed(_ENDED)
        if len(self._words) > _SURFACES:
            self._words.clear()

    def _number_of(self, word: str) -> bytes:
        """Return the number of a word's term, and remember it; nothing for a stop word."""
        number = self._words.get(word)
        if number is None:
            number = self._words[word] = self._number(word)
        return number

    def _number(self, word: str) -> bytes:
        """Return the number of a word's term; nothing for a stop word."""
        term = self._analyser.term(word)
        return b"" if term is None else _packed(self._vocabulary.add(term))


def _pieces(texts: Iterable[str]) -> Iterator[list[bytes]]:
    """Encode texts, and yield them in lists of about _PIECE bytes."""
    piece: list[bytes] = []
    size = 0
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        piece.append(encoded)
        size += len(encoded)
        if size >= _PIECE:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece

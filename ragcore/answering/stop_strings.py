"""End an answer where its text comes to a stop string, and leave that out of the text.

A stop string is looked for in the text as it was written, line breaks included; a generator whose
`decode_tokens` changes white space has a method `decode_verbatim`, see the contract.

Knows texts of tokens; knows nothing of probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence

from ragcore.answering.streaming import common_prefix, generated_prefix
from ragcore.contracts import Generator

__all__ = ["StopStrings"]


class StopStrings:
    """The stop strings of a request, and the texts of answers that they end."""

    def __init__(self, generator: Generator, stop: Sequence[str]) -> None:
        """Look for these strings in what the generator writes; none of them is empty."""
        self._generator = generator
        self._stop = tuple(stop)

    def __bool__(self) -> bool:
        """Return whether there are any."""
        return bool(self._stop)

    def end(self, tokens: Sequence[int]) -> bool:
        """Return whether the text of these tokens has a stop string."""
        return self._find(self._verbatim(tokens)) is not None

    def text(self, tokens: Sequence[int]) -> str:
        """Return the text of an answer's tokens up to the first stop string, single-spaced.

        Without one it is as the generator decodes it.
        """
        if self._stop:
            verbatim = self._verbatim(tokens)
            position = self._find(verbatim)
            if position is not None:
                return " ".join(verbatim[:position].split())
        return self._generator.decode_tokens(tokens)

    def settled(self, tokens: Sequence[int]) -> str:
        """Return the text of an answer's first tokens that no further token changes.

        An end of it that may be the beginning of a stop string is not settled.
        """
        settled = generated_prefix(self._generator, tokens)
        if not self._stop:
            return settled
        verbatim = self._verbatim(tokens)
        position = self._find(verbatim)
        if position is None:
            position = min(len(verbatim) - _overlap(verbatim, stop) for stop in self._stop)
        return common_prefix([settled, " ".join(verbatim[:position].split())])

    def _verbatim(self, tokens: Sequence[int]) -> str:
        decode = getattr(self._generator, "decode_verbatim", self._generator.decode_tokens)
        text: str = decode(tokens)
        return text

    def _find(self, verbatim: str) -> int | None:
        """Return where the first stop string begins; None where there is none."""
        positions = [verbatim.find(stop) for stop in self._stop]
        return min((position for position in positions if position >= 0), default=None)


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of a text that `stop` begins with.

    >>> _overlap("Paris.", ".\\n")
    1
    """
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)

"""What a model thinks before it answers: no block for it is left open, and none is in an answer.

Knows the tags that models write; knows nothing of templates or tokenizers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

__all__ = ["Thinking", "closed"]

_TAGS: Final = ("think", "thinking", "thought", "reasoning")
_OPENED: Final = re.compile(rf"<({'|'.join(_TAGS)})>\s*\Z")
_BLOCK: Final = re.compile(rf"<({'|'.join(_TAGS)})>.*?(?:</\1>|\Z)", re.DOTALL)
_REST: Final = re.compile(rf"\A.*</(?:{'|'.join(_TAGS)})>", re.DOTALL)


def closed(text: str) -> str:
    """Close the block for thinking that a prompt's end opens, if it does."""
    opened = _OPENED.search(text)
    return text if opened is None else f"{text.rstrip()}\n\n</{opened[1]}>\n\n"


class Thinking:
    """Removes what a model thinks from its replies."""

    def __init__(self, vocabulary: Mapping[str, int]) -> None:
        """Look up the tags that are one token; where these are special, the text lacks them.

        Args:
            vocabulary: the id of each token by its text.
        """
        self._open = {vocabulary[f"<{tag}>"] for tag in _TAGS if f"<{tag}>" in vocabulary}
        self._close = {vocabulary[f"</{tag}>"] for tag in _TAGS if f"</{tag}>" in vocabulary}

    def without_tokens(self, token_ids: Sequence[int]) -> list[int]:
        """Return the tokens outside of blocks; one that is not closed extends to the end."""
        remaining: list[int] = []
        inside = False
        for token in token_ids:
            if token in self._close:
                # Without an opening tag, all before it was thought.
                remaining = remaining if inside else []
                inside = False
            elif token in self._open:
                inside = True
            elif not inside:
                remaining.append(token)
        return remaining

    def without_text(self, text: str) -> str:
        """Return a text outside of blocks whose tags it spells out, single-spaced if it has any."""
        return " ".join(self.outside(text).split()) if "<" in text else text

    def outside(self, text: str) -> str:
        """Return a text outside of blocks whose tags it spells out, its white space unchanged."""
        return _REST.sub("", _BLOCK.sub("", text)) if "<" in text else text

    def settled(self, text: str) -> str:
        """Return the text of an answer's first tokens outside of blocks, without a tag's beginning.

        What stands before a closing tag that nothing opened has been returned by then; a prompt
        leaves no block open, so that a reply begins outside of one.
        """
        opened = text.find("<")
        while opened >= 0:
            rest = text[opened:]
            if any(f"<{tag}>".startswith(rest) or f"</{tag}>".startswith(rest) for tag in _TAGS):
                return self.without_text(text[:opened]).rstrip()
            opened = text.find("<", opened + 1)
        return self.without_text(text)

"""Ids of passages from what they say, so that an edit changes no other passage's id."""

from __future__ import annotations

from hashlib import blake2b
from typing import Literal

__all__ = ["ContentIds", "Ids"]

Ids = Literal["content"] | None
"""The setting `ids`: content, or None for numbers."""


class ContentIds:
    """Makes ids for the passages of one iteration; holds 8 bytes for each (some 100 in Python).

    An id is 16 hex digits of a digest of title and text. The second passage with the same title and
    text has `-2` behind it, the third `-3`, and so on.
    """

    def __init__(self) -> None:
        self._occurrences: dict[bytes, int] = {}

    def of(self, title: str, text: str, prefix: str = "") -> str:
        """Return the id of the next passage.

        Args:
            title: its title.
            text: its text.
            prefix: what its id begins with, such as the id of the row that it is a part of.
        """
        # Lengths keep adjacent texts apart; a lone surrogate is refused elsewhere, by its passage.
        content = f"{len(prefix)} {len(title)} {prefix}{title}{text}"
        digest = blake2b(content.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        count = self._occurrences[digest] = self._occurrences.get(digest, 0) + 1
        name = f"{prefix}{digest.hex()}"
        return name if count == 1 else f"{name}-{count}"

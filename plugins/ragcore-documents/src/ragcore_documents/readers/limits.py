"""The most that a reader of one file does, and the error that says why a file cannot be read."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits", "UnreadableError"]


class UnreadableError(Exception):
    """A file cannot be read; its text is the reason, with what to do, and names no file."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How far a reader goes before it gives a file up.

    Attributes:
        characters: of a document's text.
        unpacked: bytes of an archive's members together.
        members: of an archive.
        depth: of elements within each other that are followed.
        pages: of a document.
    """

    characters: int = 20_000_000
    unpacked: int = 500 << 20
    members: int = 10_000
    depth: int = 200
    pages: int = 20_000

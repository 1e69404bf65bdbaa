"""Resolved paths that still know how the user wrote them.

Components read the resolved path; records on disk, such as a version's manifest, keep what was
written, so that they hold after a project or its environment moves. Knows nothing of configs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self

__all__ = ["WrittenPath", "WrittenText", "as_written"]

if TYPE_CHECKING:
    _Path = Path
else:
    _Path = type(Path())


class WrittenPath(_Path):
    """A resolved path that remembers what was written; a path derived from it does not.

    Attributes:
        written: as the user wrote it; None for a derived path.
        base: the folder that a relative one started from; None where the start does not matter.
    """

    written: str | None = None
    base: Path | None = None

    @classmethod
    def of(cls, path: Path, *, written: str, base: Path | None) -> Self:
        """Return a path that remembers what was written; see the attributes."""
        resolved = cls(path)
        resolved.written, resolved.base = written, base
        return resolved

    def __reduce__(self) -> tuple[object, ...]:
        """Copy and pickle with what was written."""
        return _restored_path, (str(self), self.written, self.base)


class WrittenText(str):
    """A model's resolved folder as text, which remembers what was written; see `WrittenPath`."""

    written: str | None = None
    base: Path | None = None

    @classmethod
    def of(cls, text: str, *, written: str, base: Path | None) -> Self:
        """Return a text that remembers what was written."""
        resolved = cls(text)
        resolved.written, resolved.base = written, base
        return resolved


def as_written(value: Path | str, base: Path | None) -> str:
    """Return a path or a text as the user wrote it.

    Args:
        value: resolved, or any other.
        base: the folder that relative paths start from; one from another folder becomes absolute.
    """
    if isinstance(value, WrittenPath | WrittenText) and value.written is not None:
        return value.written if value.base in (None, base) else str(Path(str(value)).absolute())
    return str(value)


def _restored_path(path: str, written: str | None, base: Path | None) -> WrittenPath:
    resolved = WrittenPath(path)
    resolved.written, resolved.base = written, base
    return resolved

"""Count what became of a folder's files, and say it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

__all__ = ["Report"]

_NAMED: Final = 20
"""Skipped files, and notes on files, that are named."""

_SUFFIXES: Final = 12
"""Suffixes of other files that are named."""

_BREAKS: Final = frozenset("\t\n\v\f\r\x1c\x1d\x1e\x85\u2028\u2029")


@dataclass(slots=True)
class Report:
    """What became of a folder's files.

    Attributes:
        read: documents that were read, by type; those in `empty` are among them.
        unchanged: documents that a memory has already, and that were not read again.
        empty: documents without text.
        skipped: how many files and folders could not be read.
        reasons: id and reason of the first 20 of them.
        other: files of types that are not read, by suffix; "" counts those without one.
        left_out: files and folders that settings leave out, by reason.
        notes: id and text of the first 20 things that readers noticed.
        noted: how many there were.
        passages: of the documents that were read.
    """

    read: Counter[str] = field(default_factory=Counter)
    unchanged: int = 0
    empty: int = 0
    skipped: int = 0
    reasons: list[tuple[str, str]] = field(default_factory=list)
    other: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    notes: list[tuple[str, str]] = field(default_factory=list)
    noted: int = 0
    passages: int = 0

    def skip(self, id_: str, reason: str) -> None:
        """Count a file or folder that cannot be read."""
        self.skipped += 1
        if len(self.reasons) < _NAMED:
            self.reasons.append((id_, reason))

    def note(self, id_: str, texts: Sequence[str]) -> None:
        """Count what a reader noticed."""
        self.noted += len(texts)
        self.notes += [(id_, text) for text in texts][: _NAMED - len(self.notes)]

    @property
    def documents(self) -> int:
        """How many documents there are, read or not."""
        return self.read.total() + self.unchanged

    def lines(self) -> list[str]:
        """Say all of it, in a line or two for each kind."""
        counts = [f"{self.read.total():,} read{_listed(self.read)}"]
        if self.unchanged:
            counts.append(f"{self.unchanged:,} unchanged")
        if self.empty:
            counts.append(f"{self.empty:,} without text")
        if self.skipped:
            counts.append(f"{self.skipped:,} skipped")
        lines = [f"files: {', '.join(counts)}"]
        lines += [
            f"skipped {_on_one_line(id_) or 'the folder'}: {reason}" for id_, reason in self.reasons
        ]
        if self.skipped > len(self.reasons):
            lines.append(f"skipped {self.skipped - len(self.reasons):,} more")
        lines += [f"{_on_one_line(id_)}: {note}" for id_, note in self.notes]
        if self.noted > len(self.notes):
            lines.append(f"{self.noted - len(self.notes):,} more notes")
        if self.other:
            lines.append(f"not of a type that is read: {self.other_types()}")
        if self.left_out:
            parts = (f"{count:,} {reason}" for reason, count in sorted(self.left_out.items()))
            lines.append(f"left out: {', '.join(parts)}")
        return lines

    def other_types(self) -> str:
        """List how many files of which other types there are, the most frequent first."""
        most = sorted(self.other.items(), key=lambda pair: (-pair[1], pair[0]))
        parts = [
            f"{count:,} {_on_one_line(suffix[:20]) or 'without a suffix'}"
            for suffix, count in most[:_SUFFIXES]
        ]
        rest = sum(count for _, count in most[_SUFFIXES:])
        return ", ".join([*parts, f"{rest:,} others"] if rest else parts)


def _listed(counts: Mapping[str, int]) -> str:
    parts = [f"{count:,} {kind}" for kind, count in sorted(counts.items())]
    return f" ({', '.join(parts)})" if parts else ""


def _on_one_line(name: str) -> str:
    """Return a file's name without line breaks, by which it could forge lines of the report."""
    return "".join("\ufffd" if mark in _BREAKS else mark for mark in name)

"""Count what became of a folder's files, and say it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ragcore_documents.detect import suffix_of

__all__ = ["Report"]

_NAMED: Final = 20
"""Skipped files, files without text, and different notes on files that are named."""

_NOTED_IN: Final = 3
"""Files that are named with a note."""

_SUFFIXES: Final = 12
"""Suffixes of other files that are named."""

_BREAKS: Final = frozenset("\t\n\v\f\r\x1c\x1d\x1e\x85\u2028\u2029")


@dataclass(slots=True)
class Report:
    """What became of a folder's files.

    Attributes:
        read: documents that were read, by type; those in `empty` are among them.
        touched: those among them whose content is as before, and which were changed since.
        unchanged: documents that a memory has already, and that were not read again.
        empty: documents that were read and have no text, by type.
        without_text: ids of the first 20 of them.
        skipped: files and folders that could not be read, by suffix; "" counts those without one.
        reasons: id and reason of the first 20 of them.
        other: files of types that are not read, by suffix; "" counts those without one.
        left_out: files and folders that settings leave out, by reason.
        notes: what readers noticed, and in how many files: the first 20 different texts.
        noted_in: ids of the first three files of each.
        noted: how many notes there were.
        passages: of the documents that were read.
    """

    read: Counter[str] = field(default_factory=Counter)
    touched: int = 0
    unchanged: int = 0
    empty: Counter[str] = field(default_factory=Counter)
    without_text: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    reasons: list[tuple[str, str]] = field(default_factory=list)
    other: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    noted_in: dict[str, list[str]] = field(default_factory=dict)
    noted: int = 0
    passages: int = 0

    def skip(self, id_: str, reason: str) -> None:
        """Count a file or folder that cannot be read."""
        self.skipped[suffix_of(id_)] += 1
        if len(self.reasons) < _NAMED:
            self.reasons.append((id_, reason))

    def note(self, id_: str, texts: Sequence[str]) -> None:
        """Count what a reader noticed."""
        self.noted += len(texts)
        for text in texts:
            if text in self.notes or len(self.notes) < _NAMED:
                self.notes[text] += 1
                ids = self.noted_in.setdefault(text, [])
                if len(ids) < _NOTED_IN:
                    ids.append(id_)

    def add_empty(self, id_: str, type_: str) -> None:
        """Count a document without text."""
        self.empty[type_] += 1
        if len(self.without_text) < _NAMED:
            self.without_text.append(id_)

    @property
    def documents(self) -> int:
        """How many documents there are, read or not."""
        return self.read.total() + self.unchanged

    def lines(self) -> list[str]:
        """Say all of it, in a line or two for each kind."""
        counts = [f"{self.read.total():,} read{_listed(self.read)}"]
        if self.touched:
            counts.append(f"{self.touched:,} of them with another time alone")
        if self.unchanged:
            counts.append(f"{self.unchanged:,} unchanged")
        if self.empty:
            counts.append(f"{self.empty.total():,} without text{_listed(self.empty)}")
        if self.skipped:
            counts.append(f"{self.skipped.total():,} skipped ({_suffixes(self.skipped)})")
        lines = [f"files: {', '.join(counts)}"]
        lines += [
            f"skipped {_on_one_line(id_) or 'the folder'}: {reason}" for id_, reason in self.reasons
        ]
        if (more := self.skipped.total() - len(self.reasons)) > 0:
            lines.append(f"skipped {more:,} more")
        if self.empty:
            lines.append(f"without text: {_named(self.without_text, self.empty.total())}")
        for note, count in self.notes.items():
            lines.append(f"{_named(self.noted_in[note], count)}: {note}")
        if (more := self.noted - self.notes.total()) > 0:
            lines.append(f"{more:,} more notes")
        if self.other:
            lines.append(f"not of a type that is read: {self.other_types()}")
        if self.left_out:
            parts = (f"{count:,} {reason}" for reason, count in sorted(self.left_out.items()))
            lines.append(f"left out: {', '.join(parts)}")
        return lines

    def other_types(self) -> str:
        """List how many files of which other types there are, the most frequent first."""
        return _suffixes(self.other)


def _suffixes(counts: Mapping[str, int]) -> str:
    """List how many files there are of each suffix, the most frequent first."""
    most = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    parts = [
        f"{count:,} {_on_one_line(suffix[:20]) or 'without a suffix'}"
        for suffix, count in most[:_SUFFIXES]
    ]
    rest = sum(count for _, count in most[_SUFFIXES:])
    return ", ".join([*parts, f"{rest:,} others"] if rest else parts)


def _named(ids: Sequence[str], count: int) -> str:
    """Name the first of some files, and say how many more there are."""
    more = f" and {count - len(ids):,} more" if count > len(ids) else ""
    return f"{', '.join(map(_on_one_line, ids))}{more}"


def _listed(counts: Mapping[str, int]) -> str:
    parts = [f"{count:,} {kind}" for kind, count in sorted(counts.items())]
    return f" ({', '.join(parts)})" if parts else ""


def _on_one_line(name: str) -> str:
    """Return a file's name without line breaks, by which it could forge lines of the report."""
    return "".join("\ufffd" if mark in _BREAKS else mark for mark in name)

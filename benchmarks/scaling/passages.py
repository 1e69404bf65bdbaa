"""Make millions of passages: real text repeated with edits, or text from a seeded generator.

A passage depends on its number alone, so that a smaller corpus is the beginning of a larger one.
The first passages are those of the development data as they are. A further one is one of them with
three stretches of ten words replaced by stretches of others; in two of five a word stands that no
other passage has, since a corpus goes on to meet new words.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

__all__ = ["Text", "mixed", "read_text", "write_corpus", "write_lines"]

SOURCES: Final = (
    "openqa/passages.jsonl.gz",
    "squad/passages.jsonl.gz",
    "wiki_vital/passages.jsonl.gz",
    "factbook/2018-12/passages.jsonl.gz",
    "factbook/2026-02/passages.jsonl.gz",
)
STRETCHES, STRETCH = 3, 10
INVENTED: Final = 20_000
WORDS: Final = 200_000
LEAST_WORDS: Final = 40

_MASK: Final = (1 << 64) - 1


def mixed(number: int) -> int:
    """Return 64 bits that look random and depend on the number alone (SplitMix64)."""
    bits = (number + 1) * 0x9E3779B97F4A7C15 & _MASK
    bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EB & _MASK
    return bits ^ (bits >> 31)


@dataclass(frozen=True, slots=True)
class Text:
    """Titles and words to make passages of.

    Attributes:
        kind: "real" or "invented".
        titles: of the first passages.
        words: of the same passages.
    """

    kind: str
    titles: list[str]
    words: list[list[str]]

    def row(self, number: int, mark: str = "") -> dict[str, str]:
        """Return a passage as a line of JSON has it; `mark` is put before its text."""
        at = number % len(self.words)
        words = self.words[at]
        if number >= len(self.words):
            words = list(words)
            for edit in range(STRETCHES):
                bits = mixed(number * STRETCHES + edit)
                other = self.words[bits % len(self.words)]
                start = (bits >> 20) % (len(other) - STRETCH)
                position = (bits >> 40) % (len(words) - STRETCH)
                words[position : position + STRETCH] = other[start : start + STRETCH]
            if bits >> 32 & 0xFF < 0.4 * 0x100:
                words.append(f"n{number}")
        return {"id": str(number), "title": self.titles[at], "text": mark + " ".join(words)}

    def question(self, number: int) -> str:
        """Return six words of a passage."""
        words = self.row(number)["text"].split()
        return " ".join(words[mixed(number + turn) % len(words)] for turn in range(6))


def read_text(folder: Path | None) -> Text:
    """Read the development data; make text from a seed where it is missing."""
    if folder is not None and all((folder / name).is_file() for name in SOURCES):
        rows = [row for name in SOURCES for row in _rows(folder / name)]
        split = [(row.get("title") or "", row["text"].split()) for row in rows]
        whole = [(title, words) for title, words in split if len(words) >= LEAST_WORDS]
        return Text("real", [title for title, _ in whole], [words for _, words in whole])
    return _invented()


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def _invented() -> Text:
    """Draw words by Zipf's law, with Mandelbrot's shift, which makes fewer of them ubiquitous."""
    rng = np.random.default_rng(0)
    weights = 1 / (np.arange(WORDS) + 10)
    cumulative = np.cumsum(weights / weights.sum())
    lengths = rng.integers(80, 121, INVENTED)
    drawn = np.searchsorted(cumulative, rng.random(lengths.sum())).clip(max=WORDS - 1)
    words = [
        [f"w{number}" for number in passage] for passage in np.split(drawn, np.cumsum(lengths)[:-1])
    ]
    return Text("invented", [f"Title {number}" for number in range(INVENTED)], words)


def write_corpus(path: Path, text: Text, count: int) -> int:
    """Write passages as JSON lines; return the bytes of all ids, titles and texts."""
    size = 0

    def rows() -> Iterator[dict[str, str]]:
        nonlocal size
        for number in range(count):
            row = text.row(number)
            size += sum(len(value.encode()) for value in row.values())
            yield row

    write_lines(path, rows())
    return size


def write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)

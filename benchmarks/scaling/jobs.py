"""What a stage works on, and the files that all kinds of index of one size share."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ragcore.planning.layout import IndexKind
from scaling.passages import Text, mixed, write_corpus, write_lines

__all__ = ["Job", "Shared"]

CHANGED: Final = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a stage works on.

    Attributes:
        folder: of this kind and size, with `store` and `shards`; the folder above it
            has what all kinds share: the corpus, the questions, the changes and the passages found.
        kind: of the index.
        shards: how many there are; `shard` is the number of this one.
    """

    folder: str
    kind: IndexKind
    passages: int
    dim: int
    shards: int = 0
    shard: int = 0

    @property
    def store(self) -> Path:
        return Path(self.folder) / "store"

    @property
    def shared(self) -> Shared:
        return Shared(Path(self.folder).parent)

    def asked(self) -> list[str]:
        """Return the questions: words for BM25, a number for the encoder that draws."""
        numbered = self.shared.asked()
        return [text if self.kind == "bm25" else str(number) for number, text in numbered]


@dataclass(frozen=True, slots=True)
class Shared:
    """Files of one size that all kinds read; they are written before, in another process."""

    folder: Path

    @property
    def corpus(self) -> Path:
        return self.folder / "passages.jsonl"

    @property
    def changes(self) -> Path:
        return self.folder / "changes.jsonl"

    @property
    def exact(self) -> Path:
        """The numbers of the best passages of each question, [B, K], by all inner products."""
        return self.folder / "exact.npy"

    def asked(self) -> list[tuple[int, str]]:
        """Return the questions: the number of a passage, and words of it."""
        lines = (self.folder / "questions.jsonl").read_text(encoding="utf-8").splitlines()
        return [(row["number"], row["text"]) for row in map(json.loads, lines)]

    def write(self, text: Text, passages: int, questions: int) -> float:
        """Write all files; return the bytes of a passage's id, title and text, on average."""
        size = write_corpus(self.corpus, text, passages)
        numbers = [mixed(turn) % passages for turn in range(questions)]
        asked = ({"number": number, "text": text.question(number)} for number in numbers)
        write_lines(self.folder / "questions.jsonl", asked)
        write_lines(self.changes, _changes(text, passages))
        return size / passages


def _changes(text: Text, passages: int) -> Iterator[dict[str, Any]]:
    """Yield changes to 0.1 % of the passages: new ones, other texts and deletions, a third each."""
    amount = max(3, round(CHANGED * passages))
    for turn in range(amount):
        number = turn * (passages // amount)
        if turn % 3 == 0:
            yield text.row(passages + turn)
        elif turn % 3 == 1:
            yield text.row(number, "again ")
        else:
            yield {"id": str(number), "delete": True}

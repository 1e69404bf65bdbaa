"""`SimpleRetriever`: a retriever whose author writes one method, the scores of a question.

Keeps the passages themselves, in memory and as JSON lines in the version's folder, and knows how
scores become hits. Every passage is scored for every question: for up to some ten thousands of
passages. A larger memory wants an index, and the whole contract (`ragcore.contracts.Retriever`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from ragcore.errors import ComponentError, StoreCorruptError
from ragcore.registry.components import ComponentConfig
from ragcore.types import MISSING_ROW, Hits, Passage

if TYPE_CHECKING:
    from ragcore.types import Rows, Vectors


__all__ = ["SimpleRetriever"]

PASSAGES: Final = "passages.jsonl"


class SimpleRetriever:
    """A whole retriever around `scores`; subclass it and write that.

        class Longest(ragcore.SimpleRetriever):
            def scores(self, question):
                return [len(passage.text) for passage in self.passages]

    A subclass may have a `Config` of its own, which it finds in `self.config`. Search is safe from
    several threads as long as `scores` is.

    Attributes:
        config: an instance of the class's `Config`.
        passages: those that it holds.
    """

    class Config(ComponentConfig):
        """There is nothing to say."""

    capabilities: ClassVar[frozenset[str]] = frozenset({"add", "exact", "filter", "remove"})

    def __init__(self, config: Any) -> None:
        self.config = config
        self.passages: list[Passage] = []
        self._rows: list[int] = []

    def scores(self, question: str) -> Sequence[float] | Vectors:
        """The score of each of `self.passages` for a question; serves as a logit of p(z|x).

        Returns:
            n finite numbers, higher for what fits better; -inf for a passage that is no hit.
        """
        raise NotImplementedError(f"{type(self).__name__} must have a method scores(question)")

    @property
    def fingerprint(self) -> str:
        """Says that what is kept depends on the passages alone: scores are made when asked."""
        return "passages"

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, rows: Rows, passages: Sequence[Passage]) -> None:
        """Add passages under rows [n].

        Raises:
            ComponentError: rows and passages differ in number, or a row is negative or taken.
        """
        new = [int(row) for row in rows]
        if len(new) != len(passages):
            raise ComponentError(
                f"{self._name}: {len(passages)} passages were added under {len(new)} rows: give "
                "one row for each passage"
            )
        taken = set(self._rows)
        for row in new:
            if row < 0 or row in taken:
                fault = "is negative" if row < 0 else "is already there"
                raise ComponentError(f"{self._name}: row {row} {fault}: give each passage its own")
            taken.add(row)
        self._rows += new
        self.passages += passages

    def search(self, questions: Sequence[str], k: int, *, allowed: Rows | None = None) -> Hits:
        """The k best rows of each question, [B, k], ties by row; see `Hits`.

        Raises:
            ComponentError: k is less than 1, or `scores` gave another number of scores than there
                are passages, or one that is NaN or +inf.
        """
        import numpy as np

        if k < 1:
            raise ComponentError(f"{self._name} was asked for {k} hits: ask for 1 or more")
        held = np.array(self._rows, np.int64)
        rows = np.full((len(questions), k), MISSING_ROW, np.int64)
        scores = np.full((len(questions), k), -np.inf, np.float32)
        for at, question in enumerate(questions):
            found = self._checked(question)
            if allowed is not None:
                found = np.where(np.isin(held, allowed), found, -np.inf)
            order = np.lexsort((held, -found))[:k]
            order = order[np.isfinite(found[order])]
            rows[at, : len(order)] = held[order]
            scores[at, : len(order)] = found[order]
        return Hits(rows, scores)

    def remove(self, rows: Rows) -> None:
        """Forget rows.

        Raises:
            ComponentError: a row is not there.
        """
        gone = {int(row) for row in rows}
        strange = gone.difference(self._rows)
        if strange:
            raise ComponentError(f"{self._name}: row {min(strange)} is not there to be removed")
        kept = [at for at, row in enumerate(self._rows) if row not in gone]
        self.passages = [self.passages[at] for at in kept]
        self._rows = [self._rows[at] for at in kept]

    def save(self, folder: Path) -> None:
        """Write passages.jsonl: a row and its passage a line."""
        with (folder / PASSAGES).open("w", encoding="utf-8") as file:
            for row, passage in zip(self._rows, self.passages, strict=True):
                said = {**asdict(passage), "metadata": dict(passage.metadata)}
                file.write(json.dumps([row, said], ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, folder: Path, config: Any, *, mmap: bool = True) -> Self:
        """What `save` wrote; it is read into memory, whatever `mmap` says.

        Raises:
            StoreCorruptError: passages.jsonl is missing or broken.
        """
        loaded = cls(config)
        path = folder / PASSAGES
        try:
            with path.open(encoding="utf-8") as file:
                for row, said in map(json.loads, file):
                    loaded._rows.append(int(row))
                    loaded.passages.append(Passage(**said))
        except (OSError, ValueError, TypeError) as error:
            raise StoreCorruptError(
                f"{path} cannot be read ({type(error).__name__}: {error}): rebuild this version of "
                "the memory"
            ) from error
        return loaded

    @property
    def _name(self) -> str:
        return f"retriever {type(self).__name__!r}"

    def _checked(self, question: str) -> Vectors:
        """The scores of all passages, float32 [n]."""
        import numpy as np

        found = np.asarray(self.scores(question), np.float32)
        if found.shape != (len(self),):
            raise ComponentError(
                f"{self._name}: scores() gave an array of shape {found.shape}: expected one score "
                f"for each of its {len(self)} passages"
            )
        wrong = np.isnan(found) | np.isposinf(found)
        if wrong.any():
            at = int(wrong.argmax())
            raise ComponentError(
                f"{self._name}: scores() gave {found[at]} for passage {self.passages[at].id!r}: "
                "expected a finite number, or -inf for a passage that is no hit"
            )
        return found

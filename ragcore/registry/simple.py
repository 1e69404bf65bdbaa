"""`SimpleRetriever`: a retriever whose author writes one method, the scores for a question.

Keeps the passages, in memory and as JSON lines in the version's folder, and turns scores into hits.
What the scores need of all passages together, the author computes in a second method, `prepare`.
It scores every passage for every question, which is quick enough for some ten thousand passages. A
larger memory needs an index, and the whole contract (`ragcore.contracts.Retriever`).
"""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from ragcore.disk.loading import reading
from ragcore.errors import ComponentError
from ragcore.process.fork import new_rlock
from ragcore.registry.components import ComponentConfig, to_plain
from ragcore.registry.prepared import Prepared, checked_values, load_values, save_values
from ragcore.types import MISSING_ROW, Hits, Passage

if TYPE_CHECKING:
    from ragcore.types import Rows, Scores

__all__ = ["SimpleRetriever"]

PASSAGES: Final = "passages.jsonl"

_PREPARING: Final = new_rlock()


class _NoSettings(ComponentConfig):
    """The settings of a class without its own `Config`: none."""


class SimpleRetriever:
    """A complete retriever around one method: subclass it and write `scores`.

        class Longest(ragcore.SimpleRetriever):
            def scores(self, question):
                return [len(passage.text) for passage in self.passages]

    What is to be computed once for a memory, not for each question, goes into `prepare`:

        class Rare(ragcore.SimpleRetriever):
            def prepare(self):
                return {"words": Counter(word for p in self.passages for word in p.text.split())}

            def scores(self, question):
                counts = self.prepared["words"]
                ...

    A subclass may define its own `Config`; its values are in `self.config`. Several threads may
    search at the same time if `scores` allows it.

    Attributes:
        config: an instance of the class's `Config`.
        passages: the passages added so far, in order.
        prepared: what `prepare` returned for these passages, or a file has of it; read-only.
    """

    Config: ClassVar[type[ComponentConfig]] = _NoSettings
    capabilities: ClassVar[frozenset[str]] = frozenset({"add", "exact", "filter", "remove"})

    def __init__(self, config: Any) -> None:
        # Each name here has an `_UnsetAttribute` on the class.
        self.config = config
        self.passages: list[Passage] = []
        self.prepared: Prepared = MappingProxyType({})
        self._rows: list[int] = []
        self._changed = False

    @abstractmethod
    def scores(self, question: str) -> Sequence[float] | Scores:
        """Return the score of each of `self.passages` for a question, a logit of p(z|x).

        Returns:
            n finite numbers, higher for a better match; -inf for a passage that is no hit.
        """
        raise NotImplementedError(f"{type(self).__name__} must have a method scores(question)")

    def prepare(self) -> Mapping[str, Any]:
        """Compute from `self.passages`, all of them, what `scores` will read in `self.prepared`.

        Called when the passages are complete or have changed, before the next search or save: once
        for a build, and once for an update. The result is saved with the passages, so that opening
        a memory does not call it; only another `Config` than the memory was built with does.

        Returns:
            {name: value}. A value is an array of numbers or texts, or what JSON has: dicts with
            keys of text, lists, texts and finite numbers. Tuples become lists.
        """
        return {}

    @property
    def fingerprint(self) -> str:
        """A constant: stored data depend on the passages; other settings prepare them again.

        A subclass whose next release prepares something else must return another text.
        """
        return "passages"

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, rows: Rows, passages: Sequence[Passage]) -> None:
        """Add passages under rows [n].

        Raises:
            ComponentError: rows and passages differ in number, or a row is negative or taken.
        """
        new_rows = [int(row) for row in rows]
        if len(new_rows) != len(passages):
            raise ComponentError(
                f"{self._name}: {len(passages)} passages were added under {len(new_rows)} rows: "
                "pass one row for each passage"
            )
        taken = set(self._rows)
        for row in new_rows:
            if row < 0 or row in taken:
                fault = "is negative" if row < 0 else "is already there"
                raise ComponentError(
                    f"{self._name}: row {row} {fault}: pass each passage a new row, from 0 up"
                )
            taken.add(row)
        self._rows += new_rows
        self.passages += passages
        self._changed = True

    def search(self, questions: Sequence[str], k: int, *, allowed: Rows | None = None) -> Hits:
        """Find the k best rows of each question, [B, k], ties by row; see `Hits`.

        Raises:
            ComponentError: k is less than 1, or `scores` did not return one number for each
                passage, or returned NaN or +inf.
        """
        import numpy as np

        if k < 1:
            raise ComponentError(f"{self._name} was asked for {k} hits: ask for 1 or more")
        if not self._rows:
            return Hits.empty(len(questions), k)
        self._prepare()
        rows = np.array(self._rows, np.int64)
        hit_rows = np.full((len(questions), k), MISSING_ROW, np.int64)
        hit_scores = np.full((len(questions), k), -np.inf, np.float32)
        for i, question in enumerate(questions):
            scores = self._checked_scores(question)
            if allowed is not None:
                scores = np.where(np.isin(rows, allowed), scores, -np.inf)
            best = np.lexsort((rows, -scores))[:k]
            best = best[np.isfinite(scores[best])]
            hit_rows[i, : len(best)] = rows[best]
            hit_scores[i, : len(best)] = scores[best]
        return Hits(hit_rows, hit_scores)

    def remove(self, rows: Rows) -> None:
        """Remove rows and their passages.

        Raises:
            ComponentError: there is no such row.
        """
        removed = {int(row) for row in rows}
        unknown = removed.difference(self._rows)
        if unknown:
            raise ComponentError(
                f"{self._name}: row {min(unknown)} is not there, so it cannot be removed"
            )
        remaining = [i for i, row in enumerate(self._rows) if row not in removed]
        self.passages = [self.passages[i] for i in remaining]
        self._rows = [self._rows[i] for i in remaining]
        self._changed = True

    def save(self, folder: Path) -> None:
        """Write passages.jsonl, on each line a row and its passage, and what `prepare` returned.

        Raises:
            ComponentError: `prepare` returned what cannot be saved.
        """
        self._prepare()
        if self.prepared:
            save_values(folder, self.prepared, self._settings())
        with (folder / PASSAGES).open("w", encoding="utf-8") as file:
            for row, passage in zip(self._rows, self.passages, strict=True):
                fields = {**asdict(passage), "metadata": dict(passage.metadata)}
                file.write(json.dumps([row, fields], ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, folder: Path, config: Any, *, mmap: bool = True) -> Self:
        """Load what `save` wrote; all of it is read into memory, even with `mmap`.

        Raises:
            StoreCorruptError: passages.jsonl is missing, or a file is broken.
        """
        loaded = cls(config)
        with reading(folder / PASSAGES) as path, path.open(encoding="utf-8") as file:
            for row, fields in map(json.loads, file):
                loaded._rows.append(int(row))
                loaded.passages.append(Passage(**fields))
        values = load_values(folder, loaded._settings(), loaded._name)
        if values is None:
            loaded._changed = True
        else:
            loaded.prepared = values
        return loaded

    @property
    def _name(self) -> str:
        return f"retriever {type(self).__name__!r}"

    def _prepare(self) -> None:
        """Call `prepare` if the passages have changed; one thread does so, and others wait."""
        if not self._changed:
            return
        with _PREPARING:
            if self._changed:
                values = self.prepare() if self._rows else {}
                self.prepared = checked_values(values, self._name)
                self._changed = False

    def _settings(self) -> str:
        """Return a digest of the settings, which may hold a secret."""
        text = json.dumps(to_plain(self.config), sort_keys=True)
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()

    def _checked_scores(self, question: str) -> Scores:
        """Return the scores of all passages, float32 [n], or raise if they break the contract."""
        import numpy as np

        returned = self.scores(question)
        try:
            scores = np.asarray(returned, np.float32)
        except (TypeError, ValueError) as error:
            raise ComponentError(
                f"{self._name}: scores() returned a {type(returned).__name__} that is no array of "
                f"numbers ({error}): expected one score for each of its {len(self)} passages"
            ) from error
        if scores.shape != (len(self),):
            raise ComponentError(
                f"{self._name}: scores() returned an array of shape {scores.shape}: expected one "
                f"score for each of its {len(self)} passages"
            )
        invalid = np.isnan(scores) | np.isposinf(scores)
        if invalid.any():
            i = int(invalid.argmax())
            raise ComponentError(
                f"{self._name}: scores() returned {scores[i]} for passage "
                f"{self.passages[i].id!r}: expected a finite number, or -inf for a passage that is "
                "no hit"
            )
        return scores


class _UnsetAttribute:
    """Stands for an attribute that `SimpleRetriever.__init__` sets, until it is called."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, instance: SimpleRetriever | None, owner: type[SimpleRetriever]) -> Self:
        if instance is None:
            return self
        raise ComponentError(
            f"retriever {owner.__name__!r} has no {self._name.removeprefix('_')!r} yet: call "
            "super().__init__(config) first in its __init__"
        )


for _attribute in ("config", "passages", "prepared", "_rows", "_changed"):
    setattr(SimpleRetriever, _attribute, _UnsetAttribute(_attribute))

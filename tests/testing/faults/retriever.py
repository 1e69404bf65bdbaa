"""Copies of the correct retriever with one mistake each."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from ragcore.errors import ComponentError
from ragcore.types import Hits, Passage
from tests.testing.faults.correct_retriever import Correct, Counts, Suite
from tests.testing.faults.marking import fault

__all__ = ["Correct", "Suite"]


@fault("top(C := filled(C, 'a b'), 'b') == [0] and top(removed(C, 0), 'b') == [-1]")
class CachedHits(Correct):
    """Caches the hits of a question and keeps them when passages are removed."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._cache: dict[Any, Hits] = {}

    def search(self, questions: Sequence[str], k: int, *, allowed: Any = None) -> Hits:
        if allowed is not None:
            return super().search(questions, k, allowed=allowed)
        key = (tuple(questions), k)
        if key not in self._cache:
            self._cache[key] = super().search(questions, k)
        return self._cache[key]


@fault("top(filled(C, 'a b'), 'a', allowed=[]) == [-1]")
class EmptyFilterIsNone(Correct):
    """Takes an empty list of allowed rows for no filter."""

    def search(self, questions: Sequence[str], k: int, *, allowed: Any = None) -> Hits:
        if allowed is not None and not len(allowed):
            allowed = None
        return super().search(questions, k, allowed=allowed)


@fault("top(filled(C, 'a', 'a b c d'), 'a', allowed=[1]) == [1]")
class FiltersTheBest(Correct):
    """Looks for the allowed rows among the best k only."""

    def search(self, questions: Sequence[str], k: int, *, allowed: Any = None) -> Hits:
        best = super().search(questions, k)
        if allowed is None:
            return best
        hits = Hits.empty(len(questions), k)
        for i, row_mask in enumerate(np.isin(best.rows, allowed)):
            count = row_mask.sum()
            hits.rows[i, :count] = best.rows[i, row_mask]
            hits.scores[i, :count] = best.scores[i, row_mask]
        return hits


@fault("score(C := removed(filled(C, 'a b', 'a c', 'a d'), 2), 'a') == score(reloaded(C), 'a')")
class KeepsRemovedFrequencies(Correct):
    """Counts removed passages in the document frequencies, until it is loaded again."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._removed = Counter[str]()

    def remove(self, rows: Any) -> None:
        before = self._documents
        super().remove(rows)
        dropped = {row: before[row] for row in before.keys() - self._documents.keys()}
        self._removed += super()._frequencies(dropped)

    def _frequencies(self, documents: Mapping[int, Counts]) -> Counts:
        return super()._frequencies(documents) + self._removed


@fault(
    "filled(C, 'a b', 'c d e').search(['a', 'c'], 1).scores[1, 0]"
    " == score(filled(C, 'a b', 'c d e'), 'c')"
)
class ScaledByBatch(Correct):
    """Divides scores by the highest one of all questions of the call."""

    def search(self, questions: Sequence[str], k: int, *, allowed: Any = None) -> Hits:
        hits = super().search(questions, k, allowed=allowed)
        highest = max((s for s in hits.scores.ravel() if np.isfinite(s)), default=1.0)
        return Hits(hits.rows, hits.scores / np.float32(highest))


@fault("top(filled(C, 'a', 'a', rows=[7, 3]), 'a', k=2) == [3, 7]")
class TiesByAge(Correct):
    """Orders passages of equal score as they were added."""

    def _ranked(self, scores: Mapping[int, float]) -> list[int]:
        return sorted(scores, key=lambda row: -scores[row])


@fault("len(filled(C, 'a', rows=[7100])) and len(C(C.Config())) == 0")
class SharedByAll(Correct):
    """Keeps the documents in the class, so that all retrievers share them."""

    _shared: ClassVar[dict[int, Counts]] = {}

    def __init__(self, config: Any) -> None:
        self._config = config

    @property
    def _documents(self) -> dict[int, Counts]:  # type: ignore[override]
        return self._shared

    @_documents.setter
    def _documents(self, documents: dict[int, Counts]) -> None:
        type(self)._shared = documents


@fault("top(reloaded(filled(C, 'a b')), 'a') == [0]")
class SavesItsPath(Correct):
    """Saves the absolute path of its file, which a move of the folder breaks."""

    def save(self, folder: Path) -> None:
        super().save(folder)
        text = str((folder / "documents.json").absolute())
        (folder / "path.txt").write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, config: Any, *, mmap: bool = True) -> Self:
        path = Path((folder / "path.txt").read_text(encoding="utf-8"))
        return super().load(path.parent, config)


@fault("C(C.Config(title_weight=2)).fingerprint != C(C.Config()).fingerprint")
class FingerprintForgetsTitles(Correct):
    """Leaves the weight of the title out of the fingerprint."""

    @property
    def fingerprint(self) -> str:
        return f"tf-idf(lowercase={self._config.lowercase})"


@fault("top(reloaded(filled(C, 'Łódź')), 'Łódź') == [0]")
class Latin1Files(Correct):
    """Writes its file in Latin-1, and a question mark for each other letter."""

    def save(self, folder: Path) -> None:
        super().save(folder)
        path = folder / "documents.json"
        text = path.read_text(encoding="utf-8").encode("latin-1", "replace").decode("latin-1")
        path.write_text(text, encoding="utf-8")


@fault("filled(C, 'a').search(['a'], 1, allowed=(a := np.array([5, 2]))) and a.tolist() == [5, 2]")
class SortsAllowed(Correct):
    """Sorts the caller's array of allowed rows in place."""

    def search(self, questions: Sequence[str], k: int, *, allowed: Any = None) -> Hits:
        if allowed is not None:
            allowed.sort()
        return super().search(questions, k, allowed=allowed)


@fault("top(filled(C, 'a', rows=[2**31 + 5]), 'a') == [2**31 + 5]")
class Int32Rows(Correct):
    """Keeps row numbers as int32."""

    def add(self, rows: Any, passages: Sequence[Passage]) -> None:
        super().add(np.asarray(rows).astype(np.int32), passages)


@fault("top(reloaded(filled(C, 'a', 'b', rows=[4, 9])), 'b') == [9]")
class LoadsRowsFromZero(Correct):
    """Numbers the rows from 0 when it is loaded."""

    @classmethod
    def load(cls, folder: Path, config: Any, *, mmap: bool = True) -> Self:
        loaded = super().load(folder, config)
        loaded._documents = dict(enumerate(loaded._documents.values()))
        return loaded


@fault("top(added(removed(filled(C, 'a b'), 0), 0, 'c'), 'c') == [0]")
class NeverAddsAgain(Correct):
    """Refuses a row that was there before, though it was removed."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._used: set[int] = set()

    def add(self, rows: Any, passages: Sequence[Passage]) -> None:
        if self._used.intersection(int(row) for row in rows):
            raise ComponentError("a row was used before")
        super().add(rows, passages)
        self._used.update(int(row) for row in rows)


@fault("top(filled(C, 'a b'), '?') == [-1]")
class DividesByTheQuestion(Correct):
    """Divides by the question's length, which is 0 if no passage has one of its terms."""

    def _scores(self, question: str) -> dict[int, float]:
        known = self._frequencies(self._documents)
        length = math.sqrt(sum(term in known for term in self._terms(question)))
        unit = 1 / length
        return {row: float(np.float32(s * unit)) for row, s in super()._scores(question).items()}


@fault("top(reloaded(filled(C, 'a b'), saves=2), 'a') == [0]")
class SavesChangesOnly(Correct):
    """Writes its file only if something changed since the last save, whatever the folder."""

    _saved: Any = None

    def save(self, folder: Path) -> None:
        if self._saved is not self._documents:
            super().save(folder)
            self._saved = self._documents


@fault("in_other_processes(filled(C, 'Accra'), 'Accra')")
class HashesTerms(Correct):
    """Saves terms by Python's `hash`, which is another one in each process."""

    def _terms(self, text: str) -> list[str]:
        return [str(hash(term)) for term in super()._terms(text)]


@fault("same_in_threads(C)", races=True)
class SharesTheQuestion(Correct):
    """Keeps the question in the retriever, where a search of another thread changes it."""

    def _scores(self, question: str) -> dict[int, float]:
        documents = self._documents
        self._asked = set(self._terms(question))
        idf = {
            term: math.log(1 + len(documents) / n)
            for term, n in self._frequencies(documents).items()
        }
        scores = {}
        for row, counts in documents.items():
            shared = [n * idf[term] ** 2 for term, n in counts.items() if term in self._asked]
            if shared:
                length = math.sqrt(math.fsum((n * idf[t]) ** 2 for t, n in counts.items()))
                scores[row] = float(np.float32(math.fsum(shared) / length))
        return scores


@fault("top(added(removed(searched(filled(C, 'a b', 'c'), 'c'), 1), 1, 'd'), 'd') == [1]")
class CountsAgainBySize(Correct):
    """Counts document frequencies again only if the number of passages has changed."""

    _counted: tuple[int, Counts] = (-1, Counter())

    def _frequencies(self, documents: Mapping[int, Counts]) -> Counts:
        if self._counted[0] != len(documents):
            self._counted = len(documents), super()._frequencies(documents)
        return self._counted[1]


@fault("top(filled(C, 'a', 'b'), 'a', allowed=[0, 1]) == [0]")
class AllowedMustMatch(Correct):
    """Looks up the score of each allowed row, and fails where a row shares no term."""

    def search(self, questions: Sequence[str], k: int, *, allowed: Any = None) -> Hits:
        if allowed is not None:
            for question in questions:
                scores = self._scores(question)
                assert all(scores[int(row)] for row in allowed)
        return super().search(questions, k, allowed=allowed)

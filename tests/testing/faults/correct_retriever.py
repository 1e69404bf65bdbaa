"""A correct retriever by TF-IDF, and what shows that a copy of it is wrong."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import Field

from ragcore.disk.loading import reading
from ragcore.errors import ComponentError, MemoryMismatchError
from ragcore.registry.components import ComponentConfig
from ragcore.testing import RetrieverSuite
from ragcore.types import Hits, Passage

Counts = Counter[str]


class Correct:
    """Scores a passage by the cosine of its TF-IDF weights with the question's, times a length."""

    class Config(ComponentConfig):
        lowercase: bool = True
        title_weight: int = Field(1, ge=0)

    capabilities: ClassVar[frozenset[str]] = frozenset({"add", "exact", "filter", "remove"})

    def __init__(self, config: Config) -> None:
        self._config = config
        self._documents: dict[int, Counts] = {}

    @property
    def fingerprint(self) -> str:
        config = self._config
        return f"tf-idf(lowercase={config.lowercase},title_weight={config.title_weight})"

    def __len__(self) -> int:
        return len(self._documents)

    def add(self, rows: Any, passages: Sequence[Passage]) -> None:
        numbers = [int(row) for row in rows]
        if len(numbers) != len(passages) or len(set(numbers)) < len(numbers):
            raise ComponentError(f"{len(passages)} passages under the rows {numbers}")
        for row in numbers:
            if row < 0 or row in self._documents:
                raise ComponentError(f"row {row} is negative or already there")
        counts = [self._counts(passage) for passage in passages]
        self._documents = {**self._documents, **dict(zip(numbers, counts, strict=True))}

    def remove(self, rows: Any) -> None:
        removed = {int(row) for row in rows}
        if absent := removed - self._documents.keys():
            raise ComponentError(f"row {min(absent)} is not there")
        documents = self._documents.items()
        self._documents = {row: counts for row, counts in documents if row not in removed}

    def search(self, questions: Sequence[str], k: int, *, allowed: Any = None) -> Hits:
        if k < 1:
            raise ComponentError(f"asked for {k} hits")
        rows = None if allowed is None else {int(row) for row in allowed}
        hits = Hits.empty(len(questions), k)
        for i, question in enumerate(questions):
            scores = self._scores(question)
            visible = {row: s for row, s in scores.items() if rows is None or row in rows}
            for j, row in enumerate(self._ranked(visible)[:k]):
                hits.rows[i, j], hits.scores[i, j] = row, visible[row]
        return Hits(hits.rows, hits.scores)

    def save(self, folder: Path) -> None:
        saved = {"fingerprint": self.fingerprint, "documents": list(self._documents.items())}
        text = json.dumps(saved, ensure_ascii=False)
        (folder / "documents.json").write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, config: Config, *, mmap: bool = True) -> Self:
        loaded = cls(config)
        with reading(folder / "documents.json") as path:
            saved = json.loads(path.read_text(encoding="utf-8"))
            documents = {int(row): Counter(counts) for row, counts in saved["documents"]}
        if saved["fingerprint"] != loaded.fingerprint:
            raise MemoryMismatchError(f"built with {saved['fingerprint']}")
        loaded._documents = documents
        return loaded

    def _terms(self, text: str) -> list[str]:
        words = "".join(c if c.isalnum() else " " for c in text).split()
        return [word.lower() for word in words] if self._config.lowercase else words

    def _counts(self, passage: Passage) -> Counts:
        title = self._terms(passage.title) * self._config.title_weight
        return Counter(title + self._terms(passage.text))

    def _frequencies(self, documents: Mapping[int, Counts]) -> Counts:
        return Counter(term for counts in documents.values() for term in counts)

    def _scores(self, question: str) -> dict[int, float]:
        """Return the score of each row that shares a term with the question."""
        documents = self._documents
        frequencies = self._frequencies(documents)
        idf = {term: math.log(1 + len(documents) / n) for term, n in frequencies.items()}
        asked = Counter(term for term in self._terms(question) if term in idf)
        scores = {}
        for row, counts in documents.items():
            shared = [asked[t] * n * idf[t] ** 2 for t, n in counts.items() if t in asked]
            if shared:
                length = math.sqrt(math.fsum((n * idf[t]) ** 2 for t, n in counts.items()))
                scores[row] = float(np.float32(math.fsum(shared) / length))
        return scores

    def _ranked(self, scores: Mapping[int, float]) -> list[int]:
        return sorted(scores, key=lambda row: (-scores[row], row))


class Suite(RetrieverSuite):
    variants = ({"lowercase": False}, {"title_weight": 2})


def filled(component: type[Any], *texts: str, rows: Sequence[int] | None = None) -> Any:
    """Make a retriever of passages without titles, under rows from 0 or those given."""
    retriever = component(component.Config())
    passages = [Passage(str(i), "", text) for i, text in enumerate(texts)]
    numbers = range(len(texts)) if rows is None else rows
    retriever.add(np.array(numbers, np.int64), passages)
    return retriever


def top(retriever: Any, question: str, k: int = 1, allowed: Any = None) -> list[int]:
    """Return the rows of one question's hits."""
    keywords = {} if allowed is None else {"allowed": np.array(allowed, np.int64)}
    return list(retriever.search([question], k, **keywords).rows[0].tolist())


def score(retriever: Any, question: str) -> float:
    """Return the score of a question's best hit."""
    return float(retriever.search([question], 1).scores[0, 0])


def removed(retriever: Any, *rows: int) -> Any:
    """Remove rows and return the retriever."""
    retriever.remove(np.array(rows, np.int64))
    return retriever


def searched(retriever: Any, question: str) -> Any:
    """Search once and return the retriever."""
    top(retriever, question)
    return retriever


def added(retriever: Any, row: int, text: str) -> Any:
    """Add one passage and return the retriever."""
    retriever.add(np.array([row], np.int64), [Passage("new", "", text)])
    return retriever


def same_in_threads(component: type[Any]) -> bool:
    """Return whether many searches at the same time have the hits of one alone."""
    words = [f"w{i}" for i in range(60)]
    retriever = filled(component, *(" ".join(words[i : i + 9]) for i in range(60)))
    alone = [top(retriever, word, k=3) for word in words] * 5
    with ThreadPoolExecutor(8) as pool:
        return alone == list(pool.map(lambda word: top(retriever, word, k=3), words * 5))


def reloaded(retriever: Any, saves: int = 1) -> Any:
    """Save a retriever, each time in another folder, move the last one, and load it."""
    with TemporaryDirectory() as parent:
        for number in range(saves):
            folder = Path(parent) / str(number)
            folder.mkdir()
            retriever.save(folder)
        folder = folder.rename(Path(parent) / "moved")
        return type(retriever).load(folder, retriever._config, mmap=False)


def in_other_processes(retriever: Any, question: str) -> bool:
    """Save a retriever, and return whether another process finds row 0 in it."""
    component = type(retriever)
    with TemporaryDirectory() as folder:
        retriever.save(Path(folder))
        code = (
            f"from {component.__module__} import {component.__name__} as C\n"
            "from tests.testing.faults.correct_retriever import Path, top\n"
            f"print(top(C.load(Path({folder!r}), C.Config()), {question!r}))"
        )
        tops = [
            subprocess.run(
                [sys.executable, "-c", code],
                env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
                capture_output=True,
                check=True,
            ).stdout
            for seed in ("1", "2")
        ]
    return tops == [b"[0]\n"] * 2

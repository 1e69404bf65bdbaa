"""The retriever `bm25`: passages by the words that they share with the question.

Owns the vocabulary, the passages' terms (so that passages can be added later) and the rows. The
terms are made by `analyser.py`, the scores by `postings.py`; texts are not kept.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

import numpy as np
from pydantic import Field

from ragcore.errors import ComponentError, MemoryMismatchError, UnsupportedOperation
from ragcore.parts import PartConfig
from ragcore.types import MISSING_ROW, Hits, Passage
from ragcore_bm25.analyser import Analyser
from ragcore_bm25.postings import Postings

if TYPE_CHECKING:
    import numpy.typing as npt

    Rows = npt.NDArray[np.int64]

__all__ = ["Bm25", "Bm25Config"]

_FORMAT: Final = 1


class Bm25Config(PartConfig):
    """What YAML may say of `{use: bm25}`."""

    variant: Literal["lucene", "robertson", "atire", "bm25l", "bm25+"] = Field(
        "lucene", description="they differ in the weight of frequent words and long passages"
    )
    k1: float = Field(1.2, ge=0, description="how soon a word's repetition stops to count")
    b: float = Field(0.75, ge=0, le=1, description="how much a passage's length counts")
    delta: float = Field(0.5, ge=0, description="the least an occurring word adds (bm25l, bm25+)")
    stemmer: Literal["english"] | None = Field("english", description="words to their stems")
    stopwords: Literal["english"] | None = Field("english", description="words that do not count")
    title_weight: int = Field(1, ge=0, description="how many times the title's words count")


class Bm25:
    """See `ragcore.contracts.Retriever`; safe to search from several threads.

    Scores are BM25 as bm25s computes it, float32. A passage that shares no term with the question
    is no hit, so there may be fewer hits than asked for.
    """

    Config: ClassVar[type[Bm25Config]] = Bm25Config
    capabilities: ClassVar[frozenset[str]] = frozenset({"add", "exact", "filter", "mmap"})

    def __init__(self, config: Bm25Config) -> None:
        self._config = config
        self._analyser = Analyser(config.stemmer, config.stopwords)
        self._vocabulary: dict[str, int] = {}
        self._words: dict[str, int] = {}
        self._rows = np.zeros(0, np.int64)
        self._tokens: list[npt.NDArray[np.int32]] = []
        self._ends: list[npt.NDArray[np.int64]] = []
        self._count = 0
        self._new_rows: list[Rows] = []
        self._last = -1
        self._postings: Postings | None = None
        self._lock = threading.Lock()

    @property
    def fingerprint(self) -> str:
        """The analyser's, with the variant and its constants."""
        config = self._config
        floor = f",delta={config.delta:g}" if config.variant in ("bm25l", "bm25+") else ""
        return (
            f"bm25({config.variant},k1={config.k1:g},b={config.b:g}{floor},"
            f"title={config.title_weight},{self._analyser.fingerprint})"
        )

    def __len__(self) -> int:
        return len(self._rows) + sum(map(len, self._new_rows))

    def add(self, rows: Rows, passages: Sequence[Passage]) -> None:
        """Add passages under rows [n]; the next search or save computes all scores anew.

        Raises:
            ComponentError: rows and passages differ in number, or a row is negative or taken.
        """
        new = np.asarray(rows, np.int64)
        if new.shape != (len(passages),):
            raise ComponentError(
                f"retriever 'bm25': {len(passages)} passages were added under rows of shape "
                f"{new.shape}: give one row for each passage"
            )
        if not len(new):
            return
        with self._lock:
            self._refuse_taken(new)
            tokens: list[int] = []
            ends = []
            for passage in passages:
                # The weight of a word in the title is how often it occurs there.
                tokens += self._numbers(passage.title) * self._config.title_weight
                tokens += self._numbers(passage.text)
                ends.append(self._count + len(tokens))
            self._tokens.append(np.array(tokens, np.int32))
            self._ends.append(np.array(ends, np.int64))
            self._new_rows.append(new.copy())
            self._last = max(self._last, int(new.max()))
            self._count += len(tokens)
            self._postings = None

    def search(self, questions: Sequence[str], k: int, *, allowed: Rows | None = None) -> Hits:
        """The k best rows of each question, [B, k], ties by row; see `Hits`.

        Raises:
            ComponentError: k is less than 1.
        """
        if k < 1:
            raise ComponentError(f"retriever 'bm25' was asked for {k} hits: ask for 1 or more")
        postings, held = self._built()
        kept = None if allowed is None else np.isin(held, allowed)
        rows = np.full((len(questions), k), MISSING_ROW, np.int64)
        scores = np.full((len(questions), k), -np.inf, np.float32)
        for at, question in enumerate(questions):
            terms = (self._vocabulary.get(term) for term in self._analyser.terms(question))
            # A term that came after the postings were built is in none of their passages.
            known = [term for term in terms if term is not None and term < len(postings.floors)]
            if not known:
                continue
            positions, found = postings.score(known)
            if kept is not None:
                positions, found = positions[kept[positions]], found[kept[positions]]
            if len(found) > k:
                # All that tie with the k-th stay, so that the rows decide among them.
                best = found >= np.partition(found, len(found) - k)[len(found) - k]
                positions, found = positions[best], found[best]
            order = np.lexsort((held[positions], -found))[:k]
            rows[at, : len(order)] = held[positions[order]]
            scores[at, : len(order)] = found[order]
        return Hits(rows, scores)

    def remove(self, rows: Rows) -> None:
        """Not offered: the scores of all passages hang together.

        Raises:
            UnsupportedOperation: always.
        """
        raise UnsupportedOperation.of("retriever 'bm25'", "remove")

    def save(self, folder: Path) -> None:
        """Write arrays as .npy, terms and settings as JSON, into an existing empty folder."""
        postings, rows = self._built()
        with self._lock:
            np.save(folder / "tokens.npy", _joined(self._tokens, np.int32), allow_pickle=False)
            np.save(folder / "ends.npy", _joined(self._ends, np.int64), allow_pickle=False)
            np.save(folder / "rows.npy", rows, allow_pickle=False)
            postings.save(folder)
            terms = sorted(self._vocabulary, key=self._vocabulary.__getitem__)
        _write_json(folder / "terms.json", terms)
        _write_json(
            folder / "bm25.json",
            {"format": _FORMAT, "fingerprint": self.fingerprint, "passages": len(rows)},
        )

    @classmethod
    def load(cls, folder: Path, config: Bm25Config, *, mmap: bool = True) -> Bm25:
        """What `save` wrote.

        Raises:
            MemoryMismatchError: it was built with other settings than `config`'s.
        """
        loaded = cls(config)
        about = json.loads((folder / "bm25.json").read_text(encoding="utf-8"))
        if about["format"] != _FORMAT or about["fingerprint"] != loaded.fingerprint:
            raise MemoryMismatchError(
                f"{folder} was built with {about['fingerprint']} (format {about['format']}), but "
                f"the configuration says {loaded.fingerprint} (format {_FORMAT}): build the memory "
                "anew, or set memory.retriever as it was"
            )
        mode: Literal["r"] | None = "r" if mmap else None

        def array(name: str) -> Any:
            return np.load(folder / f"{name}.npy", mmap_mode=mode, allow_pickle=False)

        loaded._tokens, loaded._ends = [array("tokens")], [array("ends")]
        loaded._rows = array("rows")
        loaded._last = int(loaded._rows.max(initial=-1))
        loaded._count = len(loaded._tokens[0])
        terms = json.loads((folder / "terms.json").read_text(encoding="utf-8"))
        loaded._vocabulary = {term: number for number, term in enumerate(terms)}
        loaded._postings = Postings.load(folder, about["passages"], mmap=mmap)
        return loaded

    def _built(self) -> tuple[Postings, Rows]:
        """The postings and the row of each position; built if passages came since."""
        with self._lock:
            if self._postings is None:
                self._rows = np.concatenate([self._rows, *self._new_rows])
                self._new_rows = []
                self._tokens = [_joined(self._tokens, np.int32)]
                self._ends = [_joined(self._ends, np.int64)]
                self._words = {}
                config = self._config
                self._postings = Postings.build(
                    self._tokens[0],
                    self._ends[0],
                    len(self._vocabulary),
                    variant=config.variant,
                    k1=config.k1,
                    b=config.b,
                    delta=config.delta,
                )
            return self._postings, self._rows

    def _numbers(self, text: str) -> list[int]:
        """Term numbers of a text; new terms get the next ones."""
        numbers = []
        for word in self._analyser.words(text):
            number = self._words.get(word)
            if number is None:
                term = self._analyser.term(word)
                number = -1
                if term is not None:
                    number = self._vocabulary.setdefault(term, len(self._vocabulary))
                self._words[word] = number
            if number >= 0:
                numbers.append(number)
        return numbers

    def _refuse_taken(self, new: Rows) -> None:
        if new.min() < 0:
            raise ComponentError(f"retriever 'bm25': row {new.min()} is negative")
        if len(np.unique(new)) < len(new):
            raise ComponentError("retriever 'bm25': the same row was given twice in one call")
        # Rows mostly ascend; only when they do not must all be compared.
        if new.min() <= self._last:
            taken = new[np.isin(new, np.concatenate([self._rows, *self._new_rows]))]
            if len(taken):
                raise ComponentError(f"retriever 'bm25': row {taken[0]} is already there")


def _joined(parts: list[Any], dtype: type) -> Any:
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else np.zeros(0, dtype)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")

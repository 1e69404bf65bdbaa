"""The retriever `bm25`: passages by the words that they share with the question.

Owns what the parts share: the vocabulary, and which passages were added or removed since the last
search. Terms are made by `analyser.py`, numbered by `numbering.py`, counted by `waiting.py` and
`counts.py`, weighted by `variants.py` and searched by `ragcore.postings` or `yardstick.py`; what a
misspelt word stands for is found by `spelling.py` and scored by `expanding.py`. Rows are in
`row_list.py`, and what earlier releases saved is known to `record.py`. Texts are not kept.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from ragcore.contracts import SavedRetriever
from ragcore.disk.arrays import load_rows, save_array
from ragcore.disk.loading import reading
from ragcore.disk.threads import yield_gil
from ragcore.errors import ComponentError, MemoryMismatchError
from ragcore.postings import Postings
from ragcore.process.fork import new_lock
from ragcore.types import MISSING_ROW, Hits, Passage
from ragcore_bm25.analyser import Analyser
from ragcore_bm25.config import Bm25Config
from ragcore_bm25.counts import Counts
from ragcore_bm25.expanding import Expander
from ragcore_bm25.numbering import Numbering
from ragcore_bm25.postings import build_postings, load_postings, save_postings
from ragcore_bm25.record import LAYOUT, Record, load_counts
from ragcore_bm25.row_list import RowList
from ragcore_bm25.spelling import Spelling
from ragcore_bm25.variants import Formula
from ragcore_bm25.vocabulary import Vocabulary, read_terms, write_terms
from ragcore_bm25.waiting import Waiting
from ragcore_bm25.yardstick import Yardstick, require_rank_bm25

if TYPE_CHECKING:
    from ragcore.types import Rows


__all__ = ["Bm25"]

_LOG: Final = logging.getLogger("ragcore.retrieval")
_WAITING: Final = 1 << 22
"""How many terms may wait before they are counted; counts take less room."""


@dataclass(frozen=True, slots=True)
class _Built:
    """What searches read; never changed, so that searches need no lock.

    Attributes:
        index: scores passages by position.
        counts: of the same passages, before titles are weighed.
        rows: int64 [size], the row of each position.
        vocabulary: the number of each term; may have later terms, which the index lacks.
        expander: makes the postings of questions with misspelt words; None if fuzzy is 0.
    """

    index: Postings | Yardstick
    counts: Counts
    rows: Rows
    vocabulary: Vocabulary
    expander: Expander | None = None


class Bm25:
    """See `ragcore.contracts.Retriever`; safe to search from several threads.

    Scores are those of the variant's formula, float32. A passage that shares no term with the
    question is no hit, so there may be fewer than k hits. What is stored are counts: a memory may
    be opened with another formula and another weight of titles. After any adding and removing, and
    with any of these settings, rows and scores are bit for bit those of a retriever built from
    scratch (with the backend `rank-bm25` up to its rounding, which depends on the order of terms).
    """

    Config: ClassVar[type[Bm25Config]] = Bm25Config
    capabilities: ClassVar[frozenset[str]] = frozenset(
        {"add", "exact", "filter", "merge", "mmap", "remove"}
    )

    def __init__(self, config: Bm25Config) -> None:
        if config.backend == "rank-bm25":
            require_rank_bm25()
        self._config = config
        self._formula = Formula(config.variant, config.k1, config.b, config.delta, config.epsilon)
        self._analyser = Analyser(config.stemmer, config.stopwords)
        self._vocabulary = Vocabulary()
        self._numbering: Numbering | None = None
        # Counted passages, then waiting ones; the rows of both, MISSING_ROW where one was removed.
        self._counts: list[Counts] = []
        self._waiting: Waiting | None = None
        # How often titles count in what is stored; None where they are counted apart.
        self._stored_weight: int | None = None
        self._recorded: str | None = None
        self._rows = RowList()
        self._built: _Built | None = None
        self._lock = new_lock()

    @property
    def fingerprint(self) -> str:
        """The analyser's; of a memory of an earlier release, what that release recorded."""
        return self._recorded or f"bm25({self._analyser.fingerprint})"

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, rows: Rows, passages: Sequence[Passage]) -> None:
        """Add passages under rows [n]; the next search or save computes all scores again.

        Raises:
            ComponentError: rows and passages differ in number, or a row is negative or taken.
        """
        new = np.array(rows, np.int64)
        if new.shape != (len(passages),):
            raise ComponentError(
                f"retriever 'bm25': {len(passages)} passages were added under rows of shape "
                f"{new.shape}: give one row for each passage"
            )
        if not len(new):
            return
        with self._lock:
            self._rows.check_new(new)
            if self._numbering is None:
                self._numbering = Numbering(self._analyser, self._vocabulary)
            if self._waiting is None:
                self._waiting = Waiting(self._stored_weight)
            self._waiting.add(passages, self._numbering)
            self._rows.add(new)
            self._built = None
            if len(self._waiting) >= _WAITING:
                self._count()

    def remove(self, rows: Rows) -> None:
        """Remove rows; the next search or save computes all scores again.

        Raises:
            ComponentError: a row is not there; then none is removed.
        """
        removed = np.unique(np.asarray(rows, np.int64))
        if not len(removed):
            return
        with self._lock:
            self._rows.remove(removed)
            self._built = None

    def search(self, questions: Sequence[str], k: int, *, allowed: Rows | None = None) -> Hits:
        """Return the k best rows of each question, [B, k], ties by row; see `Hits`.

        Raises:
            ComponentError: k is less than 1.
        """
        if k < 1:
            raise ComponentError(f"retriever 'bm25' was asked for {k} hits: ask for 1 or more")
        built = self._ready()
        kept = None if allowed is None else np.isin(built.rows, allowed)
        rows = np.full((len(questions), k), MISSING_ROW, np.int64)
        scores = np.full((len(questions), k), -np.inf, np.float32)
        for number, question in enumerate(questions):
            index, known = self._question_terms(built, question)
            if not known:
                continue
            places, sums = index.search(known, k, kept)
            best = built.rows[places]
            order = np.lexsort((best, -sums))[:k]
            rows[number, : len(order)] = best[order]
            scores[number, : len(order)] = sums[order]
        return Hits(rows, scores)

    def save(self, folder: Path) -> None:
        """Write arrays as .npy, terms and settings as JSON, into an existing empty folder."""
        built = self._ready()
        weighed_lengths = built.counts.weighed_lengths(self._config.title_weight)  # [size]
        few = int((weighed_lengths <= 1).sum())
        if 2 * few > len(built.rows):
            _LOG.warning(
                "retriever 'bm25': %d of %d passages yield one term or none, so that hardly any "
                "question finds them: check the corpus, and the settings stemmer and stopwords",
                few,
                len(built.rows),
            )
        index = built.index
        if isinstance(index, Yardstick):
            index = self._postings(built.counts)
        built.counts.save(folder)
        save_postings(index, folder)
        save_array(folder / "rows.npy", built.rows)
        # Terms that were added meanwhile have higher numbers than those of the index.
        terms = list(built.vocabulary)[: built.counts.terms]
        write_terms(folder / "terms.json", terms)
        weights, titles = self._weights, built.counts.titles is not None
        Record(LAYOUT, self.fingerprint, len(built.rows), weights, titles).write(folder)

    def merge(self, parts: Sequence[SavedRetriever], folder: Path) -> None:
        """Write saved retrievers as one; see `ragcore.contracts.MergingRetriever`.

        Terms get the numbers that they would have if all passages had been added here, and scores
        are computed from all counts: the files are those of one build, to the last byte.

        Raises:
            MemoryMismatchError: a part has another analyser, or is of an earlier release.
            StoreCorruptError: a file is missing or broken.
        """
        merged = type(self)(self._config)
        merged._counts = []
        for part in parts:
            other = type(self).load(part.folder, self._config)
            (counts,) = other._counts
            if other._recorded is not None or counts.titles is None:
                raise MemoryMismatchError(
                    f"{part.folder} was built by an earlier release, which did not count titles "
                    "apart: build this part again"
                )
            numbers = [merged._vocabulary.add(term) for term in other._vocabulary]
            merged._counts.append(
                counts.renumbered(np.array(numbers, np.int64), len(merged._vocabulary))
            )
            merged._rows.add(other._rows.all() + part.first)
        merged.save(folder)

    @classmethod
    def load(cls, folder: Path, config: Bm25Config, *, mmap: bool = True) -> Bm25:
        """Load what `save` wrote; what the first release wrote is counted again, with its words.

        Scores are mapped where they were computed with the same formula and the same weight of
        titles, and else computed from the counts by the first search.

        Raises:
            MemoryMismatchError: it was built with another stemmer or other stop words than
                `config`'s, by an earlier release with another weight of titles, or by a later
                release.
            StoreCorruptError: a file is missing or broken.
        """
        loaded = cls(config)
        record = Record.read(folder)
        loaded._analyser = record.analyser(config)
        loaded._stored_weight = record.title_weight(folder, config, loaded._analyser)
        if loaded._stored_weight is not None:
            loaded._recorded = record.fingerprint
        yield_gil()
        with reading(folder / "terms.json") as path:
            loaded._vocabulary = read_terms(path)
        yield_gil()
        with reading(folder / "rows.npy") as path:
            rows = np.asarray(load_rows(path, mmap=mmap))
            if rows.min(initial=0) < 0 or len(rows) != record.passages:
                raise ValueError(f"it lists {len(rows)} rows, expected {record.passages}")
        loaded._rows = RowList(rows)
        counts = load_counts(folder, record, len(loaded._vocabulary), mmap=mmap)
        loaded._counts = [counts]
        is_same = record.has_scores_of(loaded._formula, config.title_weight, loaded._weights)
        if is_same and config.backend != "rank-bm25":
            postings = load_postings(folder, counts, config.title_weight, mmap=mmap)
            loaded._built = loaded._searched(postings, counts, rows)
        return loaded

    @property
    def _weights(self) -> str:
        """What the scores are computed with, to the last digit."""
        return f"{self._formula!r}, title_weight={self._config.title_weight}"

    def _question_terms(
        self, built: _Built, question: str
    ) -> tuple[Postings | Yardstick, Sequence[int]]:
        """Return what to search for a question, and the numbers of its terms there."""
        expanded = None if built.expander is None else built.expander.postings(question)
        if expanded is not None:
            return expanded, range(expanded.terms)
        terms = (built.vocabulary.get(term) for term in self._analyser.terms(question))
        # A term that was added after the index was built is in none of its passages.
        known = [term for term in terms if term is not None and term < built.counts.terms]
        return built.index, known

    def _postings(self, counts: Counts) -> Postings:
        """Compute the scores."""
        return build_postings(counts.weighed(self._config.title_weight), self._formula)

    def _ready(self) -> _Built:
        """Return what searches read; built again if passages were added or removed."""
        with self._lock:
            if self._built is None:
                counts, rows = self._merged()
                index: Postings | Yardstick
                if self._config.backend == "rank-bm25":
                    weighed = counts.weighed(self._config.title_weight)
                    index = Yardstick(weighed, self._formula)
                else:
                    index = self._postings(counts)
                self._built = self._searched(index, counts, rows)
            return self._built

    def _searched(self, index: Postings | Yardstick, counts: Counts, rows: Rows) -> _Built:
        """Return what searches read."""
        farthest, vocabulary = self._config.fuzzy, self._vocabulary
        if not farthest or isinstance(index, Yardstick):
            return _Built(index, counts, rows, vocabulary)
        spelling = Spelling(farthest, self._analyser, vocabulary, index.bounds)
        expander = Expander(spelling, index, self._formula)
        return _Built(index, counts, rows, vocabulary, expander)

    def _merged(self) -> tuple[Counts, Rows]:
        """Return the counts and rows of all passages that are left, one array each."""
        self._count()
        counts, rows = Counts.joined(self._counts, len(self._vocabulary)), self._rows.all()
        keep = rows != MISSING_ROW
        if not keep.all():
            counts, rows = counts.kept(keep), rows[keep]
            self._rows = RowList(rows)
            unused = counts.document_frequencies == 0  # [terms]
            left = (term for number, term in enumerate(self._vocabulary) if not unused[number])
            # A new vocabulary: running searches read the old one.
            self._vocabulary = Vocabulary(left)
            self._numbering = None
            counts = counts.without_terms(unused)
        self._counts = [counts]
        return counts, rows

    def _count(self) -> None:
        """Count the waiting passages."""
        if self._waiting is None and not self._counts:
            self._waiting = Waiting(self._stored_weight)
        if self._waiting is not None:
            self._counts.append(self._waiting.counted(len(self._vocabulary)))
            self._waiting = None

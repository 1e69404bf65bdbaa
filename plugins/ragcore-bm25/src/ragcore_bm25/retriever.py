"""The retriever `bm25`: passages by the words that they share with the question.

Owns the vocabulary, the rows, and the passages that were added or removed since the last search.
Terms are made by `analyser.py`, counted by `counts.py`, weighted by `variants.py` and searched by
`ragcore.postings` or `yardstick.py`; texts are not kept.
"""

from __future__ import annotations

import json
import logging
import re
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
from ragcore.postings import Postings, read
from ragcore.process.fork import new_lock
from ragcore.types import MISSING_ROW, Hits, Passage
from ragcore_bm25.analyser import Analyser
from ragcore_bm25.config import Bm25Config
from ragcore_bm25.counts import Counts
from ragcore_bm25.numbering import Numbering
from ragcore_bm25.postings import build_postings, load_postings, save_postings
from ragcore_bm25.variants import Formula
from ragcore_bm25.vocabulary import Vocabulary, read_terms, write_terms
from ragcore_bm25.waiting import Waiting
from ragcore_bm25.yardstick import Yardstick, require_rank_bm25

if TYPE_CHECKING:
    import numpy.typing as npt

    from ragcore.types import Rows

    Tokens = npt.NDArray[np.int32]
    Ends = npt.NDArray[np.int64]


__all__ = ["Bm25"]

_LOG: Final = logging.getLogger("ragcore.retrieval")
_FORMAT: Final = 3
"""1 has tokens, 2 has counts in which titles are weighed, 3 counts titles apart."""
_WEIGHED: Final = re.compile(r"bm25\(.+,title=(\d+),(words-.+)\)")
"""The fingerprint of a memory whose titles were weighed when it was built."""
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
    """

    index: Postings | Yardstick
    counts: Counts
    rows: Rows
    vocabulary: Vocabulary


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
        self._rows: list[Rows] = []
        self._last = -1
        self._size = 0
        self._built: _Built | None = None
        self._lock = new_lock()

    @property
    def fingerprint(self) -> str:
        """The analyser's; of a memory of an earlier release, what that release recorded."""
        return self._recorded or f"bm25({self._analyser.fingerprint})"

    def __len__(self) -> int:
        return self._size

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
            self._refuse_taken(new)
            if self._numbering is None:
                self._numbering = Numbering(self._analyser, self._vocabulary)
            if self._waiting is None:
                self._waiting = Waiting(self._stored_weight)
            self._waiting.add(passages, self._numbering)
            self._rows.append(new)
            self._last = max(self._last, int(new.max()))
            self._size += len(new)
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
            all_rows = self._all_rows()
            matches = np.isin(all_rows, removed) & (all_rows != MISSING_ROW)
            if matches.sum() < len(removed):
                unknown = removed[~np.isin(removed, all_rows[matches])]
                raise ComponentError(
                    f"retriever 'bm25': row {unknown[0]} cannot be removed: it is not there"
                )
            self._rows = [np.where(matches, MISSING_ROW, all_rows)]
            self._size -= len(removed)
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
            terms = (built.vocabulary.get(term) for term in self._analyser.terms(question))
            # A term that was added after the index was built is in none of its passages.
            known = [term for term in terms if term is not None and term < built.counts.terms]
            if not known:
                continue
            places, sums = built.index.search(known, k, kept)
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
        about = {
            "format": _FORMAT,
            "fingerprint": self.fingerprint,
            "passages": len(built.rows),
            "weights": self._weights,
            "titles": built.counts.titles is not None,
        }
        _write_json(folder / "bm25.json", about)

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
            merged._rows.append(other._all_rows() + part.first)
            merged._size += len(other)
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
        with reading(folder / "bm25.json") as path:
            record = json.loads(path.read_text(encoding="utf-8"))
            built_by, layout = str(record["fingerprint"]), int(record["format"])
            passages = int(record["passages"])
            weights = str(record["weights"]) if layout == _FORMAT else None
            with_titles = layout == _FORMAT and record["titles"] is True
        loaded._check_built_by(folder, built_by, layout, with_titles=with_titles)
        yield_gil()
        with reading(folder / "terms.json") as path:
            loaded._vocabulary = read_terms(path)
        yield_gil()
        with reading(folder / "rows.npy") as path:
            rows = np.asarray(load_rows(path, mmap=mmap))
            if rows.min(initial=0) < 0 or len(rows) != passages:
                raise ValueError(f"it lists {len(rows)} rows, expected {passages}")
        loaded._rows, loaded._size = [rows], len(rows)
        loaded._last = int(rows.max(initial=-1))
        if layout == 1:
            tokens, ends = read(folder / "tokens.npy", mmap), read(folder / "ends.npy", mmap)
            with reading(folder / "ends.npy"):
                lengths = _lengths(tokens, ends, len(rows), len(loaded._vocabulary))
            loaded._counts = [Counts.of(tokens, lengths, len(loaded._vocabulary))]
            return loaded
        counts = Counts.load(folder, mmap=mmap, with_titles=with_titles)
        with reading(folder / "terms.json"):
            if (counts.terms, len(counts)) != (len(loaded._vocabulary), len(rows)):
                raise ValueError(
                    f"there are {len(loaded._vocabulary)} terms and {len(rows)} rows, but counts "
                    f"of {counts.terms} terms and {len(counts)} passages"
                )
        loaded._counts = [counts]
        # The second layout has what the scores were computed with in its fingerprint.
        is_same = weights == loaded._weights or (layout == 2 and loaded._are_as_recorded(built_by))
        if is_same and config.backend != "rank-bm25":
            postings = load_postings(folder, counts, config.title_weight, mmap=mmap)
            loaded._built = _Built(postings, counts, rows, loaded._vocabulary)
        return loaded

    def _check_built_by(
        self, folder: Path, built_by: str, layout: int, *, with_titles: bool
    ) -> None:
        """Check that a memory's words are made as this retriever makes them.

        Args:
            folder: of the memory, for errors.
            built_by: the fingerprint that was recorded.
            layout: of its files.
            with_titles: whether its titles are counted apart.

        Raises:
            MemoryMismatchError: they are not.
        """
        config = self._config
        for version in (1, 2):
            if f"words-{version}," in built_by:
                self._analyser = Analyser(config.stemmer, config.stopwords, version)
        expected = f"bm25({self._analyser.fingerprint})"
        weighed = None if with_titles else _WEIGHED.fullmatch(built_by)
        is_known = 1 <= layout <= _FORMAT
        if weighed and is_known and weighed[2] == self._analyser.fingerprint:
            self._stored_weight, self._recorded = int(weighed[1]), built_by
            if self._stored_weight != config.title_weight:
                raise MemoryMismatchError(
                    f"{folder} was built by an earlier release, which counted titles "
                    f"{self._stored_weight} times for good, but the configuration says "
                    f"title_weight: {config.title_weight}: build the memory again, or set "
                    f"title_weight to {self._stored_weight}"
                )
        elif not is_known or built_by != expected or not with_titles:
            raise MemoryMismatchError(
                f"{folder} was built with {built_by} (format {layout}), but "
                f"the configuration says {expected} (format {_FORMAT}): build the memory "
                "again, or set memory.retriever as it was"
            )

    @property
    def _weights(self) -> str:
        """What the scores are computed with, to the last digit."""
        return f"{self._formula!r}, title_weight={self._config.title_weight}"

    def _are_as_recorded(self, built_by: str) -> bool:
        """Return whether a memory whose titles were weighed has scores of this very formula.

        Args:
            built_by: its fingerprint, which has six digits of each constant.
        """
        formula = self._formula
        constants = (formula.k1, formula.b, formula.delta, formula.epsilon)
        if any(float(f"{constant:g}") != constant for constant in constants):
            return False
        return built_by.startswith(f"bm25({formula},title={self._config.title_weight},")

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
                self._built = _Built(index, counts, rows, self._vocabulary)
            return self._built

    def _merged(self) -> tuple[Counts, Rows]:
        """Return the counts and rows of all passages that are left, one array each."""
        self._count()
        counts, rows = Counts.joined(self._counts, len(self._vocabulary)), self._all_rows()
        keep = rows != MISSING_ROW
        if not keep.all():
            counts, rows = counts.kept(keep), rows[keep]
            unused = counts.document_frequencies == 0  # [terms]
            left = (term for number, term in enumerate(self._vocabulary) if not unused[number])
            # A new vocabulary: running searches read the old one.
            self._vocabulary = Vocabulary(left)
            self._numbering = None
            counts = counts.without_terms(unused)
        self._counts, self._rows = [counts], [rows]
        return counts, rows

    def _count(self) -> None:
        """Count the waiting passages."""
        if self._waiting is None and not self._counts:
            self._waiting = Waiting(self._stored_weight)
        if self._waiting is not None:
            self._counts.append(self._waiting.counted(len(self._vocabulary)))
            self._waiting = None

    def _all_rows(self) -> Rows:
        if len(self._rows) == 1:
            return self._rows[0]
        return np.concatenate(self._rows) if self._rows else np.zeros(0, np.int64)

    def _refuse_taken(self, new: Rows) -> None:
        if new.min() < 0:
            raise ComponentError(
                f"retriever 'bm25': row {new.min()} is negative: rows count from 0"
            )
        if len(np.unique(new)) < len(new):
            raise ComponentError("retriever 'bm25': the same row was given twice in one call")
        # Rows mostly ascend; only when they do not, all must be compared.
        if new.min() <= self._last:
            taken = new[np.isin(new, self._all_rows())]
            if len(taken):
                raise ComponentError(f"retriever 'bm25': row {taken[0]} is already there")


def _lengths(tokens: Tokens, ends: Ends, passages: int, terms: int) -> Tokens:
    """Return how many tokens each passage has, int32 [passages], from where each ends.

    Raises:
        ValueError: there are tokens of no passage, passages without tokens, or unknown terms.
    """
    dtypes = [str(each.dtype) for each in (tokens, ends)]
    if dtypes != ["int32", "int64"] or (tokens.ndim, ends.ndim) != (1, 1):
        raise ValueError(f"there are {tokens.dtype} tokens that end at {ends.dtype}")
    lengths = np.diff(ends, prepend=0)
    if len(ends) != passages or lengths.min(initial=0) < 0 or lengths.sum() != len(tokens):
        raise ValueError(f"its {len(ends)} passages do not have the {len(tokens)} tokens")
    if tokens.min(initial=0) < 0 or tokens.max(initial=-1) >= terms:
        raise ValueError("a token is of a term that does not exist")
    return lengths.astype(np.int32)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")

"""The retriever `rerank`: another retriever's best hits, scored again by reading the passages.

Owns the inner retriever and the depth of its search; the scorer is shared with all components of an
equal config, and loaded only to score. It stores no passages: the memory passes its own
(capability `passages`), so that they are on disk once.

The inner retriever is searched for `depth` hits, whatever k is: the passages that are scored, and
so the ranking, do not change with k.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from ragcore.contracts import (
    Fragments,
    PassageSource,
    SavedRetriever,
    Scorer,
    TextTokenizer,
    VectorCache,
)
from ragcore.disk.loading import reading
from ragcore.errors import ComponentError
from ragcore.retrievers.configs import RerankConfig
from ragcore.retrievers.hits import best_hits
from ragcore.retrievers.members import (
    ANY_HAS,
    PASSED_ON,
    compact_members,
    cut_of,
    deepest_search,
    fragments_of_members,
    give_cache,
    give_passages,
    give_scratch,
    least_room,
    merge_member,
    require,
    search_member,
    trainers,
)
from ragcore.types import MISSING_ROW, CutPassages, Hits, Passage

if TYPE_CHECKING:
    from ragcore.filters.expressions import Filter
    from ragcore.types import Rows, Scores


__all__ = ["Rerank", "files_below", "reranked_by"]

_RECORD: Final = "rerank.json"
"""Lies in the folder where an earlier release put the retriever's files into a subfolder."""


def files_below(folder: Path) -> Path:
    """Return the folder with the files of the retriever that is reranked, once or several times."""
    while (folder / _RECORD).exists():
        folder = folder / "retriever"
    return folder


def reranked_by(folder: Path) -> str:
    """Return the name of the retriever whose files an earlier release put below a folder.

    Raises:
        StoreCorruptError: a record of it is missing or broken.
    """
    name = "rerank"
    while name == "rerank":
        with reading(folder / _RECORD) as path:
            name = str(json.loads(path.read_bytes())["retriever"])
        folder = folder / "retriever"
    return name


class Rerank:
    """A `Retriever` that rescores an inner retriever's hits; scores are the scorer's, float32."""

    Config: ClassVar[type[RerankConfig]] = RerankConfig

    def __init__(self, config: RerankConfig) -> None:
        self._config = config
        self._inner = config.retriever.build()
        self._passages: PassageSource | None = None

    @property
    def capabilities(self) -> frozenset[str]:
        """Those of the inner retriever but `exact`, and `passages` and `filter` in any case."""
        return (self._inner.capabilities & (PASSED_ON | ANY_HAS)) | {"filter", "passages"}

    @property
    def fingerprint(self) -> str:
        """The inner retriever's fingerprint; the scorer may change without a rebuild."""
        return self._inner.fingerprint

    @functools.cached_property
    def _scorer(self) -> Scorer:
        return self._config.scorer.shared()

    @property
    def tokenizer(self) -> TextTokenizer:
        """The inner retriever's tokenizer; see `TokenizedRetriever`.

        Raises:
            UnsupportedOperation: it has none.
        """
        return least_room([self._inner], "rerank")

    @property
    def cut_passages(self) -> Sequence[CutPassages]:
        """What was added and is longer than an encoder reads, an item for each such encoder."""
        return cut_of(self._inner)

    @property
    def deepest_search(self) -> int:
        """As many hits as are scored, or as the inner retriever finds, if these are fewer."""
        inner = deepest_search(self._inner)
        return self._config.depth if inner is None else min(self._config.depth, inner)

    def __len__(self) -> int:
        return len(self._inner)

    def use_cache(self, cache: VectorCache) -> None:
        """Let the inner retriever take vectors from this cache; see `CacheUser`."""
        give_cache(self._inner, cache)

    def use_passages(self, passages: PassageSource) -> None:
        """Read the passages to score from this source, by row."""
        self._passages = passages
        give_passages(self._inner, passages)

    def use_scratch(self, folder: Path) -> int:
        """Let the inner retriever use a subfolder of this one; see `ScratchUser`."""
        return give_scratch(self._inner, folder / "retriever") or 0

    def add(self, rows: Rows, passages: Sequence[Passage]) -> None:
        """Add passages under rows [n] to the inner retriever."""
        self._inner.add(rows, passages)

    def search(self, questions: Sequence[str], k: int, *, allowed: Rows | None = None) -> Hits:
        """Find the k best of the inner retriever's `depth` hits by the scorer, [B, k], ties by row.

        Raises:
            ComponentError: k is less than 1, `use_passages` was not called, or the scorer or the
                inner retriever breaks its contract.
        """
        return self._search(questions, k, allowed, None)

    def search_where(
        self, questions: Sequence[str], k: int, where: Filter, *, allowed: Rows
    ) -> Hits:
        """Search, with the filter for the inner retriever; see `FilteringRetriever`."""
        return self._search(questions, k, allowed, where)

    def _search(
        self, questions: Sequence[str], k: int, allowed: Rows | None, where: Filter | None
    ) -> Hits:
        if k < 1:
            raise ComponentError(f"retriever 'rerank' was asked for {k} hits: ask for 1 or more")
        if self._passages is None:
            raise ComponentError(
                "retriever 'rerank' has no passages to read: search it in a memory, or pass them "
                "by use_passages"
            )
        depth = min(self._config.depth, len(self))
        if not depth or not len(questions):
            return Hits.empty(len(questions), k)
        name = self._config.retriever.use
        rows = search_member(name, self._inner, "rerank", questions, depth, allowed, where).rows
        return best_hits(rows, self._score(questions, rows, self._passages), k)

    def remove(self, rows: Rows) -> None:
        """Remove rows from the inner retriever.

        Raises:
            UnsupportedOperation: the inner retriever has no capability `remove`.
        """
        require(self._config.retriever.use, self._inner, "remove", "rerank")
        self._inner.remove(rows)

    def save(self, folder: Path) -> None:
        """Write the inner retriever's files: a memory may be opened with and without reranking."""
        self._inner.save(folder)

    def compact(self, *, join: bool = False) -> bool:
        """Compact the inner retriever; see `CompactingRetriever`."""
        return compact_members([self._inner], join=join)

    @classmethod
    def saved_fragments(cls, folder: Path, config: RerankConfig) -> Fragments:
        """Return those of the inner retriever; see `CompactingRetriever`."""
        return fragments_of_members([config.retriever], [files_below(folder)])

    @property
    def training_size(self) -> int:
        """The largest of its inner retriever; see `IndexTrainer`."""
        return max(each.training_size for each in trainers([self._inner]).values())

    def train_index(self, passages: Sequence[Passage], folder: Path) -> None:
        """Train the index of its inner retriever, in a folder of its own; see `IndexTrainer`."""
        for number, member in trainers([self._inner]).items():
            (folder / str(number)).mkdir()
            member.train_index(passages, folder / str(number))

    def use_training(self, folder: Path) -> None:
        """Give the training to its inner retriever; see `IndexTrainer`.

        Raises:
            MemoryMismatchError: another retriever wrote it.
        """
        for number, member in trainers([self._inner]).items():
            member.use_training(folder / str(number))

    def merge(self, parts: Sequence[SavedRetriever], folder: Path) -> None:
        """Write saved retrievers as one by the inner retriever; see `MergingRetriever`.

        Raises:
            UnsupportedOperation: the inner retriever has no capability `merge`.
        """
        merge_member(self._config.retriever.use, self._inner, "rerank", parts, folder)

    @classmethod
    def load(cls, folder: Path, config: RerankConfig, *, mmap: bool = True) -> Rerank:
        """Load what `save`, or the inner retriever alone, wrote.

        Raises:
            MemoryMismatchError: another retriever wrote it.
            StoreCorruptError: a file is missing or broken.
        """
        loaded = cls(config)
        loaded._inner = config.retriever.load(files_below(folder), mmap=mmap)
        return loaded

    def _score(self, questions: Sequence[str], rows: Rows, passages: PassageSource) -> Scores:
        """Score rows [B, depth], float32; -inf where a row is missing."""
        scores = np.full(rows.shape, -np.inf, np.float32)  # [B, depth]
        exists = rows != MISSING_ROW  # [B, depth], P rows exist
        paired = [questions[i] for i in np.nonzero(exists)[0].tolist()]  # P questions
        if paired:
            pair_scores = self._scorer.score(paired, passages.take(rows[exists].tolist()))  # [P]
            self._check_scores(pair_scores, len(paired))
            scores[exists] = pair_scores
        return scores

    def _check_scores(self, pair_scores: Scores, pairs: int) -> None:
        """Check what the scorer returned for P pairs, [P].

        Raises:
            ComponentError: it has another shape, or a number in it is not finite.
        """
        if np.shape(pair_scores) != (pairs,):
            fault = f"an array of shape {np.shape(pair_scores)} for {pairs} pairs"
        elif not (finite := np.isfinite(pair_scores)).all():
            wrong = int(np.argmin(finite))
            fault = f"{pair_scores[wrong]} for pair {wrong + 1} of {pairs}"
        else:
            return
        raise ComponentError(
            f"scorer {self._config.scorer.use!r} gave {fault}: expected one finite score for each "
            "pair"
        )

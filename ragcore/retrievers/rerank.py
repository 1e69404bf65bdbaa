"""The retriever `rerank`: another retriever's best hits, scored again by reading the passages.

Owns the depth of the inner retriever's search; what is passed on is in `over.py`. The scorer is
shared with all components of an equal config, and loaded only to score. No passages are stored: the
memory passes its own (capability `passages`), so that they are on disk once.

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

from ragcore.contracts import PassageSource, Scorer
from ragcore.disk.loading import reading
from ragcore.errors import ComponentError
from ragcore.retrievers.configs import RerankConfig
from ragcore.retrievers.hits import best_hits
from ragcore.retrievers.members import (
    ANY_HAS,
    PASSED_ON,
    deepest_search,
    give_passages,
    search_member,
)
from ragcore.retrievers.over import OverRetriever
from ragcore.types import MISSING_ROW, Hits

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


class Rerank(OverRetriever[RerankConfig]):
    """A `Retriever` that rescores an inner retriever's hits; scores are the scorer's, float32."""

    NAME: ClassVar[str] = "rerank"
    Config: ClassVar[type[RerankConfig]] = RerankConfig

    def __init__(self, config: RerankConfig) -> None:
        super().__init__(config)
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
    def deepest_search(self) -> int:
        """As many hits as are scored, or as the inner retriever finds, if these are fewer."""
        inner = deepest_search(self._inner)
        return self._config.depth if inner is None else min(self._config.depth, inner)

    def use_passages(self, passages: PassageSource) -> None:
        """Read the passages to score from this source, by row."""
        self._passages = passages
        give_passages(self._inner, passages)

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

    @classmethod
    def files_in(cls, folder: Path) -> Path:
        """Return the folder itself, or the one below it that an earlier release wrote."""
        return files_below(folder)

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

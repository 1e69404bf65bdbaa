"""The retriever `sparse`: passages by the terms that a `SparseEncoder` gives them and the question.

Owns the rows, and the passages that were added or removed since the last search. Terms are weighed
by `sparse_model.py` and searched by `ragcore.postings`; texts are not kept.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from ragcore.contracts import TextTokenizer
from ragcore.disk.arrays import load_rows, save_array
from ragcore.disk.loading import reading
from ragcore.errors import ComponentError, MemoryMismatchError, UnsupportedOperation
from ragcore.postings import Postings
from ragcore.process.fork import new_lock
from ragcore.registry.components import ComponentSpec
from ragcore.types import MISSING_ROW, CutPassages, Hits, Passage
from ragcore_transformers.configs import SparseConfig

if TYPE_CHECKING:
    from ragcore.types import Rows
    from ragcore_transformers.sparse_model import SparseModel, SparseRows
    from ragcore_transformers.sparse_scratch import SparseScratch

__all__ = ["Sparse"]

_LOG: Final = logging.getLogger(__name__)
_RECORD: Final = "sparse.json"
_FORMAT: Final = 1
_BATCH: Final = 1024
"""Passages that a file of the scratch folder has, at most."""
_WAITING: Final = 1 << 22
"""How many terms of passages may wait before they are sorted."""


@dataclass(frozen=True, slots=True)
class _Built:
    """What searches read; never changed, so that searches need no lock.

    Attributes:
        postings: weights of passages by position.
        rows: int64 [size], the row of each position.
    """

    postings: Postings
    rows: Rows


class Sparse:
    """See `ragcore.contracts.Retriever`; safe to search from several threads.

    A score is the inner product of the question's weights and the passage's, or their cosine where
    the model was trained for that: float32, exact over all passages. A passage that shares no term
    with the question is no hit, so there may be fewer than k hits. After any adding and removing,
    rows and scores are those of a retriever built from scratch, as far as the model gives a text
    the same weights in any batch.

    The model is loaded only to encode a text or to tell its fingerprint.
    """

    Config: ClassVar[type[SparseConfig]] = SparseConfig
    capabilities: ClassVar[frozenset[str]] = frozenset(
        {"add", "exact", "filter", "mmap", "remove", "scratch", "tokenizer"}
    )

    def __init__(self, config: SparseConfig) -> None:
        self._config = config
        # Sorted passages, then waiting ones; the rows of both, MISSING_ROW where one was removed.
        self._parts: list[Postings] = []
        self._waiting: list[SparseRows] = []
        self._rows: list[Rows] = []
        self._last = -1
        self._size = 0
        self._added, self._cut = 0, 0
        self._built: _Built | None = None
        self._scratch: SparseScratch | None = None
        self._lock = new_lock()

    @functools.cached_property
    def _model(self) -> SparseModel:
        from ragcore_transformers.sparse_model import SparseModel

        # As encoders are, it is shared by all versions that are open.
        model: SparseModel = ComponentSpec[Any](
            "encoder", "sparse", SparseModel, self._config
        ).shared()
        return model

    @property
    def fingerprint(self) -> str:
        """The model's, on the side of passages."""
        return self._model.fingerprint

    @property
    def tokenizer(self) -> TextTokenizer:
        """The model's tokenizer of passages; see `TokenizedRetriever`.

        Raises:
            UnsupportedOperation: it has no fast form.
        """
        return self._model.tokenizer

    @property
    def cut_passages(self) -> Sequence[CutPassages]:
        """What was added here and is longer than the model reads; empty where nothing is."""
        if not self._cut:
            return ()
        try:
            tokens = self.tokenizer.room("")
        except UnsupportedOperation:
            tokens = None
        return (CutPassages("sparse", self._cut, self._added, tokens),)

    def __len__(self) -> int:
        return self._size

    def use_scratch(self, folder: Path) -> int:
        """Keep the terms of passages in this folder while a memory is built; see `ScratchUser`."""
        from ragcore_transformers.sparse_scratch import SparseScratch

        self._scratch = SparseScratch(folder, self.fingerprint)
        return self._scratch.passages

    def add(self, rows: Rows, passages: Sequence[Passage]) -> None:
        """Encode passages and add them under rows [n]; the next search or save sorts all terms.

        Raises:
            ComponentError: rows and passages differ in number, or a row is negative or taken.
            PluginError: the model gives weights that are not finite.
        """
        new = np.array(rows, np.int64)
        if new.shape != (len(passages),):
            raise ComponentError(
                f"retriever 'sparse': {len(passages)} passages were added under rows of shape "
                f"{new.shape}: give one row for each passage"
            )
        if not len(new):
            return
        with self._lock:
            self._refuse_taken(new)
            encoded = list(self._encoded(passages))
            self._waiting.extend(encoded)
            self._cut += self._model.count_cut(passages)
            self._added += len(new)
            self._rows.append(new)
            self._last = max(self._last, int(new.max()))
            self._size += len(new)
            self._built = None
            if sum(len(each.terms) for each in self._waiting) >= _WAITING:
                self._sort()

    def remove(self, rows: Rows) -> None:
        """Remove rows.

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
                    f"retriever 'sparse': row {unknown[0]} cannot be removed: it is not there"
                )
            self._rows = [np.where(matches, MISSING_ROW, all_rows)]
            self._size -= len(removed)
            self._built = None

    def search(self, questions: Sequence[str], k: int, *, allowed: Rows | None = None) -> Hits:
        """Return the k best rows of each question, [B, k], ties by row; see `Hits`.

        Raises:
            ComponentError: k is less than 1.
            MemoryMismatchError: the model has terms that the memory does not know.
        """
        if k < 1:
            raise ComponentError(f"retriever 'sparse' was asked for {k} hits: ask for 1 or more")
        hits = Hits.empty(len(questions), k)
        if not self._size or not len(questions):
            return hits
        built = self._ready()
        if self._model.dim != built.postings.terms:
            raise MemoryMismatchError(
                f"model {self._config.model!r} has {self._model.dim} terms, and the memory was "
                f"built with {built.postings.terms}: build it again, or name its model"
            )
        kept = None if allowed is None else np.isin(built.rows, allowed)
        for number, (terms, factors) in enumerate(self._model.encode_questions(questions)):
            if not len(terms):
                continue
            places, sums = built.postings.search(terms.tolist(), k, kept, factors)
            best = built.rows[places]
            order = np.lexsort((best, -sums))[:k]
            hits.rows[number, : len(order)] = best[order]
            hits.scores[number, : len(order)] = sums[order]
        return hits

    def save(self, folder: Path) -> None:
        """Write arrays as .npy, and sparse.json, into an existing empty folder.

        A warning says how many of the passages added here are longer than the model reads.
        """
        for cut in self.cut_passages:
            _LOG.warning("%s", cut)
        built = self._ready()
        built.postings.save(folder)
        save_array(folder / "rows.npy", built.rows)
        record = {
            "format": _FORMAT,
            "passages": len(built.rows),
            "terms": built.postings.terms,
            "signed": built.postings.signed,
        }
        (folder / _RECORD).write_text(json.dumps(record) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, config: SparseConfig, *, mmap: bool = True) -> Sparse:
        """Load what `save` wrote; the model is not loaded yet.

        Raises:
            MemoryMismatchError: it was built by a later release.
            StoreCorruptError: a file is missing or broken.
        """
        with reading(folder / _RECORD) as path:
            record = json.loads(path.read_bytes())
            layout, size, terms = (int(record[key]) for key in ("format", "passages", "terms"))
            signed = record["signed"]
            if not isinstance(signed, bool):
                raise ValueError(f"signed is {signed!r}, expected true or false")
        if layout != _FORMAT:
            raise MemoryMismatchError(
                f"{folder} has format {layout} and this release reads {_FORMAT}: upgrade ragcore, "
                "or build the memory again"
            )
        with reading(folder / "rows.npy") as path:
            rows = np.asarray(load_rows(path, mmap=mmap))
            if rows.min(initial=0) < 0 or len(rows) != size:
                raise ValueError(f"it lists {len(rows)} rows, expected {size}")
        postings = Postings.load(folder, size, mmap=mmap, signed=signed)
        with reading(folder / "bounds.npy"):
            if postings.terms != terms:
                raise ValueError(f"it is of {postings.terms} terms, expected {terms}")
        loaded = cls(config)
        loaded._parts, loaded._rows, loaded._size = [postings], [rows], size
        loaded._last = int(rows.max(initial=-1))
        loaded._built = _Built(postings, rows)
        return loaded

    def _encoded(self, passages: Sequence[Passage]) -> Iterator[SparseRows]:
        """Yield the terms of passages in batches, from the scratch folder if it has them."""
        for begin in range(0, len(passages), _BATCH):
            batch = passages[begin : begin + _BATCH]
            terms = None if self._scratch is None else self._scratch.get(batch)
            if terms is None:
                terms = self._model.encode_passages(batch)
                if self._scratch is not None:
                    self._scratch.put(batch, terms)
            yield terms

    def _ready(self) -> _Built:
        """Return what searches read; built again if passages were added or removed."""
        with self._lock:
            if self._built is None:
                self._sort()
                postings, rows = Postings.joined(self._parts), self._all_rows()
                keep = rows != MISSING_ROW
                if not keep.all():
                    postings, rows = postings.kept(keep), rows[keep]
                self._parts, self._rows = [postings], [rows]
                self._built = _Built(postings, rows)
            return self._built

    def _sort(self) -> None:
        """Sort the terms of the waiting passages."""
        if not self._waiting and self._parts:
            return
        terms = [each.terms for each in self._waiting] or [np.zeros(0, np.int32)]
        weights = [each.weights for each in self._waiting] or [np.zeros(0, np.float32)]
        lengths = [each.lengths for each in self._waiting] or [np.zeros(0, np.int64)]
        self._parts.append(
            Postings.of(
                np.concatenate(terms),
                np.concatenate(weights),
                np.concatenate(lengths),
                self._model.dim,
            )
        )
        self._waiting = []

    def _all_rows(self) -> Rows:
        if len(self._rows) == 1:
            return self._rows[0]
        return np.concatenate(self._rows) if self._rows else np.zeros(0, np.int64)

    def _refuse_taken(self, new: Rows) -> None:
        if new.min() < 0:
            raise ComponentError(
                f"retriever 'sparse': row {new.min()} is negative: rows count from 0"
            )
        if len(np.unique(new)) < len(new):
            raise ComponentError("retriever 'sparse': the same row was given twice in one call")
        # Rows mostly ascend; only when they do not, all must be compared.
        if new.min() <= self._last:
            taken = new[np.isin(new, self._all_rows())]
            if len(taken):
                raise ComponentError(f"retriever 'sparse': row {taken[0]} is already there")

"""The index `faiss`: finds rows by inner product, with any index that FAISS's factory makes.

Holds vectors back until the index can be trained, and gives FAISS the rows as its ids. Knows when
the index changes; knows nothing of texts or encoders. `factory.py` knows what each index can do,
`searching.py` searches, `training.py` trains, `inputs.py` refuses what cannot be stored, and
`note.py` records how a saved index was built.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import faiss  # type: ignore[import-untyped, unused-ignore]
import numpy as np

from ragcore.contracts import SavedIndex
from ragcore.disk.arrays import load_rows, save_array
from ragcore.errors import ComponentError, StoreCorruptError, UnsupportedOperation
from ragcore.process.fork import call_in_child, new_rlock
from ragcore.scaling import common_scale, need_no_scale, scales
from ragcore.types import Hits
from ragcore_faiss.config import FaissConfig
from ragcore_faiss.exhaustive import graph_width
from ragcore_faiss.factory import abilities, completed, layers, make, trains, tune
from ragcore_faiss.file import check, read_file
from ragcore_faiss.inputs import checked_vectors, refuse_overflow, refuse_repeated, refuse_taken
from ragcore_faiss.joining import Part, searches_lists, write_joined
from ragcore_faiss.note import Note, read_note
from ragcore_faiss.numbering import Numbering
from ragcore_faiss.searching import Searcher
from ragcore_faiss.training import train

if TYPE_CHECKING:
    from ragcore.types import Rows, Vectors


__all__ = ["Faiss"]

# FAISS has a copy of OpenMP's runtime of its own, whose threads are not in a forked child.
call_in_child(lambda: faiss.omp_set_num_threads(1))


class Faiss:
    """See `ragcore.contracts.Index`; searches may run in several threads, changes in one.

    Raises:
        ConfigError: FAISS cannot make `factory`, or does not know a parameter in `search`.
    """

    Config: ClassVar[type[FaissConfig]] = FaissConfig
    capabilities: frozenset[str] = frozenset({"add", "mmap", "spawn_empty"})

    def __init__(self, config: FaissConfig, *, dim: int) -> None:
        self._adopt(config, dim, make(config.factory, dim))
        self._rows: Rows = np.zeros(0, np.int64)

    def _adopt(self, config: FaissConfig, dim: int, index: Any) -> None:
        self._config = config
        self._dim = dim
        self._index = index
        # What the vectors in the index are multiplied by; chosen when the first that are no zeros
        # are added.
        self._scale: float | None = None
        self._mapped_from: Path | None = None
        self._last = -1
        # Computed when a row is first looked up.
        self._numbering: Numbering | None = None
        # Made when something is first searched, and again after a change.
        self._searcher: Searcher | None = None
        self._new_rows: list[Rows] = []
        self._untrained: list[Vectors] = []
        self._lock = new_rlock()
        self.capabilities = type(self).capabilities | abilities(index)
        tune(index, config.factory, config.search)

    def __len__(self) -> int:
        return len(self._rows) + sum(map(len, self._new_rows))

    def add(self, rows: Rows, vectors: Vectors) -> None:
        """Add vectors [n, d] under rows [n].

        Raises:
            ComponentError: shapes do not fit, a vector is not finite, a row is negative or taken.
            ConfigError: training is due, and `train_size` is too small for the factory.
        """
        new = np.ascontiguousarray(rows, np.int64)
        values = checked_vectors(self._name, vectors, self._dim)
        if new.shape != (len(values),):
            raise ComponentError(
                f"{self._name}: {len(values)} vectors were added under rows of shape {new.shape}: "
                "give one row for each vector"
            )
        if not len(new):
            return
        with self._lock:
            refuse_repeated(self._name, new)
            # Rows mostly ascend; only when they do not, all must be compared.
            if new.min() <= self._last:
                refuse_taken(self._name, new, np.concatenate([self._rows, *self._new_rows]))
            scale = self._scale
            if scale is None or not (len(self) or trains(self._config.factory, self._dim)):
                scale = common_scale(values)
            values = values * np.float32(scale or 1)
            refuse_overflow(self._name, self._index, values, scale)
            self._make_changeable()
            self._scale = scale
            if self._index.is_trained:
                self._index.add_with_ids(values, new)
            else:
                self._untrained.append(values)
            self._new_rows.append(new.copy())
            self._last = max(self._last, int(new.max()))
            self._agree()
            if sum(map(len, self._untrained)) >= self._config.train_size:
                self._settle()

    def search(self, queries: Vectors, k: int, *, allowed: Rows | None = None) -> Hits:
        """Return the k rows of highest inner product for each of queries [B, d], ties by row.

        Each query gets min(k, rows that may be found) hits: where an approximate search stops
        short of them, more lists are searched, or the vectors are compared one by one.

        Raises:
            ComponentError: k is less than 1, or shapes do not fit.
            UnsupportedOperation: `allowed` was given and this factory cannot filter.
            ConfigError: there are too few vectors to train the index.
        """
        return self._search(queries, k, allowed, None)

    @property
    def width(self) -> int:
        """The graph's efSearch (capability `width`).

        Raises:
            UnsupportedOperation: an index of this factory has no graph.
        """
        self._require("width")
        return int(graph_width(self._index))

    def search_width(self, queries: Vectors, k: int, width: int) -> Hits:
        """Search with another efSearch than the index has; see `GraphIndex`.

        Raises:
            ComponentError: k is less than 1, or shapes do not fit.
            UnsupportedOperation: an index of this factory has no graph.
        """
        self._require("width")
        return self._search(queries, k, None, width)

    def _search(self, queries: Vectors, k: int, allowed: Rows | None, width: int | None) -> Hits:
        if k < 1:
            raise ComponentError(f"{self._name} was asked for {k} hits: ask for 1 or more")
        values = checked_vectors(self._name, queries, self._dim)
        if allowed is not None:
            self._require("filter")
        self._settle()
        numbers = None
        if allowed is not None:
            numbers = np.sort(self._numbers().find(np.unique(np.asarray(allowed, np.int64)))[0])
        count = min(k, len(self) if numbers is None else len(numbers))
        if not count or not len(values):
            return Hits.empty(len(values), k)
        if need_no_scale(values) and self._scale in (None, 1):
            # [B, count] each
            scores, rows = self._searches().best(values, count, numbers, width)
        else:
            factors = scales(values)  # [B]
            scaled = values * factors[:, None]
            scores, rows = self._searches().best(scaled, count, numbers, width)
            scores = scores / (factors * np.float32(self._scale or 1))[:, None]
        if count == k:
            return Hits(rows, scores)
        hits = Hits.empty(len(values), k)
        hits.rows[:, :count], hits.scores[:, :count] = rows, scores
        return hits

    def _searches(self) -> Searcher:
        """Return what searches FAISS's index and the rows that are there now."""
        index, rows, searcher = self._index, self._rows, self._searcher
        if searcher is None or searcher.index is not index or searcher.rows is not rows:
            searcher = Searcher(index, rows, exact="exact" in self.capabilities)
            self._searcher = searcher
        return searcher

    def _numbers(self) -> Numbering:
        """Return the numbering of the rows that are there now."""
        rows, numbering = self._rows, self._numbering
        if numbering is None or numbering.rows is not rows:
            self._numbering = numbering = Numbering(rows)
        return numbering

    def remove(self, rows: Rows) -> None:
        """Remove rows.

        Raises:
            UnsupportedOperation: an index of this factory cannot remove.
            ComponentError: a row is not there.
        """
        self._require("remove")
        removed = np.unique(np.asarray(rows, np.int64))
        with self._lock:
            self._settle()
            unknown = removed[~np.isin(removed, self._rows)]
            if len(unknown):
                raise ComponentError(f"{self._name}: row {unknown[0]} is not there to be removed")
            self._make_changeable()
            left = self._rows[~np.isin(self._rows, removed)]
            self._index.remove_ids(faiss.IDSelectorBatch(removed))
            self._rows = left
            self._agree()

    def vectors(self, rows: Rows) -> Vectors:
        """Return the vectors of rows [n] as they were added, float32 [n, d] (capability `vectors`).

        Raises:
            UnsupportedOperation: an index of this factory stores codes, not vectors.
            ComponentError: a row is not there.
        """
        self._require("vectors")
        rows = np.asarray(rows, np.int64)
        with self._lock:
            self._settle()
            numbers, exists = self._numbers().find(rows)
            if not exists.all():
                raise ComponentError(f"{self._name} has no row {rows[~exists][0]}")
            inner = faiss.downcast_index(self._index.index)
            vectors: Vectors = inner.reconstruct_batch(np.ascontiguousarray(numbers, np.int64))
            return vectors / np.float32(self._scale or 1)

    def spawn_empty(self) -> Faiss:
        """Make an empty index with the same training, so that a vector gets the same codes as here.

        Raises:
            ConfigError: there are too few vectors to train the index.
        """
        if not trains(self._config.factory, self._dim):
            # It chooses a scale for its own vectors.
            return type(self)(self._config, dim=self._dim)
        with self._lock:
            self._settle()
            path = self._mapped_from
            index = _copy(self._index) if path is None else self._read_again(path)
        index.reset()
        empty = type(self).__new__(type(self))
        empty._adopt(self._config, self._dim, index)
        empty._scale = self._scale
        empty._rows = np.zeros(0, np.int64)
        return empty

    def save(self, folder: Path) -> None:
        """Write FAISS's own file, the rows and a note of how it was built.

        Raises:
            ComponentError: an earlier change failed halfway; nothing is written.
            ConfigError: there are too few vectors to train the index.
            OSError: there is no room for the files.
        """
        with self._lock:
            self._settle()
            with (folder / "index.faiss").open("wb") as file:
                # Given a file name, FAISS does not check whether its last write succeeds. Its stubs
                # do not declare this writer.
                writer: Any = faiss.PyCallbackIOWriter  # type: ignore[attr-defined, unused-ignore]
                faiss.write_index(self._index, writer(file.write))
            save_array(folder / "rows.npy", self._rows)
        self._note(self._scale).write(folder)

    @property
    def searches_in_one_thread(self) -> bool:
        """Whether FAISS has no threads for one query; it has for lists, and to compare all."""
        last = [*layers(self._index)][-1]
        return not isinstance(last, faiss.IndexIVF | faiss.IndexFlat)

    @property
    def joined_is_quicker(self) -> bool:
        """Whether vectors lie in lists of which a search reads some; see `JoiningIndex`."""
        return searches_lists(self._index)

    def join(self, parts: Sequence[SavedIndex], folder: Path) -> bool:
        """Write saved indexes as one, list by list or block by block; see `JoiningIndex`.

        Raises:
            UnsupportedOperation: indexes of this factory cannot be joined.
            MemoryMismatchError: a part was built with another factory.
            StoreCorruptError: a file of a part is missing or broken.
            OSError: there is no room for the files.
        """
        self._require("join")
        read = [type(self).load(part.folder, self._config) for part in parts]
        if len({index._scale for index in read}) > 1:
            return False
        models = [read_file(part.folder / "index.faiss", mmap=True) for part in parts]
        for model in models:
            tune(model, self._config.factory, self._config.search)
        joined = [
            Part(index._index, model, index._rows, part.shift, part.hidden)
            for part, index, model in zip(parts, read, models, strict=True)
        ]
        rows = write_joined(joined, folder / "index.faiss")
        if rows is None:
            return False
        save_array(folder / "rows.npy", rows)
        self._note(read[0]._scale).write(folder)
        return True

    def _note(self, scale: float | None) -> Note:
        return Note(self._config.factory, self._dim, scale)

    @classmethod
    def load(cls, folder: Path, config: FaissConfig, *, mmap: bool = True) -> Faiss:
        """Load what `save` wrote; `config.search` may differ from what it was built with.

        Raises:
            MemoryMismatchError: it was built with another factory.
            StoreCorruptError: a file is missing or broken, or FAISS's file holds more or fewer
                vectors than there are rows, or FAISS cannot read it.
        """
        note = read_note(folder, config.factory)
        path = folder / "index.faiss"
        loaded = cls.__new__(cls)
        loaded._adopt(config, note.dim, read_file(path, mmap=mmap))
        loaded._scale = note.scale
        loaded._mapped_from = path if mmap else None
        rows_path = folder / "rows.npy"
        loaded._rows = load_rows(rows_path, mmap=mmap)
        if loaded._index.ntotal != len(loaded._rows):
            raise StoreCorruptError(
                f"{path} holds {loaded._index.ntotal} vectors and {rows_path} "
                f"{len(loaded._rows)} rows, expected as many: build the memory again"
            )
        check(path, loaded._index, config.factory, note.dim, loaded._rows)
        loaded._last = int(loaded._rows.max(initial=-1))
        return loaded

    @property
    def _name(self) -> str:
        return f"index 'faiss' ({self._config.factory})"

    def _require(self, capability: str) -> None:
        if capability not in self.capabilities:
            raise UnsupportedOperation.of(self._name, capability)

    def _agree(self) -> None:
        """Raise if a change that failed in FAISS left more or fewer vectors than rows."""
        expected = len(self) - sum(map(len, self._untrained))
        if self._index.ntotal != expected:
            raise ComponentError(
                f"{self._name}: a change failed halfway, so that FAISS holds "
                f"{self._index.ntotal} vectors for {expected} rows: load the index again"
            )

    def _make_changeable(self) -> None:
        """Read a memory-mapped index again, into memory: FAISS cannot change a mapped one."""
        if self._mapped_from is not None:
            self._index = self._read_again(self._mapped_from)
            tune(self._index, self._config.factory, self._config.search)
            self._mapped_from = None

    def _read_again(self, path: Path) -> Any:
        index = read_file(path, mmap=False)
        check(path, index, self._config.factory, self._dim, self._rows)
        return index

    def _settle(self) -> None:
        """Train the index if that is due, and join the added rows to the others."""
        # Most searches have nothing to wait for; vectors that await training are new rows, too.
        if not self._new_rows and self._index.ntotal == len(self._rows):
            return
        with self._lock:
            if self._untrained:
                self._train()
            if self._new_rows:
                self._rows = np.concatenate([self._rows, *self._new_rows])
                self._new_rows = []
            self._agree()

    def _train(self) -> None:
        vectors = np.concatenate(self._untrained)
        train(self._index, vectors, self._config)
        # A transform that is learnt only now may make numbers larger.
        refuse_overflow(self._name, self._index, vectors, self._scale)
        self._index.add_with_ids(vectors, np.concatenate(self._new_rows))
        self._untrained = []


def _copy(index: Any) -> Any:
    try:
        return completed(faiss.clone_index(index))
    except RuntimeError:
        # FAISS clones fewer kinds than it writes.
        return completed(faiss.deserialize_index(faiss.serialize_index(index)))

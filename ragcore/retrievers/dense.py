"""The retriever `dense`: an encoder's vectors in an index, like the paper's DPR (section 2.2).

Owns the index, or the several that a memory has after updates (`segments.py`), and the vectors
encoded so far by a running build (`vector_journal.py`). The encoder is shared with all components
of an equal config; it is loaded only to encode a text or to tell its fingerprint.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol, runtime_checkable

import numpy as np

from ragcore.arrays import to_numpy, without_gradient
from ragcore.contracts import (
    Encoder,
    Fragments,
    SavedRetriever,
    TextTokenizer,
    TokenizedEncoder,
    TrainableEncoder,
    VectorCache,
    supports,
)
from ragcore.errors import ComponentError, UnsupportedOperation
from ragcore.registry.components import ComponentSpec
from ragcore.retrievers.configs import DenseConfig
from ragcore.retrievers.dense_files import DenseRecord, merge_saved, saved_fragments
from ragcore.retrievers.segments import Segments
from ragcore.retrievers.vector_journal import Journal
from ragcore.types import MISSING_ROW, CutPassages, Hits, Passage

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch

    from ragcore.filters.expressions import Filter
    from ragcore.types import Rows, Vectors


__all__ = ["Dense"]

_TRAINING_SIZE: Final = 100_000
"""Passages that an index is trained on which has no setting for it."""

_LOG: Final = logging.getLogger(__name__)


@runtime_checkable
class _LimitedEncoder(Protocol):
    """An encoder that knows which passages it cannot read whole."""

    def count_cut(self, passages: Sequence[Passage]) -> int:
        """Return how many passages are longer than the encoder reads."""
        ...


@runtime_checkable
class _ChoosingEncoder(Protocol):
    """An encoder whose config leaves open what its passages' vectors depend on.

    It may choose by the machine. A memory keeps what was chosen where it was built, so that its
    updates are encoded in the same way on any machine.
    """

    def chosen(self) -> Mapping[str, str]:
        """Return what was chosen; empty where a memory need not keep it."""
        ...

    @classmethod
    def with_chosen(cls, config: Any, chosen: Mapping[str, str]) -> Any:
        """Return a config of this class that encodes passages as `chosen` says.

        Args:
            config: the one in use.
            chosen: what a memory keeps; empty if it keeps nothing.
        """
        ...


class Dense:
    """A `Retriever` of an encoder and an index; scores are inner products, float32."""

    Config: ClassVar[type[DenseConfig]] = DenseConfig

    def __init__(self, config: DenseConfig) -> None:
        self._config = config
        self._index = Segments(config.index)
        self._journal: Journal | None = None
        self._cache: VectorCache | None = None
        self._added = 0
        self._cut = 0
        # What a memory keeps of its encoder; None where none is open.
        self._chosen: dict[str, str] | None = None

    @property
    def capabilities(self) -> frozenset[str]:
        """Those of its index; `add`, `cache`, `compact`, `merge`, `remove`, `scratch` in any case.

        Also `index_training`, if its index has `spawn_empty`; `tokenizer` and `trainable`, as far
        as its encoder allows.
        """
        capabilities = self._index.capabilities | {"cache", "compact", "merge", "scratch"}
        if "spawn_empty" in self._config.index.component.capabilities:
            capabilities |= {"index_training"}
        of_encoder = self._encoder_capabilities()
        if "vectors" in capabilities and "trainable" in of_encoder:
            capabilities |= {"trainable"}
        if "tokenizer" in of_encoder:
            capabilities |= {"tokenizer"}
        return capabilities - {"vectors"}

    @property
    def fingerprint(self) -> str:
        """The encoder's fingerprint."""
        return self._encoder.fingerprint

    @functools.cached_property
    def _encoder(self) -> Encoder:
        spec = self._config.encoder
        if self._chosen is not None and isinstance(spec.component, _ChoosingEncoder):
            config = spec.component.with_chosen(spec.config, self._chosen)
            spec = ComponentSpec(spec.kind, spec.use, spec.component, config, spec.secrets)
        return spec.shared()

    @property
    def tokenizer(self) -> TextTokenizer:
        """The encoder's tokenizer of passages; see `TokenizedRetriever`.

        Raises:
            UnsupportedOperation: the encoder has none.
        """
        encoder = self._encoder
        if not supports(encoder, TokenizedEncoder):
            raise UnsupportedOperation.of(f"encoder {self._config.encoder.use!r}", "tokenizer")
        return encoder.tokenizer

    @property
    def cut_passages(self) -> Sequence[CutPassages]:
        """What was added here and is longer than the encoder reads; empty where nothing is."""
        if not self._cut:
            return ()
        tokens = self.tokenizer.room("") if supports(self._encoder, TokenizedEncoder) else None
        return (CutPassages(self._config.encoder.use, self._cut, self._added, tokens),)

    def __len__(self) -> int:
        return len(self._index)

    def use_scratch(self, folder: Path) -> int:
        """Store vectors in this folder while a memory is built; see `ScratchUser`."""
        self._journal = Journal(folder, self.fingerprint, self._encoder.dim)
        self._index.use_scratch(folder / "index")
        return self._journal.passages

    def use_cache(self, cache: VectorCache) -> None:
        """Encode only texts that this cache does not have; see `CacheUser`."""
        self._cache = cache

    def add(self, rows: Rows, passages: Sequence[Passage]) -> None:
        """Encode passages and add them under rows [n].

        They are encoded in order of length, so that a batch has little padding.

        Raises:
            ComponentError: the encoder returns vectors of another shape, or that are not finite.
        """
        encoder, vectors = self._encoder, self._vectors(passages)
        # Of all, wherever their vectors come from: the warning is about the memory.
        if isinstance(encoder, _LimitedEncoder):
            self._cut += encoder.count_cut(passages)
        self._added += len(passages)
        self._index.add(rows, vectors, [passage.metadata for passage in passages])

    def search(self, questions: Sequence[str], k: int, *, allowed: Rows | None = None) -> Hits:
        """Find the k best rows of each question, [B, k].

        Raises:
            UnsupportedOperation: `allowed` is given, and the index has no capability `filter`.
        """
        if not len(self._index) or not len(questions):
            return Hits.empty(len(questions), k)
        queries = self._queries(questions)
        if allowed is None:
            return self._index.search(queries, k)
        self._require("filter")
        return self._index.search(queries, k, allowed=allowed)

    def search_where(
        self, questions: Sequence[str], k: int, where: Filter, *, allowed: Rows
    ) -> Hits:
        """Find the k best rows of each question by a filter; see `FilteringRetriever`."""
        if not len(self._index) or not len(questions):
            return Hits.empty(len(questions), k)
        return self._index.search(self._queries(questions), k, allowed=allowed, where=where)

    def _queries(self, questions: Sequence[str]) -> Vectors:
        """Return the vectors of questions, float32 [B, d]."""
        # Loaded before the block: torch is, by then, if the encoder needs it.
        encoder = self._encoder
        with without_gradient():
            encoded = encoder.encode_questions(questions)
        return self._checked(to_numpy(encoded), len(questions))

    def trained_encoder(self) -> TrainableEncoder:
        """Return the encoder of questions; see `TrainableRetriever`.

        Raises:
            UnsupportedOperation: the encoder is not `trainable`.
        """
        encoder = self._encoder
        if not supports(encoder, TrainableEncoder):
            raise UnsupportedOperation.of(f"encoder {self._config.encoder.use!r}", "trainable")
        return encoder

    def use_encoder(self, encoder: TrainableEncoder) -> None:
        """Encode questions with this encoder from now on; its vectors must fit the passages'."""
        self.__dict__["_encoder"] = encoder

    def search_with_grad(self, questions: Sequence[str], k: int) -> tuple[Hits, torch.Tensor]:
        """Find the k best rows of each question, and their scores with gradient, [B, k].

        Raises:
            UnsupportedOperation: the index does not return its vectors.
        """
        import torch

        if "vectors" not in self._index.capabilities:
            raise UnsupportedOperation(
                f"index {self._config.index.use!r} does not return its vectors, so no gradient "
                "reaches the question encoder: train with an index that does, such as "
                "{use: exact} or {use: faiss, factory: Flat}; the trained encoder serves any index "
                "of the same passage encoder"
            )
        queries = torch.as_tensor(self._encoder.encode_questions(questions))  # [B, d]
        hits = self._index.search(self._checked(to_numpy(queries), len(questions)), k)
        exists = hits.rows != MISSING_ROW  # [B, k], H hits exist
        scores = queries.new_full(hits.rows.shape, -torch.inf)  # [B, k]
        if exists.any():
            vectors = torch.from_numpy(self._index.vectors(hits.rows[exists])).to(queries)  # [H, d]
            owners = torch.from_numpy(np.nonzero(exists)[0]).to(queries.device)  # [H]
            products = (queries[owners] * vectors).sum(dim=1)  # [H]
            scores = scores.masked_scatter(torch.from_numpy(exists).to(queries.device), products)
        return hits, scores

    def remove(self, rows: Rows) -> None:
        """Remove rows, with any index.

        Raises:
            ComponentError: a row is not there; then none is removed.
        """
        self._index.remove(rows)

    def compact(self, *, join: bool = False) -> bool:
        """Leave out removed rows in the next `save`; see `CompactingRetriever` and `Segments`."""
        return self._index.compact(join=join)

    @classmethod
    def saved_fragments(cls, folder: Path, config: DenseConfig) -> Fragments:
        """Count segments and removed rows; see `CompactingRetriever`.

        Raises:
            StoreCorruptError: dense.json or a list of rows is missing or broken.
        """
        return saved_fragments(folder)

    def save(self, folder: Path) -> None:
        """Write dense.json, and the segments' indexes into index/, index-1/ and so on.

        dense.json keeps what the encoder chose, if it chooses; see `_ChoosingEncoder`.

        A warning says how many of the passages added here are longer than the encoder reads.
        """
        for cut in self.cut_passages:
            _LOG.warning("%s", cut)
        self._index.save(folder)
        shifts = tuple(self._index.shifts)
        DenseRecord(self._config.index.use, shifts, self._chosen_now()).write(folder)

    @classmethod
    def load(cls, folder: Path, config: DenseConfig, *, mmap: bool = True) -> Dense:
        """Load what `save` wrote; the index's search settings may differ from build time.

        Raises:
            MemoryMismatchError: another index wrote it.
            StoreCorruptError: dense.json is missing or broken.
        """
        record = DenseRecord.read(folder)
        record.check_index(folder, config.index.use)
        loaded = cls(config)
        loaded._chosen = record.chosen
        loaded._index = Segments.load(folder, config.index, record.shifts, mmap=mmap)
        return loaded

    def merge(self, parts: Sequence[SavedRetriever], folder: Path) -> None:
        """Write saved retrievers as one; see `MergingRetriever`.

        Each keeps its indexes, which are shared and not read; but inverted lists with the same
        training are joined.

        Raises:
            MemoryMismatchError: parts were built with another index than this retriever's, or
                their encoders chose different settings.
            StoreCorruptError: the record or a list of rows of a part is missing or broken.
        """
        merge_saved(parts, folder, self._config.index)

    @property
    def training_size(self) -> int:
        """The setting `train_size` of its index, if it has one; see `IndexTrainer`."""
        size: int = getattr(self._config.index.config, "train_size", _TRAINING_SIZE)
        return size

    def train_index(self, passages: Sequence[Passage], folder: Path) -> None:
        """Encode a sample, train an index on it, and write it; see `IndexTrainer`.

        Raises:
            UnsupportedOperation: the index has no capability `spawn_empty`.
        """
        self._require("index_training")
        self._index.train(self._vectors(passages), folder)
        DenseRecord(self._config.index.use, (0,), self._chosen_now()).write(folder)

    def use_training(self, folder: Path) -> None:
        """Take the training that `train_index` wrote; see `IndexTrainer`.

        Raises:
            MemoryMismatchError: another index wrote it.
            StoreCorruptError: a file is missing or broken.
        """
        self._require("index_training")
        DenseRecord.read(folder).check_index(folder, self._config.index.use)
        self._index.use_training(folder)

    def _vectors(self, passages: Sequence[Passage]) -> Vectors:
        """Return the vectors of passages [n, d], through the embedding cache if there is one."""
        if self._cache is None:
            return self._encode_all(passages)
        encoder = self._encoder
        return self._cache.vectors(encoder.fingerprint, encoder.dim, passages, self._encode_all)

    def _chosen_now(self) -> dict[str, str]:
        """Return what the encoder chose, if it chooses; what the memory keeps if it is not loaded.

        See `_ChoosingEncoder`.
        """
        encoder = self.__dict__.get("_encoder")
        chosen = encoder.chosen() if isinstance(encoder, _ChoosingEncoder) else self._chosen
        return dict(chosen or {})

    def _encode_all(self, passages: Sequence[Passage]) -> Vectors:
        """Return the vectors of passages [n, d], encoded in batches of similar length."""
        order = sorted(range(len(passages)), key=lambda i: len(passages[i].text))
        vectors = np.empty((len(passages), self._encoder.dim), np.float32)  # [n, d]
        size = self._config.batch_size
        for start in range(0, len(order), size):
            batch = order[start : start + size]
            vectors[batch] = self._encode([passages[i] for i in batch])
        return vectors

    def _encode(self, passages: Sequence[Passage]) -> Vectors:
        """Return the vectors of a batch [n, d], from the journal if it has them."""
        recorded = None if self._journal is None else self._journal.get(passages)
        if recorded is not None:
            if self._cache is not None:
                self._cache.resumed(len(passages))
            return recorded
        vectors = self._checked(np.asarray(self._encoder.encode_passages(passages)), len(passages))
        if self._journal is not None:
            self._journal.put(passages, vectors)
        return vectors

    def _encoder_capabilities(self) -> Set[str]:
        """Return what the encoder can do, by its class as long as it is not loaded.

        A memory that is only updated or shown loads no encoder.
        """
        encoder = self.__dict__.get("_encoder", self._config.encoder.component)
        declared = encoder.capabilities
        # A class whose instances compute them has a property here.
        return declared if isinstance(declared, Set) else self._encoder.capabilities

    def _require(self, capability: str) -> None:
        if capability not in self.capabilities:
            raise UnsupportedOperation.of(f"index {self._config.index.use!r}", capability)

    def _checked(self, vectors: npt.NDArray[Any], count: int) -> Vectors:
        """Return an encoder's vectors as float32 [count, d]; raise if they break the contract."""
        name, dim = self._config.encoder.use, self._encoder.dim
        if vectors.shape != (count, dim):
            raise ComponentError(
                f"encoder {name!r} gave vectors of shape {vectors.shape} for {count} texts: "
                f"expected ({count}, {dim})"
            )
        if not np.isfinite(vectors).all():
            raise ComponentError(
                f"encoder {name!r} gave a vector with NaN or infinity: expected finite numbers"
            )
        return vectors.astype(np.float32, copy=False)

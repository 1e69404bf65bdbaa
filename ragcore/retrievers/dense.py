"""The retriever `dense`: an encoder's vectors in an index, as the paper's DPR (section 2.2).

Owns the index, or the several that a memory has after updates (`segments.py`), and what was encoded
while a build is under way (`journal.py`). The encoder is shared with whoever else uses the same,
and is loaded only when something is to be encoded or its fingerprint is asked for.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
from pydantic import Field

from ragcore.contracts import Encoder, Index, TrainableEncoder
from ragcore.errors import (
    ComponentError,
    MemoryMismatchError,
    StoreCorruptError,
    UnsupportedOperation,
)
from ragcore.registry.components import ComponentConfig, ComponentSpec
from ragcore.retrievers.segments import Segments
from ragcore.retrievers.vector_journal import Journal
from ragcore.types import MISSING_ROW, Hits, Passage

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch

    from ragcore.types import Rows, Vectors


__all__ = ["Dense"]

ABOUT: Final = "dense.json"


class Dense:
    """See `ragcore.contracts.Retriever`; scores are inner products, float32."""

    class Config(ComponentConfig):
        """What YAML may say of `{use: dense}`."""

        encoder: ComponentSpec[Encoder] = Field(
            description="turns passages and questions into vectors"
        )
        index: ComponentSpec[Index] = Field(
            description="finds the passages' vectors of highest inner product"
        )
        batch_size: int = Field(64, ge=1, description="passages encoded at once")

    def __init__(self, config: Config) -> None:
        self._config = config
        self._index = Segments(config.index)
        self._journal: Journal | None = None

    @property
    def capabilities(self) -> frozenset[str]:
        """Those of its index; it can add and remove, whatever that can."""
        able = self._index.capabilities | {"scratch"}
        # Of its class, since a memory that is only updated or shown loads no encoder.
        encoder = self.__dict__.get("_encoder", self._config.encoder.component)
        if {"vectors"} <= able and "trainable" in encoder.capabilities:
            able |= {"trainable"}
        return able - {"vectors"}

    @property
    def fingerprint(self) -> str:
        """The encoder's."""
        return self._encoder.fingerprint

    @functools.cached_property
    def _encoder(self) -> Encoder:
        encoder: Encoder = self._config.encoder.shared()
        return encoder

    def __len__(self) -> int:
        return len(self._index)

    def use_scratch(self, folder: Path) -> int:
        """Keep vectors in this folder while a memory is built: see `ScratchUser`."""
        self._journal = Journal(folder, self.fingerprint, self._encoder.dim)
        self._index.use_scratch(folder / "index")
        return self._journal.passages

    def add(self, rows: Rows, passages: Sequence[Passage]) -> None:
        """Encode passages and add them under rows [n].

        They are encoded in the order of their length, so that a batch holds little padding.

        Raises:
            ComponentError: the encoder gives vectors of another shape, or that are not finite.
        """
        order = sorted(range(len(passages)), key=lambda at: len(passages[at].text))
        vectors = np.empty((len(passages), self._encoder.dim), np.float32)
        size = self._config.batch_size
        for start in range(0, len(order), size):
            places = order[start : start + size]
            vectors[places] = self._encoded([passages[at] for at in places])
        self._index.add(rows, vectors)

    def search(self, questions: Sequence[str], k: int, *, allowed: Rows | None = None) -> Hits:
        """The k best rows of each question, [B, k].

        Raises:
            UnsupportedOperation: `allowed` is given, and the index has no capability `filter`.
        """
        import torch

        if not len(self._index) or not len(questions):
            shape = (len(questions), k)
            return Hits(np.full(shape, MISSING_ROW, np.int64), np.full(shape, -np.inf, np.float32))
        with torch.no_grad():
            encoded = self._encoder.encode_questions(questions)
        queries = self._checked(encoded.detach().float().cpu().numpy(), len(questions))
        if allowed is None:
            return self._index.search(queries, k)
        self._require("filter")
        return self._index.search(queries, k, allowed=allowed)

    def trained_encoder(self) -> TrainableEncoder:
        """What encodes questions; see `TrainableRetriever`."""
        return cast(TrainableEncoder, self._encoder)

    def use_encoder(self, encoder: TrainableEncoder) -> None:
        """Encode questions with this from now on; its vectors must fit the passages'."""
        self.__dict__["_encoder"] = encoder

    def search_with_grad(self, questions: Sequence[str], k: int) -> tuple[Hits, torch.Tensor]:
        """The k best rows of each question, and their scores with gradient, [B, k].

        Raises:
            UnsupportedOperation: the index cannot give its vectors back, or the encoder is not
                `trainable`.
        """
        import torch

        if "vectors" not in self._index.capabilities:
            raise UnsupportedOperation(
                f"index {self._config.index.use!r} does not give its vectors back, so that no "
                "gradient reaches the question encoder: train over one that does, such as "
                "{use: exact} or {use: faiss, factory: Flat}; what is trained serves any index of "
                "the same passage encoder"
            )
        queries = self._encoder.encode_questions(questions)
        found = queries.detach().float().cpu().numpy()
        hits = self._index.search(self._checked(found, len(questions)), k)
        there = hits.rows != MISSING_ROW
        scores = queries.new_full(hits.rows.shape, -torch.inf)
        if there.any():
            vectors = torch.from_numpy(self._index.vectors(hits.rows[there])).to(queries)
            own, _ = np.nonzero(there)
            products = (queries[torch.from_numpy(own).to(queries.device)] * vectors).sum(dim=1)
            scores = scores.masked_scatter(torch.from_numpy(there).to(queries.device), products)
        return hits, scores

    def remove(self, rows: Rows) -> None:
        """Forget rows, with any index.

        Raises:
            ComponentError: a row is not there; then none is removed.
        """
        self._index.remove(rows)

    def save(self, folder: Path) -> None:
        """Write dense.json, and what the index writes into index/, index-1/, …"""
        about = {"index": self._config.index.use, "segments": self._index.save(folder)}
        (folder / ABOUT).write_text(json.dumps(about) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, config: Config, *, mmap: bool = True) -> Dense:
        """What `save` wrote; the index's search settings may differ from those at build time.

        Raises:
            MemoryMismatchError: another index wrote it.
            StoreCorruptError: dense.json is missing or broken.
        """
        try:
            about = json.loads((folder / ABOUT).read_bytes())
            # A memory of ragcore 0.1.0 has one and does not say so.
            built_by, segments = about["index"], int(about.get("segments", 1))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreCorruptError(
                f"{folder / ABOUT} cannot be read ({type(error).__name__}: {error}): rebuild this "
                "version of the memory"
            ) from error
        if built_by != config.index.use:
            raise MemoryMismatchError(
                f"{folder} was built with index {built_by!r}, but the index in use is "
                f"{config.index.use!r}: rebuild the memory or set memory.retriever.index.use to "
                f"{built_by}"
            )
        loaded = cls(config)
        loaded._index = Segments.load(folder, config.index, segments, mmap=mmap)
        return loaded

    def _encoded(self, passages: Sequence[Passage]) -> Vectors:
        """The vectors of a batch of passages, encoded once if there is a journal."""
        known = None if self._journal is None else self._journal.get(passages)
        if known is not None:
            return known
        vectors = self._checked(np.asarray(self._encoder.encode_passages(passages)), len(passages))
        if self._journal is not None:
            self._journal.put(passages, vectors)
        return vectors

    def _require(self, capability: str) -> None:
        if capability not in self.capabilities:
            raise UnsupportedOperation.of(f"index {self._config.index.use!r}", capability)

    def _checked(self, vectors: npt.NDArray[Any], count: int) -> Vectors:
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

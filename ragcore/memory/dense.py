"""The retriever `dense`: an encoder's vectors in an index, as the paper's DPR (section 2.2).

Owns the index; the encoder is shared with whoever else uses the same, and is loaded only when
something is to be encoded or its fingerprint is asked for.
"""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import numpy as np
from pydantic import Field

from ragcore.contracts import Encoder, Index
from ragcore.errors import (
    ComponentError,
    MemoryMismatchError,
    StoreCorruptError,
    UnsupportedOperation,
)
from ragcore.parts import Kind, Part, PartConfig
from ragcore.types import MISSING_ROW, Hits, Passage

if TYPE_CHECKING:
    import numpy.typing as npt

    Rows = npt.NDArray[np.int64]
    Vectors = npt.NDArray[np.float32]

__all__ = ["Dense"]

ABOUT: Final = "dense.json"


class Dense:
    """See `ragcore.contracts.Retriever`; scores are inner products, float32."""

    class Config(PartConfig):
        """What YAML may say of `{use: dense}`."""

        encoder: Annotated[Part, Kind("encoder")] = Field(
            description="turns passages and questions into vectors"
        )
        index: Annotated[Part, Kind("index")] = Field(
            description="finds the passages' vectors of highest inner product"
        )
        batch_size: int = Field(64, ge=1, description="passages encoded at once")

    def __init__(self, config: Config) -> None:
        self._config = config
        self._index: Index | None = None
        self._lock = threading.Lock()

    @property
    def capabilities(self) -> frozenset[str]:
        """Those of its index."""
        held = self._config.index.component if self._index is None else self._index
        capabilities: frozenset[str] = held.capabilities
        return capabilities

    @property
    def fingerprint(self) -> str:
        """The encoder's."""
        return self._encoder.fingerprint

    @functools.cached_property
    def _encoder(self) -> Encoder:
        encoder: Encoder = self._config.encoder.shared()
        return encoder

    def __len__(self) -> int:
        return 0 if self._index is None else len(self._index)

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
            encoded = self._encoder.encode_passages([passages[at] for at in places])
            vectors[places] = self._checked(np.asarray(encoded), len(places))
        self._built().add(rows, vectors)

    def search(self, questions: Sequence[str], k: int, *, allowed: Rows | None = None) -> Hits:
        """The k best rows of each question, [B, k].

        Raises:
            UnsupportedOperation: `allowed` is given, and the index has no capability `filter`.
        """
        import torch

        if self._index is None or not len(questions):
            shape = (len(questions), k)
            return Hits(np.full(shape, MISSING_ROW, np.int64), np.full(shape, -np.inf, np.float32))
        with torch.no_grad():
            encoded = self._encoder.encode_questions(questions)
        queries = self._checked(encoded.detach().float().cpu().numpy(), len(questions))
        if allowed is None:
            return self._index.search(queries, k)
        self._require("filter")
        return self._index.search(queries, k, allowed=allowed)

    def remove(self, rows: Rows) -> None:
        """Forget rows.

        Raises:
            UnsupportedOperation: the index has no capability `remove`.
        """
        self._require("remove")
        self._built().remove(rows)

    def save(self, folder: Path) -> None:
        """Write dense.json, and what the index writes into index/."""
        index = self._built()
        about = {"index": self._config.index.use}
        (folder / ABOUT).write_text(json.dumps(about) + "\n", encoding="utf-8")
        (folder / "index").mkdir()
        index.save(folder / "index")

    @classmethod
    def load(cls, folder: Path, config: Config, *, mmap: bool = True) -> Dense:
        """What `save` wrote; the index's search settings may differ from those at build time.

        Raises:
            MemoryMismatchError: another index wrote it.
            StoreCorruptError: dense.json is missing or broken.
        """
        try:
            about = json.loads((folder / ABOUT).read_bytes())
            built_by = about["index"]
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
        loaded._index = config.index.component.load(
            folder / "index", config.index.config, mmap=mmap
        )
        return loaded

    def _built(self) -> Index:
        with self._lock:
            if self._index is None:
                self._index = self._config.index.build(dim=self._encoder.dim)
            return self._index

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

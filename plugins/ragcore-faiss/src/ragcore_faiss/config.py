"""The config of the index `faiss`; imports no faiss, so that a file is checked without it."""

from __future__ import annotations

import re
from typing import Final

from pydantic import Field

from ragcore.registry.components import ComponentConfig

__all__ = ["FaissConfig"]


_UNTRAINED: Final = re.compile(
    r"(Flat|HNSW\d+|L2norm|IDMap2?|RFlat|SQ(fp16|bf16|8_direct(_signed)?))(,|$)"
)
"""Parts of a factory string whose index takes vectors without training."""


class FaissConfig(ComponentConfig):
    """Settings of `{use: faiss}`."""

    factory: str = Field(
        "Flat",
        description="factory string for FAISS's index_factory, with inner products; Flat is exact",
    )
    search: dict[str, int | float] = Field(
        default_factory=dict,
        description="FAISS's parameters at search time, such as {efSearch: 64} or {nprobe: 8}",
    )
    train_size: int = Field(
        100_000,
        gt=0,
        description="an index that needs training is trained on at most so many, the first added",
    )

    @property
    def needs_training(self) -> bool:
        """Whether the index is trained before it takes vectors, as far as the factory's name tells.

        A part of an unknown name counts as one that is trained.
        """
        return bool(_UNTRAINED.sub("", self.factory))

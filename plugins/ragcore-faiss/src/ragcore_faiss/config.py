"""The config of the index `faiss`; imports no faiss, so that a file is checked without it."""

from __future__ import annotations

from pydantic import Field

from ragcore.registry.components import ComponentConfig

__all__ = ["FaissConfig"]


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

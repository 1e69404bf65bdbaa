"""The config of the index `hnswlib`; imports no hnswlib, so that a file is checked without it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ragcore.registry.components import ComponentConfig

__all__ = ["HnswlibConfig"]


class HnswlibConfig(ComponentConfig):
    """Settings of `{use: hnswlib}`."""

    space: Literal["ip", "cosine"] = Field("ip", description="the score: inner product or cosine")
    m: int = Field(16, ge=2, le=512, description="neighbours of a vector in the graph")
    ef_construction: int = Field(
        200, ge=1, description="candidates considered for each vector while the graph is built"
    )
    ef_search: int = Field(
        64, ge=1, description="candidates that a search considers; k if that is more"
    )
    seed: int = Field(100, ge=0, description="of the vectors' levels in the graph")
    threads: int = Field(
        0, ge=0, description="threads of a call; 0 for all. With 1 the graph is the same each time"
    )

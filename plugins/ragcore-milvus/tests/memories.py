"""Small memories in Milvus, and what is left of them there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pymilvus import MilvusClient
from ragcore_milvus.config import MilvusConfig
from ragcore_milvus.index import Milvus

from ragcore.disk.remote import RemotePointer, pointers_below
from ragcore.registry.components import ComponentSpec
from ragcore.retrievers.dense import Dense
from ragcore.types import Passage
from tests.helpers.word_encoder import NumpyWordEncoder

__all__ = ["PASSAGES", "collections", "dense_part", "named", "vectors"]

PASSAGES = [Passage(f"p{n}", "", f"text {n} of w{n % 7}") for n in range(40)]


def vectors(count: int, dim: int = 16, seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)


def dense_part(uri: str, database: str = "", **settings: Any) -> ComponentSpec[Any]:
    """Return the spec of a dense retriever whose index is a Milvus."""
    config = MilvusConfig(uri=uri, database=database, **settings)
    encoder = ComponentSpec("encoder", "words", NumpyWordEncoder, NumpyWordEncoder.Config())
    index = ComponentSpec("index", "milvus", Milvus, config)
    return ComponentSpec("retriever", "dense", Dense, Dense.Config(encoder=encoder, index=index))


def collections(uri: str, database: str) -> set[str]:
    """Return the collections in a database, but for that which gives the database its name."""
    client = MilvusClient(uri, db_name=database)
    names = set(client.list_collections())
    client.close()
    return {name for name in names if not name.startswith("ragcore_database_")}


def named(folder: Path) -> set[str]:
    """Return the collections that pointers below a folder name."""
    return {RemotePointer.read(each).name for each in pointers_below(folder)}

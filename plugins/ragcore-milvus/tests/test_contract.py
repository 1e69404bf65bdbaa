"""`milvus` keeps the contract of an index, by both methods, on a real server."""

from __future__ import annotations

import pytest
from ragcore_milvus.config import MilvusConfig
from ragcore_milvus.index import Milvus

from ragcore.registry.components import ComponentSpec
from ragcore.testing import IndexSuite

pytestmark = pytest.mark.engines


def made(uri: str, **settings: object) -> ComponentSpec:
    return ComponentSpec("index", "milvus", Milvus, MilvusConfig(uri=uri, **settings))


class TestExact(IndexSuite):
    recall = 1.0
    # Milvus takes seconds to load a collection.
    sequences = 2

    @pytest.fixture
    def component(self, uri: str) -> ComponentSpec:
        return made(uri)


class TestGraph(IndexSuite):
    count = 200

    @pytest.fixture
    def component(self, uri: str) -> ComponentSpec:
        return made(uri, method="hnsw")

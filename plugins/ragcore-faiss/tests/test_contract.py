"""`faiss` keeps the contract of an index, whatever its factory makes."""

from __future__ import annotations

import pytest
from ragcore_faiss.index import Faiss

from ragcore.registry.components import ComponentSpec
from ragcore.testing import IndexSuite


def made(**settings: object) -> ComponentSpec:
    return ComponentSpec("index", "faiss", Faiss, Faiss.Config(**settings))


class TestFlat(IndexSuite):
    recall = 1.0

    @pytest.fixture
    def component(self) -> ComponentSpec:
        return made()


class TestGraph(IndexSuite):
    count = 200

    @pytest.fixture(params=["HNSW32", "HNSW32_SQ8", "HNSW32,RFlat"])
    def component(self, request: pytest.FixtureRequest) -> ComponentSpec:
        return made(factory=request.param, search={"efSearch": 64})


class TestInvertedLists(IndexSuite):
    count = 200

    @pytest.fixture(params=["IVF4,Flat", "IVF4,SQ8", "IVF4_HNSW8,Flat"])
    def component(self, request: pytest.FixtureRequest) -> ComponentSpec:
        return made(factory=request.param, search={"nprobe": 3})


class TestScalarQuantizer(IndexSuite):
    count = 200

    @pytest.fixture(params=["SQ8", "SQfp16", "SQ8,RFlat"])
    def component(self, request: pytest.FixtureRequest) -> ComponentSpec:
        return made(factory=request.param)


class TestShortCodes(IndexSuite):
    count = 200
    recall = 0.3

    @pytest.fixture(params=["PQ4x4", "PQ4x4fs", "IVF4,PQ4x4", "RaBitQ", "IVF4,RaBitQ", "PCA12,SQ8"])
    def component(self, request: pytest.FixtureRequest) -> ComponentSpec:
        search = {"nprobe": 4} if "IVF" in request.param else {}
        return made(factory=request.param, search=search)

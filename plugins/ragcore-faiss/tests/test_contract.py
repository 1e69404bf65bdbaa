"""`faiss` keeps the contract of an index, whatever its factory makes."""

from __future__ import annotations

import pytest
from ragcore_faiss.index import Faiss

from ragcore.parts import Part
from ragcore.testing import IndexSuite


def made(**settings: object) -> Part:
    return Part("index", "faiss", Faiss, Faiss.Config(**settings))


class TestFlat(IndexSuite):
    recall = 1.0

    @pytest.fixture
    def component(self) -> Part:
        return made()


class TestHnsw(IndexSuite):
    count = 200

    @pytest.fixture
    def component(self) -> Part:
        return made(factory="HNSW32", search={"efSearch": 64})


class TestIvf(IndexSuite):
    count = 200

    @pytest.fixture
    def component(self) -> Part:
        return made(factory="IVF4,Flat", search={"nprobe": 3})


class TestScalarQuantizer(IndexSuite):
    count = 200

    @pytest.fixture
    def component(self) -> Part:
        return made(factory="SQ8")


class TestProductQuantizer(IndexSuite):
    count = 200
    recall = 0.5

    @pytest.fixture
    def component(self) -> Part:
        return made(factory="PQ8x4")

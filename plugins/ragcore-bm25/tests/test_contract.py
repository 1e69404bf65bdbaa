"""`bm25` keeps the contract of a retriever, in each variant."""

from __future__ import annotations

import pytest
from ragcore_bm25.retriever import Bm25

from ragcore.registry.components import ComponentSpec
from ragcore.testing import RetrieverSuite


class TestBm25(RetrieverSuite):
    variants = ({"stemmer": None}, {"stopwords": None})

    @pytest.fixture
    def component(self) -> ComponentSpec:
        return ComponentSpec("retriever", "bm25", Bm25, Bm25.Config())


class TestFuzzy(RetrieverSuite):
    variants = ({"stemmer": None},)

    @pytest.fixture
    def component(self) -> ComponentSpec:
        return ComponentSpec("retriever", "bm25", Bm25, Bm25.Config(fuzzy=1))


class TestBm25Plus(RetrieverSuite):
    variants = ({"stemmer": "german"},)

    @pytest.fixture
    def component(self) -> ComponentSpec:
        return ComponentSpec("retriever", "bm25", Bm25, Bm25.Config(variant="bm25+", stemmer=None))

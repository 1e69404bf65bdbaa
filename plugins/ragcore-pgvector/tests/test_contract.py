"""`pgvector` keeps the contract of an index, on a real server."""

from __future__ import annotations

from typing import Any

import pytest

from ragcore.registry.components import ComponentSpec
from ragcore.testing import IndexSuite

pytestmark = pytest.mark.engines


class TestExact(IndexSuite):
    recall = 1.0

    @pytest.fixture
    def component(self, made: Any) -> ComponentSpec[Any]:
        return made()


class TestGraph(IndexSuite):
    @pytest.fixture
    def component(self, made: Any) -> ComponentSpec[Any]:
        return made(method="hnsw")


class TestHalf(IndexSuite):
    # Sixteen bits have no number of 3,000 times 3,000, nor one of 1e-7 times 1e-7.
    lengths = (100.0, 0.01)

    @pytest.fixture
    def component(self, made: Any) -> ComponentSpec[Any]:
        return made(half=True)

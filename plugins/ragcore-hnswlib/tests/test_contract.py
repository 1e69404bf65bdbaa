"""`hnswlib` keeps the contract of an index."""

from __future__ import annotations

import pytest

from ragcore.registry.components import ComponentSpec
from ragcore.testing import IndexSuite

hnswlib = pytest.importorskip("ragcore_hnswlib.index", reason="hnswlib needs a compiler to install")


class TestInnerProduct(IndexSuite):
    count = 200

    @pytest.fixture(params=[{}, {"m": 4, "ef_search": 100}])
    def component(self, request: pytest.FixtureRequest) -> ComponentSpec:
        config = hnswlib.Hnswlib.Config(threads=1, **request.param)
        return ComponentSpec("index", "hnswlib", hnswlib.Hnswlib, config)

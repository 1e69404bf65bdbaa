"""A `SimpleRetriever` that prepares statistics passes the suite of retrievers."""

from __future__ import annotations

import pytest

from ragcore.testing import RetrieverSuite
from tests.helpers.rarity import Rarity


class TestRarity(RetrieverSuite):
    variants = ({"lower": False},)

    @pytest.fixture
    def component(self) -> type[Rarity]:
        return Rarity

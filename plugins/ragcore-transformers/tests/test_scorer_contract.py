"""The scorer of this package keeps its contract, on a tiny random model."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_models as tiny
from ragcore_transformers.cross_encoder import CrossEncoder

from ragcore.registry.components import ComponentSpec
from ragcore.testing import ScorerSuite


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_cross_encoder(tmp_path_factory.mktemp("cross"))


class TestCrossEncoder(ScorerSuite):
    @pytest.fixture
    def component(self, folder: Path) -> ComponentSpec:
        config = CrossEncoder.Config(model=str(folder), batch_size=8)
        return ComponentSpec("scorer", "cross-encoder", CrossEncoder, config)

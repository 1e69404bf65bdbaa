"""The scorers of this package keep their contract, on tiny random models."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_models as tiny
from ragcore_transformers.cross_encoder import CrossEncoder
from ragcore_transformers.late_interaction import LateInteraction

from ragcore.registry.components import ComponentSpec
from ragcore.testing import ScorerSuite


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_cross_encoder(tmp_path_factory.mktemp("cross"))


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_late_interaction(tmp_path_factory.mktemp("late"))


class TestCrossEncoder(ScorerSuite):
    @pytest.fixture
    def component(self, folder: Path) -> ComponentSpec:
        config = CrossEncoder.Config(model=str(folder), batch_size=8)
        return ComponentSpec("scorer", "cross-encoder", CrossEncoder, config)


class TestLateInteraction(ScorerSuite):
    @pytest.fixture
    def component(self, tokens: Path) -> ComponentSpec:
        config = LateInteraction.Config(model=str(tokens), batch_size=8)
        return ComponentSpec("scorer", "late-interaction", LateInteraction, config)

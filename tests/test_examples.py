"""Every pipeline file of the project loads."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragcore.config import load_config

ROOT = Path(__file__).parents[1]
PIPELINES = [
    *(ROOT / "examples").rglob("*.yaml"),
    *(ROOT / "experiments").glob("*.yaml"),
    *(ROOT / "plugins").glob("*/src/**/*.yaml"),
]


def test_there_are_pipelines():
    assert len(PIPELINES) >= 2


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.name)
def test_a_pipeline_loads(path: Path):
    config = load_config(path)
    assert config.generator is not None
    assert config.memory.corpus is not None

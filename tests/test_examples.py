"""Every pipeline file and every experiment file of the project loads."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from ragcore.config import load_config
from ragcore.experiments.loading import load_experiment
from tests.helpers.development_data import write_development_data

ROOT = Path(__file__).parents[1]
EXPERIMENTS = ROOT / "experiments"
FILES = [
    *(ROOT / "examples").rglob("*.yaml"),
    *EXPERIMENTS.glob("*.yaml"),
    *(ROOT / "plugins").glob("*/src/**/*.yaml"),
]
EXPERIMENT_FILES = [
    path for path in FILES if re.search("^experiment:", path.read_text("utf-8"), re.MULTILINE)
]
PIPELINES = [path for path in FILES if path not in EXPERIMENT_FILES]
SEARCHED_ONLY = {EXPERIMENTS / f"{name}.yaml" for name in ("cranfield", "vaswani", "nq")}


def test_there_are_files():
    assert len(PIPELINES) >= 2
    assert len(EXPERIMENT_FILES) >= 2


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.name)
def test_a_pipeline_loads(path: Path, monkeypatch):
    monkeypatch.setenv("RAG_DSN", "host=db.example")
    config = load_config(path)
    assert (config.generator is None) == (path in SEARCHED_ONLY)
    assert config.memory.corpus is not None


@pytest.mark.parametrize("path", EXPERIMENT_FILES, ids=lambda path: path.name)
def test_an_experiment_loads(path: Path, tmp_path, script):
    """With data of the same form in its place, as the files name data that users do not have."""
    for file in path.parent.glob("*.yaml"):
        shutil.copy(file, tmp_path)
    write_development_data(tmp_path / "data")
    script("data").write_retrieval(tmp_path / "data", tmp_path / "work" / "retrieval")
    experiment = load_experiment(tmp_path / path.name)
    assert len(experiment.systems) >= 2
    assert experiment.questions.read()

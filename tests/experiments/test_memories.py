"""Memories that are missing are built into the output folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ragcore.cli import main
from ragcore.config import load_config
from ragcore.errors import ConfigError, StoreError
from ragcore.evaluation.report import QuestionSource
from ragcore.experiments.running import run_systems
from ragcore.experiments.systems import Experiment, System
from tests.conftest import Installed
from tests.experiments.project import RETRIEVAL, write_rows

DENSE = """\
ragcore: 1
memory:
  store: store
  corpus: {use: jsonl, path: passages.jsonl}
  cache: {folder: cache}
  retriever: {use: dense, encoder: {use: words}, index: {use: exact}}
"""


@pytest.fixture
def folder(installed: Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    installed.add("words", "from tests.helpers.word_encoder import ragcore_encoders\n")
    monkeypatch.delenv("RAGCORE_CACHE")
    (tmp_path / "dense.yaml").write_text(DENSE, encoding="utf-8")
    write(tmp_path, ("chad", "mali", "niger"))
    row = {"id": "q", "question": "who rules chad", "relevance": {"chad": 1}}
    write_rows(tmp_path / "questions.jsonl", [row])
    return tmp_path


def write(folder: Path, lands: tuple[str, ...]) -> None:
    rows = [{"id": land, "title": land, "text": f"{land} is ruled"} for land in lands]
    write_rows(folder / "passages.jsonl", rows)


def experiment(folder: Path, *overrides: str, build: bool = True) -> Experiment:
    path = folder / "dense.yaml"
    system = System("dense", path, overrides, load_config(path, overrides))
    questions = QuestionSource(folder / "questions.jsonl")
    return Experiment(
        name="test",
        systems=(system,),
        questions=questions,
        metrics=("hit@1",),
        baseline="dense",
        output=folder / "results",
        build=build,
        cost_questions=0,
    )


def test_encodings_are_counted_and_shared_by_the_cache(folder):
    first = run_systems(experiment(folder))
    assert (first.counters.encodings, first.counters.encodings_shared) == (3, 0)
    again = run_systems(experiment(folder))
    assert again.runs[0].reused
    assert again.counters.encodings == 0
    write(folder, ("chad", "mali", "niger", "peru"))
    changed = run_systems(experiment(folder))
    # Another corpus is another memory; three of its passages were encoded before.
    assert (changed.counters.encodings, changed.counters.encodings_shared) == (1, 3)
    assert not changed.runs[0].reused


def test_a_run_names_the_store_that_was_built(folder):
    run = run_systems(experiment(folder)).runs[0]
    record = json.loads((run.folder / "run.json").read_text(encoding="utf-8"))
    (store,) = (folder / "results" / "memories").iterdir()
    assert record["overrides"] == [f"memory.store={json.dumps(str(store))}"]


def test_without_build_or_corpus_a_missing_memory_is_an_error(folder):
    with pytest.raises(StoreError, match="system 'dense': "):
        run_systems(experiment(folder, build=False))
    with pytest.raises(ConfigError, match=r"system 'dense': .*no corpus"):
        run_systems(experiment(folder, "memory.corpus=null"))


def test_missing_memories_are_built_once_for_a_sweep(project):
    shutil.rmtree(project.folder / "store")
    systems = [project.system(f"k1={k1}", f"memory.retriever.k1={k1}") for k1 in (0.5, 1.5)]
    stemmed = project.system("plain", "memory.retriever.stemmer=null")
    experiment = project.experiment(*systems, stemmed, **RETRIEVAL, build=True)
    run = run_systems(experiment)
    assert len(list((project.output / "memories").iterdir())) == 2
    assert not (project.folder / "store").exists()
    assert main(["replay", str(run.runs[0].folder)]) == 0
    again = run_systems(experiment)
    assert all(each.reused for each in again.runs)
    assert json.loads((run.runs[2].folder / "run.json").read_text(encoding="utf-8"))["memory"]


def test_a_memory_built_with_other_settings_is_built_again(project):
    plain = project.system("plain", "memory.retriever.stemmer=null")
    run = run_systems(project.experiment(project.system("own"), plain, **RETRIEVAL, build=True))
    assert len(list((project.output / "memories").iterdir())) == 1
    assert run.runs[0].report.memory == "v1"

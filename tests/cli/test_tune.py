"""`ragcore tune`: what it prints, and what it writes into the pipeline's file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ragcore.cli import main
from ragcore.config import load_config
from tests.helpers.tuning_project import PIPELINE, make_tuning_project

K1 = "memory.retriever.k1"
TUNE = [
    *("tune", "pipeline.yaml", "--dev", "dev.jsonl", "--test", "test.jsonl"),
    *("--metric", "mrr@2"),
]


@pytest.fixture(scope="module")
def made_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tuning")
    make_tuning_project(folder)
    return folder


@pytest.fixture
def folder(made_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(made_folder, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def test_tune_shows_trials_and_both_test_figures(folder, capsys):
    assert main([*TUNE, "--sweep", f"{K1}=16,0.5"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "chosen on the dev questions 3 trials, 8 questions, higher is better"
    assert lines[2] == f"{K1}=0.5 1.0000 1.0000–1.0000"
    assert lines[3].startswith("as it is 0.5000")
    assert "difference +0.5000 [+0.5000, +0.5000], p = 0.0078" in lines
    assert lines[-1] == f"{K1}=0.5"
    assert Path("pipeline.yaml").read_text(encoding="utf-8") == PIPELINE


def test_write_changes_the_settings_in_the_file_and_nothing_else(folder, capsys):
    assert main([*TUNE, "--sweep", f"{K1}=0.5", "--write", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["chosen"]["settings"] == {K1: 0.5}
    assert row["written"] == "pipeline.yaml"
    assert row["test"]["comparison"]["difference"] == 0.5
    text = Path("pipeline.yaml").read_text(encoding="utf-8")
    assert text == PIPELINE.replace("k1: 8.0", "k1: 0.5")


def test_write_to_writes_another_file(folder, capsys):
    assert main([*TUNE, "--sweep", f"{K1}=0.5", "--write-to", "tuned.yaml"]) == 0
    assert "written into tuned.yaml" in capsys.readouterr().out
    assert Path("pipeline.yaml").read_text(encoding="utf-8") == PIPELINE
    assert load_config("tuned.yaml") == load_config("pipeline.yaml", [f"{K1}=0.5"])


def test_settings_that_are_not_better_are_not_written(folder, capsys):
    assert main([*TUNE, "--sweep", f"{K1}=16", "--write"]) == 0
    out = capsys.readouterr().out
    assert "nothing changes" in out
    assert "written" not in out
    assert Path("pipeline.yaml").read_text(encoding="utf-8") == PIPELINE


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sweep", "memory.retriever.k2=1"], "unknown key"),
        (["--sweep", f"{K1}=1", "--trials", "3"], "name one"),
        (["--sweep", f"{K1}=1", "--write", "rag.k=3"], "another pipeline"),
        (["--sweep", f"{K1}=1", "--write", "--write-to", "x.yaml"], "one of the two"),
        (["--sweep", f"{K1}=1", "--write-to", "none/x.yaml"], "create it first"),
        (["--sweep", f"{K1}=1", "--test", "dev.jsonl"], "are one file"),
        (["--sweep", f"{K1}=1", "--output", "dev.jsonl"], "is a file"),
    ],
)
def test_faults_are_found_before_anything_is_computed(folder, arguments, message, capsys):
    assert main([*TUNE, *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not Path("tuning").exists()

"""A run is used again only as it was written; what is damaged is named, with what to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ragcore.disk.atomic import sha256
from ragcore.errors import ConfigError, StoreError
from ragcore.experiments.running import run_systems
from ragcore.experiments.systems import Experiment
from tests.experiments.project import RETRIEVAL, Project

ADVICE = r"remove \S+, or run the experiment with --fresh$"


@pytest.fixture
def experiment(project: Project) -> Experiment:
    return project.experiment(project.system("one"), **RETRIEVAL)


@pytest.fixture
def folder(experiment: Experiment) -> Path:
    return run_systems(experiment).runs[0].folder


def reordered(lines: list[str]) -> list[str]:
    return [lines[1], lines[0], *lines[2:]]


def renamed(lines: list[str]) -> list[str]:
    return [lines[0].replace('"id": "q0"', '"id": "other"'), *lines[1:]]


def shortened(lines: list[str]) -> list[str]:
    return lines[:-1]


CHANGES = {
    shortened: r"69 predictions, and 70 questions",
    renamed: r"prediction 1 is of question 'other', expected 'q0'",
    reordered: r"prediction 1 is of question 'q1', expected 'q0'",
}


def change(path: Path, how: Callable[[list[str]], list[str]]) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("".join(f"{line}\n" for line in how(lines)), encoding="utf-8")


@pytest.mark.parametrize("how", CHANGES)
@pytest.mark.parametrize("forged", [False, True])
def test_predictions_of_other_questions_are_refused(experiment, folder, how, forged):
    path = folder / "predictions.jsonl"
    change(path, how)
    if forged:
        record = json.loads((folder / "experiment.json").read_text("utf-8"))
        record["files"]["predictions.jsonl"] = sha256(path)
        (folder / "experiment.json").write_text(json.dumps(record), "utf-8")
    with pytest.raises(ConfigError, match=f"predictions\\.jsonl: {CHANGES[how]}: {ADVICE}"):
        run_systems(experiment)
    assert not run_systems(experiment, fresh=True).runs[0].reused
    assert run_systems(experiment).runs[0].reused


def test_predictions_with_other_numbers_are_refused(experiment, folder):
    path = folder / "predictions.jsonl"
    change(path, lambda lines: [lines[0].replace('"scores": [', '"scores": [NaN, ', 1), *lines[1:]])
    with pytest.raises(ConfigError, match=f"system 'one': .*jsonl:1: .*ranking: .*{ADVICE}"):
        run_systems(experiment)
    row = json.loads(path.read_text("utf-8").splitlines()[1])
    row["ranking"]["scores"][0] = float("nan")
    shutil.rmtree(folder)
    run_systems(experiment)
    change(path, lambda lines: [lines[0], json.dumps(row), *lines[2:]])
    with pytest.raises(ConfigError, match=rf"predictions\.jsonl: was changed .*{ADVICE}"):
        run_systems(experiment)


def test_a_run_of_another_system_is_refused(project):
    systems = project.system("one"), project.system("two", "memory.retriever.k1=0.3")
    experiment = project.experiment(*systems, **RETRIEVAL)
    one, two = (run.folder for run in run_systems(experiment).runs)
    shutil.rmtree(one)
    shutil.copytree(two, one)
    with pytest.raises(ConfigError, match=rf"of another run \(system 'two'\): {ADVICE}"):
        run_systems(experiment)


@pytest.mark.parametrize("text", ["", "garbage", "{}"])
def test_a_damaged_run_json_is_found_before_anything_is_computed(project, experiment, folder, text):
    (folder / "run.json").write_text(text, encoding="utf-8")
    changed = project.system("two", "memory.retriever.k1=0.3")
    more = replace(experiment, systems=(*experiment.systems, changed))
    with pytest.raises(ConfigError, match=rf"run\.json: was changed .*{ADVICE}"):
        run_systems(more)
    assert list(project.output.glob("runs/*")) == [folder]


@pytest.mark.parametrize("name", ["run.json", "predictions.jsonl"])
def test_a_run_that_lacks_a_file_is_made_again(experiment, folder, name):
    (folder / name).unlink()
    assert not run_systems(experiment).runs[0].reused
    assert run_systems(experiment).runs[0].reused


@pytest.mark.parametrize("text", ["", "{}", "\udcff"])
def test_a_damaged_record_says_what_to_do_and_fresh_does_it(experiment, folder, text):
    (folder / "experiment.json").write_text(text, "utf-8", errors="surrogateescape")
    with pytest.raises(ConfigError, match=ADVICE) as raised:
        run_systems(experiment)
    assert ": :" not in str(raised.value)
    assert not run_systems(experiment, fresh=True).runs[0].reused


def test_a_damaged_record_of_another_run_stops_nothing(project, folder):
    (folder / "experiment.json").write_text("{", encoding="utf-8")
    other = project.experiment(project.system("two", "memory.retriever.k1=0.3"), **RETRIEVAL)
    assert run_systems(other).runs


def test_a_file_where_a_run_is_written_is_refused(experiment, folder):
    shutil.rmtree(folder)
    folder.write_text("mine", encoding="utf-8")
    for fresh in (False, True):
        with pytest.raises((ConfigError, StoreError), match=f"{folder.name}"):
            run_systems(experiment, fresh=fresh)
    assert folder.read_text(encoding="utf-8") == "mine"

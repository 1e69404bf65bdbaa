"""What a system costs is measured in a process of its own."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ragcore.errors import ComponentError, ConfigError
from ragcore.experiments.alone import peak_bytes
from ragcore.experiments.cost import measure_cost, recorded_cost
from ragcore.experiments.resources import Pipeline
from ragcore.experiments.running import run_systems
from tests.experiments.project import RETRIEVAL, Project


def test_costs_are_measured_and_used_again(project: Project):
    experiment = project.experiment(project.system("one"), **RETRIEVAL, cost_questions=2)
    ballast = b"x" * (300 << 20)
    run = run_systems(experiment).runs[0]
    cost = run.cost
    assert cost is not None
    assert cost.questions == 2
    assert 0 < cost.seconds < 10
    assert 0 < cost.cpu_seconds < 10
    # Of the new process: this one is larger.
    assert cost.peak_bytes is not None
    assert 10 << 20 < cost.peak_bytes < len(ballast)
    assert run_systems(experiment).runs[0].cost == cost
    depth = run.report.depth
    assert recorded_cost(run.folder, 2, depth) == cost
    assert recorded_cost(run.folder, 3, depth) is None
    # The run serves a search that is less deep, which costs less.
    assert recorded_cost(run.folder, 2, 10) is None
    assert run_systems(replace(experiment, cost_questions=0)).runs[0].cost is None
    (run.folder / "cost.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"cost\.json: asked"):
        run_systems(experiment)


def test_a_process_that_fails_says_why(project: Project):
    lost = Pipeline(project.folder / "lost.yaml", ())
    with pytest.raises(ComponentError, match=r"ended with 1: (?s:.*)lost\.yaml"):
        measure_cost(lost, ["who"], 1, project.folder, depth=1)


@pytest.mark.parametrize(
    ("name", "value"),
    [("seconds", -1.0), ("seconds", float("nan")), ("cpu_seconds", float("inf")), ("questions", 0)],
)
def test_a_cost_that_nothing_can_have_is_refused(tmp_path, name, value):
    cost = {"questions": 2, "seconds": 0.1, "cpu_seconds": 0.1, "peak_bytes": 9, name: value}
    row = {"asked": 2, "cost": cost, "depth": None}
    (tmp_path / "cost.json").write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"cost\.{name} is .*: remove it, and the cost is"):
        recorded_cost(tmp_path, 2, None)


def test_what_is_no_cost_says_so(tmp_path):
    (tmp_path / "cost.json").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"cost\.json: the value: Invalid JSON"):
        recorded_cost(tmp_path, 2, None)


def test_the_table_stands_where_a_cost_cannot_be_measured(project: Project):
    experiment = project.experiment(project.system("one"), **RETRIEVAL)
    run_systems(experiment)
    for path in (project.folder / "store" / "versions" / "v1" / "retriever").iterdir():
        path.unlink()
    run = run_systems(replace(experiment, cost_questions=2))
    assert run.runs[0].reused
    assert run.runs[0].cost is None
    (note,) = [each for each in run.warnings if "cost is not known" in each]
    assert note.startswith("one: the cost is not known: ")
    assert "retriever" in note
    assert "Traceback" not in note
    assert "\n" not in note


def test_this_process_has_had_a_largest_size():
    before = peak_bytes()
    assert before is not None
    block = b"x" * (before + (16 << 20))
    after = peak_bytes()
    assert after is not None
    assert after >= len(block)

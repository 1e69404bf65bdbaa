"""What a system costs is measured in a process of its own."""

from __future__ import annotations

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


def test_this_process_has_had_a_largest_size():
    before = peak_bytes()
    assert before is not None
    block = b"x" * (before + (16 << 20))
    after = peak_bytes()
    assert after is not None
    assert after >= len(block)

"""Test the table of an experiment: columns, thresholds, factors, and what is known of each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ragcore.errors import MetricError
from ragcore.evaluation.confidence import at_threshold
from ragcore.evaluation.figures import Figure
from ragcore.evaluation.report import Report
from ragcore.experiments.results import Cost, Counters
from ragcore.experiments.tabulating import make_results
from tests.helpers.experiment_runs import (
    made_experiment,
    made_prediction,
    made_report,
    made_run,
)


def confident(*rows: tuple[float, bool]) -> Report:
    predictions = [
        made_prediction(str(number), "a", confidence=confidence, correct=correct, log_prob=-1.0)
        for number, (confidence, correct) in enumerate(rows)
    ]
    return made_report(
        {"exact_match": [float(correct) for _, correct in rows]}, predictions=predictions
    )


def test_columns_are_the_experiments_metrics_or_else_those_of_the_runs():
    one = made_run("one", made_report({"f1": [0.0, 1.0], "hit@1": [1.0, 1.0]}))
    other = made_run("other", made_report({"hit@1": [0.0, 1.0], "log_prob": [-1.0, -2.0]}))
    results = make_results(made_experiment(one, other))
    assert results.metrics == ("f1", "hit@1", "log_prob")
    assert results.better == dict.fromkeys(results.metrics, "higher")
    assert results.baseline.comparisons == {}
    assert list(results.systems[1].comparisons) == ["hit@1"]
    absent = results.systems[1].figures["f1"]
    assert (absent.value, absent.questions, absent.by_question) == (None, 0, (None, None))
    named = make_results(made_experiment(one, other, metrics=["hit@1"]))
    assert named.metrics == ("hit@1",)


def test_the_baseline_may_be_any_system_and_must_be_one():
    runs = [
        made_run(name, made_report({"f1": [score]})) for name, score in (("a", 0.0), ("b", 1.0))
    ]
    results = make_results(made_experiment(*runs, baseline="b"))
    assert [row.run.system.name for row in results.systems] == ["a", "b"]
    assert results.systems[0].comparisons["f1"].difference == -1.0
    assert results.systems[1].comparisons == {}
    with pytest.raises(MetricError, match="no run of the baseline 'c' among 'a', 'b'"):
        make_results(made_experiment(*runs, baseline="c"))


def test_a_metric_that_failed_has_its_error_and_no_comparison():
    failed = Figure("f1", None, None, None, 0, "ValueError: no", (None, None))
    report = made_report({"f1": [0.0, 1.0]})
    broken = Report(report.predictions, (failed,), "v")
    results = make_results(made_experiment(made_run("a", report), made_run("b", broken)))
    assert results.systems[1].figures["f1"].error == "ValueError: no"
    assert results.systems[1].comparisons == {}


def test_the_threshold_is_of_the_dev_questions_and_reported_on_the_others():
    dev = confident((0.9, True), (0.8, True), (0.5, False), (0.4, True))
    test = confident((0.85, False), (0.81, True), (0.6, True))
    unsure = confident((0.9, False), (0.8, False))
    results = make_results(
        made_experiment(
            made_run("a", test, dev=dev),
            made_run("b", test, dev=unsure),
            made_run("c", test),
            risk=0.1,
        )
    )
    first, second, third = (row.abstaining for row in results.systems)
    assert (first.target, first.threshold) == (0.1, 0.8)
    assert (first.dev_risk, first.dev_coverage) == at_threshold(dev.predictions, 0.8) == (0.0, 0.5)
    assert (first.risk, first.coverage) == (0.5, pytest.approx(2 / 3))
    assert (second.threshold, second.dev_risk, second.risk, second.coverage) == (
        None,
        None,
        None,
        0,
    )
    assert third is None
    assert make_results(made_experiment(made_run("a", test, dev=dev))).systems[0].abstaining is None


def grid_of(version_answers: dict[tuple[str, str], list[str]]):
    """Make a run for each system and version, with its answers."""
    return [
        made_run(
            f"{name}, version={version}",
            made_report({"f1": [float(answer == "x") for answer in answers]}, answers=answers),
            {"system": name, "memory.version": version},
        )
        for (name, version), answers in version_answers.items()
    ]


def test_levels_of_a_factor_have_the_mean_of_their_systems():
    runs = grid_of(
        {
            ("a", "old"): ["x", "x", "y"],
            ("a", "new"): ["x", "z", "The Y."],
            ("b", "old"): ["x", "y", "y"],
            ("b", "new"): ["y", "x", "y"],
        }
    )
    levels = make_results(made_experiment(*runs)).factors
    assert [(level.factor, level.level, level.systems) for level in levels] == [
        ("system", "a", 2),
        ("system", "b", 2),
        ("memory.version", "old", 2),
        ("memory.version", "new", 2),
    ]
    assert [level.means["f1"] for level in levels] == pytest.approx([3 / 6, 2 / 6, 3 / 6, 2 / 6])
    # Once normalised the third answer of a is the same: one of three, and two of three of b.
    assert [level.changed_answers for level in levels] == [None, None, 0.0, 3 / 6]


def test_a_level_has_no_mean_where_a_system_has_no_figure():
    runs = [
        made_run(
            f"{name}, k={k}",
            made_report({"f1": [score], "hit@1": [1.0]}),
            {"system": name, "rag.k": k},
        )
        for name, k, score in (("a", 1, 0.2), ("b", 1, None), ("a", 5, 0.4), ("b", 5, 0.8))
    ]
    results = make_results(made_experiment(*runs, warnings=("doubtful",)))
    means = [dict(level.means) for level in results.factors if level.factor == "rag.k"]
    assert means == [{"hit@1": 1.0}, {"f1": pytest.approx(0.6), "hit@1": 1.0}]
    assert results.warnings == (
        "doubtful",
        "no mean of f1 for system=b: 'b, k=1' of its 2 systems have no figure",
        "no mean of f1 for rag.k=1: 'b, k=1' of its 2 systems have no figure",
    )


def test_versions_are_compared_only_where_nothing_else_differs():
    runs = grid_of({("a", "old"): ["x"], ("b", "new"): ["y"]})
    levels = make_results(made_experiment(*runs)).factors
    assert [(level.factor, level.changed_answers) for level in levels] == [
        ("memory.version", 0.0),
        ("memory.version", None),
    ]


def test_levels_that_are_lists_or_look_alike_are_told_apart():
    runs = [
        made_run(str(level), made_report({"f1": [1.0]}), {"system": "a", "key": level})
        for level in (1, True, "1", [1, 2], None)
    ]
    levels = make_results(made_experiment(*runs)).factors
    assert [level.level for level in levels] == [1, True, "1", [1, 2], None]


def test_a_factor_of_one_level_is_none_and_systems_alone_are_the_rows():
    runs = [
        made_run(name, made_report({"f1": [1.0]}), {"system": name, "rag.k": 5}) for name in "ab"
    ]
    assert make_results(made_experiment(*runs)).factors == ()


def test_results_are_plain_json_without_single_questions():
    runs = grid_of({("a", "old"): ["x", "y"], ("a", "new"): ["y", "y"]})
    cost = Cost(20, 0.5, 1.0, None)
    levels = {"system": "timed", "odd": float("inf"), "path": Path("/x")}
    timed = made_run("timed", made_report({"f1": [0.0, 0.5]}), levels, cost=cost)
    run = made_experiment(
        *runs, timed, warnings=("few questions",), counters=Counters(pairs_read=7)
    )
    table = make_results(run).to_dict()
    text = json.dumps(table, allow_nan=False)
    assert json.loads(text) == table
    assert table["method"]["correction"].startswith("Holm's")
    assert "paired randomisation test" in table["method"]["test"]
    assert table["warnings"] == ["few questions"]
    assert table["counters"]["pairs_read"] == 7
    assert table["questions"]["count"] == 2
    assert table["metrics"] == [{"name": "f1", "better": "higher"}]
    first, second, third = table["systems"]
    assert first["figures"]["f1"]["value"] == 0.5
    assert second["comparisons"]["f1"]["p"] == 1.0
    assert second["folder"] == "/out/runs/slug"
    assert third["cost"] == {
        "questions": 20,
        "seconds": 0.5,
        "cpu_seconds": 1.0,
        "peak_bytes": None,
    }
    assert third["factors"] == {"system": "timed", "odd": None, "path": "/x"}
    assert "by_question" not in text
    assert [
        level["level"] for level in table["factors"] if level["factor"] == "memory.version"
    ] == [
        "old",
        "new",
    ]

"""Test an experiment's results in a terminal: every figure is shown, no name is markup."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from itertools import chain, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from ragcore.evaluation.figures import Figure
from ragcore.experiments.results import Abstaining, Cost, Counters, FactorLevel, Results
from ragcore.experiments.tabulating import make_results
from ragcore.views.experiment import results_view
from ragcore.views.tables import time_text
from tests.helpers.experiment_runs import made_experiment, made_report, made_run

METRICS = ("nDCG@10", "R@100", "hit@1", "log_prob")


def results(metrics=METRICS, names=("bm25", "dense", "worse")) -> Results:
    runs = [
        made_run(
            name,
            made_report({metric: [level] * 8 for metric in metrics}),
            {"system": "all", "rag.k": number},
            cost=Cost(20, 0.5, 1.5, 12_000_000) if number else None,
        )
        for number, (name, level) in enumerate(zip(names, (0.5, 0.75, 0.25), strict=True))
    ]
    counters = Counters(searches=1, pairs_read=1200, pairs_shared=40, questions_resumed=3)
    return make_results(
        made_experiment(*runs, name="cranfield", counters=counters, warnings=("ties in a run",))
    )


def shown(table: Results, width: int = 80) -> str:
    console = Console(file=StringIO(), width=width)
    console.print(results_view(table))
    return console.file.getvalue()


def line_of(text: str, *words: str) -> str:
    return next(line for line in text.splitlines() if all(word in line for word in words))


def test_three_systems_and_four_metrics_fit_in_eighty_columns():
    text = shown(results())
    assert all(len(line) <= 80 for line in text.splitlines())
    assert line_of(text, "system", "nDCG@10").split() == ["system", *METRICS]
    assert line_of(text, "bm25", "0.5000").split() == ["1", "bm25", *["0.5000"] * 4]
    assert line_of(text, "dense", "▲").split() == ["2", "dense", *["0.7500", "▲"] * 4]
    assert line_of(text, "worse", "▼").split() == ["3", "worse", *["0.2500", "▼"] * 4]
    assert "▲ better, ▼ worse, ◆ different from the baseline" in text


def test_each_metric_is_compared_with_the_baseline():
    text = shown(results(METRICS[:2]))
    assert text.count("against bm25; higher is better") == 2
    assert "report.html" not in text
    row = line_of(text, "dense", "+0.2500 ▲")
    expected = "dense +0.2500 ▲ +0.2500 to +0.2500 0.0078 0.0156 – 8/0/0"
    assert row.split() == expected.split()
    assert "0/0/8" in line_of(text, "worse", "-0.2500 ▼")
    assert "questions that both have: 8" in text


def test_many_comparisons_are_those_of_the_first_metric_and_the_files_are_named():
    text = shown(results(METRICS[:3]))
    assert text.count("against bm25; higher is better") == 1
    assert line_of(text, "against bm25").startswith("nDCG@10 ")
    assert "comparisons in R@100, hit@1: in results.csv and report.html" in text
    # The figures of all metrics are there, with their marks.
    assert line_of(text, "dense", "▲").split() == ["2", "dense", *["0.7500", "▲"] * 3]


def test_metrics_that_do_not_fit_are_in_several_tables():
    metrics = [f"hit@{k}" for k in range(1, 13)]
    heads = [line for line in shown(results(metrics)).splitlines() if "system  " in line]
    figures = [line.split()[1:] for line in heads if "hit@" in line]
    assert len(figures) > 1
    assert list(chain(*figures)) == metrics
    wide = [line for line in shown(results(metrics), 400).splitlines() if "hit@" in line]
    assert wide[0].split()[1:] == metrics


def test_costs_levels_counters_and_warnings_are_shown():
    text = shown(results())
    assert "not measured" in line_of(text, "bm25", "measured")
    assert line_of(text, "12.0 MB").split() == [
        "dense",
        "500",
        "ms",
        "1.50",
        "s",
        "12.0",
        "MB",
        "20",
    ]
    assert line_of(text, "rag.k").split() == ["rag.k", "systems", *METRICS]
    assert "1 question searched for; 1,200 pairs read, 40 shared; 3 resumed" in text
    assert "warning: ties in a run" in text


def test_nothing_done_leaves_no_blank_line():
    table = replace(results(), counters=Counters(), warnings=())
    lines = [line.strip() for line in shown(table).splitlines()]
    assert lines[-1]
    assert ("", "") not in pairwise(lines)
    lines = [line.strip() for line in shown(replace(table, warnings=("late",))).splitlines()]
    assert lines[-2:] == ["", "warning: late"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (3e-9, "0.00300 µs"),
        (7.366e-05, "73.7 µs"),
        (0.0009994, "999 µs"),
        (0.0009996, "1.00 ms"),
        (0.01, "10.0 ms"),
        (0.012, "12.0 ms"),
        (0.9999, "1.00 s"),
        (1.336, "1.34 s"),
        (99.99, "100 s"),
        (1234.5, "1,234 s"),
    ],
)
def test_a_time_has_three_digits_and_a_unit_that_suits_it(seconds, text):
    assert time_text(seconds) == text


@given(st.floats(1e-7, 1e6))
def test_a_time_is_what_its_text_says(seconds):
    count, unit = time_text(seconds).split()
    length = {"µs": 1e-6, "ms": 1e-3, "s": 1.0}[unit]
    assert float(count.replace(",", "")) * length == pytest.approx(seconds, rel=0.005)
    assert len(count.replace(",", "").replace(".", "").lstrip("0")) >= 3
    # The largest unit of which there is one.
    assert unit == "s" or float(count) < 1000


def test_a_level_is_written_as_yaml():
    index = {"use": "exact", "normalize": True}
    level = FactorLevel("memory.retriever.index", index, 2, {"f1": 0.5})
    text = shown(replace(results(("f1",)), factors=(level, replace(level, level="1"))))
    assert line_of(text, "{use").startswith("{use: exact, normalize: true}  ")
    assert line_of(text, "1   ", "0.5000  ").startswith("1")


def test_abstaining_is_shown_with_its_target():
    table = results()
    first, second, third = table.systems
    chosen = Abstaining(0.1, 0.625, 0.08, 0.5, 0.125, 0.4)
    never = Abstaining(0.1, None, None, 0.0, None, 0.0)
    rows = (replace(first, abstaining=chosen), replace(second, abstaining=never), third)
    text = shown(replace(table, systems=rows))
    assert "for a risk of 10%" in text
    assert line_of(text, "0.6250").split() == ["bm25", "0.6250", "8.0%", "50.0%", "12.5%", "40.0%"]
    assert line_of(text, "none keeps to it").split()[-4:] == ["–", "0.0%", "–", "0.0%"]


def test_a_failed_figure_has_its_error_and_a_missing_one_a_dash():
    table = results(("f1", "hit@1"))
    failed = Figure("f1", None, None, None, 0, "ValueError: no such thing", ())
    absent = Figure("hit@1", None, None, None, 0, None, ())
    last = replace(table.systems[2], figures={"f1": failed, "hit@1": absent}, comparisons={})
    text = shown(replace(table, systems=(*table.systems[:2], last)))
    assert line_of(text, "worse", "failed").split() == ["3", "worse", "failed", "–"]
    assert "worse, f1: ValueError: no such thing" in text
    assert "none" in line_of(text, "worse", "none")


def test_a_metric_without_a_better_direction_is_marked_as_different():
    table = results(("log_prob",))
    text = shown(replace(table, better={"log_prob": "neither"}))
    assert "0.7500 ◆" in text
    assert "▲" not in text.split("◆ different")[0].split("▲ better")[0]


def test_one_system_alone_is_compared_with_none():
    text = shown(make_results(made_experiment(made_run("only", made_report({"f1": [1.0, 0.0]})))))
    assert "0.5000" in text
    assert "against" not in text
    assert "better" not in text


def test_no_name_is_markup_and_no_control_character_is_shown():
    text = shown(results(names=("[red]bm25[/]", "a\nb", "\x1b[2Jc\x9b\u202e")), 200)
    assert "[red]bm25[/]" in text
    assert "a b" in text
    assert "␛[2Jc" in text
    assert not {"\x1b", "\x9b", "\u202e"} & set(text)


def test_long_names_are_folded_and_figures_whole():
    text = shown(results(names=("bm25", "x" * 200, "worse")))
    assert all(len(line) <= 80 for line in text.splitlines())
    assert text.count("x") >= 200
    assert "0.7500 ▲" in text


def test_comparisons_call_systems_by_their_numbers_where_names_do_not_fit():
    long = "bm25, k1=0.9, b=0.4, version=2016-11"
    table = results(names=("bm25", long, "worse"))
    assert line_of(shown(table), "+0.2500 to").split()[0] == "2"
    assert line_of(shown(table, 120), "+0.2500 to").startswith(long)

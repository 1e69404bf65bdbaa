"""Test an experiment's results in a terminal: every figure is shown, no name is markup."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from itertools import chain

from rich.console import Console

from ragcore.evaluation.figures import Figure
from ragcore.experiments.results import Abstaining, Cost, Counters, Results
from ragcore.experiments.tabulating import make_results
from ragcore.views.experiment import results_view
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
    text = shown(results())
    assert text.count("against bm25; higher is better") == 4
    row = line_of(text, "dense", "+0.2500 ▲")
    expected = "dense +0.2500 ▲ +0.2500 to +0.2500 0.0078 0.0156 – 8/0/0"
    assert row.split() == expected.split()
    assert "0/0/8" in line_of(text, "worse", "-0.2500 ▼")
    assert "questions that both have: 8" in text


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
    assert line_of(text, "12.0 MB").split() == ["dense", "0.5000", "1.5000", "12.0", "MB", "20"]
    assert line_of(text, "rag.k").split() == ["rag.k", "systems", *METRICS]
    assert "1 question searched for; 1,200 pairs read, 40 shared; 3 resumed" in text
    assert "warning: ties in a run" in text


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

"""Test the files of an experiment's results: JSON, CSV and LaTeX, with names of any kind."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragcore.errors import StoreError
from ragcore.experiments.results import Cost, Results
from ragcore.experiments.tabulating import make_results
from ragcore.experiments.writing import (
    CSV,
    JSON,
    LATEX,
    latex_text,
    results_csv,
    results_latex,
    write_results,
)
from tests.helpers.experiment_runs import made_experiment, made_report, made_run

HOSTILE = 'a, "b"\n\\input{x}_$&#%~^[1]'
ZEROS, ONES = [0.0] * 8, [1.0] * 8


def results(name: str = HOSTILE) -> Results:
    baseline = made_run("bm25", made_report({"nDCG@10": ZEROS, "log_prob": [-1.0] * 8}))
    system = made_run(
        name,
        made_report({"nDCG@10": ONES, "log_prob": [-1.0] * 8}),
        {"system": name, "memory.retriever.k1": [0.9, 1.2]},
        cost=Cost(20, 0.25, 0.5, 1000),
    )
    return make_results(made_experiment(baseline, system, name="100 % of_it"))


LATEX_OF_RESULTS = r"""% Needs \usepackage{booktabs}.
\begin{table}
\centering
\caption{100 \% of\_it: 8 questions. The best figure of each metric is bold. $^{\dagger}$ differs from bm25 (paired randomisation test, two-sided; Holm's correction over the systems of a metric; $p < 0.05$).}
\begin{tabular}{lrr}
\toprule
System & nDCG@10 & log\_prob \\
\midrule
bm25 & 0.0000 & \textbf{$-$1.0000} \\
a, \char34{}b\char34{} \textbackslash{}input\{x\}\_\$\&\#\%\textasciitilde{}\textasciicircum{}{[}1] & \textbf{1.0000}$^{\dagger}$ & \textbf{$-$1.0000} \\
\bottomrule
\end{tabular}
\end{table}
"""  # noqa: E501


def test_the_latex_of_results():
    assert results_latex(results()) == LATEX_OF_RESULTS


@given(st.text())
def test_no_character_of_a_name_is_a_command_in_latex(name):
    text = latex_text(name)
    commands = set(re.findall(r"\\([A-Za-z0-9]+|.)", text, re.DOTALL))
    allowed = {"textbackslash", "textasciicircum", "textasciitilde", "textless", "textgreater"}
    allowed |= {"textbar", "textasciigrave", "char34", *"{}$&#_%"}
    assert commands <= allowed
    plain = re.sub(r"\\([A-Za-z]+\d*|.)", "", text)
    assert not set('$&#_%~^<>|"`\n') & set(plain)
    # Braces are in pairs.
    assert plain.count("{") == plain.count("}")
    assert not re.search(r"--|,,|''", plain)


def test_the_best_is_the_lowest_where_lower_is_better_and_none_where_neither_is():
    table = results()
    lower = results_latex(replace(table, better={"nDCG@10": "lower", "log_prob": "neither"}))
    assert r"bm25 & \textbf{0.0000} & $-$1.0000 \\" in lower


def test_csv_has_a_row_for_each_system_and_metric(tmp_path):
    write_results(results(), tmp_path)
    with (tmp_path / CSV).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["system"], row["baseline"], row["metric"]) for row in rows] == [
        ("bm25", "yes", "nDCG@10"),
        ("bm25", "yes", "log_prob"),
        (HOSTILE, "no", "nDCG@10"),
        (HOSTILE, "no", "log_prob"),
    ]
    assert rows[0] == {
        **dict.fromkeys(rows[0], ""),
        "system": "bm25",
        "baseline": "yes",
        "metric": "nDCG@10",
        **{"value": "0.0", "low": "0.0", "high": "0.0", "questions": "8"},
        "factor:system": "bm25",
        "folder": "/out/runs/slug",
    }
    assert rows[2] == {
        **dict.fromkeys(rows[0], ""),
        "system": HOSTILE,
        "baseline": "no",
        "metric": "nDCG@10",
        **{"value": "1.0", "low": "1.0", "high": "1.0", "questions": "8"},
        **{"difference": "1.0", "difference_low": "1.0", "difference_high": "1.0"},
        **{"p": str(2 / 2**8), "p_holm": str(2 / 2**8)},
        **{"wins": "8", "ties": "0", "losses": "0", "compared_questions": "8"},
        **{"seconds": "0.25", "cpu_seconds": "0.5", "peak_bytes": "1000"},
        "factor:system": HOSTILE,
        "factor:memory.retriever.k1": "[0.9, 1.2]",
        "folder": "/out/runs/slug",
    }


@given(st.text(st.characters(exclude_categories=())))
def test_any_name_comes_back_from_csv(name):
    file = io.StringIO(results_csv(results(f"x{name}")), newline="")
    named = [row["system"] for row in csv.DictReader(file) if row["baseline"] == "no"]
    (shown,) = set(named)
    # But for the apostrophes before what may be formulas.
    assert re.sub("(?<=[;\t\r\n])'(?= *[=+\\-@\uff1d\uff0b\uff0d\uff20])", "", shown) == re.sub(
        "(?<=[;\t\r\n])'(?= *[=+\\-@\uff1d\uff0b\uff0d\uff20])", "", f"x{name}"
    )
    assert shown.startswith("x")


FORMULA = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"


@pytest.mark.parametrize("first", FORMULA)
def test_no_text_in_csv_is_a_formula_and_numbers_stay_numbers(first):
    name = f"{first}cmd|' /C calc'!A0"
    table = results(name)
    failed = replace(table.systems[0].figures["nDCG@10"], value=None, error=f"{first}1 failed")
    rows = (replace(table.systems[0], figures={f"{first}m": failed}), table.systems[1])
    rows[1].figures[f"{first}m"] = failed
    table = replace(table, systems=rows, metrics=(f"{first}m",))
    row = list(csv.DictReader(io.StringIO(results_csv(table), newline="")))[1]
    assert row["system"] == row["factor:system"] == f"'{name}"
    assert row["metric"] == f"'{first}m"
    assert row["error"] == f"'{first}1 failed"
    number = list(csv.DictReader(io.StringIO(results_csv(results()), newline="")))[1]
    assert number["value"] == "-1.0"


@pytest.mark.parametrize("separator", ";\t\n\r")
@pytest.mark.parametrize("space", ["", "  "])
def test_no_formula_begins_within_a_text_by_another_separator(separator, space):
    text = results_csv(results(f"a{separator}{space}=1+1"))
    assert f"a{separator}'{space}=1+1" in text
    assert f"{separator}{space}=" not in text
    # What is between other characters stays.
    assert "k1=-1; b" in results_csv(results("a, k1=-1; b"))


def test_levels_in_csv_are_numbers_or_yaml():
    levels = [0.5, -1, True, None, {"use": "exact"}, "-1"]
    runs = [
        made_run(f"s{index}", made_report({"f1": ONES}), {"system": "s", "key": level})
        for index, level in enumerate(levels)
    ]
    without = made_run("last", made_report({"f1": ONES}), {"system": "last"})
    text = results_csv(make_results(made_experiment(*runs, without)))
    shown = [row["factor:key"] for row in csv.DictReader(io.StringIO(text, newline=""))]
    assert shown == ["0.5", "-1", "true", "null", "{use: exact}", "'-1", ""]


def test_the_json_is_the_table(tmp_path):
    table = results("caf\u00e9 \udc80")
    write_results(table, tmp_path / "new")
    text = (tmp_path / "new" / JSON).read_text(encoding="utf-8")
    assert json.loads(text) == table.to_dict()
    assert "caf\u00e9 \\udc80" in text
    assert "caf\u00e9 ?" in (tmp_path / "new" / LATEX).read_text(encoding="utf-8")


def test_all_files_are_replaced_or_none(tmp_path: Path):
    write_results(results("one"), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(before) == {JSON, CSV, LATEX}
    (tmp_path / LATEX).unlink()
    (tmp_path / LATEX).mkdir()
    with pytest.raises(StoreError, match=r"results\.tex is a folder"):
        write_results(results("other"), tmp_path)
    assert (tmp_path / JSON).read_bytes() == before[JSON]
    assert (tmp_path / CSV).read_bytes() == before[CSV]
    assert set(before) == {path.name for path in tmp_path.iterdir()}

"""`ragcore memory plan`: tables, JSON, and options that are refused."""

from __future__ import annotations

import json
import re

import pytest

from ragcore.cli import main
from ragcore.planning.layout import INDEX_KINDS

PLAN = ["memory", "plan", "--passages", "1000000", "--cores", "2"]


def test_a_plan_shows_each_stage_with_its_sources(capsys):
    assert main([*PLAN, "--index", "ivf", "--encoder", "minilm", "--workers", "4"]) == 0
    printed = capsys.readouterr().out
    assert "1,000,000 passages, IVF4096,SQ8, 768 dimensions, encoder minilm; 4 machines" in printed
    for stage in ("encode", "train", "build", "merge", "open", "search", "update"):
        assert f"\n{stage} " in printed
    assert "[1] measured: benchmarks/scale.py at " in printed
    assert "formula: " in printed


def test_json_has_every_figure_with_its_sources(capsys):
    assert main([*PLAN, "--index", "bm25", "--price", "2", "--json"]) == 0
    (plan,) = json.loads(capsys.readouterr().out)["plans"]
    assert plan["cost"] == pytest.approx(2 * plan["hours"])
    build = next(stage for stage in plan["stages"] if stage["name"] == "build")
    assert build["seconds"]["value"] == pytest.approx(plan["seconds"])
    assert build["seconds"]["sources"][0].startswith("measured: ")


def test_several_indexes_are_compared_in_a_row_each(capsys):
    arguments = ["--index", "flat", "--index", "bm25", "--index", "flat", "--encoder", "minilm"]
    assert main([*PLAN, *arguments]) == 0
    printed = capsys.readouterr().out
    assert [line.split()[0] for line in printed.splitlines()[:3]] == ["index", "flat", "bm25"]
    assert main([*PLAN, "--index", "all", "--encoder", "minilm", "--json"]) == 0
    plans = json.loads(capsys.readouterr().out)["plans"]
    assert [plan["task"]["kind"] for plan in plans] == list(INDEX_KINDS)


def test_a_comparison_says_what_its_columns_are_and_notes_only_these(capsys):
    kinds = ("pgvector", "milvus", "flat")
    arguments = [argument for kind in kinds for argument in ("--index", kind)]
    options = ["--encoder", "minilm", "--ram", "0.1"]
    assert main([*PLAN, *arguments, *options]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    columns = printed[: printed.index(" pgvector ")]
    for column in ("memory", "search", "mapped", "at peak"):
        assert column in columns
        assert re.search(rf"[B;] {column}: ", printed)
    # Nobody has measured how long these take in a database, and no column is of opening or updates.
    assert "milvus: the times of build and search are not measured in Milvus" in printed
    assert not re.search(r"note: [^:]+: [^:]*\b(open|update)\b", printed)
    assert "note: flat: encode, build need up to" in printed
    # One plan shows all of its stages.
    assert main([*PLAN, "--index", "pgvector", *options]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "note: the times of open and update are not measured in PostgreSQL" in printed


def test_what_does_not_fit_is_noted(capsys):
    assert main([*PLAN, "--encoder", "minilm", "--ram", "0.5"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert re.search(r"note: .*build.* GB of memory, and a machine has 0\.5 GB: choose", printed)


NUMBERS = ("passages", "dim", "cores", "gpus", "workers")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--index", "ifv"], "did you mean 'ivf'?"),
        (["--index", "flat"], "name an encoder with --encoder: "),
        (["--index", "flat", "--encoder", "dpr"], "no rate of encoder 'dpr' on processors"),
        (["--index", "bm25", "--rates", "none.json"], "none.json: the rates cannot be read"),
        (
            ["--index", "bm25", "--text-bytes", "inf"],
            "text_bytes is no number to plan",
        ),
        (["--index", "bm25", "--text-bytes", "1e10"], "text_bytes is 1e+10: expected 1 to"),
        (["--index", "bm25", "--price", "inf"], "price is no number to plan with"),
        *(
            (["--index", "all", f"--{name}", "9" * 400], f"{name} is no number to plan")
            for name in NUMBERS
        ),
        (["--index", "all", "--passages", "3", "--workers", "4"], "workers is 4, and there are 3"),
    ],
)
def test_a_faulty_option_is_an_error(arguments, message, capsys):
    assert main([*PLAN, *arguments]) == 2
    assert message in " ".join(capsys.readouterr().err.split())

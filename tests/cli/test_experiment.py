"""`ragcore experiment`: what it prints and writes, and its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import ragcore
from ragcore.cli import main
from tests.cli.test_compare import pipeline  # noqa: F401 (a fixture)
from tests.cli.test_evaluate import BROKEN

EXPERIMENT = """\
experiment: 1
questions: q.jsonl
systems:
  token: pipeline.yaml
  sequence: {pipeline: pipeline.yaml, set: {rag.marginalize: sequence}}
grid: {memory.version: [old, new]}
metrics: [exact_match, hit@1]
cost: 0
"""


@pytest.fixture
def file(pipeline: Path) -> Path:  # noqa: F811
    path = pipeline.parent / "exp.yaml"
    path.write_text(EXPERIMENT, encoding="utf-8")
    return path


def test_a_table_is_printed_and_results_are_written(
    capsys: pytest.CaptureFixture[str], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    assert main(["experiment", str(file)]) == 0
    out = capsys.readouterr().out
    for name in ("token, version=old", "sequence, version=new", "memory.version", "exact_match"):
        assert name in out
    assert out.endswith("\nwritten to results\n")
    written = {path.name for path in (file.parent / "results").iterdir()}
    assert {"results.json", "results.csv", "results.tex", "report.html", "runs"} <= written
    assert len(list((file.parent / "results" / "runs").glob("*/run.json"))) == 4
    page = (file.parent / "results" / "report.html").read_text("utf-8")
    assert "token, version=old" in page


def test_json_is_that_of_the_file_and_of_python(
    capsys: pytest.CaptureFixture[str], file: Path
) -> None:
    assert main(["experiment", str(file), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    written = json.loads((file.parent / "results" / "results.json").read_text("utf-8"))
    assert printed == written
    results = ragcore.experiment(file)
    assert all(row.run.reused for row in results.systems)
    assert [row.figures["hit@1"].value for row in results.systems] == [0.75] * 4
    assert [row["system"] for row in printed["systems"]] == [
        row.run.system.name for row in results.systems
    ]


def test_the_runs_of_a_system_are_those_of_eval(
    capsys: pytest.CaptureFixture[str],
    pipeline: Path,  # noqa: F811
    file: Path,
) -> None:
    assert main(["experiment", str(file), "--limit", "3", "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    questions = str(file.parent / "q.jsonl")
    command = ["eval", str(pipeline), questions, "--limit", "3", "--metric", "exact_match"]
    assert main([*command, "memory.version=old", "--json"]) == 0
    (figure,) = json.loads(capsys.readouterr().out)["metrics"]
    assert results["systems"][0]["figures"]["exact_match"]["value"] == figure["value"]


def test_options_are_enough(
    capsys: pytest.CaptureFixture[str],
    pipeline: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(pipeline.parent)
    options = ["--questions", "q.jsonl", "--metric", "hit@1", "--retrieval", "--cost", "0"]
    command = ["experiment", "--system", "one=pipeline.yaml", "--sweep", "memory.version=old,new"]
    assert main([*command, *options, "--output", "out", "--baseline", "one, version=new"]) == 0
    assert "baseline one, version=new" in capsys.readouterr().out
    assert (pipeline.parent / "out" / "results.json").is_file()


def test_a_fault_ends_it_before_anything_is_written(
    capsys: pytest.CaptureFixture[str], file: Path
) -> None:
    assert main(["experiment", str(file), "--sweep", "rag.q=1", "--metric", "hiit@1"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("option 'sweep rag.q=1': systems 'token', 'sequence': unknown key")
    assert lines[1].startswith("option 'metric hiit@1': unknown metric 'hiit'")
    assert not (file.parent / "results").exists()


def test_a_metric_that_fails_is_in_the_table_and_the_exit_code(
    capsys: pytest.CaptureFixture[str], file: Path, installed
) -> None:
    installed.add("broken", BROKEN)
    assert main(["experiment", str(file), "--metric", "broken", "--metric", "hit@1"]) == 1
    assert "it broke" in capsys.readouterr().out


def test_faults_are_found_without_loading_a_model(file: Path) -> None:
    program = (
        "import sys\n"
        "from ragcore.cli import main\n"
        f"code = main(['experiment', {str(file)!r}, '--baseline', 'none'])\n"
        "heavy = {'torch', 'transformers', 'matplotlib'} & set(sys.modules)\n"
        "print(code, sorted(heavy))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "2 []\n", done.stderr

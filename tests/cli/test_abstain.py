"""A pipeline's file with a scorer of `rag.abstain`: checked, asked, shown and written back."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from ragcore.cli import main
from ragcore.config import load_config
from tests.cli.test_memory import PIPELINE, built, pipeline  # noqa: F401
from tests.conftest import Installed

PLUGIN = """
from ragcore import hookimpl


@hookimpl
def ragcore_generators():
    return {"table": "tests.helpers.table_generator:TableGenerator"}


@hookimpl
def ragcore_scorers():
    return {"mentioned": "tests.helpers.table_answerability:TableAnswerability"}
"""
ABSTAIN = "rag: {k: 2, abstain: {answer: not here, above: %s, scorer: {use: mentioned, seed: 3}}}\n"


@pytest.fixture
def abstaining(built: Path, installed: Installed) -> Path:  # noqa: F811
    installed.add("table", PLUGIN)
    text = PIPELINE.replace("rag: {k: 2}\n", ABSTAIN % "0.97")
    assert "abstain" in text
    built.write_text(f"{text}generator: {{use: table}}\n", encoding="utf-8")
    return built


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert code == 0, err
    return out


def test_the_scorer_is_checked_and_filled_in_like_any_component(abstaining, capsys):
    assert "mentioned" in run(capsys, "check", abstaining)
    filled = run(capsys, "fill", abstaining)
    path = abstaining.with_name("filled.yaml")
    path.write_text(filled, encoding="utf-8")
    assert load_config(path).rag.abstain == load_config(abstaining).rag.abstain
    assert main(["check", str(abstaining), "rag.abstain.scorer.seeds=1"]) == 2
    assert "did you mean 'seed'" in capsys.readouterr().err
    assert main(["check", str(abstaining), "rag.abstain.scorer.use=mention"]) == 2
    assert "'mentioned'" in capsys.readouterr().err


def test_p_unknown_is_in_the_json_and_on_the_terminal(abstaining, capsys):
    row = json.loads(run(capsys, "ask", abstaining, "word4", "--json"))
    assert row["abstention"]["text"] == "not here"
    assert not row["abstains"]
    p = math.exp(row["abstention"]["log_prob"])
    shown = run(capsys, "ask", abstaining, "word4")
    bound = "abstains above 0.97 the answer's p is given that a passage answers"
    assert f"p(not here) = {p:.2f}; {bound}" in " ".join(shown.split())
    geometric = run(capsys, "ask", abstaining, "word4", "rag.abstain.mean=geometric", "--json")
    abstention = json.loads(geometric)["abstention"]
    assert (abstention["mean"], abstention["above"]) == ("geometric", 0.97)
    assert abstention["log_prob"] == row["abstention"]["log_prob"]
    shown = run(capsys, "ask", abstaining, "word4", "rag.abstain.mean=geometric")
    mean = math.exp(abstention["log_mean"])
    assert mean < p
    assert f"= {p:.2f}, by the geometric mean {mean:.2f}; {bound}" in " ".join(shown.split())
    above = "rag.abstain.above=0.01"
    row = json.loads(run(capsys, "ask", abstaining, "word4", above, "--json"))
    assert row["abstains"]
    assert (row["text"], row["log_prob"]) == ("not here", pytest.approx(math.log(p)))
    out = run(capsys, "ask", abstaining, "word4", above)
    assert "not here" in out
    assert f"p(not here) = {p:.2f}; abstains above 0.01\n" in out


def test_what_is_left_out_and_verified_needs_no_more(abstaining, capsys):
    row = json.loads(run(capsys, "ask", abstaining, "word4", "--json"))
    passage = row["evidence"][0]["passage"]["id"]
    out = run(capsys, "ask", abstaining, "word4", "--without", passage, "--json")
    winner = json.loads(out)["without"]["winner"]
    assert winner["abstention"]["log_prob"] != row["abstention"]["log_prob"]
    assert json.loads(run(capsys, "verify", abstaining, "word4", "--json"))["holds"]
    above = "rag.abstain.above=0.01"
    assert json.loads(run(capsys, "verify", abstaining, "word4", above, "--json"))["holds"]

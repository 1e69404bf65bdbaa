"""Commands on a pipeline whose generator gives texts alone, or tops: what they show, and refuse."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path

import pytest

from ragcore.cli import main
from ragcore.registry.discovery import registry

PIPELINE = """\
ragcore: 1
memory: {store: store, corpus: {use: jsonl, path: rows.jsonl}, retriever: {use: bm25}}
generator: {use: word-chooser}
rag: {k: 2}
"""
EXPERIMENT = """\
experiment: 1
questions: {path: questions.jsonl}
systems:
  score: {pipeline: p.yaml, set: {generator.tier: score}}
  top: {pipeline: p.yaml, set: {generator.tier: top}}
  text: {pipeline: p.yaml}
cost: 1
"""
ROWS = [
    {"id": "1", "title": "Mali", "text": "Bamako is the capital of Mali"},
    {"id": "2", "title": "Peru", "text": "Lima is the capital of Peru"},
]
QUESTIONS = [
    {"question": "What is the capital of Mali?", "answers": ["Bamako"]},
    {"question": "What is the capital of Peru?", "answers": ["Lima"]},
]
QUESTION = QUESTIONS[0]["question"]


def write(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tiers")
    info = folder / "site" / "ragcore_words-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ragcore-words\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ragcore]\nwords = tests.helpers.word_chooser\n")
    (folder / "p.yaml").write_text(PIPELINE)
    (folder / "e.yaml").write_text(EXPERIMENT)
    write(folder / "rows.jsonl", ROWS)
    write(folder / "questions.jsonl", QUESTIONS)
    return folder


@pytest.fixture
def folder(made, tmp_path, monkeypatch):
    shutil.copytree(made, tmp_path / "made")
    monkeypatch.chdir(tmp_path / "made")
    monkeypatch.syspath_prepend(tmp_path / "made" / "site")
    importlib.invalidate_caches()
    registry.cache_clear()
    assert main(["memory", "build", "p.yaml", "--version", "v1"]) == 0
    yield tmp_path / "made"
    registry.cache_clear()


def test_ask_shows_votes_and_no_probability(folder, capsys):
    assert main(["ask", "p.yaml", QUESTION, "--html", "a.html"]) == 0
    shown = capsys.readouterr().out
    assert "bamako" in shown
    assert "log p not known" in shown
    assert "votes " in shown
    assert '"tier":"text"' in (folder / "a.html").read_text().replace(": ", ":")
    assert main(["ask", "p.yaml", QUESTION, "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    row = row[0] if isinstance(row, list) else row
    assert row["log_prob"] is None
    assert [vote["text"] for vote in row["votes"]] == ["bamako", "lima"]


def test_ask_reads_the_turns_before_a_question(folder, capsys):
    turns = json.dumps([{"question": "Who {question}?", "answer": "Lima"}])
    command = ["ask", "p.yaml", "And there?", "--json", "--history", turns]
    assert main([*command, "rag.rewrite.turns=4"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["question"], row["rewritten_question"]) == ("And there?", "bamako")
    assert main(command) == 2
    assert "--history has no effect without rag.rewrite" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("history", "reason"),
    [
        ("{", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ('{"question": "a", "answer": "b"}', "expected a list of turns"),
        ('[{"question": "a"}]', "history.0: expected a mapping of question and answer"),
        ('[{"question": "a", "answer": 7}]', "history.0.answer"),
    ],
)
def test_a_history_that_is_none_says_what_is_wrong(folder, capsys, history, reason):
    command = ["ask", "p.yaml", QUESTION, "rag.rewrite.turns=4", "--history", history]
    assert main(command) == 2
    assert reason in capsys.readouterr().err


def test_ask_shows_the_bound_of_tops(folder, capsys):
    command = ["ask", "p.yaml", QUESTION, "generator.tier=top", "generator.top=1"]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "only the top tokens of each passage are known: log p is at most" in shown


def test_ask_leaves_passages_out_where_log_p_is_known(folder, capsys):
    for tier in ("score", "top"):
        command = ["ask", "p.yaml", QUESTION, f"generator.tier={tier}", "--without", "1"]
        assert main(command) == 0
        assert "lima would win" in capsys.readouterr().out
    assert main(["ask", "p.yaml", QUESTION, "--without", "1"]) == 2
    assert "it has no log p" in capsys.readouterr().err


def test_commands_that_need_log_p_say_so(folder, capsys):
    for command in (["verify", "p.yaml", QUESTION], ["calibrate", "p.yaml", "questions.jsonl"]):
        assert main(command) == 2
        assert "needs log p(y|x) of given answers" in capsys.readouterr().err
    assert main(["verify", "p.yaml", QUESTION, "generator.tier=score"]) == 0


def test_a_refused_setting_names_the_tier(folder, capsys):
    assert main(["ask", "p.yaml", QUESTION, "rag.grounded=true"]) == 2
    error = capsys.readouterr().err
    assert "tier 'text'" in error
    assert "rag.grounded" in error


def test_eval_compare_and_experiment_work_without_log_p(folder, capsys):
    assert main(["eval", "p.yaml", "questions.jsonl"]) == 0
    assert "exact_match" in capsys.readouterr().out
    write(folder / "rows.jsonl", ROWS[1:])
    assert main(["memory", "build", "p.yaml", "--version", "v2"]) == 0
    command = ["memory", "compare", "p.yaml", "questions.jsonl", "v1", "v2", "--html", "c.html"]
    capsys.readouterr()
    assert main(command) == 0, capsys.readouterr().err
    assert "bamako" in (folder / "c.html").read_text()
    assert main(["experiment", "e.yaml", "--output", "out"]) == 0, capsys.readouterr().err
    assert "exact_match" in (folder / "out" / "report.html").read_text()


def test_one_prompt_is_asked_for_by_every_command(folder, capsys):
    (folder / "one.yaml").write_text(
        EXPERIMENT.replace("{pipeline: p.yaml}", "{pipeline: p.yaml, set: {rag.marginalize: none}}")
    )
    assert main(["ask", "p.yaml", QUESTION, "rag.marginalize=none", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    row = row[0] if isinstance(row, list) else row
    # One text for all passages is no vote of any.
    assert "votes" not in row
    assert [each["posterior"] for each in row["evidence"]] == [None, None]
    score = ["generator.tier=score", "rag.marginalize=none"]
    assert main(["ask", "p.yaml", QUESTION, *score, "--without", "1"]) == 0
    assert "lima would win" in capsys.readouterr().out
    assert main(["verify", "p.yaml", QUESTION, *score]) == 0
    assert "2 passages in one prompt" in capsys.readouterr().out
    assert main(["calibrate", "p.yaml", "questions.jsonl", *score]) == 0
    assert main(["eval", "p.yaml", "questions.jsonl", "rag.marginalize=none"]) == 0
    assert main(["experiment", "one.yaml", "--output", "one"]) == 0, capsys.readouterr().err
    assert main(["ask", "p.yaml", QUESTION, "rag.cite=true"]) == 2
    assert "cite needs marginalize: none" in capsys.readouterr().err

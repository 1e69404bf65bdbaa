"""Test that a run with a chat template that prints the date is replayed with its own date."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest
import tiny_models as tiny

import ragcore
from ragcore.config.training import QuestionsConfig
from ragcore.evaluation.repeating import replay
from ragcore.evaluation.running import evaluate
from ragcore.questions import read_questions

PIPELINE = """
ragcore: 1
memory:
  store: store
  corpus: {use: jsonl, path: passages.jsonl}
  retriever: {use: bm25}
generator: {use: causal, model: model, template: "{title} {text} {question}"}
rag: {k: 1, beams: 1, max_new_tokens: 4}
"""


@pytest.mark.parametrize("overrides", [(), ("generator.date=2018-12-03",)], ids=["null", "set"])
def test_a_run_is_replayed_with_its_date(tmp_path: Path, overrides: tuple[str, ...]) -> None:
    tiny.save_causal("llama", tmp_path / "model", chat=True)
    template = "{{ strftime_now('%d %B %Y') }}" + tiny.CHAT
    (tmp_path / "model" / "chat_template.jinja").write_text(template, encoding="utf-8")
    row = {"id": "1", "title": "Chad", "text": "N'Djamena is the capital of Chad."}
    (tmp_path / "passages.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    questions = tmp_path / "questions.jsonl"
    asked = {"question": "What is the capital of Chad?", "answer": "N'Djamena"}
    questions.write_text(json.dumps(asked) + "\n", encoding="utf-8")
    pipeline = tmp_path / "pipeline.yaml"
    pipeline.write_text(PIPELINE, encoding="utf-8")
    ragcore.build_memory(pipeline, version="first")
    days = {datetime.now().date().isoformat()}
    with ragcore.load(pipeline, *overrides) as rag:
        report = evaluate(rag, read_questions(questions))
    days.add(datetime.now().date().isoformat())
    source = QuestionsConfig(path=questions, format="auto", limit=None)
    report.write(tmp_path / "run", pipeline, overrides, source)
    file = tmp_path / "run" / "run.json"
    run = json.loads(file.read_text(encoding="utf-8"))
    (recorded,) = run["overrides"]
    key, _, day = recorded.partition("=")
    assert key == "generator.date"
    assert day in ({"2018-12-03"} if overrides else days)
    assert replay(tmp_path / "run").changed == ()
    file.write_text(json.dumps({**run, "overrides": ["generator.date=1999-05-17"]}))
    assert len(replay(tmp_path / "run").changed) == 1

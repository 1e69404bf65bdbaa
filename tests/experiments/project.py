"""A small project with a corpus, questions, a built memory, and real plugins."""

from __future__ import annotations

import json
from pathlib import Path

from ragcore.build import build_memory
from ragcore.config import load_config
from ragcore.evaluation.report import QuestionSource
from ragcore.experiments.systems import Experiment, System

PIPELINE = """\
ragcore: 1
memory:
  store: store
  corpus: {use: jsonl, path: passages.jsonl}
  retriever: {use: bm25}
generator: {use: bart, model: ./model}
rag: {k: 3, beams: 2, max_new_tokens: 3}
"""
WORDS = ("one", "two", "three", "chad", "mali", "river")
PASSAGES = 24
QUESTIONS = 70
RETRIEVAL = {"retrieval": True, "metrics": ("nDCG@10", "hit@5", "AP")}


def write_rows(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


class Project:
    """Makes experiments in a folder.

    Attributes:
        folder: has passages, questions, a tiny generator, and a store with one version.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pipeline = folder / "pipeline.yaml"
        self.output = folder / "results"

    def system(self, name: str, *overrides: str, pipeline: str = "pipeline.yaml") -> System:
        path = self.folder / pipeline
        return System(name, path, overrides, load_config(path, overrides))

    def experiment(self, *systems: System, **settings: object) -> Experiment:
        values = {
            "name": "test",
            "systems": systems,
            "questions": QuestionSource(self.folder / "questions.jsonl"),
            "metrics": ("exact_match", "hit@5", "nDCG@10", "log_prob"),
            "baseline": systems[0].name,
            "output": self.output,
            "cost_questions": 0,
            **settings,
        }
        return Experiment(**values)  # type: ignore[arg-type]


def make_project(folder: Path) -> Path:
    from tests.integration.tiny import save_tiny

    passages = []
    for number in range(PASSAGES):
        words = [WORDS[number % 6], WORDS[(number // 2) % 6], WORDS[(number * 5 + 1) % 6]]
        text = " ".join([*words, "rules", *["river"] * (number % 3)])
        metadata = {"even": number % 2 == 0}
        passages.append({"id": f"p{number}", "title": words[0], "text": text, "metadata": metadata})
    write_rows(folder / "passages.jsonl", passages)
    questions = [
        {
            "id": f"q{number}",
            "question": f"who rules {WORDS[number % 6]} {'one ' * (number % 4)}? {number}",
            "answers": ["alpha", WORDS[number % 5]],
            "relevance": {f"p{number % PASSAGES}": 2, f"p{(number * 7) % PASSAGES}": 1},
        }
        for number in range(QUESTIONS)
    ]
    write_rows(folder / "questions.jsonl", questions)
    save_tiny("bart", folder / "model")
    (folder / "pipeline.yaml").write_text(PIPELINE, encoding="utf-8")
    build_memory(folder / "pipeline.yaml", version="v1")
    return folder

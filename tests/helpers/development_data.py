"""A few rows in the form of the development data, which experiments read and users do not have."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = ["write_development_data"]

PASSAGES = [
    {"id": "1", "title": "Wings", "text": "The lift of a wing in a slipstream."},
    {"id": "2", "title": "Plates", "text": "Flow past a flat plate at high speed."},
    {"id": "3", "title": "", "text": ""},
    {"id": "4", "title": "", "text": "The heat of a nose cone at high speed."},
]
QUESTIONS = [
    {"id": "1", "question": "What lifts a wing?"},
    {"id": "2", "question": "What flows past a plate at high speed?"},
]
QRELS = [
    {"qid": "1", "docid": "1", "rel": 3},
    {"qid": "1", "docid": "4", "rel": 0},
    {"qid": "2", "docid": "2", "rel": 1},
    {"qid": "2", "docid": "4", "rel": 1},
]


def write_development_data(folder: Path) -> None:
    """Write the collections that the experiments on retrieval read, the same rows in each."""
    for name in ("cranfield", "vaswani"):
        _write(folder / "ir" / name / "passages.jsonl.gz", PASSAGES)
        _write(folder / "ir" / name / "questions.jsonl.gz", QUESTIONS)
        _write(folder / "ir" / name / "qrels.jsonl.gz", QRELS)
    _write(folder / "openqa" / "passages.jsonl.gz", PASSAGES)
    marked = [
        {**question, "gold_id": gold, "positive_ids": ["1", "2"]}
        for question, gold in zip(QUESTIONS, ("1", "2"), strict=True)
    ]
    _write(folder / "openqa" / "nq_gold.jsonl.gz", marked)


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)

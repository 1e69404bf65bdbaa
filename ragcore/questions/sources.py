"""Read questions from wherever they come: a file, a folder of BEIR, topics, or a catalogue.

Knows which reader a path and a format belong to; knows nothing of what a file's lines mean.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from ragcore.disk.paths import usable_path
from ragcore.errors import QuestionError
from ragcore.questions.beir import is_beir_folder, read_beir
from ragcore.questions.datasets import DATASET_PREFIX, read_dataset
from ragcore.questions.files import FORMATS as FILE_FORMATS
from ragcore.questions.files import read_file
from ragcore.questions.labelled import LabelledQuestion
from ragcore.questions.trec import judged_questions, read_qrels, read_topics

__all__ = ["FORMATS", "is_dataset", "questions_digest", "read_questions"]

FORMATS: Final = (*FILE_FORMATS, "topics", "beir")
"""The values that `format` may have."""

_TAGGED: Final = {".xml", ".topics", ".trec"}


def read_questions(
    path: str | Path,
    *,
    format: str = "auto",  # noqa: A002 (the field's word)
    plain: bool = False,
    qrels: str | Path | None = None,
) -> list[LabelledQuestion]:
    """Read the questions of a file, a folder or a data set, in order.

    A question without an id gets its number among all of the file, from 1. So it has the same id
    wherever it is named, also where only some of the questions are asked.

    Args:
        path: JSON lines, one JSON document, or a tab-separated table (.tsv, .csv), gzipped or not;
            a folder in BEIR's form; or "ir_datasets:NAME".
        format: one of `FORMATS`; `auto` chooses by the keys of each record. With `qrels` it takes
            a table for topics.
        plain: require answers for each question, the same for every version.
        qrels: a file of judgments, joined with the questions by their ids.

    Raises:
        QuestionError: a file cannot be read, or records are wrong; lists them by file and line.
    """
    if format not in FORMATS:
        raise QuestionError(f"format {format!r}: expected one of {', '.join(FORMATS)}")
    if is_dataset(path):
        name = str(path).removeprefix(DATASET_PREFIX)
        questions = read_dataset(name, None if qrels is None else str(qrels))
    elif format == "beir" or (format == "auto" and is_beir_folder(path)):
        questions = read_beir(path, qrels)
    else:
        topics = format == "topics" or (format == "auto" and _has_topics(path, qrels))
        questions = read_topics(path) if topics else read_file(path, format=format, plain=plain)
        if qrels is not None:
            questions = judged_questions(questions, read_qrels(qrels))
    if plain and not all(question.answers for question in questions):
        raise QuestionError(f"{path}: expected an answer for each question, found questions alone")
    return [
        question if question.id else replace(question, id=str(number))
        for number, question in enumerate(questions, 1)
    ]


def is_dataset(path: str | Path) -> bool:
    """Tell whether a path is the name of a data set of the catalogue ir_datasets."""
    return str(path).startswith(DATASET_PREFIX)


def questions_digest(questions: Sequence[LabelledQuestion]) -> str:
    """Compute the sha256 of what questions and labels are, wherever they were read from."""
    rows: list[Any] = [
        [
            question.question,
            question.id,
            question.answers,
            question.passage_ids,
            sorted(question.relevance.items()),
            question.regex,
            question.titles,
            question.paragraphs,
            question.unanswerable,
        ]
        for question in questions
    ]
    text = json.dumps(rows, ensure_ascii=True, sort_keys=True, default=dict)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _has_topics(path: str | Path, qrels: str | Path | None) -> bool:
    """Tell whether a file has topics by its name: one in tags, or any table where qrels are."""
    suffix = Path(usable_path(path, QuestionError).name.removesuffix(".gz")).suffix.lower()
    return suffix in _TAGGED or (qrels is not None and suffix == ".tsv")

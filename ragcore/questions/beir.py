"""Read a folder in BEIR's form: queries.jsonl, and qrels/SPLIT.tsv."""

from __future__ import annotations

import json
from collections.abc import Container
from dataclasses import replace
from pathlib import Path
from typing import Any

from ragcore.disk.paths import usable_path
from ragcore.errors import QuestionError
from ragcore.questions.labelled import LabelledQuestion
from ragcore.questions.texts import fault_of
from ragcore.questions.trec import checked_lines, judged_questions, read_qrels, refuse
from ragcore.questions.unpacking import read_text

__all__ = ["is_beir_folder", "read_beir"]

_QUERIES = "queries.jsonl"
_EXPECTED = 'expected a query as {"_id": "…", "text": "…"}'


def is_beir_folder(path: str | Path) -> bool:
    """Tell whether a path is a folder that has BEIR's queries."""
    folder = usable_path(path, QuestionError)
    return folder.is_dir() and _file(folder / _QUERIES).is_file()


def read_beir(folder: str | Path, qrels: str | Path | None = None) -> list[LabelledQuestion]:
    """Read the questions of a split with their judgments; other queries are left out.

    Args:
        folder: with `queries.jsonl` and `qrels/`, each file gzipped or not.
        qrels: the file of another split than `qrels/test.tsv`.

    Raises:
        QuestionError: a file is missing or cannot be read, a query has no id or text, or no query
            is judged; names file and line.
    """
    folder = usable_path(folder, QuestionError)
    if folder.is_file():
        raise QuestionError(
            f"{folder}: a file: expected a folder with queries.jsonl and qrels/, as BEIR's are"
        )
    judgments = Path(qrels) if qrels is not None else _file(folder / "qrels" / "test.tsv")
    if qrels is None and not judgments.is_file():
        splits = sorted(path.name for path in folder.glob("qrels/*.tsv*"))
        raise QuestionError(
            f"{judgments}: no such file: expected BEIR's qrels of the split 'test'; "
            + (f"found {', '.join(splits)}: name one as --qrels" if splits else "found no qrels")
        )
    judged = read_qrels(judgments)
    queries = _queries(_file(folder / _QUERIES), judged.grades)
    if not queries:
        raise QuestionError(
            f"{judgments}: no judgment of a query in {folder / _QUERIES}: check that both are of "
            "one data set"
        )
    return judged_questions(queries, judged)


def _queries(path: Path, judged: Container[str]) -> list[LabelledQuestion]:
    """Read the judged queries; others may have an empty text."""
    queries: list[LabelledQuestion] = []
    lines: dict[str, int] = {}
    faults = []
    for number, line in checked_lines(read_text(path)):
        try:
            record = json.loads(line)
            query_id = _id(record)
            if query_id not in judged:
                continue
            query = replace(_query(record, query_id), line=number)
            if query.id in lines:
                raise ValueError(f"the _id {query.id!r} is that of line {lines[query.id]}")
        except RecursionError:
            faults.append(f"{path}:{number}: nested too deeply: expected one query a line")
        except ValueError as error:
            faults.append(f"{path}:{number}: {error}")
        else:
            lines[query.id] = number
            queries.append(query)
    refuse(faults)
    return queries


def _id(record: Any) -> str:
    query_id = record.get("_id") if isinstance(record, dict) else None
    if isinstance(query_id, int):
        query_id = str(query_id)
    if not isinstance(query_id, str) or not query_id:
        raise ValueError(_EXPECTED)
    return query_id


def _query(record: dict[str, Any], query_id: str) -> LabelledQuestion:
    text = record.get("text")
    if not isinstance(text, str):
        raise ValueError(_EXPECTED)
    if not text.strip():
        raise ValueError("text: expected a text that is not empty")
    for name, value in (("text", text), ("_id", query_id)):
        fault = fault_of(value)
        if fault is not None:
            raise ValueError(f"the {name} {fault}")
    return LabelledQuestion(text, id=query_id)


def _file(path: Path) -> Path:
    """Return the path of a file, or of its gzipped form where only that is there."""
    packed = path.with_name(path.name + ".gz")
    return packed if packed.is_file() and not path.is_file() else path

"""Read question files: a record a line, one JSON document, or a table; gzipped or not.

Knows files and where a record stands in them, for errors; knows nothing of what a record means,
which `forms.py` does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from ragcore.disk.paths import usable_path
from ragcore.errors import QuestionError
from ragcore.questions.forms import FORMS, Form, Record
from ragcore.questions.labelled import LabelledQuestion, texts_of
from ragcore.questions.ragcore_format import ragcore_question
from ragcore.questions.texts import fault_of
from ragcore.questions.unpacking import read_text

__all__ = ["FORMATS", "read_file", "spread_over"]

FORMATS: Final = ("auto", *FORMS)
"""The values that `format` may have."""

_TABLES: Final = {".tsv", ".csv"}
_RECORD_KEYS: Final = ("data", "Data")
"""The keys under which SQuAD and TriviaQA keep their records."""


_DAMAGES: Final = (
    AttributeError,
    IndexError,
    KeyError,
    MemoryError,
    OverflowError,
    RecursionError,
    TypeError,
)
"""What reading a record by the wrong form, or a damaged one, may raise besides ValueError."""


def read_file(
    path: str | Path,
    *,
    format: str = "auto",  # noqa: A002 (the field's word)
    plain: bool = False,
) -> list[LabelledQuestion]:
    """Read the questions of a file, in order.

    Args:
        path: JSON lines, one JSON document, or a tab-separated table (.tsv, .csv); a file whose
            name ends in .gz is decompressed.
        format: one of `FORMATS`; `auto` chooses by the keys of each record.
        plain: require answers for each question, the same for every version.

    Raises:
        QuestionError: the file cannot be read, or records are wrong; lists all of them by number.
    """
    if format not in FORMATS:
        raise QuestionError(f"format {format!r}: expected one of {', '.join(FORMATS)}")
    path = usable_path(path, QuestionError)
    questions: list[LabelledQuestion] = []
    faults: list[str] = []
    for number, record in _records(path):
        try:
            if isinstance(record, Exception):
                raise record
            read = _questions(record, format, plain)
            for question in read:
                _check(question)
            questions += [replace(question, line=number) for question in read]
        except ValueError as error:
            faults.append(f"{path}:{number}: {error}")
    if not questions and not faults:
        faults = [f"{path}: no question: expected one JSON object a line"]
    if faults:
        raise QuestionError("\n".join(faults))
    return questions


def spread_over(questions: Sequence[LabelledQuestion], limit: int | None) -> list[LabelledQuestion]:
    """Take at most `limit` of the questions, evenly spaced; all of them where it is None."""
    if limit is None or limit >= len(questions):
        return list(questions)
    return [questions[index * len(questions) // limit] for index in range(limit)]


def _questions(record: Any, format_name: str, plain: bool) -> list[LabelledQuestion]:
    """Turn one record into questions; a ValueError says what is wrong with it."""
    if not isinstance(record, dict):
        raise ValueError(f"expected an object, found {type(record).__name__}")
    form = _form(record) if format_name == "auto" else FORMS[format_name]
    if plain and form is FORMS["jsonl"]:
        return [ragcore_question(record, plain)]
    try:
        questions = list(form.questions(record))
    except _DAMAGES as error:
        raise ValueError(
            f"does not have the form of {form.title} ({type(error).__name__}: {error}): "
            "name another format"
        ) from None
    if plain and not all(question.answers for question in questions):
        raise ValueError("expected an answer, found none")
    return questions


def _check(question: LabelledQuestion) -> None:
    """Check that each text of a question can be asked, printed and written.

    Raises:
        ValueError: says what is wrong.
    """
    texts = [
        ("question", question.question),
        ("id", question.id),
        *(("title", title) for title in question.titles),
        *(("answer", answer) for answer in texts_of(question.answers)),
        *(("passage id", id_) for id_ in texts_of(question.passage_ids)),
        *(("passage id", id_) for id_ in question.relevance),
    ]
    for name, text in texts:
        fault = fault_of(text)
        if fault is not None:
            raise ValueError(f"the {name} {fault}")


def _form(record: Record) -> Form:
    """Return the form that a record's keys belong to; ragcore's own where none does."""
    if isinstance(record.get("answer"), str):
        return FORMS["jsonl"]
    known = next((form for form in FORMS.values() if form.fits(record)), None)
    return known or FORMS["jsonl"]


def _records(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield each record with its line, or its number in a document.

    A record that is not JSON comes as a ValueError, so that later ones are still read.
    """
    text = read_text(path)
    if Path(path.name.removesuffix(".gz")).suffix in _TABLES:
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                yield number, {"columns": line.split("\t")}
        return
    document = _document(text)
    if document is not None:
        yield from enumerate(document, 1)
        return
    # Not `splitlines`: it also splits at characters that JSON allows inside a string.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, _json(line)


def _document(text: str) -> list[Any] | None:
    """Return the records of a file that is one JSON value, or None where each line is one."""
    first = text.lstrip()[:1]
    if first not in {"[", "{"}:
        return None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(document, list):
        return document
    for key in _RECORD_KEYS:
        if isinstance(document.get(key), list):
            records: list[Any] = document[key]
            return records
    if isinstance(document.get("query"), dict):
        return _rows(document)
    return [document]


def _rows(document: dict[str, Any]) -> list[Record]:
    """Turn MS MARCO's columns, {"query": {"0": …}, "answers": {"0": …}}, into rows."""
    columns = {name: column for name, column in document.items() if isinstance(column, dict)}
    return [
        {name: column[row] for name, column in columns.items() if row in column}
        for row in columns["query"]
    ]


def _json(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        return ValueError(f"not JSON ({error}): expected one object a line")

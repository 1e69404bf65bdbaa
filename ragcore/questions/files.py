"""Question files: a record a line, one JSON document, or a table; gzipped or not.

Knows files and where a record stands in them, for errors; what a record says, `forms.py` knows.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from ragcore.errors import QuestionError
from ragcore.questions.forms import FORMS, Form, Record
from ragcore.questions.labelled import LabelledQuestion
from ragcore.questions.ragcore_format import ragcore_question

__all__ = ["FORMATS", "read_questions", "spread_over"]

FORMATS: Final = ("auto", *FORMS)
"""What `format` may be."""

_TABLES: Final = {".tsv", ".csv"}
_ARTICLES: Final = ("data", "Data")
"""Where SQuAD and TriviaQA keep their records."""


def read_questions(
    path: str | Path,
    *,
    format: str = "auto",  # noqa: A002 (the field's word)
    plain: bool = False,
) -> list[LabelledQuestion]:
    """The questions of a file, in order.

    Args:
        path: JSON lines, one JSON document, or a tab-separated table (.tsv, .csv); with .gz behind
            it is decompressed.
        format: one of `FORMATS`; `auto` tells it by the keys of each record.
        plain: each must have answers, and the same for every version.

    Raises:
        QuestionError: it cannot be read, or records are wrong; all of them, by number.
    """
    if format not in FORMATS:
        raise QuestionError(f"format {format!r}: expected one of {', '.join(FORMATS)}")
    path = Path(path)
    found: list[LabelledQuestion] = []
    faults: list[str] = []
    for place, record in _records(path):
        try:
            if isinstance(record, Exception):
                raise record
            found += _asked(record, format, plain)
        except ValueError as error:
            faults.append(f"{path}:{place}: {error}")
    if not found and not faults:
        faults = [f"{path}: no question: expected one JSON object a line"]
    if faults:
        raise QuestionError("\n".join(faults))
    return found


def spread_over(asked: Sequence[LabelledQuestion], limit: int | None) -> list[LabelledQuestion]:
    """At most `limit` of them, at even distances; all where None."""
    if limit is None or limit >= len(asked):
        return list(asked)
    return [asked[place * len(asked) // limit] for place in range(limit)]


def _asked(record: Any, name: str, plain: bool) -> list[LabelledQuestion]:
    if not isinstance(record, dict):
        raise ValueError(f"expected an object, found {type(record).__name__}")
    form = _form(record) if name == "auto" else FORMS[name]
    if plain and form is FORMS["jsonl"]:
        return [ragcore_question(record, plain)]
    try:
        found = list(form.asked(record))
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(
            f"not as {form.about} has it ({type(error).__name__}: {error}): name another format"
        ) from None
    if plain and not all(one.answers for one in found):
        raise ValueError("expected an answer, found none")
    return found


def _form(record: Record) -> Form:
    if isinstance(record.get("answer"), str):
        return FORMS["jsonl"]
    known = next((form for form in FORMS.values() if form.fits(record)), None)
    return known or FORMS["jsonl"]


def _records(path: Path) -> Iterator[tuple[int, Any]]:
    """Each record with its line, or its number in a document; a ValueError where it is broken."""
    text = _text(path)
    if Path(path.name.removesuffix(".gz")).suffix in _TABLES:
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                yield number, {"columns": line.split("\t")}
        return
    whole = _document(text)
    if whole is not None:
        yield from enumerate(whole, 1)
        return
    # Not `splitlines`: a text may hold other signs that end a line.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, _json(line)


def _document(text: str) -> list[Any] | None:
    """The records of a file that is one JSON value; None where each line is one."""
    first = text.lstrip()[:1]
    if first not in {"[", "{"}:
        return None
    try:
        whole = json.loads(text)
    except ValueError:
        return None
    if isinstance(whole, list):
        return whole
    for key in _ARTICLES:
        if isinstance(whole.get(key), list):
            records: list[Any] = whole[key]
            return records
    if isinstance(whole.get("query"), dict):
        return _rows(whole)
    return [whole]


def _rows(columns: dict[str, Any]) -> list[Record]:
    """MS MARCO's file is a table by column: {"query": {"0": …}, "answers": {"0": …}}."""
    held = {name: column for name, column in columns.items() if isinstance(column, dict)}
    return [
        {name: column[row] for name, column in held.items() if row in column}
        for row in columns["query"]
    ]


def _json(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        return ValueError(f"not JSON ({error}): expected one object a line")


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
        return data.decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise QuestionError(f"{path}: cannot be read as UTF-8 text ({error})") from None

"""The core's corpora: passages from JSON lines, from DPR's Wikipedia file, and from text files.

Knows files and their faults, always by file and line; knows nothing of memories. Each streams: at
most one line and one passage are in memory. Whether ids are unique is checked when a memory is
built, which sees all of them.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field, ValidationInfo, field_validator

from ragcore.corpora.content_ids import ContentIds, Ids
from ragcore.corpora.splitter import split_lines, split_words
from ragcore.disk.paths import usable_path
from ragcore.errors import CorpusError, EmptyCorpusError
from ragcore.registry.components import ComponentConfig, ConfigPath
from ragcore.types import Passage

__all__ = ["ID_ALIASES", "DprTsv", "Jsonl", "TextFolder", "lines_of", "passage_from_json"]

ID_ALIASES: Final = ("_id", "docid", "pid", "docno", "doc_id")
"""Names of a passage's id in the files of BEIR, Pyserini, MS MARCO and TREC."""

_ID_KEYS: Final = ("id", *ID_ALIASES)


class Jsonl:
    """One JSON object per line: `{"id": "7", "title": "Chad", "text": "…", "year": 2018}`.

    `text` is required. Without `id`, the id is under the one of `ID_ALIASES` that the line has,
    such as BEIR's `_id`, and else the number of the line; the setting `id` names another key. Every
    other key becomes metadata, and so do the keys of a mapping `metadata`. A text that is split
    becomes passages `ID-1`, `ID-2`, … with the same title and metadata. Empty lines are skipped.
    With `ids: content` digests stand for all these numbers (`ContentIds`).
    """

    class Config(ComponentConfig):
        """Settings of `{use: jsonl}`."""

        path: ConfigPath = Field(description="the file; one that ends in .gz is unpacked")
        words: int | None = Field(
            None, ge=1, description="split texts into passages of this many words; null does not"
        )
        id: Annotated[str, Field(min_length=1)] | Literal[False] | None = Field(
            None,
            description="key of the id; null takes id, or the one of _id, docid, pid, docno, "
            "doc_id that a line has, or the line's number; false takes the line's number",
        )
        ids: Ids = Field(
            None,
            description="content takes digests of title and text in place of the numbers of lines "
            "and of pieces, so that an edit changes no other id; null takes the numbers",
        )

    capabilities: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, config: Config) -> None:
        self._config = config

    def __iter__(self) -> Iterator[Passage]:
        """Yield the passages, in the file's order.

        Raises:
            CorpusError: there is no such file, a line is no passage, or its id may be under
                several keys.
        """
        path, words = self._config.path, self._config.words
        contents = ContentIds() if self._config.ids == "content" else None
        for number, line in lines_of(path):
            if not line.strip():
                continue
            where = f"{path}:{number}"
            # An id of a row is never empty.
            unnamed: str | int = number if contents is None else ""
            passage = passage_from_json(line, unnamed, where, id_key=self._config.id)
            if words is None:
                if contents is not None and not passage.id:
                    name = contents.of(passage.title, passage.text)
                    passage = Passage(name, passage.title, passage.text, passage.metadata)
                yield passage
                continue
            for piece, text in enumerate(split_words(passage.text, words), start=1):
                if contents is None:
                    name = f"{passage.id}-{piece}"
                else:
                    prefix = f"{passage.id}-" if passage.id else ""
                    name = contents.of(passage.title, text, prefix)
                yield Passage(name, passage.title, text, passage.metadata)


class DprTsv:
    """The paper's Wikipedia, `psgs_w100.tsv`: columns id, text, title, quoted as in CSV.

    A row is one line. Files that have no quoting, in which a quote is a letter like any other, are
    read with `quoting: none`, and those without a header with `columns`: MS MARCO's collection.tsv
    with both. Columns other than id, text and title become metadata. With `ids: content`, `columns`
    may lack the id: it is made from title and text (`ContentIds`).
    """

    class Config(ComponentConfig):
        """Settings of `{use: dpr-tsv}`."""

        path: ConfigPath = Field(description="the file; one that ends in .gz is unpacked")
        quoting: Literal["csv", "none"] = Field(
            "csv",
            description="whether a field that begins with a quote ends with one, and a quote in it "
            "is doubled, as in DPR's file; none takes quotes as they are, as in MS MARCO's",
        )
        ids: Ids = Field(
            None,
            description="content makes ids of title and text where columns name none, so that an "
            "edit changes no other id",
        )
        columns: tuple[str, ...] | None = Field(
            None,
            description="names of the columns, with id and text, such as [id, text], for a file "
            "without a header; null takes a file with the header id, text, title",
        )

        @field_validator("columns")
        @classmethod
        def _has_id_and_text(
            cls, columns: tuple[str, ...] | None, info: ValidationInfo
        ) -> tuple[str, ...] | None:
            needed = {"text"} if info.data.get("ids") == "content" else {"id", "text"}
            if columns is not None and not (
                needed <= set(columns) and len(set(columns)) == len(columns)
            ):
                raise ValueError(
                    "expected each name once, with id and text among them (text alone with "
                    "ids: content)"
                )
            return columns

    capabilities: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, config: Config) -> None:
        self._config = config

    def __iter__(self) -> Iterator[Passage]:
        """Yield the passages, in the file's order.

        Raises:
            CorpusError: there is no such file, it has other columns, or a line is no passage: it
                has more or fewer fields, or a field goes on in the next line.
        """
        path, columns = self._config.path, self._config.columns
        lines, contents = lines_of(path), ContentIds()
        if columns is None:
            columns = self._header(next(lines, None))
        for number, line in lines:
            where = f"{path}:{number}"
            fields = self._fields(line, where)
            if number == 1 and fields == list(columns):
                continue
            if len(fields) != len(columns):
                raise CorpusError(
                    f"{where}: {len(fields)} fields, expected {len(columns)} "
                    f"({', '.join(columns)}), separated by tabs: repair or remove the line"
                )
            row = dict(zip(columns, fields, strict=True))
            title, text = row.pop("title", ""), row.pop("text")
            id_ = row.pop("id") if "id" in row else contents.of(title, text)
            if not id_:
                raise CorpusError(f"{where}: the id is empty: give each row one")
            yield Passage(id_, title, _not_empty(text, where), row)

    def _header(self, first: tuple[int, str] | None) -> tuple[str, ...]:
        """Return the columns that the first line names, the id under its own name."""
        path = self._config.path
        header = None if first is None else self._fields(first[1], f"{path}:1")
        if header is None or header[1:] != ["text", "title"] or header[0] not in _ID_KEYS:
            raise CorpusError(
                f"{path}:1: found the columns {header}, expected id, text, title, separated "
                "by tabs: use a file such as DPR's psgs_w100.tsv, or name the columns of a file "
                "without a header (columns: [id, text])"
            )
        return ("id", "text", "title")

    def _fields(self, line: str, where: str) -> list[str]:
        """Split a line into its fields, and undo their quotes."""
        if self._config.quoting == "none":
            return line.rstrip("\r\n").split("\t")
        try:
            # Each line for itself, as an unclosed quote would swallow those that follow. Strict,
            # as one is otherwise taken for the end of its line.
            return next(csv.reader([line], delimiter="\t", strict=True))
        except csv.Error as error:
            raise CorpusError(
                f"{where}: {error}: a field that begins with a quote must end with one in the same "
                'line, and a quote in it be doubled (""); where quotes are letters like any other, '
                "set quoting: none"
            ) from None


class TextFolder:
    """All `.txt` and `.md` files in a folder and its subfolders, in the order of their paths.

    A passage's title is the first heading of a Markdown file, or else the file's name; its id is
    the file's path relative to the folder, with the passage's number: `notes/chad.md-1`; with
    `ids: content` a digest stands for the number (`ContentIds`). A file without words has no
    passages.
    """

    class Config(ComponentConfig):
        """Settings of `{use: text}`."""

        path: ConfigPath = Field(description="the folder")
        words: int = Field(100, ge=1, description="split texts into passages of this many words")
        ids: Ids = Field(
            None,
            description="content takes digests of title and text in place of passages' numbers, so "
            "that an edit changes no other id; null takes the numbers",
        )

    capabilities: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, config: Config) -> None:
        self._config = config

    def __iter__(self) -> Iterator[Passage]:
        """Yield the passages, file by file.

        Raises:
            CorpusError: there is no such folder, or a file is not UTF-8.
            EmptyCorpusError: there is no `.txt` or `.md` file in it.
        """
        folder = self._config.path
        if not folder.is_dir():
            raise CorpusError(f"{folder}: no such folder: expected one with .txt or .md files")
        files = sorted(
            path
            for path in folder.rglob("*")
            if path.suffix.lower() in (".txt", ".md") and path.is_file()
        )
        if not files:
            raise EmptyCorpusError(f"{folder}: there is no .txt or .md file in it or below it")
        for path in files:
            name = path.relative_to(folder).as_posix()
            title = _heading(path) or path.stem
            lines = (line for _, line in lines_of(path))
            contents = ContentIds() if self._config.ids == "content" else None
            for piece, text in enumerate(split_lines(lines, self._config.words), start=1):
                end = str(piece) if contents is None else contents.of(title, text)
                yield Passage(f"{name}-{end}", title, text)


def passage_from_json(
    line: str, number: int | str, where: str, *, id_key: str | Literal[False] | None = None
) -> Passage:
    """Read a passage from a line of JSON.

    Args:
        line: the line.
        number: the passage's id if the line has none; may be empty.
        where: file and line, for errors.
        id_key: the key of the id; where None it is `id`, or the one alias that the line has; False
            takes the number in any case.

    Raises:
        CorpusError: the line is no passage, or its id may be under several keys.
    """
    try:
        fields = json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise CorpusError(
            f"{where}: not JSON ({error}): expected one object per line, such as "
            '{"id": "1", "title": "…", "text": "…"}'
        ) from None
    if not isinstance(fields, dict):
        raise CorpusError(
            f"{where}: found {type(fields).__name__}, expected an object with a key 'text'"
        )
    if "text" not in fields:
        raise CorpusError(
            f"{where}: no key 'text' among {sorted(fields)}: every line must have the passage's "
            "text there"
        )
    if id_key and id_key not in fields:
        raise CorpusError(
            f"{where}: no key {id_key!r} among {sorted(fields)}, which the corpus's option "
            "`id` names: every line must have the passage's id there"
        )
    key = _id_key(fields, where) if id_key is None else id_key
    has_id = bool(key) and key in fields
    id_ = fields[key] if has_id else number
    if not isinstance(id_, str | int) or isinstance(id_, bool) or (has_id and id_ == ""):
        raise CorpusError(f"{where}: {key} is {id_!r}, expected a string or an integer")
    title, text = fields.pop("title", ""), fields.pop("text")
    fields.pop(key, None)
    for name, value in (("title", title), ("text", text)):
        if not isinstance(value, str):
            raise CorpusError(f"{where}: {name} is {type(value).__name__}, expected a string")
    nested = fields.pop("metadata", {})
    if not isinstance(nested, Mapping):
        raise CorpusError(f"{where}: metadata is {type(nested).__name__}, expected an object")
    return Passage(str(id_), title, _not_empty(text, where), {**fields, **nested})


def _id_key(fields: Mapping[str, object], where: str) -> str:
    """Return the key of a passage's id: `id`, else the only alias among the keys."""
    if "id" in fields:
        return "id"
    keys = [key for key in ID_ALIASES if key in fields]
    if len(keys) > 1:
        raise CorpusError(
            f"{where}: the id may be under {' or '.join(map(repr, keys))}: name the key with the "
            f"corpus's option `id`, such as id: {keys[0]}"
        )
    return keys[0] if keys else "id"


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number in JSON; write null")


def _not_empty(text: str, where: str) -> str:
    if not text or text.isspace():
        raise CorpusError(f"{where}: the text is empty: add words or remove the line")
    return text


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file, their ends included, with their numbers from 1.

    Raises:
        CorpusError: the file cannot be read.
    """
    number = 0
    usable_path(path, CorpusError)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                # Windows editors write a byte order mark first, which is no part of the text.
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
    except FileNotFoundError:
        raise CorpusError(f"{path}: no such file: check the path") from None
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{path}:{number}: not UTF-8 (byte 0x{error.object[error.start]:02X} at "
            f"{error.start + 1}): save the file as UTF-8"
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        raise CorpusError(
            f"{path}:{number + 1}: cannot be read ({error}): is the file whole, and is it gzip if "
            "it ends in .gz?"
        ) from None


_HEADING: Final = re.compile(r" {0,3}#{1,6}[ \t]+(.*?)(?:[ \t]+#+)?[ \t]*$")
_FENCE: Final = re.compile(r" {0,3}(```|~~~)")


def _heading(path: Path) -> str:
    """Return a Markdown file's first heading, or ""; one in a code block does not count."""
    if path.suffix.lower() != ".md":
        return ""
    fence = ""
    for _, line in lines_of(path):
        mark = _FENCE.match(line)
        if mark and fence in ("", mark[1]):
            fence = "" if fence else mark[1]
        heading = _HEADING.match(line.rstrip("\r\n"))
        if heading and heading[1] and not fence:
            return heading[1]
    return ""

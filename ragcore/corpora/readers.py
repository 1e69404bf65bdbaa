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
from typing import ClassVar, Final

from pydantic import Field

from ragcore.corpora.splitter import split_lines, split_words
from ragcore.errors import CorpusError, EmptyCorpusError
from ragcore.registry.components import ComponentConfig, ConfigPath
from ragcore.types import Passage

__all__ = ["DprTsv", "Jsonl", "TextFolder", "lines_of", "passage_from_json"]


class Jsonl:
    """One JSON object per line: `{"id": "7", "title": "Chad", "text": "…", "year": 2018}`.

    `text` is required; `id` defaults to the number of the line. Every other key becomes metadata,
    and so do the keys of a mapping `metadata`. A text that is split becomes passages `ID-1`,
    `ID-2`, … with the same title and metadata. Empty lines are skipped.
    """

    class Config(ComponentConfig):
        """Settings of `{use: jsonl}`."""

        path: ConfigPath = Field(description="the file; one that ends in .gz is unpacked")
        words: int | None = Field(
            None, ge=1, description="split texts into passages of this many words; null does not"
        )

    capabilities: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, config: Config) -> None:
        self._config = config

    def __iter__(self) -> Iterator[Passage]:
        """Yield the passages, in the file's order.

        Raises:
            CorpusError: there is no such file, or a line is no passage.
        """
        path, words = self._config.path, self._config.words
        for number, line in lines_of(path):
            if not line.strip():
                continue
            passage = passage_from_json(line, number, f"{path}:{number}")
            if words is None:
                yield passage
                continue
            for piece, text in enumerate(split_words(passage.text, words), start=1):
                yield Passage(f"{passage.id}-{piece}", passage.title, text, passage.metadata)


class DprTsv:
    """The paper's Wikipedia, `psgs_w100.tsv`: columns id, text, title, quoted as in CSV."""

    class Config(ComponentConfig):
        """Settings of `{use: dpr-tsv}`."""

        path: ConfigPath = Field(description="the file; one that ends in .gz is unpacked")

    capabilities: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, config: Config) -> None:
        self._config = config

    def __iter__(self) -> Iterator[Passage]:
        """Yield the passages, in the file's order.

        Raises:
            CorpusError: there is no such file, it has other columns, or a line is no passage.
        """
        path = self._config.path
        # Strict, as an unclosed quote would otherwise swallow the rest of the file.
        rows = csv.reader((line for _, line in lines_of(path)), delimiter="\t", strict=True)
        try:
            header = next(rows, None)
            if header != ["id", "text", "title"]:
                raise CorpusError(
                    f"{path}:1: found the columns {header}, expected id, text, title, separated "
                    "by tabs: use a file such as DPR's psgs_w100.tsv"
                )
            for row in rows:
                where = f"{path}:{rows.line_num}"
                if len(row) != 3:
                    raise CorpusError(
                        f"{where}: {len(row)} fields, expected 3 (id, text, title), separated by "
                        "tabs: repair or remove the line"
                    )
                yield Passage(row[0], row[2], _not_empty(row[1], where))
        except csv.Error as error:
            raise CorpusError(
                f"{path}:{rows.line_num}: {error}: a field with a quote or a tab in it must be in "
                'quotes, and a quote in it doubled ("")'
            ) from None


class TextFolder:
    """All `.txt` and `.md` files in a folder and its subfolders, in the order of their paths.

    A passage's title is the first heading of a Markdown file, or else the file's name; its id is
    the file's path relative to the folder, with the passage's number: `notes/chad.md-1`. A file
    without words has no passages.
    """

    class Config(ComponentConfig):
        """Settings of `{use: text}`."""

        path: ConfigPath = Field(description="the folder")
        words: int = Field(100, ge=1, description="split texts into passages of this many words")

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
            for piece, text in enumerate(split_lines(lines, self._config.words), start=1):
                yield Passage(f"{name}-{piece}", title, text)


def passage_from_json(line: str, number: int, where: str) -> Passage:
    """Read a passage from a line of JSON.

    Args:
        line: the line.
        number: the passage's id if the line has none.
        where: file and line, for errors.

    Raises:
        CorpusError: the line is no passage.
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
    id_, title, text = fields.pop("id", number), fields.pop("title", ""), fields.pop("text")
    if not isinstance(id_, str | int) or isinstance(id_, bool) or id_ == "":
        raise CorpusError(f"{where}: id is {id_!r}, expected a string or an integer")
    for key, value in (("title", title), ("text", text)):
        if not isinstance(value, str):
            raise CorpusError(f"{where}: {key} is {type(value).__name__}, expected a string")
    nested = fields.pop("metadata", {})
    if not isinstance(nested, Mapping):
        raise CorpusError(f"{where}: metadata is {type(nested).__name__}, expected an object")
    return Passage(str(id_), title, _not_empty(text, where), {**fields, **nested})


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

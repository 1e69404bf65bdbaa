"""Passages from CSV and other tables of text.

Python's csv module reads them, so that each row's line in the file is known, also where a quoted
field goes on over several lines.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field, field_validator

from ragcore.corpora.compression import damages, unpacked
from ragcore.corpora.dpr_tsv import allow_long_fields
from ragcore.corpora.fields import ID_ALIASES, listed, shown
from ragcore.corpora.lines import LONGEST_LINE, lines_of
from ragcore.corpora.rows import FilesConfig, Row, RowConfig, RowCorpus, keys_of
from ragcore.corpora.shards import find_shards, packed
from ragcore.errors import CorpusError

__all__ = ["Csv", "Tsv"]

_UTF8: Final = codecs.lookup("utf-8").name


class TableConfig(RowConfig, FilesConfig):
    """Settings of `{use: csv}` and `{use: tsv}`."""

    delimiter: Annotated[str, Field(min_length=1, max_length=1, pattern=r"[^\r\n\"]")] | None = (
        Field(
            None,
            description="what is between two fields, such as ;, or null: a comma; for tsv a tab",
        )
    )

    encoding: str = Field(
        "utf-8", description="of the files, by Python's name for it, such as cp1252 or utf-16"
    )
    quoting: Literal["csv", "none"] = Field(
        "csv",
        description="whether a field that begins with a quote ends with one, and a quote in it is "
        "doubled; none takes quotes as they are",
    )
    columns: Annotated[tuple[str, ...], Field(min_length=1)] | None = Field(
        None,
        description="names of the columns of a file without a header; null takes those of the "
        "first line",
    )
    numbers: tuple[str, ...] = Field(
        (), description="columns of metadata whose values are numbers; all others are text"
    )

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, encoding: str) -> str:
        try:
            # Some codecs of Python do not decode bytes to text.
            "".encode(encoding)
        except (LookupError, ValueError):
            raise ValueError(
                f"there is no encoding {encoding!r}: expected one such as utf-8, utf-16 or cp1252"
            ) from None
        return encoding

    @field_validator("columns")
    @classmethod
    def _each_once(cls, columns: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if columns is not None and len(set(columns)) < len(columns):
            raise ValueError("expected each name once")
        return columns


class Csv(RowCorpus):
    """A table whose first line names its columns, among them `text`, and perhaps `id` and `title`.

    Settings name other columns. All other columns become metadata, as text; an empty field becomes
    none. A quoted field may go on over several lines. What all corpora of rows do: `RowCorpus`.
    """

    Config: ClassVar[type[TableConfig]] = TableConfig
    files: ClassVar[tuple[str, ...]] = packed("*.csv")
    separator: ClassVar[str] = ","

    def __init__(self, config: TableConfig) -> None:
        super().__init__(config, keys_of(config, None, any_value=True))
        self._config = config
        self._delimiter = config.delimiter or self.separator

    def rows(self) -> Iterator[Row]:
        """Yield the rows behind the header, each with its columns, or the error in its place.

        Raises:
            CorpusError: a file cannot be read, or two columns have the same name.
        """
        allow_long_fields()
        for shard in find_shards(self._config.path, self.files):
            columns = self._config.columns
            with closing(self._lines(shard.path)) as lines:
                for number, values in self._records(lines):
                    if columns is None:
                        columns = _header(values, f"{shard.path}:{number}")
                    else:
                        yield Row(shard, number, (columns, values))
            if columns is None:
                raise CorpusError(
                    f"{shard.path}: the file is empty: expected a line with the names of the "
                    "columns"
                )

    def fields(self, row: Row, where: str) -> dict[str, Any]:
        """Return the fields of a row that are not empty, and id, title and text in any case.

        Raises:
            CorpusError: its quotes are wrong, it has more or fewer fields than there are columns,
                or a number is none.
        """
        columns, values = row.content
        config = self._config
        if isinstance(values, csv.Error):
            raise CorpusError(
                f"{where}: {values}: a field that begins with a quote must end with one, and a "
                'quote in it be doubled (""); where quotes are letters like any other, set '
                "quoting: none"
            )
        if len(values) != len(columns):
            raise CorpusError(
                f"{where}: {len(values)} fields, expected {len(columns)} ({listed(columns)}), "
                f"separated by {self._delimiter!r}: repair or remove the row, or name another "
                "`delimiter`"
            )
        ids = (config.id,) if config.id else ("id",) if "id" in columns else ID_ALIASES
        parts = {*ids, config.title or "title", config.text or "text"}
        fields: dict[str, Any] = {
            name: value
            for name, value in zip(columns, values, strict=True)
            if value or name in parts
        }
        for name in config.numbers:
            if name in fields:
                fields[name] = _number(fields[name], name, where)
        return fields

    def _records(self, lines: Iterator[str]) -> Iterator[tuple[int, list[str] | csv.Error]]:
        """Yield each record with the number of its first line, or the error in its place."""
        reader = csv.reader(
            lines,
            delimiter=self._delimiter,
            quoting=csv.QUOTE_NONE if self._config.quoting == "none" else csv.QUOTE_MINIMAL,
            strict=True,
        )
        while True:
            number = reader.line_num + 1
            try:
                values = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield number, error
                continue
            if values:
                yield number, values

    def _lines(self, path: Path) -> Generator[str, None, None]:
        if codecs.lookup(self._config.encoding).name != _UTF8:
            yield from _decoded_lines(path, self._config.encoding)
            return
        try:
            for _, line in lines_of(path):
                yield line
        except CorpusError as error:
            if "not UTF-8" in str(error):
                raise CorpusError(f"{error}, or name its encoding, such as encoding: cp1252") from (
                    None
                )
            raise


class Tsv(Csv):
    """A table whose fields are separated by tabs; in all else as `Csv`."""

    files = packed("*.tsv", "*.tab")
    separator = "\t"


def _header(values: list[str] | csv.Error, where: str) -> tuple[str, ...]:
    """Return the names of the columns."""
    if isinstance(values, csv.Error):
        raise CorpusError(f"{where}: {values}: expected the names of the columns")
    twice = next((name for name, count in Counter(values).items() if count > 1), None)
    if twice is not None:
        raise CorpusError(
            f"{where}: two columns have the name {shown(twice)}: give each a name of its own; for "
            "a file without a header, set `columns`"
        )
    return tuple(values)


def _decoded_lines(path: Path, encoding: str) -> Iterator[str]:
    """Yield the lines of a file in another encoding than UTF-8, their ends included.

    Raises:
        CorpusError: it cannot be read, is in no such encoding, or has a line that is too long.
    """
    number = 0
    # A byte order mark is text in the encodings that name an order, such as utf-16-le.
    mark = "\ufeff"
    with unpacked(path) as (file, _), io.TextIOWrapper(file, encoding, newline="") as text:
        while True:
            number += 1
            try:
                line = text.readline(LONGEST_LINE + 1)
            except UnicodeError as error:
                raise CorpusError(
                    f"{path}:{number}: not in the encoding {encoding} ({error}): name the right "
                    "one with `encoding`"
                ) from None
            except damages() as error:
                raise CorpusError(
                    f"{path}:{number}: cannot be read ({error}): fetch the file again"
                ) from None
            if not line:
                return
            if len(line) > LONGEST_LINE:
                raise CorpusError(
                    f"{path}:{number}: the line is longer than {LONGEST_LINE >> 20} Mi characters: "
                    "expected one row a line"
                )
            yield line.removeprefix(mark) if number == 1 else line


def _number(value: str, name: str, where: str) -> int | float:
    try:
        return int(value)
    except ValueError:
        pass
    try:
        return float(value)
    except ValueError:
        raise CorpusError(
            f"{where}: {name} is {shown(value)}, expected a number: repair it, or take {name} out "
            "of `numbers`"
        ) from None

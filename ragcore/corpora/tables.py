"""Passages from CSV and other tables of text.

Python's csv module reads them, so that each row's line in the file is known, also where a quoted
field goes on over several lines.
"""

from __future__ import annotations

import codecs
import csv
import math
import re
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field, field_validator

from ragcore.corpora.csv_records import Line, RecordTooLongError, records
from ragcore.corpora.fields import ID_ALIASES, listed, shown
from ragcore.corpora.lines import decoded, raw_lines
from ragcore.corpora.rows import FilesConfig, Row, RowConfig, RowCorpus, keys_of
from ragcore.corpora.shards import find_shards, packed
from ragcore.errors import CorpusError

__all__ = ["Csv", "Tsv"]

_UTF8: Final = frozenset({"utf-8", "utf-8-sig"})
_ASCII: Final = "".join(map(chr, range(128)))
_DELIMITERS: Final = ",;\t|"


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
        for shard in find_shards(self._config.path, self.files):
            columns = self._config.columns
            if columns is not None:
                _check_names(self._config, columns, str(shard.path))
            with closing(self._lines(shard.path)) as lines:
                quoted = self._config.quoting == "csv"
                try:
                    for number, values in records(lines, self._delimiter, quoted=quoted):
                        if columns is None:
                            columns = self._header(values, f"{shard.path}:{number}")
                        else:
                            yield Row(shard, number, (columns, values))
                except RecordTooLongError as error:
                    raise CorpusError(f"{shard.path}:{error}") from None
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
        if isinstance(values, CorpusError):
            raise values
        if isinstance(values, csv.Error):
            _check_line_end(values, where)
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

    def _header(self, values: list[str] | Exception, where: str) -> tuple[str, ...]:
        """Return the names of the columns that a first record has.

        Raises:
            CorpusError: it is wrong, or the settings name others.
        """
        config = self._config
        if isinstance(values, CorpusError):
            raise values
        if isinstance(values, Exception):
            _check_line_end(values, where)
            raise CorpusError(f"{where}: {values}: expected the names of the columns")
        twice = next((name for name, count in Counter(values).items() if count > 1), None)
        if twice is not None:
            raise CorpusError(
                f"{where}: two columns have the name {shown(twice)}: give each a name of its own; "
                "for a file without a header, set `columns`"
            )
        other = next((each for each in _DELIMITERS if each in values[0]), None)
        if len(values) == 1 and other is not None and values[0] != config.text:
            raise CorpusError(
                f"{where}: one column, {shown(values[0])}, separated by {self._delimiter!r}: for "
                f"fields that {other!r} separates, set delimiter: {other!r}"
            )
        _check_names(config, values, where)
        return tuple(values)

    def _lines(self, path: Path) -> Generator[Line, None, None]:
        """Yield the lines of a file; one that cannot be decoded with its error."""
        encoding = codecs.lookup(self._config.encoding).name
        if encoding not in _UTF8 and not _is_like_ascii(encoding):
            for number, line in raw_lines(path, encoding):
                text = line.decode()
                # A byte order mark is text in the encodings that name an order, as utf-16-le does.
                yield number, text.removeprefix("\ufeff") if number == 1 else text, None
            return
        for number, line in raw_lines(path):
            where, fault = f"{path}:{number}", None
            try:
                text = (
                    decoded(line, where=where, is_first=number == 1)
                    if encoding in _UTF8
                    else line.decode(encoding)
                )
            except CorpusError as error:
                text = line.decode("ascii", "replace")
                fault = CorpusError(f"{error}, or name its encoding, such as encoding: cp1252")
            except UnicodeDecodeError as error:
                text = line.decode("ascii", "replace")
                fault = CorpusError(
                    f"{where}: not in the encoding {self._config.encoding} (byte "
                    f"0x{line[error.start]:02X} at {error.start + 1}): name the right one with "
                    "`encoding`"
                )
            yield number, text, fault


class Tsv(Csv):
    """A table whose fields are separated by tabs; in all else as `Csv`."""

    files = packed("*.tsv", "*.tab")
    separator = "\t"


def _check_names(config: TableConfig, columns: Sequence[str], where: str) -> None:
    """Check that a table has the columns that become metadata and numbers.

    Args:
        config: of the corpus.
        columns: of the table.
        where: file and line of the header, for errors.

    Raises:
        CorpusError: there is no such column.
    """
    for option, names in (("metadata", config.metadata or ()), ("numbers", config.numbers)):
        for name in names:
            if name not in columns:
                raise CorpusError(
                    f"{where}: no column {name!r}, which `{option}` names: expected one of "
                    f"{listed(columns)}"
                )


def _check_line_end(error: Exception, where: str) -> None:
    """Check that an error of the csv module is none of line ends, which it words for programs.

    Raises:
        CorpusError: it is one.
    """
    if "new-line character" in str(error):
        raise CorpusError(
            f"{where}: a carriage return without a line feed ends a line: save the file with the "
            "line ends of Windows or Unix"
        )


def _is_like_ascii(encoding: str) -> bool:
    """Return whether an encoding has ASCII's bytes for its characters, and shifts between none."""
    try:
        return _ASCII.encode("ascii").decode(encoding) == _ASCII
    except UnicodeError:
        return False


_NUMBER: Final = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_MOST_DIGITS: Final = 1000


def _number(value: str, name: str, where: str) -> int | float:
    """Return the number that a text is, whole where it has neither point nor exponent.

    Raises:
        CorpusError: it is none, or one that is too large.
    """
    text = value.strip()
    if _NUMBER.fullmatch(text) and len(text) <= _MOST_DIGITS:
        if text.lstrip("+-").isdecimal():
            return int(text)
        if math.isfinite(number := float(text)):
            return number
    raise CorpusError(
        f"{where}: {name} is {shown(value)}, expected a number such as 1960 or 1.5e3: "
        f"repair it, or take {name} out of `numbers`"
    )

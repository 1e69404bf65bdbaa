"""Passages from DPR's Wikipedia and other tables without quoting across lines."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, ValidationInfo, field_validator

from ragcore.corpora.fields import ID_KEYS, Keys, Parts, checked_content, listed, shown
from ragcore.corpora.lines import LONGEST_LINE, decoded, raw_lines
from ragcore.corpora.ranges import DividedRows, ranges_of
from ragcore.corpora.rows import CorpusConfig, FilesConfig, Row
from ragcore.corpora.shards import Shard, find_shards, packed
from ragcore.errors import CorpusError

__all__ = ["DprTsv"]

_FILES: Final = packed("*.tsv")
_MSMARCO_FILES: Final = packed("collection.tsv", "msmarco-docs.tsv")
_MSMARCO: Final[dict[int, tuple[str, ...]]] = {
    2: ("id", "text"),
    4: ("id", "url", "title", "text"),
}
_BLANK: Final = frozenset({b"\n", b"\r\n"})
"""Columns of MS MARCO's first collections by their number: passages, and documents."""


class DprTsv(DividedRows):
    """The paper's Wikipedia, `psgs_w100.tsv`: columns id, text, title, quoted as in CSV.

    A row is one line. Files that have no quoting, in which a quote is a letter like any other, are
    read with `quoting: none`, and those without a header with `columns`: MS MARCO's collection.tsv
    with both, which `preset: msmarco` stands for. Columns other than id, text and title become
    metadata. Empty lines are skipped. With `ids: content`, `columns` may lack the id: it is made
    from title and text.
    """

    class Config(CorpusConfig, FilesConfig):
        """Settings of `{use: dpr-tsv}`."""

        preset: Literal["msmarco"] | None = Field(
            None,
            description="msmarco reads MS MARCO's collection.tsv and msmarco-docs.tsv: no quoting, "
            "no header, the columns id, text or id, url, title, text; null as the keys below say",
        )
        quoting: Literal["csv", "none"] = Field(
            "csv",
            description="whether a field that begins with a quote ends with one, and a quote in it "
            "is doubled, as in DPR's file; none takes quotes as they are, as in MS MARCO's",
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
            if columns is not None and info.data.get("preset") is not None:
                raise ValueError("a preset names the columns: leave out one of the two")
            return columns

    def __init__(self, config: Config) -> None:
        super().__init__(config, Keys(id="id", any_value=True))
        self._config = config
        if config.columns is not None and "id" not in config.columns:
            self._keys = Keys(id=False, any_value=True)
        self._quoted = config.quoting == "csv" and config.preset is None

    def rows(self) -> Iterator[Row]:
        """Yield the lines behind a header, each with its columns.

        Raises:
            CorpusError: a file cannot be read, or has other columns.
        """
        for shard, within in ranges_of(self._shards(), self._part):
            columns = self._columns(shard)
            for number, line in raw_lines(shard.path, within=within):
                row = Row(shard, number, (columns, line), within)
                if line not in _BLANK and not (row.is_first and self._is_header(line, columns)):
                    yield row

    def files(self) -> list[Path]:
        """Return the files that are read."""
        return [shard.path for shard in self._shards()]

    def _shards(self) -> list[Shard]:
        preferred = _MSMARCO_FILES if self._config.preset else ()
        return find_shards(self._config.path, _FILES, preferred)

    def _columns(self, shard: Shard) -> tuple[str, ...]:
        """Return the columns of a file: those of the config, else as its first line tells."""
        if self._config.columns is not None:
            return self._config.columns
        lines = raw_lines(shard.path)
        if self._config.preset is None:
            return self._header(next(lines, None), f"{shard.path}:1")
        filled = next(((number, line) for number, line in lines if line not in _BLANK), None)
        # Of a file without rows, no column is needed.
        return () if filled is None else _layout(filled[1], f"{shard.path}:{filled[0]}")

    def fields(self, row: Row, where: str) -> dict[str, Any]:
        """Read the fields of a line.

        Raises:
            CorpusError: it has more or fewer than there are columns, an empty id, or a field that
                goes on in the next line.
        """
        columns, line = row.content
        values = self._values(decoded(line, where=where, is_first=row.is_first), where)
        if len(values) != len(columns):
            raise CorpusError(
                f"{where}: {len(values)} fields, expected {len(columns)} "
                f"({listed(columns)}), separated by tabs: repair or remove the line"
            )
        fields = dict(zip(columns, values, strict=True))
        if fields.get("id") == "":
            raise CorpusError(f"{where}: the id is empty: give each row one")
        return fields

    def parts(self, row: Row, where: str) -> Parts:
        """Return the parts of a line, all of which are text, so that less need be checked.

        Raises:
            CorpusError: as `fields`, or it has neither text nor title.
        """
        fields = self.fields(row, where)
        id_, title, text = fields.pop("id", ""), fields.pop("title", ""), fields.pop("text")
        return Parts(id_, title, checked_content(id_, title, text, where, "line"), fields)

    def _header(self, first: tuple[int, bytes] | None, where: str) -> tuple[str, ...]:
        """Return the columns that the first line names, the id under its own name."""
        header = None
        if first is not None:
            header = self._values(decoded(first[1], where=where, is_first=True), where)
        if header is None or header[1:] != ["text", "title"] or header[0] not in ID_KEYS:
            columns = "None" if header is None else f"[{listed(list(map(shown, header)))}]"
            raise CorpusError(
                f"{where}: found the columns {columns}, expected id, text, title, separated "
                "by tabs: use a file such as DPR's psgs_w100.tsv, or name the columns of a file "
                "without a header (columns: [id, text])"
            )
        return ("id", "text", "title")

    def _is_header(self, line: bytes, columns: tuple[str, ...]) -> bool:
        """Return whether a first line has the columns' names, which then need not be given."""
        if self._config.columns is None and self._config.preset is None:
            return True
        try:
            return self._values(decoded(line, where="", is_first=True), "") == list(columns)
        except CorpusError:
            return False

    def _values(self, line: str, where: str) -> list[str]:
        """Split a line into its fields, and undo their quotes."""
        if not self._quoted or '"' not in line:
            return line.rstrip("\r\n").split("\t")
        allow_long_fields()
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


def _layout(line: bytes, where: str) -> tuple[str, ...]:
    """Return the columns of a file of MS MARCO, by the number that its first line has.

    Raises:
        CorpusError: it has another number of fields.
    """
    count = line.count(b"\t") + 1
    columns = _MSMARCO.get(count)
    if columns is None:
        expected = " or ".join(f"{n} ({', '.join(names)})" for n, names in _MSMARCO.items())
        raise CorpusError(
            f"{where}: {count} fields, expected {expected}, separated by tabs: is it a file of MS "
            "MARCO's first collections?"
        )
    return columns


def allow_long_fields() -> None:
    """Let Python's csv module read fields as long as a line may be; its own limit is 128 KiB.

    The limit is the process's, and is never lowered.
    """
    if csv.field_size_limit() < LONGEST_LINE:
        csv.field_size_limit(LONGEST_LINE)

"""A corpus whose files have a passage, or a text to split, in each row.

What JSON lines, tables and data sets share: the keys of a row, splitting, ids, rows that are
skipped, and where a row is. Knows nothing of how a file has its rows.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from ragcore.corpora.content_ids import ContentIds, Ids
from ragcore.corpora.fields import Keys, Parts, parts_of
from ragcore.corpora.lines import ByteRange
from ragcore.corpora.pieces import Splitter, check_split
from ragcore.corpora.presets import PRESETS, PresetName
from ragcore.corpora.shards import Paths, Shard
from ragcore.corpora.splitting import SplitConfig
from ragcore.errors import CorpusError, EmptyCorpusError
from ragcore.registry.components import ComponentConfig
from ragcore.types import Passage

if TYPE_CHECKING:
    from ragcore.contracts import Capabilities, TextTokenizer

__all__ = [
    "CorpusConfig",
    "FilesConfig",
    "Row",
    "RowConfig",
    "RowCorpus",
    "keys_of",
    "row_location",
]

_LOG: Final = logging.getLogger("ragcore.corpora")
_SHOWN: Final = 20
"""Skipped rows that are logged one by one; of all others only the number."""

_MOST: Final = 10**9
"""Numbers of rows above this are ignored, which a damaged file may have."""

_Key = Annotated[str, Field(min_length=1)]


class FilesConfig(ComponentConfig):
    """The setting `path` of corpora that read files."""

    path: Paths = Field(
        description="a file, a folder, a pattern such as shards/*.jsonl.zst, or a list of these; "
        "files of text may be packed by gzip, bzip2, xz or Zstandard"
    )


class CorpusConfig(ComponentConfig):
    """Settings of all corpora of rows."""

    words: int | None = Field(
        None, ge=1, description="split texts into passages of this many words; null does not"
    )
    split: SplitConfig | None = Field(
        None, description="how texts are split into passages, in place of `words`; null does not"
    )
    ids: Ids = Field(
        None,
        description="content takes digests of title and text in place of the numbers of rows and "
        "of pieces, so that an edit changes no other id; null takes the numbers",
    )
    on_error: Literal["stop", "skip"] = Field(
        "stop",
        description="whether a row that is no passage is an error, or is left out with a warning",
    )
    source: bool = Field(
        False,
        description="add the row's file and line to its metadata, so that answers cite them: path, "
        "and line, or row in files without lines",
    )

    @model_validator(mode="after")
    def _splits_once(self) -> Self:
        check_split(self.words, self.split)
        return self


class RowConfig(CorpusConfig):
    """Settings of corpora whose rows have names for their values."""

    id: _Key | Literal[False] | None = Field(
        None,
        description="key of the id; null takes id, or the one of _id, docid, pid, docno, "
        "doc_id that a row has, or the row's number; false takes the row's number",
    )
    title: _Key | Literal[False] | None = Field(
        None, description="key of the title; null takes title, if a row has it; false takes none"
    )
    text: _Key | None = Field(
        None, description="key of the text, a string or a list of paragraphs; null takes text"
    )
    metadata: tuple[_Key, ...] | None = Field(
        None, description="keys that become metadata; null takes all others, [] none"
    )


@dataclass(frozen=True, slots=True)
class Row:
    """A row as it is in a file.

    Attributes:
        shard: the file.
        count: number of the row, or of its first line, from 1, in what was read of the file.
        content: of the row, in the form in which the corpus has it.
        within: the range of the file that was read; None for all of it.
    """

    shard: Shard
    count: int
    content: Any
    within: ByteRange | None = None

    @property
    def number(self) -> int:
        """The number of the row, or of its first line, from 1, in its file.

        Within a range, the file is read up to there to know it.
        """
        return self.count + (0 if self.within is None else self.within.lines_before)

    @property
    def is_first(self) -> bool:
        """Whether it is its file's first line."""
        return self.count == 1 and (self.within is None or not self.within.start)


class RowCorpus(ABC):
    """Reads passages from rows; a subclass says where they are.

    A text that is split becomes passages `ID-1`, `ID-2`, … with the same title and metadata. A row
    without an id has its number as id, after the file's name where there may be several files. With
    `ids: content` digests stand for all these numbers (`ContentIds`). A row that has a title and no
    text has the title as its text, too.
    """

    unit: ClassVar[Literal["line", "row"]] = "line"
    """What a row's number counts."""

    def __init__(self, config: CorpusConfig, keys: Keys) -> None:
        self._settings = config
        self._keys = keys
        self._splitter = Splitter(config.words, config.split)
        self._summary: tuple[str, ...] = ()

    @property
    def capabilities(self) -> Capabilities:
        """Say that it needs a tokenizer, where it splits texts by tokens."""
        return self._splitter.capabilities

    def use_tokenizer(self, tokenizer: TextTokenizer) -> None:
        """Split texts by this tokenizer."""
        self._splitter.use_tokenizer(tokenizer)

    @abstractmethod
    def rows(self) -> Iterator[Row]:
        """Yield the rows of all files, in order.

        Raises:
            CorpusError: a file cannot be read on.
        """

    @abstractmethod
    def fields(self, row: Row, where: str) -> dict[str, Any]:
        """Return a new mapping with the values of a row.

        Raises:
            CorpusError: the row cannot be read; names where it is.
        """

    def parts(self, row: Row, where: str) -> Parts:
        """Return the parts of a passage that a row has.

        Raises:
            CorpusError: the row is no passage; names where it is.
        """
        return parts_of(self.fields(row, where), self._keys, where)

    def __iter__(self) -> Iterator[Passage]:
        """Yield the passages, in the order of the files.

        Raises:
            CorpusError: a file cannot be read, a row is no passage and `on_error` is stop, or no
                row is one.
        """
        for _, passage in self._passages_of_rows():
            yield passage

    def summary(self) -> tuple[str, ...]:
        """Say how many rows were skipped in the last iteration that has ended, if any were."""
        return self._summary

    def locations(self, id_: str) -> list[str]:
        """Return where the first two passages with an id are; reads the files again."""
        locations: list[str] = []
        for row, passage in self._passages_of_rows(quiet=True):
            if passage.id == id_:
                locations.append(self.where(row))
                if len(locations) == 2:
                    break
        return locations

    def __length_hint__(self) -> int:
        """Return the number of passages; 0 where files must be read to know it."""
        count = self.row_count() if self._splitter.is_whole else None
        return 0 if count is None or count > _MOST else count

    def row_count(self) -> int | None:
        """Return the number of rows; None where the files must be read to know it."""
        return None

    def where(self, row: Row) -> str:
        """Return where a row is, for errors: `passages.jsonl:7`, or `passages.parquet: row 7`."""
        return row_location(row.shard, row.number, self.unit)

    def _passages_of_rows(self, *, quiet: bool = False) -> Iterator[tuple[Row, Passage]]:
        """Yield each passage with its row.

        Args:
            quiet: log nothing of rows that are skipped.
        """
        # A fault of the settings is none of a row, and is not skipped.
        self._splitter.check()
        noun = self._keys.row_noun
        contents = ContentIds() if self._settings.ids == "content" else None
        missing = dict.fromkeys(self._keys.metadata or ())
        first_error: CorpusError | None = None
        read = skipped = 0
        for row in self.rows():
            read += 1
            try:
                parts, passages = self._read(row, contents)
            except CorpusError as error:
                if self._settings.on_error == "stop":
                    raise CorpusError(
                        f"{error} (on_error: skip leaves such a {noun} out)"
                    ) from None
                first_error = first_error or error
                skipped += 1
                if not quiet and skipped <= _SHOWN:
                    _LOG.warning("skipped: %s", error)
                continue
            if missing:
                missing = {key: None for key in missing if key not in parts.metadata}
            for passage in passages:
                yield row, passage
        if first_error is not None and skipped == read and self.is_whole:
            raise EmptyCorpusError(f"no {noun} of {read:,} is a passage; {first_error}")
        if quiet:
            return
        report = f"{skipped:,} of {read:,} {noun}s were skipped"
        if skipped > _SHOWN:
            _LOG.warning("%s", report)
        self._summary = (report,) if skipped else ()
        if missing and read:
            names = ", ".join(map(repr, missing))
            _LOG.warning("metadata: no %s has the %s %s", noun, self._keys.key_noun, names)

    @property
    def is_whole(self) -> bool:
        """Whether it is all of its files; a part may have no passage."""
        return True

    def _read(self, row: Row, contents: ContentIds | None) -> tuple[Parts, list[Passage]]:
        """Return the parts of a row and its passages.

        All pieces of a row before the first is yielded: a row is read or left out whole.

        Raises:
            CorpusError: the row is no passage; names where it is.
        """
        if row.within is None:
            where = self.where(row)
            parts = self.parts(row, where)
            return parts, self._passages(row, parts, contents, where)
        try:
            parts = self.parts(row, "")
            return parts, self._passages(row, parts, contents, "")
        except CorpusError:
            # Once more: only now is it worth counting the lines up to there.
            where = self.where(row)
            parts = self.parts(row, where)
            return parts, self._passages(row, parts, contents, where)

    def _passages(
        self, row: Row, parts: Parts, contents: ContentIds | None, where: str
    ) -> list[Passage]:
        """Return the passages of a row.

        Raises:
            CorpusError: its text cannot be split, such as by tokens under a title that is too long.
        """
        id_, metadata = parts.id, parts.metadata
        if not id_ and contents is None:
            id_ = row.shard.row_id(row.number)
        if self._settings.source:
            metadata = {**metadata, "path": row.shard.name, self.unit: row.number}
        if self._splitter.is_whole and contents is None and isinstance(parts.content, str):
            return [Passage(id_, parts.title, parts.content, metadata)]
        split = self._splitter.passages(id_, parts.title, parts.content, metadata, contents)
        try:
            return list(split)
        except CorpusError as error:
            raise CorpusError(f"{where}: {error}") from None


def row_location(shard: Shard, number: int, unit: str) -> str:
    """Return where a row is: `passages.jsonl:7`, or `passages.parquet: row 7`."""
    return f"{shard.path}:{number}" if unit == "line" else f"{shard.path}: row {number}"


def keys_of(config: RowConfig, preset: PresetName | None, *, any_value: bool = False) -> Keys:
    """Return where rows have the parts of a passage, by a corpus's settings."""
    layout = None if preset is None else PRESETS[preset]
    return Keys(config.id, config.title, config.text, config.metadata, layout, any_value)

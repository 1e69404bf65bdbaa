"""Passages from Parquet files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from pydantic import Field

from ragcore.corpora.arrow_rows import BATCH, arrow_rows, columns_to_read
from ragcore.corpora.compression import opened
from ragcore.corpora.presets import PresetName
from ragcore.corpora.ranges import DividedRows, bounds_of
from ragcore.corpora.rows import FilesConfig, Row, RowConfig, keys_of
from ragcore.corpora.shards import Shard, find_shards
from ragcore.errors import CorpusError

if TYPE_CHECKING:
    import pyarrow.parquet as pq

__all__ = ["Parquet"]

_FILES: Final = ("*.parquet",)
_PREFERRED: Final[dict[PresetName, tuple[str, ...]]] = {"beir": ("corpus*.parquet",)}
"""Names of the files of collections whose folders have files of questions too."""


class Parquet(DividedRows):
    """A table with a column `text`, and perhaps `id` and `title`; a row is a passage, or a text.

    Settings name other columns, and a preset those of a known collection. All other columns become
    metadata: dates as text in ISO 8601, lists and structures as in JSON. What all corpora of rows
    do: `RowCorpus`. Files are read in batches of `BATCH` rows.
    """

    class Config(RowConfig, FilesConfig):
        """Settings of `{use: parquet}`."""

        preset: PresetName | None = Field(
            None, description="the layout of a known collection; null takes the keys above"
        )

    unit: ClassVar[Literal["line", "row"]] = "row"

    def __init__(self, config: Config) -> None:
        super().__init__(config, keys_of(config, config.preset, any_value=True))
        self._config = config

    def rows(self) -> Iterator[Row]:
        """Yield the rows as mappings."""
        for shard, groups, before in self._groups():
            with _opened(shard) as file:
                names = file.schema_arrow.names
                twice = next((name for name, count in Counter(names).items() if count > 1), None)
                if twice is not None:
                    raise CorpusError(
                        f"{shard.path}: two columns have the name {twice!r}: give each a name of "
                        "its own"
                    )
                columns = columns_to_read(self._config, self._config.preset, names, str(shard.path))
                batches = file.iter_batches(batch_size=BATCH, row_groups=groups, columns=columns)
                action = "fetch the file again, or write a new one"
                yield from arrow_rows(batches, shard, action, before)

    def fields(self, row: Row, where: str) -> dict[str, Any]:
        """Return the values of a row by their columns."""
        fields: dict[str, Any] = row.content
        return fields

    def row_count(self) -> int:
        """Return the number of rows of all files, or of the part."""
        count = 0
        for shard, groups, _ in self._groups():
            with _opened(shard) as file:
                count += sum(file.metadata.row_group(group).num_rows for group in groups)
        return count

    def files(self) -> list[Path]:
        """Return the files that are read."""
        return [shard.path for shard in self._shards()]

    def _groups(self) -> Iterator[tuple[Shard, list[int], int]]:
        """Yield the files, with the numbers of their row groups, and the rows before these.

        A part has the groups whose first row is in its share of all rows.
        """
        shards = self._shards()
        sizes = []
        for shard in shards:
            with _opened(shard) as file:
                groups = range(file.num_row_groups)
                sizes.append([file.metadata.row_group(group).num_rows for group in groups])
        start, stop = bounds_of(self._part or (0, 1), sum(map(sum, sizes)))
        begin = 0
        for shard, rows in zip(shards, sizes, strict=True):
            # The rows before each group, in all files.
            firsts = list(accumulate(rows, initial=begin))
            own = [group for group in range(len(rows)) if start <= firsts[group] < stop]
            if own or self._part is None:
                yield shard, own, firsts[own[0]] - begin if own else 0
            begin = firsts[-1]

    def _shards(self) -> list[Shard]:
        preset = self._config.preset
        preferred = () if preset is None else _PREFERRED.get(preset, ())
        return find_shards(self._config.path, _FILES, preferred)


def _opened(shard: Shard) -> pq.ParquetFile:
    """Open a file.

    Raises:
        CorpusError: it is no Parquet file, or is cut short.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with opened(shard.path) as file:
        head = file.read(4)
    if head != b"PAR1":
        raise CorpusError(
            f"{shard.path}: begins with the bytes {head.hex(' ') or 'of no content'}: expected a "
            "Parquet file, which packs its columns itself"
        )
    try:
        return pq.ParquetFile(shard.path)
    except (pa.ArrowException, OSError) as error:
        raise CorpusError(
            f"{shard.path}: cannot be read as Parquet ({error}): is the file whole? Fetch it again"
        ) from None

"""Passages from Parquet files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from pydantic import Field

from ragcore.corpora.compression import opened
from ragcore.corpora.fields import ID_KEYS, shown
from ragcore.corpora.presets import PRESETS, PresetName
from ragcore.corpora.rows import FilesConfig, Row, RowConfig, RowCorpus, keys_of
from ragcore.corpora.shards import Shard, find_shards
from ragcore.errors import CorpusError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

__all__ = ["BATCH", "Parquet", "columns_to_read"]

BATCH: Final = 512
"""Rows that are in memory at a time."""

_FILES: Final = ("*.parquet",)


class Parquet(RowCorpus):
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
        import pyarrow as pa

        for shard in find_shards(self._config.path, _FILES):
            number = 0
            with _opened(shard) as file:
                names = file.schema_arrow.names
                twice = next((name for name, count in Counter(names).items() if count > 1), None)
                if twice is not None:
                    raise CorpusError(
                        f"{shard.path}: two columns have the name {twice!r}: give each a name of "
                        "its own"
                    )
                columns = columns_to_read(self._config, self._config.preset, names)
                batches = file.iter_batches(batch_size=BATCH, columns=columns)
                while True:
                    where = f"{shard.path}: row {number + 1} or one of the next {BATCH}"
                    try:
                        batch: pa.RecordBatch | None = next(batches, None)
                    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
                        raise CorpusError(
                            f"{where}: cannot be read ({error}): fetch the file again, or write it "
                            "anew"
                        ) from None
                    if batch is None:
                        break
                    for fields in _values(batch, where):
                        number += 1
                        yield Row(shard, number, fields)

    def fields(self, row: Row, where: str) -> dict[str, Any]:
        """Return the values of a row by their columns."""
        fields: dict[str, Any] = row.content
        return fields

    def row_count(self) -> int:
        """Return the number of rows of all files."""
        count = 0
        for shard in find_shards(self._config.path, _FILES):
            with _opened(shard) as file:
                count += file.metadata.num_rows
        return count


def columns_to_read(
    config: RowConfig, preset: PresetName | None, names: Sequence[str]
) -> list[str] | None:
    """Return the columns that passages are made of; None for all.

    Args:
        config: of the corpus; where it names the columns of metadata, others need not be read.
        preset: whose keys are read.
        names: of all columns.
    """
    if config.metadata is None:
        return None
    needed = {*config.metadata, "metadata", config.id, config.title, config.text, *ID_KEYS}
    needed |= {"title", "text"}
    if preset is not None:
        layout = PRESETS[preset]
        needed |= {*layout.id, *layout.title, *layout.text, "contents", "history", "wikidata_info"}
    return [name for name in names if name in needed]


def _values(batch: pa.RecordBatch, where: str) -> list[dict[str, Any]]:
    """Return the rows of a batch as mappings.

    Raises:
        CorpusError: Python has no such value, as for a date in the year 99999; names the column.
    """
    import pyarrow as pa

    faults = (pa.ArrowException, ValueError, OverflowError)
    for position, column in enumerate(batch.columns):
        coarse = _without_nanoseconds(column.type)
        if coarse != column.type:
            name = batch.schema.names[position]
            batch = batch.set_column(position, name, column.cast(coarse, safe=False))
    try:
        values: list[dict[str, Any]] = batch.to_pylist()
    except faults:
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            try:
                column.to_pylist()
            except faults as error:
                raise CorpusError(
                    f"{where}: the column {shown(name)} of type {str(column.type)[:100]} has a "
                    f"value that cannot be read ({error}): leave the column out by naming those to "
                    "keep, as in metadata: [url, date], or repair the value"
                ) from None
        raise
    return values


def _without_nanoseconds(type_: pa.DataType) -> pa.DataType:
    """Return a type with microseconds for nanoseconds, which times of Python do not have."""
    import pyarrow as pa

    types = pa.types
    if types.is_timestamp(type_) and type_.unit == "ns":
        return pa.timestamp("us", type_.tz)
    if types.is_time64(type_):
        return pa.time64("us")
    if types.is_duration(type_) and type_.unit == "ns":
        return pa.duration("us")
    if types.is_struct(type_):
        return pa.struct([field.with_type(_without_nanoseconds(field.type)) for field in type_])
    if types.is_list(type_):
        return pa.list_(type_.value_field.with_type(_without_nanoseconds(type_.value_type)))
    return type_


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

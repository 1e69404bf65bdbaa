"""Read rows from Arrow's batches, whatever file or data set they are from.

Knows columns and their types; knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from ragcore.corpora.fields import ID_KEYS, listed, shown
from ragcore.corpora.presets import PRESETS, PresetName
from ragcore.corpora.rows import Row, RowConfig
from ragcore.corpora.shards import Shard
from ragcore.errors import CorpusError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["BATCH", "arrow_rows", "columns_to_read"]

BATCH: Final = 512
"""Rows that are in memory at a time."""


def columns_to_read(
    config: RowConfig, preset: PresetName | None, names: Sequence[str], where: str
) -> list[str] | None:
    """Return the columns that passages are made of; None for all.

    Args:
        config: of the corpus; where it names the columns of metadata, others need not be read.
        preset: whose keys are read.
        names: of all columns.
        where: file, for errors.

    Raises:
        CorpusError: there is no column for a name in `metadata`.
    """
    if config.metadata is None:
        return None
    layout = None if preset is None else PRESETS[preset]
    # A column `metadata` may have more keys in it, and a preset may make some of others.
    if "metadata" not in names and (layout is None or layout.prepare is None):
        for name in config.metadata:
            if name not in names:
                raise CorpusError(
                    f"{where}: no column {name!r}, which `metadata` names: expected one of "
                    f"{listed(names)}"
                )
    needed = {*config.metadata, "metadata", config.id, config.title, config.text, *ID_KEYS}
    needed |= {"title", "text"}
    if layout is not None:
        needed |= {*layout.id, *layout.title, *layout.text, "contents", "history", "wikidata_info"}
    return [name for name in names if name in needed]


def arrow_rows(
    batches: Iterable[pa.RecordBatch | pa.Table], shard: Shard, action: str, before: int = 0
) -> Iterator[Row]:
    """Yield the rows of batches, as mappings from columns to values.

    Args:
        batches: of at most `BATCH` rows.
        shard: that they are from.
        action: what to do where they cannot be read, for errors.
        before: how many rows of the file come before them.

    Raises:
        CorpusError: a batch cannot be read.
    """
    number = before
    faults: tuple[type[Exception], ...] = (*_faults(), OSError)
    remaining = iter(batches)
    while True:
        where = f"{shard.path}: row {number + 1} or one of the next {BATCH}"
        try:
            batch = next(remaining, None)
        except faults as error:
            raise CorpusError(f"{where}: cannot be read ({error}): {action}") from None
        if batch is None:
            return
        for fields in _values(batch, where):
            number += 1
            yield Row(shard, number, fields)


def _faults() -> tuple[type[Exception], ...]:
    """Return the errors of values that Python does not have."""
    import pyarrow as pa

    return (pa.ArrowException, ValueError, OverflowError)


def _values(batch: pa.RecordBatch | pa.Table, where: str) -> list[dict[str, Any]]:
    """Return the rows of a batch as mappings.

    Raises:
        CorpusError: Python has no such value, as for a date in the year 99999; names the column.
    """
    faults = _faults()
    try:
        values: list[dict[str, Any]] = _without_nanoseconds(batch).to_pylist()
    except faults:
        for name in batch.schema.names:
            try:
                _without_nanoseconds(batch.select([name])).to_pylist()
            except faults as error:
                kind = str(batch.schema.field(name).type)
                raise CorpusError(
                    f"{where}: the column {shown(name)} of type {shown(kind)[1:-1]} has a value "
                    f"that cannot be read ({error}): leave the column out by naming those to keep, "
                    "as in metadata: [url, date], or repair the value"
                ) from None
        raise
    return values


def _without_nanoseconds(batch: pa.RecordBatch | pa.Table) -> pa.RecordBatch | pa.Table:
    """Return a batch whose times Python can hold, to the microsecond, or are text in ISO 8601."""
    import pyarrow as pa

    for position, column in enumerate(batch.schema):
        coarser = _coarser(column.type)
        if coarser == column.type:
            continue
        values: Any = batch.column(position)
        try:
            values = values.cast(coarser)
        except pa.ArrowInvalid:
            # Some have nanoseconds, which only a text can hold.
            values = _iso_texts(values, coarser)
        batch = batch.set_column(position, pa.field(column.name, values.type), values)
    return batch


def _coarser(kind: Any) -> Any:
    """Return a type with microseconds in the place of nanoseconds."""
    import pyarrow as pa

    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return pa.timestamp("us", kind.tz)
    if pa.types.is_time64(kind) and kind.unit == "ns":
        return pa.time64("us")
    if pa.types.is_duration(kind) and kind.unit == "ns":
        return pa.duration("us")
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_coarser(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_coarser(kind.value_type)))
    return kind


def _iso_texts(values: Any, coarser: Any) -> Any:
    """Return times with nanoseconds as text; durations, and times in lists, to the microsecond."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_timestamp(values.type):
        texts = pc.replace_substring(values.cast(pa.string()), " ", "T")
        return pc.replace_substring_regex(texts, "Z$", "+00:00")
    if pa.types.is_time64(values.type):
        return values.cast(pa.string())
    return values.cast(coarser, safe=False)

"""Passages in Arrow files of a version: written as a stream, read through a memory map.

Knows a file's columns (id, title, text, metadata as JSON); knows nothing of versions, nor of which
passages one leaves out.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from ragcore.contracts.passages import PassageRecord
from ragcore.errors import CorpusError
from ragcore.memory.columns import ColumnWriter, metadata_to_json, read_batches
from ragcore.types import Passage

if TYPE_CHECKING:
    from ragcore.types import Rows

__all__ = ["SCHEMA", "ArrowPassages", "PassageWriter", "encoding_message", "is_unicode"]

SCHEMA: Final = pa.schema(
    [pa.field(name, pa.string(), nullable=False) for name in PassageRecord._fields]
)


class PassageWriter(ColumnWriter[PassageRecord]):
    """Writes passages to a new file, in order; `Passages` reads it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, SCHEMA)

    def write(self, passages: Sequence[Passage]) -> None:
        """Append passages.

        Raises:
            CorpusError: a passage cannot be written: its metadata is not JSON, or a text has a lone
                surrogate, which UTF-8 cannot encode.
        """
        for passage in passages:
            record = PassageRecord(
                passage.id, passage.title, passage.text, metadata_to_json(passage)
            )
            self._append(record, sum(map(len, record)))

    def _columns(self, rows: Sequence[PassageRecord]) -> list[Any]:
        try:
            return [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
        except UnicodeEncodeError as error:
            raise CorpusError(encoding_message(rows, self._written, error)) from None


class ArrowPassages:
    """The passages of one file, read-only, by their positions in it; several threads may use it.

    Attributes:
        ends: how many passages there are up to the end of each batch.
    """

    def __init__(self, path: Path) -> None:
        """Map a file that `PassageWriter` wrote.

        Raises:
            StoreCorruptError: it is missing or cut off, or has other columns.
        """
        batches = read_batches(path, SCHEMA, "passages")
        self.ends = list(accumulate(batch.num_rows for batch in batches))
        self._batches = [batch.columns for batch in batches]

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def columns(self, batch: int, fields: Sequence[int]) -> list[Any]:
        """Return the Arrow arrays of a batch, those of some fields, by their numbers."""
        columns = self._batches[batch]
        return [columns[field] for field in fields]

    def take(self, positions: Sequence[int]) -> list[list[str]]:
        """Read all fields of passages, in the order of their positions."""
        records = []
        for position in positions:
            batch = bisect_right(self.ends, position)
            offset = position - (self.ends[batch - 1] if batch else 0)
            records.append([column[offset].as_py() for column in self._batches[batch]])
        return records

    def ids(self, positions: Rows) -> list[str]:
        """Return the ids of passages, int64 [n], in the order of their positions."""
        owners = np.searchsorted(self.ends, positions, side="right")  # [n], the batch of each
        order = np.argsort(owners, kind="stable")
        names = np.empty(len(positions), object)
        for part in np.split(order, np.flatnonzero(np.diff(owners[order])) + 1):
            if len(part):
                batch = int(owners[part[0]])
                start = self.ends[batch - 1] if batch else 0
                offsets = pa.array(positions[part] - start)
                names[part] = self._batches[batch][0].take(offsets).to_pylist()
        ids: list[str] = names.tolist()
        return ids

    def find(self, ids: Sequence[str]) -> Rows:
        """Return the positions of all passages with one of these ids, ascending; compares all."""
        # Slow to import, and needed by no command that only lists, checks or switches versions.
        import pyarrow.compute as pc

        column = pa.chunked_array([columns[0] for columns in self._batches], pa.string())
        # All together: what is compared with is hashed again for each call.
        matches = pc.indices_nonzero(pc.is_in(column, _unicode_array(ids)))
        positions: Rows = matches.to_numpy().astype(np.int64)
        return positions


def encoding_message(
    records: Sequence[PassageRecord], written: int, error: UnicodeEncodeError
) -> str:
    """Say which of some passages cannot be written as UTF-8.

    Args:
        records: the passages.
        written: how many were written before them.
        error: that the encoder raised.
    """
    for number, record in enumerate(records, start=written + 1):
        for name, value in record._asdict().items():
            if value == error.object:
                return (
                    f"passage {number} ({record.id!r}): its {name} has a lone surrogate, "
                    f"{error.object[error.start]!r} at character {error.start}, which is no "
                    "Unicode text: repair the corpus"
                )
    return f"a passage cannot be written as UTF-8: {error}"


def _unicode_array(texts: Sequence[str]) -> Any:
    """Return texts as an array, without those that have a lone surrogate, as no stored id has."""
    try:
        return pa.array(texts, pa.string())
    except UnicodeEncodeError:
        return pa.array([text for text in texts if is_unicode(text)], pa.string())


def is_unicode(text: str) -> bool:
    """Return whether a text has no lone surrogate."""
    return not any("\ud800" <= character <= "\udfff" for character in text)

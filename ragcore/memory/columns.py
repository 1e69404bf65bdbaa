"""Read and write the columns of a version's Arrow files: batches of bounded size, metadata as JSON.

Knows neither passages files nor versions. A file consists of record batches of bounded size, so
that neither writing nor reading has more than one of them in memory.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Generic, Self, TypeVar

import pyarrow as pa

from ragcore.errors import CorpusError, StoreCorruptError
from ragcore.types import Passage

__all__ = [
    "BATCH_ROWS",
    "ColumnWriter",
    "metadata_from_json",
    "metadata_list",
    "metadata_to_json",
    "read_batches",
]

BATCH_ROWS: Final = 4096
BATCH_CHARACTERS: Final = 1 << 22
"""Rows and characters after which a batch ends."""

DEEPEST: Final = 64
"""How deep metadata may be nested: Python reads and copies it by recursion."""


Row = TypeVar("Row")


class ColumnWriter(ABC, Generic[Row]):
    """Writes rows to a new file, in order; a context manager.

    At most 4,096 rows are in memory, or four million characters and the row that exceeds them. The
    file is complete when the context ends; if it ends by an exception, the file lacks its end, and
    `read_batches` refuses it.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        """Begin a file with these columns."""
        self._schema = schema
        self._pending: list[Row] = []
        self._characters = 0
        self._written = 0
        self._file = path.open("wb")
        self._writer = pa.ipc.new_file(self._file, schema)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._flush()
                self._writer.close()
        finally:
            self._file.close()

    @abstractmethod
    def _columns(self, rows: Sequence[Row]) -> list[Any]:
        """Return the Arrow array of each column, in the schema's order."""

    def _append(self, row: Row, characters: int) -> None:
        """Append a row whose texts have so many characters."""
        self._pending.append(row)
        self._characters += characters
        if len(self._pending) >= BATCH_ROWS or self._characters >= BATCH_CHARACTERS:
            self._flush()

    def _flush(self) -> None:
        if not self._pending:
            return
        columns = self._columns(self._pending)
        self._writer.write_batch(pa.record_batch(columns, schema=self._schema))
        self._written += len(self._pending)
        self._pending, self._characters = [], 0


def read_batches(path: Path, schema: pa.Schema, content: str) -> list[Any]:
    """Map a file into memory and return its record batches.

    Args:
        path: of the file.
        schema: of its columns.
        content: what it holds, for errors: "passages".

    Raises:
        StoreCorruptError: the file is missing or cut off, or has other columns.
    """
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path), "r"))
        if not reader.schema.equals(schema):
            raise StoreCorruptError(
                f"{path} has columns {reader.schema.names}, expected {schema.names}: "
                "rebuild this version of the memory"
            )
        return [reader.get_batch(i) for i in range(reader.num_record_batches)]
    except FileNotFoundError:
        raise StoreCorruptError(f"{path} is missing: rebuild this version of the memory") from None
    except (pa.ArrowException, OSError) as error:
        raise StoreCorruptError(
            f"{path} cannot be read as {content} ({error}): rebuild this version of the memory"
        ) from error


def metadata_to_json(passage: Passage) -> str:
    """Return the metadata of a passage as JSON.

    Raises:
        CorpusError: they cannot be written as JSON, or are nested too deep.
    """
    if not passage.metadata:
        return "{}"
    try:
        text = json.dumps(dict(passage.metadata), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise CorpusError(
            f"passage {passage.id!r}: its metadata cannot be written as JSON ({error}): use "
            "strings, finite numbers, booleans, null, lists and mappings only; write null where a "
            "number is NaN or infinite"
        ) from None
    if _depth(text) > DEEPEST:
        raise CorpusError(
            f"passage {passage.id!r}: its metadata is nested more than {DEEPEST} levels deep: "
            "write it flatter"
        )
    return text


def metadata_from_json(text: str) -> dict[str, Any]:
    """Return the metadata that a JSON text holds."""
    metadata: dict[str, Any] = json.loads(text, parse_constant=_null)
    return metadata


def metadata_list(texts: Sequence[str]) -> list[Mapping[str, Any]]:
    """Return the metadata that JSON texts hold, many times quicker than one by one."""
    metadata: list[Mapping[str, Any]] = json.loads(f"[{','.join(texts)}]", parse_constant=_null)
    return metadata


_MARKS: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]')
"""Strings, which may hold brackets, and brackets."""


def _depth(text: str) -> int:
    """Return at least how deep the lists and mappings of a JSON text are nested."""
    if text.count("[") + text.count("{") <= DEEPEST:
        return 0
    depth = deepest = 0
    for mark in _MARKS.findall(text):
        depth += 1 if mark in "[{" else -1 if mark in "]}" else 0
        deepest = max(deepest, depth)
    return deepest


def _null(name: str) -> None:
    """Read NaN and infinities, which earlier releases wrote, as null: JSON has no such numbers."""

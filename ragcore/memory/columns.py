"""Read and write the columns of a version's Arrow files: batches of bounded size, metadata as JSON.

Knows neither passages files nor versions. A file consists of record batches of bounded size, so
that neither writing nor reading has more than one of them in memory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from ragcore.errors import CorpusError, StoreCorruptError
from ragcore.types import Passage

__all__ = [
    "BATCH_CHARACTERS",
    "BATCH_ROWS",
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

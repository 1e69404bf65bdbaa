"""Arrays as PostgreSQL's binary protocol has them: whole batches, made by NumPy.

The forms are those of `array_recv`, of `COPY … (format binary)`, and of pgvector's `vector_recv`
and `halfvec_recv`: the number of dimensions, two bytes of zero, then the numbers, big-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format

if TYPE_CHECKING:
    import numpy.typing as npt

    from ragcore.types import Rows, Vectors

__all__ = [
    "BinaryArray",
    "COPY_END",
    "COPY_HEADER",
    "copied_rows",
    "row_array",
    "vector_array",
    "vectors_in",
]

COPY_HEADER: Final = b"PGCOPY\n\xff\r\n\x00" + struct.pack(">ii", 0, 0)
COPY_END: Final = struct.pack(">h", -1)

_INT8: Final = 20
"""The type int8 has this number in each PostgreSQL."""


class BinaryArray:
    """An array that is sent as it is."""

    def __init__(self, data: bytes) -> None:
        self.data = data


class BinaryArrayDumper(Dumper):
    """Sends a `BinaryArray`; the statement says what it is: `%b::bigint[]`."""

    format = Format.BINARY

    def dump(self, obj: BinaryArray) -> bytes:
        """Return the bytes."""
        return obj.data


psycopg.adapters.register_dumper(BinaryArray, BinaryArrayDumper)


def row_array(rows: Rows) -> BinaryArray:
    """Return rows [n] as bigint[]."""
    items = np.empty(len(rows), [("bytes", ">i4"), ("row", ">i8")])
    items["bytes"], items["row"] = 8, rows
    return BinaryArray(_array_header(len(rows), _INT8) + items.tobytes())


def vector_array(vectors: Vectors, type_number: int) -> BinaryArray:
    """Return vectors [n, d] as vector[], whose type has this number in the database."""
    items = np.empty(len(vectors), [("bytes", ">i4"), *_vector_fields(vectors.shape[1], ">f4")])
    _fill(items, vectors)
    return BinaryArray(_array_header(len(vectors), type_number) + items.tobytes())


def copied_rows(
    rows: Rows,
    vectors: Vectors,
    columns: Sequence[Sequence[str | int | None]] = (),
    *,
    half: bool,
) -> bytes:
    """Return rows [n] and their vectors [n, d] as tuples of COPY, without header and end.

    Args:
        rows: int64 [n].
        vectors: float32 [n, d].
        columns: further ones of text or bigint, n values each; None for NULL.
        half: whether a number has 16 bits.
    """
    number = ">f2" if half else ">f4"
    fields: list[Any] = [
        ("fields", ">i2"),
        ("row_bytes", ">i4"),
        ("row", ">i8"),
        ("bytes", ">i4"),
        *_vector_fields(vectors.shape[1], number),
    ]
    items = np.empty(len(rows), fields)
    items["fields"], items["row_bytes"], items["row"] = 2 + len(columns), 8, rows
    _fill(items, vectors)
    data = items.tobytes()
    if not columns:
        return data
    size = items.dtype.itemsize
    parts: list[bytes] = []
    for i, values in enumerate(zip(*columns, strict=True)):
        parts.append(data[i * size : (i + 1) * size])
        parts += map(_field, values)
    return b"".join(parts)


def _field(value: str | int | None) -> bytes:
    """Return a field of a tuple: the number of its bytes, and these."""
    if value is None:
        return struct.pack(">i", -1)
    if isinstance(value, int):
        return struct.pack(">iq", 8, value)
    data = value.encode("utf-8")
    return struct.pack(">i", len(data)) + data


def vectors_in(data: bytes, dim: int) -> Vectors:
    """Return the vectors [n, d] that `string_agg(vector_send(…), '')` has joined."""
    items = np.frombuffer(data, np.dtype(_vector_fields(dim, ">f4")))
    return np.ascontiguousarray(items["numbers"], np.float32)


def _vector_fields(dim: int, number: str) -> list[Any]:
    return [("dim", ">u2"), ("zero", ">u2"), ("numbers", number, (dim,))]


def _fill(items: npt.NDArray[Any], vectors: Vectors) -> None:
    items["bytes"] = 4 + items.dtype["numbers"].itemsize
    items["dim"], items["zero"] = vectors.shape[1], 0
    items["numbers"] = vectors


def _array_header(count: int, type_number: int) -> bytes:
    if not count:
        return struct.pack(">iii", 0, 0, type_number)
    return struct.pack(">iiiii", 1, 0, type_number, count, 1)

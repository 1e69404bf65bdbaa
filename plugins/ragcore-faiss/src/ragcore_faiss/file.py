"""Read FAISS's file within limits, and refuse an index that is not the expected one.

Knows files and how FAISS reads them; what an index must be like is in `structure.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import faiss as typed_faiss  # type: ignore[import-untyped, unused-ignore]

from ragcore.disk.loading import reading
from ragcore.errors import StoreCorruptError
from ragcore.process.fork import new_lock
from ragcore_faiss.factory import completed, make, message
from ragcore_faiss.structure import fault_of

if TYPE_CHECKING:
    from ragcore.types import Rows

__all__ = ["check", "read_file"]

# FAISS's stubs lack many of its names and keywords.
faiss: Any = typed_faiss

_READ_TWICE: Final = 1 << 26
"""Files of up to so many bytes are first read without mapping, which FAISS checks better."""

_FEW_LISTS: Final = 1 << 16
"""So many inverted lists may be named where nothing in the file is as long as they are many."""

_LIMIT_LOCK: Final = new_lock()


def read_file(path: Path, *, mmap: bool) -> Any:
    """Read FAISS's file.

    Raises:
        StoreCorruptError: it is missing, or FAISS refuses it.
    """
    with reading(path):
        size = path.stat().st_size
        # With inner products FAISS searches without that table, but would check its size, which can
        # be many times that of the file, against the limit below.
        whole = faiss.IO_FLAG_SKIP_PRECOMPUTE_TABLE
        flags = [faiss.IO_FLAG_MMAP_IFC | whole] if mmap else [whole]
        if mmap and size <= _READ_TWICE:
            flags.insert(0, whole)
        try:
            with _limits(size):
                return completed([faiss.read_index(str(path), flag) for flag in flags][-1])
        except RuntimeError as error:
            raise ValueError(message(error)) from error


@contextmanager
def _limits(size: int) -> Iterator[None]:
    """Let FAISS allocate about as much as a file of `size` bytes can need, whatever it says.

    A changed size would make it allocate all memory. Its limits are of the process.
    """
    with _LIMIT_LOCK:
        loop, vector = (
            faiss.get_deserialization_loop_limit(),
            faiss.get_deserialization_vector_byte_limit(),
        )
        faiss.set_deserialization_loop_limit(max(size // 4, _FEW_LISTS))
        faiss.set_deserialization_vector_byte_limit(max(2 * size, 1 << 16))
        try:
            yield
        finally:
            faiss.set_deserialization_loop_limit(loop)
            faiss.set_deserialization_vector_byte_limit(vector)


def check(path: Path, index: Any, factory: str, dim: int, rows: Rows) -> None:
    """Refuse an index that the factory does not make, or that does not hold these rows.

    Raises:
        StoreCorruptError: it differs; names how.
    """
    fault = fault_of(index, make(factory, dim), rows)
    if fault is not None:
        raise StoreCorruptError(
            f"{path} is no index {factory!r} of {len(rows)} vectors of {dim} numbers ({fault}): "
            "build this version of the memory again"
        )

"""Write arrays so that a full disk is an error; read lists of rows, and check what is read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np

from ragcore.disk.loading import reading
from ragcore.disk.threads import yield_gil

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["WHOLE", "load_rows", "samples", "save_array"]

WHOLE: Final = 1 << 28
"""Numbers in files of up to so many bytes are all checked, some of those in larger ones."""

_BLOCK: Final = 1 << 20
"""Bytes of a block that is checked at a time."""


def save_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Write an array as `numpy.save` does, without pickle, and raise if any byte is not written.

    `numpy.save` passes a real file to C's stdio and ignores the result of the last write: on a disk
    with less than a page of room left, its file is too short and it raises nothing.

    Raises:
        OSError: there is no room on the disk, or no permission to write.
        ValueError: the array has Python objects in it.
    """
    with path.open("wb") as file:
        np.save(_WriteOnly(file), array, allow_pickle=False)


def load_rows(path: Path, *, mmap: bool) -> npt.NDArray[np.int64]:
    """Read a list of rows, int64 [n], each once; -1 may occur several times, for removed rows.

    Raises:
        StoreCorruptError: the file is missing, or holds something else.
    """
    with reading(path):
        rows = np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
        if not isinstance(rows, np.ndarray) or rows.dtype != np.int64 or rows.ndim != 1:
            raise ValueError("it holds no list of rows")
        if rows.min(initial=0) < -1:
            raise ValueError(f"row {rows.min()} is negative")
        # Most lists ascend, which is quick to see.
        if not (rows[1:] > rows[:-1]).all():
            existing = rows[rows >= 0]
            if len(np.unique(existing)) < len(existing):
                raise ValueError("it lists a row twice")
    checked: npt.NDArray[np.int64] = rows
    return checked


def samples(array: npt.NDArray[Any], *, whole: int = WHOLE) -> Iterator[npt.NDArray[Any]]:
    """Yield an array in blocks along its first axis: all of them, or some of a large one.

    Other threads run between two blocks, unless these are short. The first block and the last are
    always there.

    Args:
        array: [n, ...], which may be mapped into memory.
        whole: up to so many bytes all blocks are yielded, and else about so many, evenly spread.
    """
    if not array.size:
        return
    each = max(1, _BLOCK // max(1, array.nbytes // len(array)))
    firsts = range(0, len(array), each)
    step = max(1, -(-array.nbytes // max(whole, 1)))
    for first in sorted({*firsts[::step], firsts[-1]}):
        block = array[first : first + each]
        yield block
        # A caller with many short arrays would sleep longer than it works.
        if 4 * block.nbytes > _BLOCK:
            yield_gil()


class _WriteOnly:
    """A file of which numpy sees only `write`, so that it does not use C's stdio."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, data: bytes) -> int:
        return self._file.write(data)

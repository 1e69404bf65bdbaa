"""Write arrays to files, so that a full disk is an error. Knows nothing of what the arrays mean."""

from __future__ import annotations

from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["save_array"]


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


class _WriteOnly:
    """A file of which numpy sees only `write`, so that it does not use C's stdio."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, data: bytes) -> int:
        return self._file.write(data)

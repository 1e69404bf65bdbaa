"""Arrays in files, so that what does not fit on the disk is an error."""

from __future__ import annotations

from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["save_array"]


def save_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Write an array as `numpy.save` does, without pickle, and see to it that all of it arrives.

    `numpy.save` hands a real file to C's stdio and does not look at what the last write says: on a
    disk that is full for less than a page it leaves a file that is too short.

    Raises:
        OSError: there is no room, or no right to write.
        ValueError: the array holds objects.
    """
    with path.open("wb") as file:
        np.save(_Plain(file), array, allow_pickle=False)


class _Plain:
    """A file of which numpy sees no more than that it can be written to."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, data: bytes) -> int:
        return self._file.write(data)

"""Read arrays of a file of NumPy that this package ships, and say what is wrong with a broken one.

Knows files and types; knows nothing of what the arrays are.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources.abc import Traversable
from io import BytesIO
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
from numpy.lib.npyio import NpzFile

from ragcore.errors import PluginError

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["arrays_of", "checked"]


@contextmanager
def checked(file: Traversable, contents: str) -> Iterator[None]:
    """Turn what reading and checking a file raises into an error that names it.

    Args:
        file: what is read in the block.
        contents: what it should have, in words.

    Raises:
        PluginError: the block raised what a missing or broken file leads to.
    """
    try:
        yield
    # A RuntimeError is of an archive that is encrypted, or compressed in some other way.
    except (
        OSError,
        ValueError,
        KeyError,
        EOFError,
        RuntimeError,
        BadZipFile,
        zlib.error,
    ) as error:
        raise PluginError(
            f"{file} does not contain {contents}: {error}; install ragcore-world again"
        ) from error


def arrays_of(content: bytes, dtypes: Mapping[str, str]) -> list[npt.NDArray[Any]]:
    """Return the arrays of a file's bytes, in the order of their names in `dtypes`.

    Raises:
        ValueError: it is no archive, or an array has another dtype.
        KeyError: an array is missing.
    """
    loaded = np.load(BytesIO(content), allow_pickle=False)
    if not isinstance(loaded, NpzFile):
        raise ValueError(f"one array, expected an archive of {len(dtypes)}")
    with loaded as archive:
        arrays = [archive[name] for name in dtypes]
    for array, (name, dtype) in zip(arrays, dtypes.items(), strict=True):
        if not np.issubdtype(array.dtype, dtype):
            raise ValueError(f"{name} of dtype {array.dtype}, expected {dtype}")
    return arrays

"""Reading a version's files so that a broken one is named, with what to do.

Knows files only, not what is in them.
"""

from __future__ import annotations

import struct
import tokenize
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ragcore.errors import StoreCorruptError

__all__ = ["reading"]

_UNREADABLE: Final = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    tokenize.TokenError,
)
"""Errors that hostile bytes can raise in parsers of JSON, arrays and records."""


@contextmanager
def reading(path: Path) -> Iterator[Path]:
    """Report a file of a version that is missing or does not hold what it should.

    Wrap both the reading and the interpreting of the file, so that a missing key or a value of
    another type counts as corruption too:

        with reading(folder / "dense.json") as path:
            index = json.loads(path.read_bytes())["index"]

    Raises:
        StoreCorruptError: the block raised an error that reading or interpreting a file can raise.
    """
    try:
        yield path
    except _UNREADABLE as error:
        raise StoreCorruptError(
            f"{path} cannot be read ({type(error).__name__}: {error}): rebuild this version of the "
            "memory"
        ) from error

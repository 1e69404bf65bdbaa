"""Find pickles in a folder, also inside archives, compressed files and numpy arrays.

Unpickling runs code that the file names. A memory may come from someone else, so that none of its
files may be a pickle. Nothing is unpickled here.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickletools
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

__all__ = ["pickles_in"]

_LARGEST: Final = 1 << 24
_FEWEST: Final = 4
"""Opcodes of the shortest text that counts as a pickle without a header: "N." is a text, too."""


def pickles_in(folder: Path) -> Iterator[str]:
    """Yield a description of each pickle below a folder."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                yield from _pickles(path.relative_to(folder).as_posix(), file.read(_LARGEST))


def _pickles(name: str, data: bytes) -> Iterator[str]:
    """Yield a description of each pickle in a file's bytes."""
    if data.startswith(b"\x93NUMPY"):
        if _has_objects(data):
            yield f"{name} is an array of objects, which numpy pickles"
    elif data.startswith(b"PK\x03\x04") and zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.infolist():
                with archive.open(member) as file:
                    yield from _pickles(f"{name}/{member.filename}", file.read(_LARGEST))
    elif _is_pickle(data):
        yield f"{name} is a pickle"
    else:
        inner = _decompressed(data)
        if inner:
            yield from _pickles(f"{name} (decompressed)", inner)


def _is_pickle(data: bytes) -> bool:
    """Return whether bytes begin with a whole pickle."""
    if not data or len(data) >= _LARGEST:
        return data[:1] == b"\x80"
    try:
        opcodes = list(pickletools.genops(data))
    # Whatever the reader of opcodes trips over, the bytes are no pickle.
    except Exception:
        return False
    # Before protocol 2 a pickle has no header, and a short text may look like one.
    header = data[:1] == b"\x80"
    last = opcodes[-1][2]
    return header or (len(opcodes) >= _FEWEST and last == len(data.rstrip(b"\n")) - 1)


def _has_objects(data: bytes) -> bool:
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    read = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    _, _, dtype = read(file)
    return bool(dtype.hasobject)


def _decompressed(data: bytes) -> bytes:
    """Return what compressed bytes hold; nothing where they are not compressed."""
    for opened in (gzip.decompress, bz2.decompress, lzma.decompress, zlib.decompress):
        try:
            return bytes(opened(data))
        except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error):
            continue
    return b""

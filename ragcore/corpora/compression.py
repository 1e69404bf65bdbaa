"""Open a file of a corpus for reading, unpacked: gzip, bzip2, xz or Zstandard by its first bytes.

A file's name says nothing: a `.gz` that was unpacked on the way is read as it is. Unpacked bytes
are streamed, so that a file may unpack to any size. Knows nothing of lines.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, cast

from ragcore.disk.paths import usable_path
from ragcore.errors import CorpusError

__all__ = ["damages", "opened", "unpacked"]

_MAGIC: Final = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "Zstandard",
    # Frames without content, which pzstd and seekable files have, too; the first byte varies.
    **{bytes((first,)) + b"\x2a\x4d\x18": "Zstandard" for first in range(0x50, 0x60)},
}
_NO_TEXT: Final = {
    b"PK\x03\x04": "a ZIP archive: unpack it",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive: unpack it",
    b"PAR1": "Parquet: read it with {use: parquet}",
    b"ARROW1": "an Arrow file: write its rows as Parquet, JSON lines or CSV",
    b"%PDF-": "a PDF",
    b"SQLite format 3\x00": "an SQLite database: write its rows as JSON lines or CSV",
}
_LONGEST_MAGIC: Final = 16


def damages() -> tuple[type[Exception], ...]:
    """Return the errors of packed data that are damaged or end too soon."""
    module = sys.modules.get("compression.zstd") or sys.modules.get("backports.zstd")
    zstd_error: type[Exception] | None = getattr(module, "ZstdError", None)
    errors = (OSError, EOFError, zlib.error, lzma.LZMAError)
    return errors if zstd_error is None else (*errors, zstd_error)


def opened(path: Path) -> IO[bytes]:
    """Open a file for reading.

    Raises:
        CorpusError: there is no such file, it is a folder, or it cannot be read.
    """
    usable_path(path, CorpusError)
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise CorpusError(f"{path}: no such file: check the path") from None
    except IsADirectoryError:
        raise CorpusError(f"{path}: a folder, expected a file: check the path") from None
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read ({error.strerror})") from None


@contextmanager
def unpacked(path: Path) -> Iterator[tuple[IO[bytes], str]]:
    """Open a file of texts for reading; yields its unpacked bytes, and how they are packed.

    That is "gzip", "bzip2", "xz", "Zstandard", or "" for no packing.

    Raises:
        CorpusError: there is no such file, it holds no text, or the library for Zstandard is
            missing.
    """
    with opened(path) as file:
        # Peeked, not read: a pipe cannot be read again.
        head = cast("io.BufferedReader", file).peek(_LONGEST_MAGIC)[:_LONGEST_MAGIC]
        for magic, what in _NO_TEXT.items():
            if head.startswith(magic):
                raise CorpusError(f"{path}: expected a file of text, found {what}")
        kind = next((name for magic, name in _MAGIC.items() if head.startswith(magic)), "")
        match kind:
            case "gzip":
                with gzip.GzipFile(fileobj=file) as stream:
                    yield cast("IO[bytes]", stream), kind
            case "bzip2":
                with bz2.BZ2File(file) as stream:
                    yield stream, kind
            case "xz":
                with lzma.LZMAFile(file) as stream:
                    yield stream, kind
            case "Zstandard":
                with _zstd(file, path) as stream:
                    yield stream, kind
            case _:
                yield file, kind


def _zstd(file: IO[bytes], path: Path) -> IO[bytes]:
    """Unpack Zstandard: by Python from 3.14 on, else by the library that Python's was made from.

    Raises:
        CorpusError: the library is missing.
    """
    try:
        if sys.version_info >= (3, 14):
            from compression.zstd import ZstdFile
        else:
            from backports.zstd import ZstdFile
    except ImportError:
        raise CorpusError(
            f"{path}: packed by Zstandard, and its library is missing: pip install backports.zstd, "
            "or unpack the file"
        ) from None
    return cast("IO[bytes]", ZstdFile(file))

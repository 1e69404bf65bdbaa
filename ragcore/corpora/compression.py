"""Open a file of a corpus for reading, unpacked: gzip, bzip2, xz or Zstandard by its first bytes.

A file's name says nothing: a `.gz` that was unpacked on the way is read as it is. Unpacked bytes
are streamed, so that a file may unpack to any size; several packed streams may follow each other,
and what follows them and is none is an error. Knows nothing of lines.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, cast

from ragcore.disk.paths import usable_path
from ragcore.errors import CorpusError

__all__ = ["damage_error", "damages", "is_packed", "opened", "unpacked"]

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
_TAR: Final = (257, b"ustar")
"""Where a tar archive has its magic bytes (POSIX.1-1988), and these."""
_HEAD: Final = 512
"""Bytes of unpacked data that are looked at; a tar archive begins with a header of so many."""
_BLOCK: Final = 1 << 16
"""Packed bytes that are read at a time."""


def damages() -> tuple[type[Exception], ...]:
    """Return the errors of packed data that are damaged or end too soon."""
    module = sys.modules.get("compression.zstd") or sys.modules.get("backports.zstd")
    zstd_error: type[Exception] | None = getattr(module, "ZstdError", None)
    errors = (OSError, EOFError, zlib.error, lzma.LZMAError)
    return errors if zstd_error is None else (*errors, zstd_error)


def damage_error(path: Path, number: int, kind: str, error: Exception) -> CorpusError:
    """Return the error of a file that cannot be read on.

    Args:
        path: of the file.
        number: of the line.
        kind: how the file is packed, as `unpacked` says it.
        error: one of `damages`.
    """
    packed = f": its {kind} data are damaged or end too soon" if kind else ""
    return CorpusError(f"{path}:{number}: cannot be read ({error}){packed}: fetch the file again")


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


def is_packed(path: Path) -> bool:
    """Return whether a file is packed, by its first bytes.

    Raises:
        CorpusError: it cannot be read.
    """
    with opened(path) as file:
        head = file.read(_LONGEST_MAGIC)
    return any(head.startswith(magic) for magic in _MAGIC)


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
        with _stream(file, kind, path) as stream:
            try:
                start = cast("io.BufferedReader", stream).peek(_HEAD)[:_HEAD]
            except damages() as error:
                raise damage_error(path, 1, kind, error) from None
            offset, magic = _TAR
            # A header has zeros behind the name in it, which a text has not.
            if start[offset:].startswith(magic) and 0 in start[:offset]:
                raise CorpusError(
                    f"{path}: expected a file of text, found a tar archive: unpack it, and read "
                    "the files in it"
                )
            yield stream, kind


def _stream(file: IO[bytes], kind: str, path: Path) -> IO[bytes]:
    """Return a stream of a file's unpacked bytes, which has `peek`."""
    match kind:
        case "gzip":
            return cast("IO[bytes]", gzip.GzipFile(fileobj=file))
        case "bzip2":
            return io.BufferedReader(_Streams(file, bz2.BZ2Decompressor))
        case "xz":
            return io.BufferedReader(
                _Streams(file, lambda: lzma.LZMADecompressor(format=lzma.FORMAT_XZ))
            )
        case "Zstandard":
            return _zstd(file, path)
        case _:
            return file


class _Streams(io.RawIOBase):
    """Unpacks streams that follow each other in a file, and all of it.

    `BZ2File` and `LZMAFile` leave out what follows the first stream where it is damaged, which
    would be the rest of a file that was packed in parallel.

    Args:
        file: packed.
        decompressor: makes a decompressor of one stream.
    """

    def __init__(
        self,
        file: IO[bytes],
        decompressor: Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor],
    ) -> None:
        self._file = file
        self._new = decompressor
        self._decompressor = decompressor()
        self._started = False

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer with unpacked bytes, and return their number; 0 at the end.

        Raises:
            EOFError: the file ends within a stream.
            OSError: a stream of bzip2 is damaged, or something else follows it.
            LZMAError: the same of xz.
        """
        view = memoryview(buffer)
        while True:
            packed = b""
            if self._decompressor.eof:
                packed = self._next_stream()
                if not packed:
                    return 0
            elif self._decompressor.needs_input:
                packed = self._file.read(_BLOCK)
                if not packed:
                    if not self._started:
                        return 0
                    raise EOFError("the file ends within packed data")
            self._started = True
            unpacked = self._decompressor.decompress(packed, len(view))
            if unpacked:
                view[: len(unpacked)] = unpacked
                return len(unpacked)

    def _next_stream(self) -> bytes:
        """Begin the stream that follows; return its first bytes, none where there is none."""
        rest = self._decompressor.unused_data
        # Zeros may fill a file up behind a stream.
        while not (rest := rest.lstrip(b"\0")):
            rest = self._file.read(_BLOCK)
            if not rest:
                return b""
        self._decompressor = self._new()
        return rest


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

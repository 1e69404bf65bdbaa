"""Unpack a dump: bzip2, gzip, Zstandard, 7z or nothing, as its first bytes say.

Each yields chunks of at most `CHUNK` bytes, so that a file that unpacks to any size needs no more
memory. Knows nothing of XML.
"""

from __future__ import annotations

import bz2
import sys
import zlib
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import IO, Final, Protocol

from ragcore.disk.paths import usable_path
from ragcore.errors import CorpusError
from ragcore_wikipedia.dumps.faults import BrokenDumpError

__all__ = ["CHUNK", "chunks_of", "container_of", "open_dump", "unpack_bzip2"]

CHUNK: Final = 1 << 17
"""Bytes read, and bytes yielded, at a time."""

_MAGIC: Final = {
    b"BZh": "bzip2",
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"7z\xbc\xaf\x27\x1c": "7z",
}
_XML: Final = (b"<", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\0<", b" ", b"\t", b"\r", b"\n")


class _Decompressor(Protocol):
    """What `bz2` and `compression.zstd` have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def open_dump(path: Path) -> IO[bytes]:
    """Open a file for reading.

    Raises:
        CorpusError: there is no such file, or it cannot be read.
    """
    usable_path(path, CorpusError)
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise CorpusError(f"{path}: no such file: check the path") from None
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read ({error.strerror})") from None


def container_of(path: Path, *, text: bool = False) -> str:
    """Return "bzip2", "gzip", "zstd", "7z" or "plain", by a file's first bytes.

    Args:
        path: the file.
        text: whether any text is plain, not only XML.

    Raises:
        CorpusError: it is none of them.
    """
    with open_dump(path) as file:
        head = file.read(8)
    for magic, name in _MAGIC.items():
        if head.startswith(magic):
            return name
    if not head:
        raise BrokenDumpError(f"{path}: the file is empty: download it again")
    if text or head.startswith(_XML):
        return "plain"
    raise CorpusError(
        f"{path}: begins with the bytes {head.hex(' ')}: expected XML, or XML packed by bzip2, "
        "gzip, Zstandard or 7z"
    )


def chunks_of(path: Path, *, text: bool = False) -> Generator[bytes, None, None]:
    """Yield the XML of a dump in chunks, or with `text` any text.

    Raises:
        BrokenDumpError: the file is cut short or damaged.
        CorpusError: there is no such file, it is of another kind, or a library is missing.
    """
    kind = container_of(path, text=text)
    if kind == "7z":
        from ragcore_wikipedia.dumps.seven_zip import unpack_7z

        yield from unpack_7z(path)
        return
    with open_dump(path) as file:
        blocks = _blocks(file)
        match kind:
            case "bzip2":
                yield from unpack_bzip2(blocks, path)
            case "gzip":
                yield from _unpack(blocks, path, kind, _Gunzip)
            case "zstd":
                yield from _unpack(blocks, path, kind, _zstd())
            case _:
                yield from blocks


def unpack_bzip2(blocks: Iterator[bytes], path: Path, start: int = 0) -> Iterator[bytes]:
    """Unpack bzip2, of one stream or several.

    Args:
        blocks: packed bytes.
        path: the file, for errors.
        start: where in the file the first block begins, for errors.

    Raises:
        BrokenDumpError: it is cut short or damaged.
    """
    return _unpack(blocks, path, "bzip2", bz2.BZ2Decompressor, start)


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    while block := file.read(CHUNK):
        yield block


def _unpack(
    blocks: Iterator[bytes],
    path: Path,
    kind: str,
    new: Callable[[], _Decompressor],
    position: int = 0,
) -> Iterator[bytes]:
    """Unpack streams that follow each other; zeros after the last are padding."""
    decompressor: _Decompressor | None = None
    damages: tuple[type[Exception], ...] = (OSError, EOFError, ValueError, zlib.error)
    damages += _zstd_errors()
    try:
        for block in blocks:
            position += len(block)
            while block or (decompressor is not None and not decompressor.needs_input):
                if decompressor is None:
                    block = block.lstrip(b"\0")
                    if not block:
                        break
                    decompressor = new()
                data = decompressor.decompress(block, CHUNK)
                block = b""
                if data:
                    yield data
                if decompressor.eof:
                    block, decompressor = decompressor.unused_data, None
    except damages as error:
        raise BrokenDumpError(
            f"{path}: damaged before byte {position:,} ({error}): it cannot be unpacked as {kind}; "
            "download it again, and compare its check sum"
        ) from None
    if decompressor is not None:
        raise BrokenDumpError(
            f"{path}: cut short: its {kind} data do not end by byte {position:,}; download it "
            "again, and compare its check sum"
        )


class _Gunzip:
    """One member of a gzip file, with the interface of `bz2.BZ2Decompressor`."""

    def __init__(self) -> None:
        self._object = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._object.eof

    @property
    def needs_input(self) -> bool:
        return not self._object.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._object.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._object.decompress(self._object.unconsumed_tail + data, max_length)


def _zstd() -> Callable[[], _Decompressor]:
    if sys.version_info >= (3, 14):
        from compression.zstd import ZstdDecompressor
    else:
        from backports.zstd import ZstdDecompressor
    return ZstdDecompressor


def _zstd_errors() -> tuple[type[Exception], ...]:
    """Return the error of the library for Zstandard, where it is loaded."""
    module = sys.modules.get("compression.zstd") or sys.modules.get("backports.zstd")
    error: type[Exception] | None = getattr(module, "ZstdError", None)
    return () if error is None else (error,)

"""Unpack a 7z archive of one dump.

py7zr pushes what it unpacks, at most 128 MB at a time, into a file-like object. It runs in a thread
that a short queue holds back, so that the archive's content is never in memory as a whole.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from ragcore.errors import CorpusError
from ragcore.registry.installation import install_hint
from ragcore_wikipedia.dumps.faults import BrokenDumpError

__all__ = ["unpack_7z"]

_AHEAD: Final = 8
"""Chunks that are unpacked before they are needed."""

_STEP: Final = 1 << 17


class _AbandonedError(Exception):
    """The reader has stopped."""


class _Pipe:
    """A queue of chunks that can be abandoned by its reader."""

    def __init__(self) -> None:
        self.chunks: queue.Queue[bytes | BaseException | None] = queue.Queue(_AHEAD)
        self.abandoned = threading.Event()

    def put(self, item: bytes | BaseException | None) -> None:
        while not self.abandoned.is_set():
            try:
                self.chunks.put(item, timeout=0.1)
                return
            except queue.Full:
                continue
        raise _AbandonedError


def unpack_7z(path: Path) -> Iterator[bytes]:
    """Yield the content of the one file in an archive, in chunks.

    Raises:
        BrokenDumpError: the archive is cut short or damaged.
        CorpusError: py7zr is not installed, or the archive has a password, or another number of
            files than one.
    """
    try:
        import py7zr  # type: ignore[import-not-found, import-untyped, unused-ignore]
        import py7zr.exceptions as faults  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ModuleNotFoundError:
        raise CorpusError(
            f"{path}: a 7z archive needs the package py7zr, which is not installed: "
            f"{install_hint('ragcore-wikipedia', '7z')}"
        ) from None
    pipe = _Pipe()
    thread = threading.Thread(target=_extract, args=(py7zr, path, pipe), daemon=True)
    thread.start()
    try:
        while (item := pipe.chunks.get()) is not None:
            if isinstance(item, bytes):
                yield item
            elif isinstance(item, CorpusError):
                raise item
            elif isinstance(item, faults.PasswordRequired):
                raise CorpusError(f"{path}: the archive has a password: unpack it first") from None
            else:
                raise BrokenDumpError(
                    f"{path}: damaged or cut short ({item or type(item).__name__}): it cannot be "
                    "unpacked as 7z; download it again, and compare its check sum"
                ) from None
    finally:
        pipe.abandoned.set()
        thread.join()


def _extract(py7zr: Any, path: Path, pipe: _Pipe) -> None:
    """Unpack into a pipe; the last item is None, or what was raised."""
    try:
        with py7zr.SevenZipFile(path) as archive:
            files = [file for file in archive.list() if not file.is_directory]
            if len(files) != 1:
                raise CorpusError(
                    f"{path}: an archive of {len(files)} files: expected one dump in it"
                )
            archive.extract(targets=[files[0].filename], factory=_factory(py7zr, pipe))
        pipe.put(None)
    except _AbandonedError:
        return
    # py7zr raises errors of its own, of lzma, struct and others; the reader says what happened.
    except Exception as error:
        _report(pipe, error)


def _report(pipe: _Pipe, error: Exception) -> None:
    try:
        pipe.put(error)
    except _AbandonedError:
        return


def _factory(py7zr: Any, pipe: _Pipe) -> Any:
    """Make what py7zr asks for the file to write to."""

    class Sink(py7zr.io.Py7zIO):  # type: ignore[misc, unused-ignore]
        """Pass on what is written."""

        def __init__(self) -> None:
            self.length = 0

        def write(self, data: bytes | bytearray) -> int:
            for start in range(0, len(data), _STEP):
                pipe.put(bytes(data[start : start + _STEP]))
            self.length += len(data)
            return len(data)

        def read(self, size: int | None = None) -> bytes:
            return b""

        def seek(self, offset: int, whence: int = 0) -> int:
            return offset

        def flush(self) -> None:
            return

        def size(self) -> int:
            return self.length

    class Factory(py7zr.io.WriterFactory):  # type: ignore[misc, unused-ignore]
        """Give the one file its sink."""

        def create(self, filename: str) -> Sink:
            return Sink()

    return Factory()

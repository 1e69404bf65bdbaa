"""Unpack a 7z archive of one dump.

py7zr pushes what it unpacks, at most 128 MB at a time, into a file-like object. It runs in a thread
that a short queue holds back, so that the archive's content is never in memory as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from ragcore.errors import CorpusError
from ragcore.registry.installation import install_hint
from ragcore_wikipedia.dumps.ahead import Pipe
from ragcore_wikipedia.dumps.faults import BrokenDumpError

__all__ = ["unpack_7z"]

_STEP: Final = 1 << 17


def unpack_7z(path: Path) -> Iterator[bytes]:
    """Yield the content of the one file in an archive, in chunks.

    Raises:
        BrokenDumpError: the archive is cut short or damaged.
        CorpusError: py7zr is not installed, or the archive has a password, or another number of
            files than one.
    """
    try:
        import py7zr
        from py7zr.exceptions import PasswordRequired
    except ModuleNotFoundError:
        raise CorpusError(
            f"{path}: a 7z archive needs the package py7zr, which is not installed: "
            f"{install_hint('ragcore-wikipedia', '7z')}"
        ) from None
    try:
        yield from Pipe(lambda pipe: _extract(py7zr, path, pipe))
    except (CorpusError, MemoryError):
        raise
    except PasswordRequired:
        raise CorpusError(f"{path}: the archive has a password: unpack it first") from None
    # py7zr raises errors of its own, of lzma, struct and others.
    except Exception as error:
        raise BrokenDumpError(
            f"{path}: damaged or cut short ({error or type(error).__name__}): it cannot be "
            "unpacked as 7z; download it again, and compare its check sum"
        ) from None


def _extract(py7zr: Any, path: Path, pipe: Pipe) -> None:
    with py7zr.SevenZipFile(path) as archive:
        files = [file for file in archive.list() if not file.is_directory]
        if len(files) != 1:
            raise CorpusError(f"{path}: an archive of {len(files)} files: expected one dump in it")
        archive.extract(targets=[files[0].filename], factory=_factory(py7zr, pipe))


def _factory(py7zr: Any, pipe: Pipe) -> Any:
    """Make what py7zr asks for the file to write to."""

    class Sink(py7zr.io.Py7zIO):  # type: ignore[misc]
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

    class Factory(py7zr.io.WriterFactory):  # type: ignore[misc]
        """Give the one file its sink."""

        def create(self, filename: str) -> Sink:
            return Sink()

    return Factory()

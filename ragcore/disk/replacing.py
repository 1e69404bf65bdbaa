"""Replace a file by one that is written first: whole at every moment, by one writer at a time.

Knows files only. Where two programs write to one path, the later one waits for the earlier.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ragcore.disk.atomic import staging_path, sync
from ragcore.errors import StoreError

__all__ = ["replacing", "write_file"]


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a file to write to, which replaces `path` when the block ends without an error.

    Raises:
        StoreError: there is no such folder, or what is at the path is no regular file: a folder, a
            link, a device or a pipe.
    """
    if not path.parent.is_dir():
        raise StoreError(f"{path.parent}: there is no such folder to write {path.name} to: make it")
    _refuse_unlike_file(path)
    staging = staging_path(path)
    with _locked_file(staging) as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            # Again, since writing takes a while.
            _refuse_unlike_file(path)
            os.replace(staging, path)
        except BaseException:
            staging.unlink(missing_ok=True)
            raise
    sync(path.parent)


def write_file(path: Path, text: str) -> None:
    """Write a text to a file, new or in place of another, as `replacing` does."""
    with replacing(path) as file:
        file.write(text.encode("utf-8"))


@contextmanager
def _locked_file(path: Path) -> Iterator[IO[bytes]]:
    """Open an empty file, new or left by a killed program, that no other program writes to."""
    while True:
        _refuse_unlike_file(path)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        with open(descriptor, "wb") as file:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # While this one waited, the file may have become what its writer was to replace.
            if not _is_at(descriptor, path):
                continue
            file.truncate(0)
            yield file
            return


def _is_at(descriptor: int, path: Path) -> bool:
    """Return whether an open file is the one at a path."""
    try:
        there = path.lstat()
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(descriptor), there)


def _refuse_unlike_file(path: Path) -> None:
    """Check that a path is free or that of a regular file, which may be replaced."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        raise StoreError(
            f"{path} is {_kind(mode)}, which is not replaced: give the path of a file, or of none"
        )


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder"
    if stat.S_ISLNK(mode):
        return "a symbolic link"
    if stat.S_ISFIFO(mode):
        return "a pipe"
    return "a socket" if stat.S_ISSOCK(mode) else "a device"

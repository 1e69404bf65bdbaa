"""Writing so that a crash leaves the old or the new: synced files, atomic replacement, locks.

Knows files and folders only. POSIX: a rename within a folder is atomic, and a lock by `flock` ends
with its process, however that ends.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["files_below", "locked", "replace_text", "sha256", "sync", "sync_tree", "try_lock"]


def sha256(path: Path) -> str:
    """The digest of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Return when a file or a folder (its list of names) is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Sync everything in a folder, then the folder itself."""
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            sync_tree(path)
        else:
            sync(path)
    sync(folder)


def files_below(folder: Path) -> list[Path]:
    """All files of a folder and those below it, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def replace_text(path: Path, text: str) -> None:
    """Put a text in the place of a file, which is the old one or the new at every moment.

    One caller at a time: hold a lock.
    """
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text, encoding="utf-8")
    sync(beside)
    os.replace(beside, path)
    sync(path.parent)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file, made where it is not there; waits for whoever holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def try_lock(folder: Path) -> int | None:
    """Lock a folder if nobody else has; the descriptor, whose closing frees it, or None."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor

"""Writing so that a crash leaves the old or the new: synced files, atomic replacement, locks.

Knows files and folders only. POSIX: a rename within a folder is atomic, and a lock by `flock` ends
with its process, however that ends.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ragcore.errors import StoreError

__all__ = [
    "staging_path",
    "files_below",
    "lock_shared",
    "locked",
    "replace_text",
    "sha256",
    "sync",
    "sync_tree",
    "try_lock",
    "writing",
]

_PIECE: Final = 1 << 22
_UNWRITABLE: Final = {
    errno.ENOSPC: "free some room",
    errno.EDQUOT: "free some room, or ask for a larger quota",
    errno.EFBIG: "allow larger files",
    errno.EROFS: "mount it for writing, or use another folder",
    errno.EACCES: "get the right to write there, or use another folder",
    errno.EPERM: "get the right to write there, or use another folder",
}
"""What the user can mend, and how."""
_WITHOUT_LOCKS: Final = frozenset(
    {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EBADF, errno.EINVAL}
)


def sha256(path: Path, *, low_priority: bool = False) -> str:
    """The digest of a file's bytes, in hexadecimal.

    In large pieces: between two of them other threads are kept from running for a moment.

    Args:
        path: of the file.
        low_priority: rest as long as is worked, for whoever needs the processor more.
    """
    digest, piece = hashlib.sha256(), memoryview(bytearray(_PIECE))
    with path.open("rb", buffering=0) as file:
        began = time.perf_counter()
        while size := file.readinto(piece):
            digest.update(piece[:size])
            if low_priority:
                time.sleep(time.perf_counter() - began)
                began = time.perf_counter()
    return digest.hexdigest()


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
    new = staging_path(path)
    new.write_text(text, encoding="utf-8")
    sync(new)
    os.replace(new, path)
    sync(path.parent)


def staging_path(path: Path) -> Path:
    """Where the file is written that is to take the place of another."""
    return path.with_name(f".{path.name}.new")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file, made where it is not there; waits for whoever holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Tell what the user can mend where a file cannot be written.

    Raises:
        StoreError: there is no room, or no right to write.
    """
    try:
        yield
    except OSError as error:
        mend = _UNWRITABLE.get(error.errno or 0)
        elsewhere = error.filename is not None and not _concerns(error.filename, folder)
        if mend is None or elsewhere:
            raise
        raise StoreError(
            f"{folder} cannot be written: {error}: {mend}; what was there is as it was"
        ) from error


def _concerns(name: str | bytes | int, folder: Path) -> bool:
    """Whether what an error names is in a folder, or leads to it; an open file's may be any."""
    if isinstance(name, int):
        return True
    path, folder = Path(os.fsdecode(name)).absolute(), folder.absolute()
    return path.is_relative_to(folder) or folder.is_relative_to(path)


def lock_shared(folder: Path) -> int | None:
    """Lock a folder together with others who do the same; the descriptor, whose closing frees it.

    Waits for who has it alone. None where the file system cannot lock folders.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    except OSError as error:
        os.close(descriptor)
        if error.errno not in _WITHOUT_LOCKS:
            raise
        return None
    return descriptor


def try_lock(folder: Path) -> int | None:
    """Lock a folder if nobody else has; the descriptor, whose closing frees it, or None."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor

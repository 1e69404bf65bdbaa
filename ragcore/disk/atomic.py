"""Write so that a crash leaves the old file or the new one: sync, atomic replacement, locks.

Knows files and folders only. Relies on POSIX: a rename within a folder is atomic, and a lock by
`flock` ends with its process, even if that is killed.
"""

from __future__ import annotations

import ctypes
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
    "exchange",
    "staging_path",
    "files_below",
    "is_open_at",
    "lock_shared",
    "locked",
    "replace_text",
    "sha256",
    "sha256_of_samples",
    "sync",
    "sync_tree",
    "try_lock",
    "writing",
]

_PIECE: Final = 1 << 22
_SAMPLE: Final = 1 << 16
_SAMPLES: Final = 64
_UNWRITABLE: Final = {
    errno.ENOSPC: "free some room",
    errno.EDQUOT: "free some room, or ask for a larger quota",
    errno.EFBIG: "allow larger files",
    errno.EROFS: "mount it for writing, or use another folder",
    errno.EACCES: "get permission to write there, or use another folder",
    errno.EPERM: "get permission to write there, or use another folder",
}
"""Errors that the user can fix, and how."""
_HERE: Final = -100
"""AT_FDCWD: relative paths start from the working folder."""
_EXCHANGE: Final = 2
"""RENAME_EXCHANGE of `renameat2`."""
_WITHOUT_LOCKS: Final = frozenset(
    {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EBADF, errno.EINVAL}
)


def sha256(path: Path, *, low_priority: bool = False) -> str:
    """Compute the SHA-256 digest of a file's bytes, in hexadecimal.

    It reads large pieces, since this thread blocks others for a moment between two of them.

    Args:
        path: the file.
        low_priority: sleep as long as each piece took, so that serving threads keep half the CPU.
    """
    digest, piece = hashlib.sha256(), memoryview(bytearray(_PIECE))
    with path.open("rb", buffering=0) as file:
        started = time.perf_counter()
        while size := file.readinto(piece):
            digest.update(piece[:size])
            if low_priority:
                time.sleep(time.perf_counter() - started)
                started = time.perf_counter()
    return digest.hexdigest()


def sha256_of_samples(path: Path) -> str:
    """Compute the SHA-256 digest of some blocks of a file, its first and its last among them.

    It reads 4 MiB, of a smaller file all. Where the blocks are depends on the file's size alone.
    """
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        free = max(os.fstat(file.fileno()).st_size - _SAMPLE, 0)
        for number in range(_SAMPLES):
            file.seek(free * number // (_SAMPLES - 1))
            digest.update(file.read(_SAMPLE))
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
    """List all files of a folder and its subfolders, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def replace_text(path: Path, text: str) -> None:
    """Replace a file's text so that at every moment it is the old file or the new one.

    Only one caller at a time may do so: hold a lock.
    """
    new = staging_path(path)
    new.write_text(text, encoding="utf-8")
    sync(new)
    os.replace(new, path)
    sync(path.parent)


def exchange(one: Path, other: Path) -> None:
    """Let two folders change names in one step, where the system can; else by two renames.

    Linux can on most file systems. Elsewhere a process that is killed between the two renames
    leaves neither folder at its place; both are next to it.
    """
    if _renamed_at_once(one, other):
        return
    aside = one.with_name(f"{one.name}-exchanged")
    os.rename(one, aside)
    try:
        os.rename(other, one)
    except BaseException:
        os.rename(aside, one)
        raise
    os.rename(aside, other)


def _renamed_at_once(one: Path, other: Path) -> bool:
    """Exchange two names by Linux's `renameat2`; return False where there is none."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    if call(_HERE, os.fsencode(one), _HERE, os.fsencode(other), ctypes.c_uint(_EXCHANGE)) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), str(one))


def staging_path(path: Path) -> Path:
    """Return the path where the new content of a file is written before it replaces the old."""
    return path.with_name(f".{path.name}.new")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file, which is created if missing; waits while another holds it.

    Raises:
        StoreError: the file system cannot lock files.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        with _needing_locks(path):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Report what the user can fix where a file in a folder cannot be written.

    Raises:
        StoreError: there is no room on the disk, or no permission to write.
    """
    try:
        yield
    except OSError as error:
        fix = _UNWRITABLE.get(error.errno or 0)
        elsewhere = error.filename is not None and not _concerns(error.filename, folder)
        if fix is None or elsewhere:
            raise
        raise StoreError(
            f"{folder} cannot be written: {error}: {fix}; existing files are unchanged"
        ) from error


def _concerns(name: str | bytes | int, folder: Path) -> bool:
    """Return whether an error's file is in a folder or above it; an open descriptor always is."""
    if isinstance(name, int):
        return True
    path, folder = Path(os.fsdecode(name)).absolute(), folder.absolute()
    return path.is_relative_to(folder) or folder.is_relative_to(path)


def lock_shared(folder: Path) -> int | None:
    """Take a shared lock of a folder; waits while another process holds an exclusive one.

    Returns:
        A descriptor: closing it releases the lock. None where the file system cannot lock folders.
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
    """Take the exclusive lock of a folder if no other process holds one.

    Returns:
        A descriptor: closing it releases the lock. None if the folder is locked.

    Raises:
        StoreError: the file system cannot lock folders.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with _needing_locks(folder):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def is_open_at(descriptor: int, path: Path) -> bool:
    """Return whether a path still leads to what a descriptor was opened on, or to nothing."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return True


@contextmanager
def _needing_locks(path: Path) -> Iterator[None]:
    """Say it clearly where a file system has no locks, as some network file systems."""
    try:
        yield
    except OSError as error:
        if error.errno not in _WITHOUT_LOCKS:
            raise
        raise StoreError(
            f"{path}: its file system cannot lock it ({error.strerror}): a store that is built, "
            "updated or collected needs locks: keep it on a local disk, and export and import "
            "versions from there; a store without locks can be opened and searched"
        ) from error

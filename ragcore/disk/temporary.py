"""Make folders for what is needed for a while, and remove those that killed processes have left.

Knows folders and locks only. The process that works in such a folder holds its lock, so that one
without a lock is a leftover, whatever its age.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ragcore.disk.atomic import lock_shared, try_lock
from ragcore.errors import StoreError

__all__ = ["temporary_folder"]

_UNIQUE: Final = r"[a-z0-9_]{8}"
"""What `tempfile` adds to a prefix."""


@contextmanager
def temporary_folder(parent: Path | None, prefix: str) -> Iterator[Path]:
    """Make a folder that is removed when the block ends; remove leftovers of its kind before.

    Leftovers are the folders in the same place whose names have the same prefix, and whose
    processes were killed. Where the file system cannot lock folders, they stay.

    Args:
        parent: the folder to make it in; that of the system's temporary files where None.
        prefix: what its name begins with, of one purpose only.
    """
    parent = Path(tempfile.gettempdir()) if parent is None else parent
    _remove_leftovers(parent, prefix)
    folder, lock = _locked_folder(parent, prefix)
    try:
        yield folder
    finally:
        try:
            shutil.rmtree(folder)
        finally:
            if lock is not None:
                os.close(lock)


def _locked_folder(parent: Path, prefix: str) -> tuple[Path, int | None]:
    """Make a folder and lock it; without a lock where the file system has none."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        try:
            lock = lock_shared(folder)
        except FileNotFoundError:
            # Another process took it for a leftover before it was locked.
            continue
        if folder.exists():
            return folder, lock
        if lock is not None:
            os.close(lock)


def _remove_leftovers(parent: Path, prefix: str) -> None:
    pattern = re.compile(re.escape(prefix) + _UNIQUE)
    for folder in sorted(parent.glob(f"{prefix}*")):
        if not pattern.fullmatch(folder.name) or folder.is_symlink() or not folder.is_dir():
            continue
        try:
            lock = try_lock(folder)
        except (PermissionError, FileNotFoundError, StoreError):
            # Another user's, removed meanwhile, or on a file system without locks.
            continue
        if lock is None:
            continue
        try:
            # What cannot be removed stays: it hinders nothing but takes room.
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)

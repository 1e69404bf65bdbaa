"""Share files between the versions of a memory: they never change, so one copy is enough.

Each version has its own name (a hard link) for a shared file, so it can be deleted without effect
on the others. Knows files only, not what is in them.
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Final

__all__ = ["share", "share_tree"]

_WITHOUT_LINKS: Final = frozenset(
    {errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS, errno.EACCES}
)
"""Errors where hard links do not work: another disk, another file system, too many names."""


def share(source: Path, target: Path) -> None:
    """Give a file a second name; copy it where the file system has no hard links."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _WITHOUT_LINKS:
            raise
        shutil.copyfile(source, target)


def share_tree(source: Path, target: Path) -> None:
    """Share all files of a folder and its subfolders; creates the folder `target`."""
    target.mkdir()
    for path in sorted(source.iterdir()):
        if path.is_dir():
            share_tree(path, target / path.name)
        else:
            share(path, target / path.name)

"""Copy a store's folder, so that a server that follows the copy never finds half a version.

Knows the order: which version is current is read first and written last. A copy that was killed is
completed by the next one. `rsync` does the same between two machines; see the README.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

__all__ = ["copy_store", "folder_bytes"]

LISTS: Final = ("HISTORY", "CURRENT")
"""`CURRENT` last: from then on the copy's servers open the version that it names."""


def copy_store(
    source: Path, target: Path, copy_file: Callable[[str, str], object] = shutil.copy2
) -> None:
    """Bring a copy of a store in step with it; versions that `gc` has deleted are deleted there.

    Args:
        source: the store's folder.
        target: the copy's folder, which is made where it is not there.
        copy_file: copies a file; `os.link` for a copy on the same disk, since no version changes.

    Raises:
        OSError: a file cannot be read or written; the copy then serves what it served before.
    """
    lists = {name: (source / name).read_bytes() for name in LISTS if (source / name).exists()}
    versions = target / "versions"
    versions.mkdir(parents=True, exist_ok=True)
    # Names with a point are half-built versions, and what a killed copy left.
    names = {each.name for each in (source / "versions").iterdir() if each.name[0] != "."}
    for name in sorted(names):
        if not (versions / name).exists():
            incoming = versions / f".incoming-{name}"
            shutil.rmtree(incoming, ignore_errors=True)
            shutil.copytree(source / "versions" / name, incoming, copy_function=copy_file)
            incoming.rename(versions / name)
    for name, content in lists.items():
        incoming = target / f".incoming-{name}"
        incoming.write_bytes(content)
        os.replace(incoming, target / name)
    for each in versions.iterdir():
        if each.name[0] != "." and each.name not in names:
            shutil.rmtree(each)


def folder_bytes(folder: Path) -> int:
    """Return how many bytes the files of a folder have."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

"""Check where a command will write, before it begins work that takes long."""

from __future__ import annotations

import os
from pathlib import Path

from ragcore.errors import ConfigError

__all__ = ["check_file", "check_folder"]


def check_file(option: str, path: Path) -> None:
    """Check that a file can be written at a path; nothing is created.

    Args:
        option: that gave the path, such as "--html"; for errors.
        path: of the file, which may exist.

    Raises:
        ConfigError: the path is a folder, or its folder is missing or cannot be written.
    """
    try:
        if path.is_dir():
            raise ConfigError(f"{option} {path}: a folder: give the path of a file, in it or not")
        if not path.parent.is_dir():
            raise ConfigError(f"{option} {path}: there is no folder {path.parent}: create it first")
        # Stat refuses what no file can be called: a name that is too long, or one with NUL.
        exists = _exists(path)
    except (OSError, ValueError) as error:
        raise _unusable(option, path, error) from None
    if not os.access(path if exists else path.parent, os.W_OK):
        raise ConfigError(f"{option} {path}: no permission to write there: choose another path")


def check_folder(option: str, path: Path) -> None:
    """Check that a folder exists or can be made, and that files can be written in it.

    Args:
        option: that gave the path, such as "--output"; for errors.
        path: of the folder.

    Raises:
        ConfigError: the path, or one above it, is a file, or cannot be written.
    """
    try:
        nearest = path.absolute()
        while not _exists(nearest):
            nearest = nearest.parent
        if not nearest.is_dir():
            raise ConfigError(f"{option} {path}: {nearest} is a file: choose another folder")
    except (OSError, ValueError) as error:
        raise _unusable(option, path, error) from None
    if not os.access(nearest, os.W_OK):
        raise ConfigError(f"{option} {path}: no permission to write in {nearest}")


def _exists(path: Path) -> bool:
    """Return whether there is something at a path, as `Path.exists`, which hides other errors."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _unusable(option: str, path: Path, error: OSError | ValueError) -> ConfigError:
    reason = error.strerror if isinstance(error, OSError) else error
    return ConfigError(f"{option} {path}: not a usable path ({reason}): choose another")

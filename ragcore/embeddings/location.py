"""Where the embedding cache is: a folder of the pipeline, of the environment, or of the user.

Imports nothing heavy; knows nothing of what the folder has in it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from ragcore.disk.paths import usable_path
from ragcore.errors import ConfigError

__all__ = ["DEFAULT_GIB", "ENVIRONMENT", "cache_folder"]

ENVIRONMENT: Final = "RAGCORE_CACHE"
"""The environment variable that names a folder, or says `off`."""

DEFAULT_GIB: Final = 10.0
"""How large a cache may become: about 6.4 million vectors of 384 numbers."""

_OFF: Final = "off"


def cache_folder(folder: Path | None) -> Path | None:
    """Return the folder of the embedding cache; None where the environment switches it off.

    Args:
        folder: the one that the pipeline names. Where None: that of `RAGCORE_CACHE`; where that is
            not set or empty, `ragcore/embeddings` in the user's folder of caches.

    Raises:
        ConfigError: `RAGCORE_CACHE` is no path.
    """
    if folder is not None:
        return folder
    named = os.environ.get(ENVIRONMENT, "")
    if named.lower() == _OFF:
        return None
    if named:
        return usable_path(named, ConfigError).expanduser()
    # https://specifications.freedesktop.org/basedir-spec: a relative path there is invalid.
    caches = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not caches.is_absolute():
        home = os.path.expanduser("~")
        if not os.path.isabs(home):
            return None
        caches = Path(home, ".cache")
    return caches / "ragcore" / "embeddings"

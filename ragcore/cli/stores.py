"""Find the store that a command's argument names."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ragcore.store.store import Store

__all__ = ["store_at"]


def store_at(location: str, *, new: bool = False) -> tuple[Store, str | None]:
    """Return a store, and the version that the pipeline file names, if it names one.

    Args:
        location: the store's folder, or a pipeline's YAML file.
        new: whether the folder may be missing.

    Raises:
        ConfigError: the pipeline file is faulty.
        StoreError: the folder is missing.
    """
    from ragcore.config import load_store_config
    from ragcore.disk.paths import usable_path
    from ragcore.errors import StoreError
    from ragcore.store.store import Store

    version = None
    folder = usable_path(location, StoreError)
    if folder.is_file() or folder.suffix in (".yaml", ".yml"):
        section = load_store_config(location)
        folder, version = section.store, section.version
    if not new and not folder.is_dir():
        raise StoreError(f"{folder}: no such store: build a version with `ragcore memory build`")
    return Store(folder), version

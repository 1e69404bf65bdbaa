"""Find the store that a command's argument names."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ragcore.contracts import Retriever
    from ragcore.registry.components import ComponentSpec
    from ragcore.store.store import Store, VersionInfo
    from ragcore.types import Passage

__all__ = ["cache_at", "forget_states", "retriever_at", "store_at", "version_row"]


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

    version = passages = None
    folder = usable_path(location, StoreError)
    if _is_pipeline(folder):
        section = load_store_config(location)
        folder, version, passages = section.store, section.version, section.passages
    if not new and not folder.is_dir():
        raise StoreError(f"{folder}: no such store: build a version with `ragcore memory build`")
    return Store(folder, passages=passages), version


def retriever_at(location: str) -> ComponentSpec[Retriever] | None:
    """Return the retriever of a pipeline file; None for a store's folder, which records its own.

    Raises:
        ConfigError: the pipeline file is faulty.
    """
    from ragcore.config import load_config

    return load_config(location).memory.retriever if _is_pipeline(Path(location)) else None


def cache_at(location: str) -> Path | None:
    """Return the folder of a pipeline's embedding cache; the default one's for a store's folder.

    None where there is no cache.

    Raises:
        ConfigError: the pipeline file is faulty.
    """
    from ragcore.config import CacheConfig, load_config
    from ragcore.embeddings.location import cache_folder

    is_pipeline = _is_pipeline(Path(location))
    config = load_config(location).memory.cache if is_pipeline else CacheConfig()
    return None if config is None else cache_folder(config.folder)


def forget_states(location: str, passages: Sequence[Passage]) -> dict[str, int]:
    """Delete what a pipeline's generator has written of passages; files by folder.

    Nothing where the location is a store's folder.

    Raises:
        ConfigError: the pipeline file is faulty.
    """
    from ragcore.config import load_config
    from ragcore.registry.discovery import registry

    generator = load_config(location).generator if _is_pipeline(Path(location)) else None
    if generator is None:
        return {}
    states: dict[str, int] = {}
    for folders in registry().hook.ragcore_forget(config=generator.config, passages=passages):
        states |= folders
    return states


def version_row(version: VersionInfo) -> dict[str, Any]:
    """Return a version as JSON shows it; `broken` is there only if it is broken."""
    row = asdict(version)
    if version.broken is None:
        del row["broken"]
    return row


def _is_pipeline(path: Path) -> bool:
    return path.is_file() or path.suffix in (".yaml", ".yml")

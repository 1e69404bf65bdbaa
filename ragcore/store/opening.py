"""Opening a version's files: its passages and its retriever, if they are what its manifest says.

Knows which retriever may read what; where the folder is and who else uses it, the store knows.
"""

from __future__ import annotations

from pathlib import Path

from ragcore.contracts import Retriever
from ragcore.disk.threads import yield_gil
from ragcore.errors import MemoryMismatchError, StoreCorruptError
from ragcore.memory.passages import Passages
from ragcore.registry.components import ComponentSpec, spec_from_dict
from ragcore.store.build import RETRIEVER
from ragcore.store.manifest import Manifest
from ragcore.store.update import opened_passages

__all__ = ["checked_part", "load_version"]


def checked_part(
    store: Path, manifest: Manifest, retriever: ComponentSpec[Retriever] | None
) -> ComponentSpec[Retriever]:
    """The retriever that is to search a version: this one, or the one in its manifest where None.

    Raises:
        MemoryMismatchError: the version was built by another.
    """
    part = retriever or spec_from_dict("retriever", manifest.retriever)
    built_by = manifest.retriever.get("use")
    if part.use != built_by:
        raise MemoryMismatchError(
            f"version {manifest.name!r} of {store} was built with retriever {built_by!r}, but the "
            f"retriever in use is {part.use!r}: rebuild the memory or set memory.retriever.use to "
            f"{built_by}"
        )
    return part


def load_version(
    folder: Path, manifest: Manifest, part: ComponentSpec[Retriever]
) -> tuple[Passages, Retriever]:
    """The passages of a version's folder, and what finds them.

    Raises:
        MemoryMismatchError: the retriever reads otherwise than the one that built the version.
        StoreCorruptError: a file is broken, or the two do not go together.
    """
    yield_gil()
    passages = opened_passages(folder)
    yield_gil()
    try:
        loaded: Retriever = part.component.load(folder / RETRIEVER, part.config, mmap=True)
        if loaded.fingerprint != manifest.fingerprint:
            raise MemoryMismatchError(
                f"version {manifest.name!r} in {folder} was built with {manifest.fingerprint}, but "
                f"the retriever in use is {loaded.fingerprint}: rebuild the memory or change "
                + ("memory.retriever.encoder" if part.use == "dense" else "memory.retriever")
            )
        if not len(passages) == len(loaded) == manifest.passages:
            raise StoreCorruptError(
                f"version {manifest.name!r} in {folder} has {len(passages)} passages and a "
                f"retriever of {len(loaded)}: expected {manifest.passages}: rebuild it"
            )
    except BaseException:
        passages.close()
        raise
    yield_gil()
    return passages, loaded

"""Open a version's files: its passages and its retriever, checked against its manifest.

Knows which retriever may search which version; knows nothing of the store that the version is in.
"""

from __future__ import annotations

from ragcore.contracts import Retriever
from ragcore.disk.threads import yield_gil
from ragcore.errors import MemoryMismatchError, StoreCorruptError
from ragcore.memory.memory import Memory
from ragcore.memory.passages import Passages
from ragcore.registry.components import ComponentSpec, spec_from_dict
from ragcore.store.catalog import LeasedVersion
from ragcore.store.layout import VersionFolder

__all__ = ["matching_spec", "open_version"]


def matching_spec(
    version: VersionFolder, retriever: ComponentSpec[Retriever] | None
) -> ComponentSpec[Retriever]:
    """Return the spec of the retriever that searches a version; its own record where None.

    Raises:
        MemoryMismatchError: the version was built with a retriever of another name.
    """
    recorded = version.manifest.retriever
    spec = retriever or spec_from_dict("retriever", recorded)
    built_with = recorded.get("use")
    if spec.use != built_with:
        raise MemoryMismatchError(
            f"version {version.name!r} in {version.path} was built with retriever {built_with!r}, "
            f"but the retriever in use is {spec.use!r}: rebuild the memory or set "
            f"memory.retriever.use to {built_with}"
        )
    return spec


def open_version(
    version: LeasedVersion, spec: ComponentSpec[Retriever], *, temperature: float = 1.0
) -> Memory:
    """Open passages and retriever of a version as a memory, which takes the lease over.

    Args:
        version: its files were checked, at least their sizes.
        spec: of the retriever; see `matching_spec`.
        temperature: of the memory.

    Raises:
        MemoryMismatchError: the retriever's fingerprint is not the one that the version was built
            with.
        StoreCorruptError: a file is broken, or passages and retriever do not belong together.
    """
    yield_gil()
    passages = version.open_passages()
    yield_gil()
    try:
        retriever = _load_retriever(version, spec, passages)
    except BaseException:
        passages.close()
        raise
    yield_gil()
    return Memory(
        version.name,
        passages,
        retriever,
        temperature=temperature,
        name=spec.use,
        lease=version.detach(),
    )


def _load_retriever(
    version: VersionFolder, spec: ComponentSpec[Retriever], passages: Passages
) -> Retriever:
    """Load the retriever of a version, if it reads as the one that built it did."""
    manifest = version.manifest
    retriever = spec.load(version.retriever)
    if retriever.fingerprint != manifest.fingerprint:
        raise MemoryMismatchError(
            f"version {version.name!r} in {version.path} was built with {manifest.fingerprint}, "
            f"but the retriever in use is {retriever.fingerprint}: rebuild the memory or change "
            + ("memory.retriever.encoder" if spec.use == "dense" else "memory.retriever")
        )
    if not len(passages) == len(retriever) == manifest.passages:
        raise StoreCorruptError(
            f"version {version.name!r} in {version.path} has {len(passages)} passages and a "
            f"retriever of {len(retriever)}: expected {manifest.passages}: rebuild it"
        )
    return retriever

"""Open a version's files: its passages and its retriever, checked against its manifest.

Knows which retriever may search which version; knows nothing of the store that the version is in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from ragcore.contracts import PassageStore, Retriever
from ragcore.disk.threads import yield_gil
from ragcore.errors import (
    ConfigError,
    CorpusError,
    MemoryMismatchError,
    MemoryUnavailableError,
    PluginError,
    RagcoreError,
    StoreCorruptError,
    StoreError,
    UnsupportedOperation,
)
from ragcore.memory.memory import Memory
from ragcore.memory.passages import Passages
from ragcore.registry.components import ComponentSpec, spec_from_dict
from ragcore.registry.discovery import registry
from ragcore.registry.faults import component_fault
from ragcore.retrievers.configs import stored_by
from ragcore.retrievers.rerank import files_below
from ragcore.store.catalog import LeasedVersion
from ragcore.store.layout import BUILDING, MANIFEST, VersionFolder
from ragcore.store.manifest import Manifest
from ragcore.store.remote import check_remote

__all__ = [
    "ask_once",
    "check_opens",
    "files_of_retriever",
    "matching_spec",
    "open_version",
    "suspecting_damage",
]


_OTHER_CAUSES: Final = (ConfigError, CorpusError, PluginError, StoreError, UnsupportedOperation)
"""Errors that say what is wrong, which is not a damaged file, or say so themselves."""


_CAUSES: Final = (MemoryUnavailableError, StoreCorruptError, MemoryMismatchError)
"""Why a version does not open, as callers tell it apart."""


def matching_spec(
    version: VersionFolder, retriever: ComponentSpec[Retriever] | None
) -> ComponentSpec[Retriever]:
    """Return the spec of the retriever that searches a version; its own record where None.

    What stores no files of its own, as a reranker, may be there or not.

    Raises:
        MemoryMismatchError: the version was built with a retriever of another name.
    """
    recorded = version.manifest.retriever
    spec = retriever or spec_from_dict("retriever", recorded, base=_recorded_base(version))
    built_with, name = _stored_by(recorded), stored_by(spec)
    if name != built_with and _name_now(name) != _name_now(built_with):
        raise MemoryMismatchError(
            f"version {version.name!r} in {_shown_path(version)} was built with retriever "
            f"{built_with!r}, but the retriever in use is {name!r}: rebuild the memory or set "
            f"memory.retriever.use to {built_with}"
        )
    return spec


def _stored_by(recorded: Mapping[str, Any]) -> Any:
    """Return the name of the retriever whose files a version has; see `stored_by`."""
    while _name_now(recorded.get("use")) == "rerank":
        recorded = recorded["retriever"]
    return recorded.get("use")


def _name_now(name: Any) -> Any:
    """Return the name that a retriever has today: versions record the one of their time."""
    return registry().current_name("retriever", name)


def open_version(
    version: LeasedVersion,
    spec: ComponentSpec[Retriever],
    *,
    temperature: float = 1.0,
    recorded: bool = False,
) -> Memory:
    """Open passages and retriever of a version as a memory, which takes the lease over.

    Args:
        version: its files were checked, at least their sizes.
        spec: of the retriever; see `matching_spec`.
        temperature: of the memory.
        recorded: whether the spec is the version's own record, for errors.

    Raises:
        MemoryMismatchError: the retriever's fingerprint is not the one that the version was built
            with.
        StoreCorruptError: a file is broken, or passages and retriever do not belong together, or a
            table in a database is missing.
        MemoryUnavailableError: a database does not answer.
    """
    yield_gil()
    with suspecting_damage(version):
        passages = version.open_passages()
    yield_gil()
    try:
        check_remote(version, spec, full=False)
        retriever = _load_retriever(version, spec, passages, recorded=recorded)
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


@contextmanager
def suspecting_damage(version: VersionFolder) -> Iterator[None]:
    """Where the block fails as damaged files make it fail, look for damage in the version's files.

    A file whose size is right and whose bytes are not makes the libraries that read it raise
    anything.

    Raises:
        StoreCorruptError: the block failed, and a file was changed.
    """
    try:
        yield
    except _OTHER_CAUSES:
        raise
    except Exception:
        version.check_files(digests=True)
        raise


def files_of_retriever(version: VersionFolder, spec: ComponentSpec[Retriever]) -> Path:
    """Return the folder with the files of a version that a retriever loads."""
    # A reranker of an earlier release put them into a subfolder.
    if version.manifest.retriever.get("use") == "rerank" and spec.use != "rerank":
        return files_below(version.retriever)
    return version.retriever


def ask_once(memory: Memory) -> None:
    """Search a memory once, so that what its retriever loads late is there, or fails now."""
    memory.hits(["warm up"], 1)


def check_opens(
    folder: Path,
    manifest: Manifest,
    retriever: ComponentSpec[Retriever] | None,
    store: Path,
    passages: ComponentSpec[PassageStore] | None = None,
) -> None:
    """Open a version and search it once, before it becomes the current one.

    Args:
        folder: that its files are in, which may be a staging folder.
        manifest: of the version.
        retriever: how to search; as it was built where None.
        store: the folder of the store that it will be in.
        passages: the pipeline's passage store; see `VersionFolder`.

    Raises:
        StoreError: it cannot be opened, or cannot be searched: MemoryUnavailableError where a
            database does not answer, so that it may be opened later, StoreCorruptError where it is
            damaged, MemoryMismatchError where it belongs to another encoder.
    """
    version = LeasedVersion(folder, manifest, None, store=store, passage_store=passages)
    try:
        spec = matching_spec(version, retriever)
        with open_version(version, spec, recorded=retriever is None) as memory:
            ask_once(memory)
    # Whatever a plugin raises: the version must not be served.
    except Exception as error:
        problem = component_fault(error) or (
            str(error) if isinstance(error, RagcoreError) else f"{type(error).__name__}: {error}"
        )
        new = _is_being_written(version)
        not_kept = " and was not kept" if new else ""
        advice = "keep the new one without using it" if new else "leave the current one in use"
        kind = next((each for each in _CAUSES if isinstance(error, each)), StoreError)
        raise kind(
            f"version {manifest.name!r} cannot become the current one{not_kept}, since it cannot "
            f"be opened and searched here: {problem}: fix that, or {advice} (--no-activate; for an "
            "import, no --activate)"
        ) from error


def _recorded_base(version: VersionFolder) -> Path:
    """Return the folder that relative paths of a version's record start from."""
    return version.manifest.base_folder(version.store)


def _is_being_written(version: VersionFolder) -> bool:
    """Return whether a version is in a staging folder, which goes if anything fails."""
    return version.path.name.startswith(BUILDING)


def _shown_path(version: VersionFolder) -> Path:
    """Return the folder of a version as errors name it: where it will be, while it is written."""
    if _is_being_written(version):
        return version.path.with_name(version.name)
    return version.path


def _loaded(version: VersionFolder, spec: ComponentSpec[Retriever], *, recorded: bool) -> Retriever:
    """Load a retriever; an error says where its settings came from, if they were recorded."""
    try:
        with suspecting_damage(version):
            retriever = spec.load(files_of_retriever(version, spec))
        # Loads the encoder, where there is one.
        _ = retriever.fingerprint
    except RagcoreError as error:
        if isinstance(error, StoreError) or not recorded:
            raise
        raise type(error)(
            f"{error}; the settings of retriever {spec.use!r} are those in "
            f"{_shown_path(version) / MANIFEST}, where relative paths start from "
            f"{_recorded_base(version)}: if they have moved, name the pipeline file instead of the "
            "store"
        ) from error
    return retriever


def _load_retriever(
    version: VersionFolder, spec: ComponentSpec[Retriever], passages: Passages, *, recorded: bool
) -> Retriever:
    """Load the retriever of a version, if it reads as the one that built it did."""
    manifest = version.manifest
    retriever = _loaded(version, spec, recorded=recorded)
    if retriever.fingerprint != manifest.fingerprint:
        raise MemoryMismatchError(
            f"version {version.name!r} in {_shown_path(version)} was built with "
            f"{manifest.fingerprint}, but the retriever in use is {retriever.fingerprint}: "
            "rebuild the memory or change "
            + ("memory.retriever.encoder" if spec.use == "dense" else "memory.retriever")
        )
    if not len(passages) == len(retriever) == manifest.passages:
        raise StoreCorruptError(
            f"version {version.name!r} in {_shown_path(version)} has {len(passages)} passages and "
            f"a retriever of {len(retriever)}: expected {manifest.passages}: rebuild it"
        )
    return retriever

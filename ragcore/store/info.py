"""What is told about a version: in a list, and after it was made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from ragcore.embeddings.cache import Encodings
from ragcore.errors import CorpusError
from ragcore.store.build import Built
from ragcore.store.compacting import Compacted
from ragcore.store.comparing import DocumentCounts
from ragcore.store.manifest import Manifest
from ragcore.store.sharding import BuiltShard
from ragcore.store.update import Updated
from ragcore.types import CutPassages

__all__ = [
    "BuildInfo",
    "CompactInfo",
    "ShardInfo",
    "UpdateInfo",
    "VersionInfo",
    "build_info",
    "compact_info",
    "info_of",
    "shard_info",
    "summary_of",
    "update_info",
]


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """A version as a list shows it.

    Attributes:
        name: of the version.
        created: when, in UTC, ISO 8601.
        passages: how many there are.
        retriever: the name that its retriever is registered under.
        bytes: on disk.
        current: whether it is the current version.
        broken: why its manifest cannot be read, None where it can; then `created` and `retriever`
            are empty and `passages` is 0.
    """

    name: str
    created: str
    passages: int
    retriever: str
    bytes: int
    current: bool
    broken: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildInfo(VersionInfo):
    """A version that a build made.

    Attributes:
        encodings: how its passages' vectors came about; None where its retriever has none.
        cut_passages: passages that are longer than an encoder reads, an item for each such encoder.
        summary: what its corpus says of its files, in lines; empty where it says nothing.
    """

    encodings: Encodings | None = None
    cut_passages: tuple[CutPassages, ...] = ()
    summary: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactInfo(VersionInfo):
    """A version that a compaction made.

    Attributes:
        parent: the version that it is derived from.
        segments: of how many segments its retriever consists, the most of any index.
        removed: removed rows that are in its files still.
        parent_segments: the segments of its parent.
        parent_removed: the removed rows in the files of its parent.
        seconds: how long it took.
    """

    parent: str
    segments: int
    removed: int
    parent_segments: int
    parent_removed: int
    seconds: float

    @property
    def nothing_changed(self) -> bool:
        """Whether there was nothing to do: no version was made, and this is the parent."""
        return self.name == self.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardInfo(BuildInfo):
    """A shard of a memory, that was built or was there already.

    Attributes:
        number: of the shard, from 0.
        of: how many shards there are.
        was_there: whether it was built before, so that nothing was done.
        read_whole: whether the whole corpus was read to find this part of it, as any is that has no
            capability `parts`.
    """

    number: int
    of: int
    was_there: bool
    read_whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateInfo(VersionInfo):
    """A version that an update made, and how its passages differ from its parent's.

    Attributes:
        parent: the version that was updated.
        added: how many passages have ids that the parent does not have.
        changed: how many passages replace one of the same id.
        removed: how many of the parent's passages there are no longer.
        moved: how many stay, with new metadata, since they are at another place of their document.
        documents: what happened to how many documents, where the corpus knows them; a passage that
            replaces another of its document at its position counts as changed.
        seconds: how long the update took.
        encodings: how the vectors of added and changed passages came about; None where there are
            none.
        cut_passages: added and changed passages that are longer than an encoder reads, an item for
            each such encoder.
        summary: as for `BuildInfo`.
    """

    parent: str
    added: int
    changed: int
    removed: int
    moved: int = 0
    documents: DocumentCounts | None = None
    seconds: float = 0.0
    encodings: Encodings | None = None
    cut_passages: tuple[CutPassages, ...] = ()
    summary: tuple[str, ...] = ()

    @property
    def nothing_changed(self) -> bool:
        """Whether there was nothing to change: no version was made, and this is the parent."""
        return self.name == self.parent

    @property
    def encodings_saved(self) -> int:
        """How many passages were not encoded, though a build without a cache would do so.

        Those that stay as they are, and those whose vectors the embedding cache had: with several
        encoders, as in a hybrid memory, their mean.
        """
        new, cached = self.added + self.changed, 0
        if self.encodings is not None:
            made = self.encodings
            vectors = made.encoded + made.from_cache + made.resumed
            cached = round(new * made.from_cache / vectors) if vectors else 0
        return self.passages - new + cached


def info_of(manifest: Manifest, current: str | None) -> VersionInfo:
    """Return what is told about a version.

    Args:
        manifest: of the version.
        current: the name of the current version.
    """
    return VersionInfo(
        name=manifest.name,
        created=manifest.created,
        passages=manifest.passages,
        retriever=str(manifest.retriever.get("use")),
        bytes=manifest.bytes,
        current=manifest.name == current,
    )


def build_info(built: Built, current: str | None) -> BuildInfo:
    """Return what is told about a build; arguments as for `info_of`."""
    version = info_of(built.manifest, current)
    return BuildInfo(**_fields_of(version), cut_passages=built.cut_passages)


def compact_info(compacted: Compacted, current: str | None) -> CompactInfo:
    """Return what is told about a compaction; `current` as for `info_of`."""
    return CompactInfo(
        **_fields_of(info_of(compacted.manifest, current)),
        parent=compacted.parent,
        segments=compacted.after.segments,
        removed=compacted.after.removed,
        parent_segments=compacted.before.segments,
        parent_removed=compacted.before.removed,
        seconds=compacted.seconds,
    )


def shard_info(shard: BuiltShard) -> ShardInfo:
    """Return what is told about a shard."""
    record = shard.built.manifest.shard
    assert record is not None  # It was built as one.
    info = build_info(shard.built, None)
    return ShardInfo(
        **_fields_of(info),
        number=record.number,
        of=record.of,
        was_there=shard.was_there,
        read_whole=shard.read_whole,
    )


def _fields_of(info: VersionInfo) -> dict[str, Any]:
    return {field.name: getattr(info, field.name) for field in fields(info)}


def update_info(updated: Updated, current: str | None) -> UpdateInfo:
    """Return what is told about an update; arguments as for `info_of`."""
    manifest, revision = updated.manifest, updated.revision
    return UpdateInfo(
        name=manifest.name,
        created=manifest.created,
        passages=manifest.passages,
        retriever=str(manifest.retriever.get("use")),
        bytes=manifest.bytes,
        current=manifest.name == current,
        parent=updated.parent,
        added=revision.added - revision.replaced,
        changed=revision.replaced,
        removed=len(revision.removed) - revision.replaced,
        moved=revision.moved,
        documents=revision.documents,
        seconds=updated.seconds,
        cut_passages=updated.cut_passages,
    )


def summary_of(corpus: object) -> tuple[str, ...]:
    """Ask a corpus what it read and what it skipped; empty where it has no `summary`.

    Args:
        corpus: that was read to its end; from a plugin, so it may answer anything.

    Raises:
        CorpusError: the answer is no sequence of texts.
    """
    summary = getattr(corpus, "summary", None)
    if summary is None:
        return ()
    lines = summary()
    if not isinstance(lines, Sequence) or isinstance(lines, str):
        raise CorpusError(
            f"the corpus's summary is {type(lines).__name__}: expected a list of lines of text"
        )
    wrong = [type(line).__name__ for line in lines if not isinstance(line, str)]
    if wrong:
        raise CorpusError(f"a line of the corpus's summary is {wrong[0]}: expected text")
    return tuple(lines)

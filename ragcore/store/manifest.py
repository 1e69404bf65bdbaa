"""The manifest of a version: what it consists of, how it was made, and the digest of each file.

Knows manifest.json and its form; knows nothing of the files that it lists. A manifest carries its
own digest and has one spelling only, so that no byte of it can change unnoticed.
"""

from __future__ import annotations

import builtins
import hashlib
import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ragcore import __version__
from ragcore.contracts import Corpus, Retriever
from ragcore.errors import StoreCorruptError, StoreError
from ragcore.registry.components import ComponentSpec
from ragcore.registry.pointers import escaped

__all__ = [
    "FORMAT",
    "FORMAT_WITH_MOVED",
    "FORMAT_WITH_STORE",
    "MANIFEST",
    "FileRecord",
    "Manifest",
    "ShardRecord",
    "absolute_paths",
    "base_of",
    "same_records",
    "same_retrievers",
    "same_settings",
]

FORMAT: Final = 1
FORMAT_WITH_MOVED: Final = 2
"""Of versions in which passages have moved: what the passage files say of them is out of date."""
FORMAT_WITH_STORE: Final = 3
"""Of versions with pointers in place of passage files, and perhaps with passages that moved."""
FORMATS: Final = (FORMAT, FORMAT_WITH_MOVED, FORMAT_WITH_STORE)
"""What this release reads."""
MANIFEST: Final = "manifest.json"
_LEFT_OUT: Final = (
    *("base", "corpus_date", "corpus_identity", "documents", "order", "passage_store", "paths"),
    "shard",
)
"""Keys that a manifest has only where they say something; earlier releases do not know them."""


class FileRecord(BaseModel):
    """A file as it was written: its size and digest.

    Attributes:
        bytes: its size.
        sha256: of all of it.
        samples: sha256 of some blocks of it (`sha256_of_samples`); of a large file only, and none
            in manifests of before.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    bytes: int = Field(ge=0)
    sha256: str
    samples: str | None = None


class ShardRecord(BaseModel):
    """Which part of a corpus a version has, where it is one shard of a memory.

    Attributes:
        number: of the shard, from 0.
        of: how many shards there are.
        corpus: fingerprint of the whole corpus; the same for all shards of one.
        first: how many passages the shards before it have; None where it was built without
            reading the corpus from its beginning.
        training: sha256 of the training that its index took; None where it was trained on what the
            shard has itself, or not at all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    number: int = Field(ge=0)
    of: int = Field(ge=1)
    corpus: str
    first: int | None = Field(default=None, ge=0)
    training: str | None = None


class Manifest(BaseModel):
    """What manifest.json says.

    Attributes:
        format: of the version's folder; this release reads `FORMATS`.
        name: the version's.
        created: when it was finished, in UTC, ISO 8601.
        passages: how many there are.
        retriever: its config as `ComponentSpec.to_record` gives it: paths as the user wrote them.
        fingerprint: the retriever's; a retriever that searches the version must have the same.
        corpus: the config of the corpus that the passages came from, or None.
        parent: the version that this one was derived from, or None.
        ragcore: the release that wrote it.
        files: every other file, by its path from the folder.
        base: the folder that relative paths of `retriever` and `corpus` start from, relative to
            the store's folder; "." where there are only absolute ones, None where there is no path.
            Manifests of before have none, and absolute paths.
        paths: which texts of `retriever` and `corpus` are paths or models, as JSON pointers into
            the manifest; None in manifests of before, and where there are none.
        order: where the clock said that the version was finished before one that was there
            already: the time that counts in place of `created`, just after that version's.
        documents: how many documents its passages belong to; None where the corpus knows none.
        corpus_identity: what the corpus is a copy of, such as a wiki's name, where it tells.
        corpus_date: of what state, ISO 8601, where it tells.
        shard: which part of the corpus its passages are, where it is a shard, which may have none;
            None for a memory.
        passage_store: the config of the component that keeps passages outside of the version, with
            `${env:NAME}` in place of secrets; None where all are in its files.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: int = FORMAT
    name: str
    created: str
    passages: int = Field(ge=0)
    retriever: dict[str, Any]
    fingerprint: str
    corpus: dict[str, Any] | None
    parent: str | None = None
    ragcore: str
    files: dict[str, FileRecord]
    base: str | None = None
    paths: list[str] | None = None
    order: str | None = None
    documents: int | None = Field(default=None, ge=0)
    corpus_identity: str | None = None
    corpus_date: str | None = None
    shard: ShardRecord | None = None
    passage_store: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _has_passages(self) -> Self:
        if not self.passages and self.shard is None:
            raise ValueError("passages: a memory has one at least")
        return self

    @classmethod
    def of_now(
        cls,
        name: str,
        *,
        passages: int,
        retriever: ComponentSpec[Retriever],
        fingerprint: str,
        corpus: dict[str, Any] | None,
        corpus_paths: Sequence[str] | None,
        files: dict[str, FileRecord],
        base: str | None = None,
        format: int = FORMAT,  # noqa: A002 (the name of the attribute)
        parent: str | None = None,
        documents: int | None = None,
        corpus_identity: str | None = None,
        corpus_date: str | None = None,
        shard: ShardRecord | None = None,
        passage_store: dict[str, Any] | None = None,
    ) -> Manifest:
        """Describe a version that was finished now, by this release; see the attributes.

        Args:
            corpus_paths: as `paths`, those of `corpus` alone, beginning with "/corpus"; where None
                they are guessed.
        """
        record = retriever.to_record()
        if corpus_paths is None:
            corpus_paths = absolute_paths(corpus, "/corpus")
        paths = [f"/retriever{pointer}" for pointer in retriever.record_paths()]
        paths += corpus_paths
        if base is None and paths:
            base = "."
        return cls(
            format=format,
            name=name,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            passages=passages,
            retriever=record,
            fingerprint=fingerprint,
            corpus=corpus,
            parent=parent,
            ragcore=__version__,
            files=files,
            base=base,
            paths=paths if base is not None else None,
            documents=documents,
            corpus_identity=corpus_identity,
            corpus_date=corpus_date,
            shard=shard,
            passage_store=passage_store,
        )

    @property
    def bytes(self) -> int:
        """The size of all files except the manifest."""
        return sum(record.bytes for record in self.files.values())

    @property
    def corpus_paths(self) -> list[str] | None:
        """Those of `paths` that are in `corpus`; None where it is not known."""
        if self.paths is None:
            return None
        return [pointer for pointer in self.paths if pointer.startswith("/corpus/")]

    @property
    def finished(self) -> datetime:
        """When the version counts as finished, which orders the versions of a store."""
        try:
            moment = datetime.fromisoformat(self.order or self.created)
        except ValueError:
            return datetime.min.replace(tzinfo=UTC)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    def after(self, newest: datetime) -> Self:
        """Return the manifest with an order after all versions that are there already.

        Args:
            newest: when the newest of these counts as finished.
        """
        if self.finished > newest:
            return self
        try:
            order = (newest + timedelta(microseconds=1)).isoformat(timespec="microseconds")
        except OverflowError:
            return self
        return self.model_copy(update={"order": order})

    def base_folder(self, store: Path) -> Path:
        """Return the folder that relative paths start from; the store's where none is recorded."""
        return Path(os.path.normpath(store.absolute() / (self.base or ".")))

    def spelled(self) -> builtins.bytes:
        """Return the text of manifest.json."""
        fields = self.model_dump(mode="json")
        for record in fields["files"].values():
            if record["samples"] is None:
                del record["samples"]
        return _spelled(
            {key: value for key, value in fields.items() if not _is_left_out(key, value)}
        )

    def write(self, folder: Path) -> None:
        """Write manifest.json into a folder."""
        (folder / MANIFEST).write_bytes(self.spelled())

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read the manifest of a version's folder.

        Raises:
            StoreCorruptError: it is missing or was changed.
            StoreError: it is of a format that this release does not read.
        """
        path = folder / MANIFEST
        try:
            raw = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise StoreCorruptError(f"{path} is missing: rebuild this version") from None
        return cls.parse(raw, path)

    @classmethod
    def parse(cls, raw: builtins.bytes, path: Path) -> Manifest:
        """Read the text of a manifest; `path` is where it was found, for errors.

        Raises:
            StoreCorruptError: it was changed.
            StoreError: it is of a format that this release does not read.
        """
        try:
            fields = json.loads(raw)
            digest = fields.pop("sha256")
        except (ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
            raise StoreCorruptError(
                f"{path} is no manifest ({type(error).__name__}: {error}): rebuild this version"
            ) from None
        if _spelled(fields) != raw:
            raise StoreCorruptError(
                f"{path} was changed: its sha256 is not {digest!r}, which it had when it was "
                "written: rebuild this version"
            )
        if fields.get("format") not in FORMATS:
            raise StoreError(
                f"{path} has format {fields.get('format')!r}; this release of ragcore reads "
                f"formats {FORMAT} to {FORMAT_WITH_STORE}: upgrade ragcore, or rebuild this "
                "version"
            )
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            raise StoreCorruptError(f"{path} is no manifest: {error}: rebuild it") from None


def base_of(folder: Path | None, store: Path) -> str | None:
    """Return how a manifest records the folder that relative paths start from.

    Relative to the store, so that both can be moved together; absolute only where they have no
    folder in common but the root.
    """
    if folder is None:
        return None
    folder, store = folder.absolute(), store.absolute()
    common = Path(os.path.commonpath([folder, store]))
    if common == Path(common.anchor):
        return str(folder)
    return Path(os.path.relpath(folder, store)).as_posix()


def same_settings(manifest: Manifest, corpus: ComponentSpec[Corpus] | None) -> bool:
    """Return whether a version was built from a corpus with these settings, apart from its paths.

    Args:
        manifest: of the version.
        corpus: None where the settings are not known.
    """
    if corpus is None:
        return manifest.corpus is None
    pointers = [f"/corpus{each}" for each in corpus.record_paths()]
    return _settings(manifest) == _without(corpus.to_record(), frozenset(pointers), "/corpus")


def same_records(one: Manifest, other: Manifest) -> bool:
    """Return whether two versions record the same settings of a corpus, apart from its paths."""
    return _settings(one) == _settings(other)


def same_retrievers(one: Manifest, other: Manifest) -> bool:
    """Return whether two versions record the same settings of a retriever, apart from its paths."""
    records = []
    for manifest in (one, other):
        paths = [each for each in manifest.paths or () if each.startswith("/retriever/")]
        records.append(_without(manifest.retriever, frozenset(paths), "/retriever"))
    return records[0] == records[1]


def _settings(manifest: Manifest) -> object:
    """Return what a manifest records of the corpus, without paths."""
    return _without(manifest.corpus, frozenset(manifest.corpus_paths or ()), "/corpus")


def _without(value: object, pointers: frozenset[str], pointer: str) -> object:
    """Return a record without the values at some pointers."""
    match value:
        case dict():
            return {
                key: _without(item, pointers, inner)
                for key, item in value.items()
                if (inner := f"{pointer}/{escaped(key)}") not in pointers
            }
        case list():
            return [
                _without(item, pointers, inner)
                for number, item in enumerate(value)
                if (inner := f"{pointer}/{number}") not in pointers
            ]
        case _:
            return value


def absolute_paths(value: object, pointer: str) -> list[str]:
    """List where a record has texts that look like absolute paths, as JSON pointers.

    For records of which it is not known what in them is a path.
    """
    match value:
        case dict():
            return [
                inner
                for key, item in value.items()
                for inner in absolute_paths(item, f"{pointer}/{escaped(key)}")
            ]
        case list():
            return [
                inner
                for number, item in enumerate(value)
                for inner in absolute_paths(item, f"{pointer}/{number}")
            ]
        case str() if _is_absolute(value):
            return [pointer]
        case _:
            return []


def _is_absolute(text: str) -> bool:
    """Return whether a text is an absolute path, as far as its form tells."""
    # A template may begin with a slash; it has fields in braces.
    return text.startswith("/") and len(PurePosixPath(text).parts) > 2 and "{" not in text


def _is_left_out(key: str, value: object) -> bool:
    return value is None and key in _LEFT_OUT


def _spelled(fields: dict[str, Any]) -> bytes:
    """Spell a manifest in the only way that `Manifest.read` takes, its own digest last."""
    text = json.dumps(fields, ensure_ascii=False, indent=2)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return (json.dumps({**fields, "sha256": digest}, ensure_ascii=False, indent=2) + "\n").encode()

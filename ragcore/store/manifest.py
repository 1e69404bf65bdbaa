"""The manifest of a version: what it is made of, by whom, and the digest of each file.

Owns manifest.json and its form; the files that it lists are the store's. It carries its own digest
and has one spelling only, so that no byte of it can change unseen.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ragcore.errors import StoreCorruptError, StoreError

__all__ = ["FORMAT", "MANIFEST", "FileRecord", "Manifest"]

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"


class FileRecord(BaseModel):
    """A file as it was written."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    bytes: int = Field(ge=0)
    sha256: str


class Manifest(BaseModel):
    """What manifest.json says.

    Attributes:
        format: of the version's folder; this file knows `FORMAT`.
        name: the version's.
        created: when it was finished, in UTC, ISO 8601.
        passages: how many.
        retriever: its config as `ComponentSpec.to_dict` gives it.
        fingerprint: the retriever's; must be that of whoever asks.
        corpus: the config of where the passages came from, if it was one.
        parent: the version that this one was derived from, or None.
        ragcore: the release that wrote it.
        files: every other file, by its path from the folder.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: int = FORMAT
    name: str
    created: str
    passages: int = Field(ge=1)
    retriever: dict[str, Any]
    fingerprint: str
    corpus: dict[str, Any] | None
    parent: str | None = None
    ragcore: str
    files: dict[str, FileRecord]

    @property
    def bytes(self) -> int:
        """The size of all files, the manifest apart."""
        return sum(record.bytes for record in self.files.values())

    def write(self, folder: Path) -> None:
        """Write manifest.json into a folder."""
        (folder / MANIFEST).write_bytes(_spelled(self.model_dump(mode="json")))

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest of a version's folder.

        Raises:
            StoreCorruptError: it is missing or was changed.
            StoreError: it is of a format that this release does not know.
        """
        path = folder / MANIFEST
        try:
            raw = path.read_bytes()
            said = json.loads(raw)
            digest = said.pop("sha256")
        except FileNotFoundError:
            raise StoreCorruptError(f"{path} is missing: rebuild this version") from None
        except (ValueError, AttributeError, KeyError, TypeError) as error:
            raise StoreCorruptError(
                f"{path} is no manifest ({type(error).__name__}: {error}): rebuild this version"
            ) from None
        if _spelled(said) != raw:
            raise StoreCorruptError(
                f"{path} was changed: its sha256 is not {digest!r}, which it had when it was "
                "written: rebuild this version"
            )
        if said.get("format") != FORMAT:
            raise StoreError(
                f"{path} has format {said.get('format')!r}; ragcore of this release reads format "
                f"{FORMAT}: upgrade ragcore, or rebuild this version"
            )
        try:
            return cls.model_validate(said)
        except ValidationError as error:
            raise StoreCorruptError(f"{path} is no manifest: {error}: rebuild it") from None


def _spelled(said: dict[str, Any]) -> bytes:
    """The one way to write a manifest, its own digest as the last key."""
    text = json.dumps(said, ensure_ascii=False, indent=2)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return (json.dumps({**said, "sha256": digest}, ensure_ascii=False, indent=2) + "\n").encode()

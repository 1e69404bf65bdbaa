"""The manifest of a version: what it consists of, how it was made, and the digest of each file.

Knows manifest.json and its form; knows nothing of the files that it lists. A manifest carries its
own digest and has one spelling only, so that no byte of it can change unnoticed.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ragcore import __version__
from ragcore.contracts import Retriever
from ragcore.errors import StoreCorruptError, StoreError
from ragcore.registry.components import ComponentSpec

__all__ = ["FORMAT", "MANIFEST", "FileRecord", "Manifest"]

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"


class FileRecord(BaseModel):
    """A file as it was written: its size and digest."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    bytes: int = Field(ge=0)
    sha256: str


class Manifest(BaseModel):
    """What manifest.json says.

    Attributes:
        format: of the version's folder; this release reads `FORMAT`.
        name: the version's.
        created: when it was finished, in UTC, ISO 8601.
        passages: how many there are.
        retriever: its config as `ComponentSpec.to_dict` gives it.
        fingerprint: the retriever's; a retriever that searches the version must have the same.
        corpus: the config of the corpus that the passages came from, or None.
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

    @classmethod
    def of_now(
        cls,
        name: str,
        *,
        passages: int,
        retriever: ComponentSpec[Retriever],
        fingerprint: str,
        corpus: dict[str, Any] | None,
        files: dict[str, FileRecord],
        parent: str | None = None,
    ) -> Manifest:
        """Describe a version that was finished now, by this release; see the attributes."""
        return cls(
            name=name,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            passages=passages,
            retriever=retriever.to_dict(),
            fingerprint=fingerprint,
            corpus=corpus,
            parent=parent,
            ragcore=__version__,
            files=files,
        )

    @property
    def bytes(self) -> int:
        """The size of all files except the manifest."""
        return sum(record.bytes for record in self.files.values())

    def write(self, folder: Path) -> None:
        """Write manifest.json into a folder."""
        (folder / MANIFEST).write_bytes(_spelled(self.model_dump(mode="json")))

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
            fields = json.loads(raw)
            digest = fields.pop("sha256")
        except FileNotFoundError:
            raise StoreCorruptError(f"{path} is missing: rebuild this version") from None
        except (ValueError, AttributeError, KeyError, TypeError) as error:
            raise StoreCorruptError(
                f"{path} is no manifest ({type(error).__name__}: {error}): rebuild this version"
            ) from None
        if _spelled(fields) != raw:
            raise StoreCorruptError(
                f"{path} was changed: its sha256 is not {digest!r}, which it had when it was "
                "written: rebuild this version"
            )
        if fields.get("format") != FORMAT:
            raise StoreError(
                f"{path} has format {fields.get('format')!r}; this release of ragcore reads format "
                f"{FORMAT}: upgrade ragcore, or rebuild this version"
            )
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            raise StoreCorruptError(f"{path} is no manifest: {error}: rebuild it") from None


def _spelled(fields: dict[str, Any]) -> bytes:
    """Spell a manifest in the only way that `Manifest.read` takes, its own digest last."""
    text = json.dumps(fields, ensure_ascii=False, indent=2)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return (json.dumps({**fields, "sha256": digest}, ensure_ascii=False, indent=2) + "\n").encode()

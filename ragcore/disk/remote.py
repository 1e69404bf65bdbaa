"""The pointer file of a component whose data lie outside of its folder, in a database.

    remote.json     which component wrote it, and what its table or collection is called there

Knows the file; knows nothing of databases. It holds no address and no secret, so that versions can
be copied, listed and shown: how to connect says the component's config.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from ragcore.disk.atomic import replace_text, sync
from ragcore.disk.loading import reading
from ragcore.errors import StoreError

__all__ = ["POINTER", "RemotePointer", "pointers_below"]

POINTER: Final = "remote.json"
_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class RemotePointer:
    """What remote.json says; two pointers of equal `key` share one table.

    Attributes:
        kind: of the component, such as "index".
        use: the name under which it is registered.
        name: of the table or collection: no other store, version or build ever has the same, so
            it has random digits in it.
        details: what the component keeps of it, such as its number of rows and their digest.
    """

    kind: str
    use: str
    name: str
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells one table from all others."""
        return self.kind, self.use, self.name

    def write(self, folder: Path) -> None:
        """Write remote.json into an existing folder, whole and synced, in place of an older one.

        It is on the disk when this returns: then data may be written that it leads to.
        """
        content = {
            "format": _FORMAT,
            "kind": self.kind,
            "use": self.use,
            "name": self.name,
            **self.details,
        }
        replace_text(folder / POINTER, json.dumps(content, indent=2) + "\n")
        sync(folder.parent)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read remote.json in a folder.

        Raises:
            StoreCorruptError: it is missing, broken, or of a later release.
        """
        with reading(folder / POINTER) as path:
            content = json.loads(path.read_bytes())
            if content.pop("format") != _FORMAT:
                raise ValueError(f"its format is not {_FORMAT}: a later release wrote it")
            kind, use, name = texts = [content.pop(key) for key in ("kind", "use", "name")]
            if not all(isinstance(text, str) and text for text in texts):
                raise ValueError(f"it names {texts}, expected kind, use and name")
            return cls(kind, use, name, content)


def pointers_below(folder: Path) -> Iterator[Path]:
    """Yield the folders with a pointer in a folder or below it, sorted; it may vanish meanwhile.

    Raises:
        StoreError: a folder cannot be read: a pointer in it would be overlooked, and its table be
            dropped.
    """
    for root, folders, files in os.walk(folder, onerror=_raise_unreadable):
        folders.sort()
        if POINTER in files:
            yield Path(root)


def _raise_unreadable(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise StoreError(
            f"{error.filename} cannot be read ({error.strerror}), so that it is not known which "
            "tables in databases it leads to: make it readable, or remove it"
        ) from error

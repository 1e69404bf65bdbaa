"""The note of how a saved index was built, `faiss.json`, next to FAISS's own file.

Knows the note's formats; knows nothing of FAISS's file or of rows.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ragcore.disk.loading import reading
from ragcore.errors import MemoryMismatchError
from ragcore.scaling import checked_scale

__all__ = ["Note", "read_note"]

_FILE: Final = "faiss.json"

_FORMAT: Final = 1
_SCALED_FORMAT: Final = 2
"""As 1, with the number by which the stored vectors were multiplied."""


@dataclass(frozen=True, slots=True)
class Note:
    """How an index was built.

    Attributes:
        factory: of its config.
        dim: of the vectors.
        scale: what the vectors are multiplied by; None where all are zeros.
    """

    factory: str
    dim: int
    scale: float | None

    def write(self, folder: Path) -> None:
        """Write it into a folder.

        Raises:
            OSError: there is no room for it.
        """
        about: dict[str, Any] = {"format": _FORMAT, "factory": self.factory, "dim": self.dim}
        if self.scale is None:
            about["scale"] = None
        elif self.scale != 1:
            about |= {"format": _SCALED_FORMAT, "scale": self.scale}
        (folder / _FILE).write_text(json.dumps(about), encoding="utf-8")


def read_note(folder: Path, factory: str) -> Note:
    """Read the note of an index that was built with a factory.

    Raises:
        StoreCorruptError: the note is missing or broken.
        MemoryMismatchError: it was built with another factory.
    """
    with reading(folder / _FILE) as path:
        record = json.loads(path.read_text(encoding="utf-8"))
        built_by, layout, dim = record["factory"], record["format"], int(record["dim"])
        scale = 1.0 if record.get("scale", 1) is not None else None
        if layout == _SCALED_FORMAT:
            scale = checked_scale(record["scale"])
    if layout not in (_FORMAT, _SCALED_FORMAT) or built_by != factory:
        raise MemoryMismatchError(
            f"{folder} was built with factory {built_by!r} (format {layout}), "
            f"but the configuration says {factory!r} (format {_FORMAT}): build the "
            "memory again, or set the index's factory as it was"
        )
    return Note(factory, dim, scale)

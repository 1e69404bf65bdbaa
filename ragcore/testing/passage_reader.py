"""Let a retriever with the capability `passages` read its own passages, as in a memory.

A memory keeps the passages next to the retriever. In a suite the retriever's class is extended: its
passages are remembered when they are added, and saved in the retriever's folder.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from ragcore.contracts import SavedRetriever
from ragcore.types import Passage

__all__ = ["Remembered", "remembering"]

_FILE: Final = "passages-of-the-suite.json"


class Remembered:
    """The passages that were added, by row."""

    def __init__(self) -> None:
        self._by_row: dict[int, Passage] = {}

    def take(self, rows: Sequence[int]) -> list[Passage]:
        """Return the passages of these rows, in the same order."""
        return [self._by_row[row] for row in rows]

    def put(self, rows: Any, passages: Sequence[Passage]) -> None:
        """Remember passages under rows."""
        self._by_row |= dict(zip(map(int, rows), passages, strict=True))

    def put_all(self, others: Remembered, first: int) -> None:
        """Remember the passages of others, whose row 0 becomes `first`."""
        self._by_row |= {row + first: passage for row, passage in others._by_row.items()}

    def save(self, folder: Path) -> None:
        """Write the passages into a folder."""
        lines = [[row, asdict(passage)] for row, passage in self._by_row.items()]
        (folder / _FILE).write_text(json.dumps(lines), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Remembered:
        """Read what `save` wrote."""
        remembered = cls()
        for row, fields in json.loads((folder / _FILE).read_text(encoding="utf-8")):
            remembered._by_row[row] = Passage(**fields)
        return remembered


@functools.cache
def remembering(component: type[Any]) -> type[Any]:
    """Return a subclass of a retriever's class that remembers its passages, and reads them.

    Call `use_passages(Remembered())` on what it builds, as a memory does.
    """

    def use_passages(self: Any, passages: Remembered) -> None:
        self._remembered = passages
        component.use_passages(self, passages)

    def add(self: Any, rows: Any, passages: Sequence[Passage]) -> None:
        component.add(self, rows, passages)
        self._remembered.put(rows, passages)

    def save(self: Any, folder: Path) -> None:
        component.save(self, folder)
        self._remembered.save(folder)

    def load(cls: type[Any], folder: Path, config: Any, *, mmap: bool = True) -> Any:
        loaded = component.load.__func__(cls, folder, config, mmap=mmap)
        loaded.use_passages(Remembered.load(folder))
        return loaded

    def merge(self: Any, parts: Sequence[SavedRetriever], folder: Path) -> None:
        component.merge(self, parts, folder)
        for part in parts:
            self._remembered.put_all(Remembered.load(part.folder), part.first)
        self._remembered.save(folder)

    members: dict[str, Any] = {"use_passages": use_passages, "add": add, "save": save}
    members["load"] = classmethod(load)
    if hasattr(component, "merge"):
        members["merge"] = merge
    return type(component.__name__, (component,), {**members, "__module__": component.__module__})

"""Deriving a version from another: what stays is shared with it, what comes and goes is worked out.

Knows the files of a version and what changes in them; the store knows which version that is and
puts the new one in its place. Numbers, by which retrievers know passages, go on from version to
version: those of what was removed are not given again. Rows follow from them (`Passages.kept`).
"""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from ragcore.contracts import Retriever
from ragcore.disk.arrays import save_array
from ragcore.disk.links import share
from ragcore.errors import UnsupportedOperation
from ragcore.memory.memory import Memory
from ragcore.memory.passages import Passages, PassageWriter
from ragcore.registry.components import ComponentSpec
from ragcore.store.build import PASSAGES, Progress, usable, write_retriever
from ragcore.store.diff import Derivation

if TYPE_CHECKING:
    from ragcore.types import Rows


__all__ = ["ROW_NUMBERS", "opened_passages", "passage_files", "write_update"]

ROW_NUMBERS: Final = "rows.npy"
"""The numbers of a version's passages, by row; absent where its files hold no others."""


def passage_files(folder: Path) -> list[Path]:
    """The files of a version's passages, in order: passages.arrow, passages-1.arrow, …"""
    first = folder / PASSAGES
    more = (first.with_stem(f"{first.stem}-{number}") for number in count(1))
    files = [first]
    while (path := next(more)).exists():
        files.append(path)
    return files


def opened_passages(folder: Path) -> Passages:
    """The passages of a version.

    Raises:
        StoreCorruptError: a file is missing or broken.
    """
    kept: Rows | None = None
    if (folder / ROW_NUMBERS).exists():
        kept = np.asarray(np.load(folder / ROW_NUMBERS, mmap_mode="r", allow_pickle=False))
    return Passages(*passage_files(folder), kept=kept)


def write_update(
    work: Path,
    parent: Memory,
    folder: Path,
    part: ComponentSpec[Retriever],
    derived: Derivation,
    report: Progress,
) -> int:
    """Write a version that follows from another; the number of its passages.

    Args:
        work: the new version's folder, empty.
        parent: the other version, opened for this alone: its retriever is changed.
        folder: of the other version.
        part: its retriever, for errors.
        derived: what becomes otherwise.
        report: told of the new passages that are done.

    Raises:
        UnsupportedOperation: the retriever cannot add or remove what is to be.
        CorpusError: a new passage has no id or no text.
    """
    retriever, passages = parent.retriever, parent.passages
    needed = {"add": len(derived.new), "remove": len(derived.gone)}
    for capability, wanted in needed.items():
        if wanted and capability not in retriever.capabilities:
            raise UnsupportedOperation.of(f"retriever {part.use!r}", capability)
    files = passage_files(folder)
    for path in files:
        share(path, work / path.name)
    numbers = passages.kept
    if numbers is None:
        numbers = np.arange(len(passages), dtype=np.int64)
    new = np.arange(passages.stored, passages.stored + len(derived.new), dtype=np.int64)
    if len(new):
        path = work / PASSAGES
        with PassageWriter(path.with_stem(f"{path.stem}-{len(files)}")) as writer:
            writer.write(list(usable(derived.new)))
    if len(derived.gone):
        retriever.remove(numbers[derived.gone])
    if len(new):
        retriever.add(new, derived.new)
        report("passages", len(new), len(new))
    kept = np.concatenate([np.delete(numbers, derived.gone), new])
    if len(kept) < passages.stored + len(new):
        save_array(work / ROW_NUMBERS, kept)
    write_retriever(work, part, retriever, len(kept))
    return len(kept)

"""The passages of a version by row, from its Arrow files or from a passage store.

Knows which passages a version leaves out, and whose metadata others replace; arrow.py knows files,
remote.py passage stores, moved.py the metadata of passages that moved in their documents. Knows
nothing of retrievers.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Self

import numpy as np
import pyarrow as pa

from ragcore.contracts import PassageStore
from ragcore.errors import ComponentError, StoreCorruptError, StoreError
from ragcore.memory.arrow import SCHEMA, ArrowPassages, PassageWriter
from ragcore.memory.columns import metadata_from_json, metadata_list
from ragcore.memory.moved import MovedMetadata
from ragcore.memory.remote import RemotePassages, StoreChoice
from ragcore.retrievers.hits import among
from ragcore.types import Passage

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.int64]

__all__ = ["PassageWriter", "Passages"]

_ALL: Final = tuple(range(len(SCHEMA)))
_METADATA: Final = SCHEMA.names.index("metadata")


class _Batch(NamedTuple):
    """A batch of passages: what has it, and its number there."""

    part: ArrowPassages | RemotePassages
    number: int

    def columns(self, fields: Sequence[int]) -> list[Any]:
        return self.part.columns(self.number, fields)


class _Content(NamedTuple):
    """What is read: the files or segments, their batches, and the metadata that replace some."""

    parts: list[ArrowPassages | RemotePassages]
    batches: list[_Batch]
    moved: MovedMetadata | None


def _no_store(use: str) -> PassageStore:
    raise StoreError(
        f"its passages are in the passage store {use!r}, and nothing says how to connect: name the "
        "pipeline file in place of the store"
    )


class Passages:
    """The passages of one file or several, read-only, by row; several threads may use it.

    Opening maps the files and reads the positions of their batches; a passage is read on access.
    Those of a passage store are fetched on access, and nothing of them stays in memory.

        passages = Passages(folder / "passages.arrow")
        passages[0].title

    A passage's *number* is its position in all files together, from 0. A version that was derived
    from another has that version's files and one more, and leaves out the passages that were
    removed or changed since. A passage's *row* is its position, from 0, among those that are left.
    Passages that moved in their documents since have other metadata than in these files.

    Attributes:
        kept: the numbers of the passages of this version, ascending, int64 [n]; None for all.
    """

    def __init__(
        self,
        path: Path,
        *more: Path,
        kept: Numbers | None = None,
        moved: Path | None = None,
        choose: StoreChoice = _no_store,
    ) -> None:
        """Open files that `PassageWriter` wrote, or pointers that `RemotePassageWriter` wrote.

        Args:
            path: the first file, or the folder of a pointer.
            more: further ones, whose passages follow.
            kept: the numbers of the passages of this version, ascending, int64 [n]; None for all.
            moved: the file with the metadata of passages that moved; None where none did.
            choose: returns the passage store that pointers lead to, when it is first needed.

        Raises:
            StoreCorruptError: a file is missing or cut off, it has other columns, or `kept` or
                `moved` has a number that is not there.
        """
        self._paths = (path, *more)
        parts = [
            RemotePassages(path, choose) if path.is_dir() else ArrowPassages(path)
            for path in self._paths
        ]
        self._part_ends = list(accumulate(map(len, parts)))
        starts = [0, *self._part_ends]
        self._ends = [
            start + end for start, part in zip(starts, parts, strict=False) for end in part.ends
        ]
        self.kept: Final = kept
        if kept is not None:
            self._check_kept(kept)
        self._content: _Content | None = _Content(
            parts,
            [_Batch(part, number) for part in parts for number in range(len(part.ends))],
            None if moved is None else MovedMetadata(moved, self.stored, kept),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the files. Passages read before stay valid."""
        # A map ends with the last array that refers to it, so a reader in another thread is safe.
        self._content = None

    @property
    def unavailable(self) -> str | None:
        """Why the last reading found no passage store to ask; None where it found one."""
        messages = (part.unavailable for part in self._silent())
        return next(messages, None)

    def ask_again(self) -> None:
        """Read a passage from each passage store that did not answer the last time.

        Raises:
            MemoryUnavailableError: one still does not answer.
        """
        for part in self._silent():
            part.take([0])

    def _silent(self) -> Iterator[RemotePassages]:
        """Yield the parts whose passage store did not answer the last time."""
        for part in [] if self._content is None else self._content.parts:
            if isinstance(part, RemotePassages) and part.unavailable is not None:
                yield part

    def __len__(self) -> int:
        return self.stored if self.kept is None else len(self.kept)

    @property
    def stored(self) -> int:
        """Number of passages in the files, including those that this version leaves out."""
        return self._ends[-1] if self._ends else 0

    @property
    def have_moved(self) -> bool:
        """Whether some have other metadata than they were added to the retriever with."""
        return self._opened().moved is not None

    def __getitem__(self, row: int) -> Passage:
        """Read the passage of a row.

        Raises:
            ComponentError: there is no such row; negative rows do not count from the end.
        """
        return self.take([row])[0]

    def take(self, rows: Iterable[int]) -> list[Passage]:
        """Read the passages of rows, in the order of `rows`.

        Raises:
            ComponentError: there is no such row.
        """
        content = self._opened()
        numbers = []
        for row in rows:
            if not 0 <= row < len(self):
                raise ComponentError(
                    f"row {row} was asked of {self._paths[0]}, which has {len(self)} passages: "
                    f"expected rows from 0 to {len(self) - 1}"
                )
            numbers.append(row if self.kept is None else int(self.kept[row]))
        if len(content.parts) == 1:
            records: Sequence[Sequence[str]] = content.parts[0].take(numbers)
        else:
            by_number: dict[int, Sequence[str]] = {}
            for part, start, inside in self._by_part(content, dict.fromkeys(numbers)):
                positions = [number - start for number in inside]
                by_number |= zip(inside, part.take(positions), strict=True)
            records = [by_number[number] for number in numbers]
        if content.moved is None:
            return [_passage(*record) for record in records]
        return [
            _passage(id_, title, text, content.moved.get(number) or metadata)
            for number, (id_, title, text, metadata) in zip(numbers, records, strict=True)
        ]

    def ids(self, rows: Numbers) -> list[str]:
        """Return the ids of rows of this version, int64 [n], in their order; reads no texts."""
        content = self._opened()
        numbers = rows if self.kept is None else self.kept[rows]
        owners = np.searchsorted(self._part_ends, numbers, side="right")  # [n], the part of each
        names = np.empty(len(numbers), object)
        for owner, part in enumerate(content.parts):
            own = np.flatnonzero(owners == owner)
            if len(own):
                start = self._part_ends[owner - 1] if owner else 0
                names[own] = part.ids(numbers[own] - start)
        ids: list[str] = names.tolist()
        return ids

    def __iter__(self) -> Iterator[Passage]:
        """Yield all passages by row, with one batch in memory at a time."""
        for batch in self.batches():
            yield from batch

    def batches(self) -> Iterator[list[Passage]]:
        """Yield all passages by row, as lists of at most 4,096."""
        content = self._opened()
        for numbers, (*columns, metadata) in self._kept_columns(content, _ALL):
            texts = [column.to_pylist() for column in columns]
            rows = zip(*texts, _metadata_of(content, numbers, metadata), strict=True)
            yield [_passage(*row) for row in rows]

    def metadata(self) -> Iterator[list[Mapping[str, Any]]]:
        """Yield the metadata of all passages by row, as lists of at most 4,096."""
        content = self._opened()
        for numbers, (column,) in self._kept_columns(content, (_METADATA,)):
            yield metadata_list(_metadata_of(content, numbers, column))

    def column(self, name: Literal["id", "title"]) -> Any:
        """Return the ids or the titles of all passages by row, a `pyarrow.ChunkedArray`."""
        fields = (SCHEMA.names.index(name),)
        chunks = (chunk for _, (chunk,) in self._kept_columns(self._opened(), fields))
        return pa.chunked_array(chunks, pa.string())

    def rows(self, numbers: Sequence[int] | Numbers) -> list[int]:
        """Return the rows of passages of this version, by their numbers, in that order."""
        if self.kept is None:
            return list(map(int, numbers))
        rows: list[int] = np.searchsorted(self.kept, np.asarray(numbers, np.int64)).tolist()
        return rows

    def row_of(self, id: str) -> int:  # noqa: A002 (the name of the passage's field)
        """Find the row of the passage with an id; compares all ids.

        Raises:
            StoreError: no passage has the id.
        """
        rows = self.rows_of([id])
        if not rows:
            raise StoreError(
                f"no passage of {self._paths[0]} has the id {id!r}: expected one of its ids"
            )
        return rows[id]

    def rows_of(self, ids: Sequence[str]) -> dict[str, int]:
        """Map the given ids to rows, leaving out ids that no passage has; compares all ids."""
        numbers = self.stored_numbers(ids)
        if self.kept is not None:
            numbers = numbers[among(numbers, self.kept)]
        rows = self.rows(numbers)
        return dict(zip(self.ids(np.array(rows, np.int64)), rows, strict=True))

    def by_id(self, ids: Sequence[str]) -> dict[str, Passage]:
        """Return passages by id, leaving out ids that no passage has; compares all ids."""
        rows = self.rows_of(ids)
        return dict(zip(rows, self.take(rows.values()), strict=True))

    def stored_numbers(self, ids: Sequence[str]) -> Numbers:
        """Return the numbers of all passages in the files with one of these ids, ascending.

        Also of those that this version leaves out; several may have the same id.
        """
        starts = [0, *self._part_ends]
        numbers = [
            start + part.find(ids)
            for start, part in zip(starts, self._opened().parts, strict=False)
        ]
        return np.concatenate(numbers)

    def _by_part(
        self, content: _Content, numbers: Iterable[int]
    ) -> Iterator[tuple[ArrowPassages | RemotePassages, int, list[int]]]:
        """Yield each part that has some of these passages, its first number, and their numbers."""
        owned: dict[int, list[int]] = {}
        for number in numbers:
            owned.setdefault(bisect_right(self._part_ends, number), []).append(number)
        for owner, inside in owned.items():
            yield content.parts[owner], self._part_ends[owner - 1] if owner else 0, inside

    def _kept_columns(
        self, content: _Content, fields: Sequence[int]
    ) -> Iterator[tuple[Numbers, list[Any]]]:
        """Yield the numbers [m] and the columns of each batch, without passages that are left out.

        Args:
            content: of the files.
            fields: the numbers of the columns.
        """
        start = 0
        for end, batch in zip(self._ends, content.batches, strict=True):
            if self.kept is None:
                yield np.arange(start, end), batch.columns(fields)
            else:
                first, stop = np.searchsorted(self.kept, (start, end))
                numbers = self.kept[first:stop]
                if stop - first == end - start:
                    yield numbers, batch.columns(fields)
                elif stop > first:
                    offsets = pa.array(numbers - start)
                    yield numbers, [column.take(offsets) for column in batch.columns(fields)]
            start = end

    def _opened(self) -> _Content:
        # Read once by each method: another thread may close the passages meanwhile.
        content = self._content
        if content is None:
            raise StoreError(f"{self._paths[0]} is closed: open the memory again to read passages")
        return content

    def _check_kept(self, kept: Numbers) -> None:
        inside = not len(kept) or (kept[0] >= 0 and kept[-1] < self.stored)
        if not inside or (kept[1:] <= kept[:-1]).any():
            raise StoreCorruptError(
                f"the passage numbers of {self._paths[0]} do not ascend within its {self.stored} "
                "passages: rebuild this version of the memory"
            )


def _metadata_of(content: _Content, numbers: Numbers, column: Any) -> list[str]:
    """Return the metadata of passages as JSON texts, those that moved with what they have now.

    Args:
        content: of the passages.
        numbers: of the passages, ascending, int64 [m].
        column: of their metadata as they were written.
    """
    texts: list[str] = column.to_pylist()
    if content.moved is not None:
        for position, text in content.moved.among(numbers):
            texts[position] = text
    return texts


def _passage(id: str, title: str, text: str, metadata: str) -> Passage:  # noqa: A002
    if metadata == "{}":
        return Passage(id, title, text, {})
    return Passage(id, title, text, metadata_from_json(metadata))

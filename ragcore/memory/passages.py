"""Passages on disk: Arrow files, written as a stream and read through a memory map.

Knows a file's columns (id, title, text, metadata as JSON); knows nothing of versions or retrievers.
Metadata of passages that moved in their documents come from another file (moved.py).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Self

import numpy as np
import pyarrow as pa

from ragcore.errors import ComponentError, CorpusError, StoreCorruptError, StoreError
from ragcore.memory.columns import (
    ColumnWriter,
    metadata_from_json,
    metadata_list,
    metadata_to_json,
    read_batches,
)
from ragcore.memory.moved import MovedMetadata
from ragcore.types import Passage

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.int64]

__all__ = ["PassageWriter", "Passages"]

SCHEMA: Final = pa.schema(
    [pa.field(name, pa.string(), nullable=False) for name in ("id", "title", "text", "metadata")]
)


class PassageWriter(ColumnWriter[tuple[str, str, str, str]]):
    """Writes passages to a new file, in order; `Passages` reads it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, SCHEMA)

    def write(self, passages: Sequence[Passage]) -> None:
        """Append passages.

        Raises:
            CorpusError: a passage cannot be written: its metadata is not JSON, or a text has a lone
                surrogate, which UTF-8 cannot encode.
        """
        for passage in passages:
            fields = (passage.id, passage.title, passage.text, metadata_to_json(passage))
            self._append(fields, sum(map(len, fields)))

    def _columns(self, rows: Sequence[tuple[str, str, str, str]]) -> list[Any]:
        try:
            return [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
        except UnicodeEncodeError as error:
            raise CorpusError(self._encoding_message(rows, error)) from None

    def _encoding_message(
        self, rows: Sequence[tuple[str, str, str, str]], error: UnicodeEncodeError
    ) -> str:
        for number, fields in enumerate(rows, start=self._written + 1):
            for name, value in zip(SCHEMA.names, fields, strict=True):
                if value == error.object:
                    return (
                        f"passage {number} ({fields[0]!r}): its {name} has a lone surrogate, "
                        f"{error.object[error.start]!r} at character {error.start}, which is no "
                        "Unicode text: repair the corpus"
                    )
        return f"a passage cannot be written as UTF-8: {error}"


class _Content(NamedTuple):
    """What is read: the columns of each batch, and the metadata that replace some of theirs."""

    batches: list[list[Any]]
    moved: MovedMetadata | None


class Passages:
    """The passages of one file or several, read-only, by row; several threads may use it.

    Opening maps the files and reads the positions of their batches; a passage is read on access.

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
        self, path: Path, *more: Path, kept: Numbers | None = None, moved: Path | None = None
    ) -> None:
        """Open files that `PassageWriter` wrote.

        Args:
            path: the first file.
            more: further files, whose passages follow.
            kept: the numbers of the passages of this version, ascending, int64 [n]; None for all.
            moved: the file with the metadata of passages that moved; None where none did.

        Raises:
            StoreCorruptError: a file is missing or cut off, it has other columns, or `kept` or
                `moved` has a number that is not there.
        """
        self._paths = (path, *more)
        batches = [
            batch for path in self._paths for batch in read_batches(path, SCHEMA, "passages")
        ]
        self._ends = list(accumulate(batch.num_rows for batch in batches))
        self.kept: Final = kept
        if kept is not None:
            self._check_kept(kept)
        self._content: _Content | None = _Content(
            [batch.columns for batch in batches],
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

    def __len__(self) -> int:
        return self.stored if self.kept is None else len(self.kept)

    @property
    def stored(self) -> int:
        """Number of passages in the files, including those that this version leaves out."""
        return self._ends[-1] if self._ends else 0

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
        batches, moved = self._opened()
        passages = []
        for row in rows:
            if not 0 <= row < len(self):
                raise ComponentError(
                    f"row {row} was asked of {self._paths[0]}, which has {len(self)} passages: "
                    f"expected rows from 0 to {len(self) - 1}"
                )
            number = row if self.kept is None else int(self.kept[row])
            batch = bisect_right(self._ends, number)
            offset = number - (self._ends[batch - 1] if batch else 0)
            fields = [column[offset].as_py() for column in batches[batch]]
            if moved is not None:
                fields[3] = moved.get(number) or fields[3]
            passages.append(_passage(*fields))
        return passages

    def ids(self, rows: Numbers) -> list[str]:
        """Return the ids of rows of this version, int64 [n], in their order; reads no texts."""
        batches = self._opened().batches
        numbers = rows if self.kept is None else self.kept[rows]
        owners = np.searchsorted(self._ends, numbers, side="right")  # [n], the batch of each
        order = np.argsort(owners, kind="stable")
        names = np.empty(len(numbers), object)
        for part in np.split(order, np.flatnonzero(np.diff(owners[order])) + 1):
            if len(part):
                batch = int(owners[part[0]])
                start = self._ends[batch - 1] if batch else 0
                names[part] = batches[batch][0].take(pa.array(numbers[part] - start)).to_pylist()
        ids: list[str] = names.tolist()
        return ids

    def __iter__(self) -> Iterator[Passage]:
        """Yield all passages by row, with one batch in memory at a time."""
        for batch in self.batches():
            yield from batch

    def batches(self) -> Iterator[list[Passage]]:
        """Yield all passages by row, as lists of at most 4,096."""
        content = self._opened()
        for numbers, columns in self._kept_columns(content):
            texts = [column.to_pylist() for column in columns[:3]]
            rows = zip(*texts, _metadata_of(content, numbers, columns), strict=True)
            yield [_passage(*row) for row in rows]

    def metadata(self) -> Iterator[list[Mapping[str, Any]]]:
        """Yield the metadata of all passages by row, as lists of at most 4,096."""
        content = self._opened()
        for numbers, columns in self._kept_columns(content):
            yield metadata_list(_metadata_of(content, numbers, columns))

    def column(self, name: Literal["id", "title"]) -> Any:
        """Return the ids or the titles of all passages by row, a `pyarrow.ChunkedArray`."""
        index = SCHEMA.names.index(name)
        chunks = (chunk for _, (chunk,) in self._kept_columns(self._opened(), index))
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
        # Slow to import, and needed by no command that only lists, checks or switches versions.
        import pyarrow.compute as pc

        column = self.column("id")
        # All at once: what is compared with is hashed again for each call.
        matches = pc.indices_nonzero(pc.is_in(column, _unicode_array(ids)))
        return dict(zip(column.take(matches).to_pylist(), matches.to_pylist(), strict=True))

    def by_id(self, ids: Sequence[str]) -> dict[str, Passage]:
        """Return passages by id, leaving out ids that no passage has; compares all ids."""
        rows = self.rows_of(ids)
        return dict(zip(rows, self.take(rows.values()), strict=True))

    def stored_numbers(self, ids: Sequence[str]) -> Numbers:
        """Return the numbers of all passages in the files with one of these ids, ascending.

        Also of those that this version leaves out; several may have the same id.
        """
        import pyarrow.compute as pc

        requested = _unicode_array(ids)
        start, numbers = 0, [np.zeros(0, np.int64)]
        for columns in self._opened().batches:
            matches = pc.indices_nonzero(pc.is_in(columns[0], requested))
            numbers.append(matches.to_numpy().astype(np.int64) + start)
            start += len(columns[0])
        return np.concatenate(numbers)

    def _kept_columns(
        self, content: _Content, *indexes: int
    ) -> Iterator[tuple[Numbers, list[Any]]]:
        """Yield the numbers [m] and the columns of each batch, without passages that are left out.

        Args:
            content: of the files.
            indexes: of the columns; all where none is given.
        """
        start = 0
        for end, columns in zip(self._ends, content.batches, strict=True):
            if indexes:
                columns = [columns[index] for index in indexes]
            if self.kept is None:
                yield np.arange(start, end), columns
            else:
                first, stop = np.searchsorted(self.kept, (start, end))
                numbers = self.kept[first:stop]
                if stop - first == end - start:
                    yield numbers, columns
                elif stop > first:
                    offsets = pa.array(numbers - start)
                    yield numbers, [column.take(offsets) for column in columns]
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


def _metadata_of(content: _Content, numbers: Numbers, columns: Sequence[Any]) -> list[str]:
    """Return the metadata of passages as JSON texts, those that moved with what they have now.

    Args:
        content: of the passages.
        numbers: of the passages, ascending, int64 [m].
        columns: of these.
    """
    texts: list[str] = columns[3].to_pylist()
    if content.moved is not None:
        for position, text in content.moved.among(numbers):
            texts[position] = text
    return texts


def _passage(id: str, title: str, text: str, metadata: str) -> Passage:  # noqa: A002
    if metadata == "{}":
        return Passage(id, title, text, {})
    return Passage(id, title, text, metadata_from_json(metadata))


def _unicode_array(texts: Sequence[str]) -> Any:
    """Return texts as an array, without those that have a lone surrogate, as no stored id has."""
    try:
        return pa.array(texts, pa.string())
    except UnicodeEncodeError:
        return pa.array([text for text in texts if _is_unicode(text)], pa.string())


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)

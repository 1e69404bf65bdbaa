"""Passages on disk: Arrow files, written as a stream and read through a memory map.

Knows a file's columns (id, title, text, metadata as JSON); knows nothing of versions or retrievers.
A file consists of record batches of bounded size, so that neither writing nor reading has more than
one of them in memory.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import numpy as np
import pyarrow as pa

from ragcore.errors import ComponentError, CorpusError, StoreCorruptError, StoreError
from ragcore.types import Passage

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.int64]

__all__ = ["PassageWriter", "Passages"]

SCHEMA: Final = pa.schema(
    [pa.field(name, pa.string(), nullable=False) for name in ("id", "title", "text", "metadata")]
)
BATCH_ROWS: Final = 4096
DEEPEST: Final = 64
"""How deep metadata may be nested: Python reads and copies it by recursion."""
BATCH_CHARACTERS: Final = 1 << 22


class PassageWriter:
    """Writes passages to a new file, in order; a context manager.

    At most 4,096 passages are in memory, or four million characters and the passage that exceeds
    them. The file is complete when the context ends; if it ends by an exception, the file lacks its
    end, and `Passages` refuses it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pending: list[tuple[str, str, str, str]] = []
        self._characters = 0
        self._rows = 0
        self._file = path.open("wb")
        self._writer = pa.ipc.new_file(self._file, SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._flush()
                self._writer.close()
        finally:
            self._file.close()

    def write(self, passages: Sequence[Passage]) -> None:
        """Append passages.

        Raises:
            CorpusError: a passage cannot be written: its metadata is not JSON, or a text has a lone
                surrogate, which UTF-8 cannot encode.
        """
        for passage in passages:
            fields = (passage.id, passage.title, passage.text, _to_json(passage))
            self._pending.append(fields)
            self._characters += sum(map(len, fields))
            if len(self._pending) >= BATCH_ROWS or self._characters >= BATCH_CHARACTERS:
                self._flush()

    def _flush(self) -> None:
        if not self._pending:
            return
        try:
            columns = [pa.array(column, pa.string()) for column in zip(*self._pending, strict=True)]
        except UnicodeEncodeError as error:
            raise CorpusError(self._encoding_message(error)) from None
        self._writer.write_batch(pa.record_batch(columns, schema=SCHEMA))
        self._rows += len(self._pending)
        self._pending, self._characters = [], 0

    def _encoding_message(self, error: UnicodeEncodeError) -> str:
        for number, fields in enumerate(self._pending, start=self._rows + 1):
            for name, value in zip(SCHEMA.names, fields, strict=True):
                if value == error.object:
                    return (
                        f"passage {number} ({fields[0]!r}): its {name} has a lone surrogate, "
                        f"{error.object[error.start]!r} at character {error.start}, which is no "
                        "Unicode text: repair the corpus"
                    )
        return f"a passage cannot be written as UTF-8: {error}"


class Passages:
    """The passages of one file or several, read-only, by row; several threads may use it.

    Opening maps the files and reads the positions of their batches; a passage is read on access.

        passages = Passages(folder / "passages.arrow")
        passages[0].title

    A passage's *number* is its position in all files together, from 0. A version that was derived
    from another has that version's files and one more, and leaves out the passages that were
    removed or changed since. A passage's *row* is its position, from 0, among those that are left.

    Attributes:
        kept: the numbers of the passages of this version, ascending, int64 [n]; None for all.
    """

    def __init__(self, path: Path, *more: Path, kept: Numbers | None = None) -> None:
        """Open files that `PassageWriter` wrote.

        Args:
            path: the first file.
            more: further files, whose passages follow.
            kept: the numbers of the passages of this version, ascending, int64 [n]; None for all.

        Raises:
            StoreCorruptError: a file is missing or cut off, it has other columns, or `kept` has a
                number that is not there.
        """
        self._paths = (path, *more)
        batches = [batch for path in self._paths for batch in _read_batches(path)]
        self._batches: list[list[Any]] | None = [batch.columns for batch in batches]
        self._ends = list(accumulate(batch.num_rows for batch in batches))
        self.kept: Final = kept
        if kept is not None:
            self._check_kept(kept)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the files. Passages read before stay valid."""
        # A map ends with the last array that refers to it, so a reader in another thread is safe.
        self._batches = None

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
        batches = self._columns()
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
            passages.append(_passage(*(column[offset].as_py() for column in batches[batch])))
        return passages

    def __iter__(self) -> Iterator[Passage]:
        """Yield all passages by row, with one batch in memory at a time."""
        for batch in self.batches():
            yield from batch

    def batches(self) -> Iterator[list[Passage]]:
        """Yield all passages by row, as lists of at most 4,096."""
        for columns in self._kept_columns():
            rows = zip(*(column.to_pylist() for column in columns), strict=True)
            yield [_passage(*row) for row in rows]

    def metadata(self) -> Iterator[list[Mapping[str, Any]]]:
        """Yield the metadata of all passages by row, as lists of at most 4,096."""
        for columns in self._kept_columns():
            # Parsed as one text, which is many times quicker than one by one.
            yield json.loads(f"[{','.join(columns[3].to_pylist())}]", parse_constant=_null)

    def column(self, name: Literal["id", "title"]) -> Any:
        """Return the ids or the titles of all passages by row, a `pyarrow.ChunkedArray`."""
        index = SCHEMA.names.index(name)
        return pa.chunked_array((chunk for (chunk,) in self._kept_columns(index)), pa.string())

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

        # No stored id has a lone surrogate, which Arrow cannot encode.
        requested = pa.array([name for name in ids if _is_unicode(name)], pa.string())
        rows: dict[str, int] = {}
        start = 0
        for id_column, *_ in self._kept_columns():
            matches = pc.indices_nonzero(pc.is_in(id_column, requested))
            matched = zip(matches.to_pylist(), id_column.take(matches).to_pylist(), strict=True)
            rows |= {passage_id: start + offset for offset, passage_id in matched}
            start += len(id_column)
        return rows

    def stored_numbers(self, ids: Sequence[str]) -> Numbers:
        """Return the numbers of all passages in the files with one of these ids, ascending.

        Also of those that this version leaves out; several may have the same id.
        """
        import pyarrow.compute as pc

        requested = pa.array([name for name in ids if _is_unicode(name)], pa.string())
        start, numbers = 0, [np.zeros(0, np.int64)]
        for columns in self._columns():
            matches = pc.indices_nonzero(pc.is_in(columns[0], requested))
            numbers.append(matches.to_numpy().astype(np.int64) + start)
            start += len(columns[0])
        return np.concatenate(numbers)

    def _kept_columns(self, *indexes: int) -> Iterator[list[Any]]:
        """Yield the columns of each batch, or some of them, without passages that are left out."""
        start = 0
        for end, columns in zip(self._ends, self._columns(), strict=True):
            if indexes:
                columns = [columns[index] for index in indexes]
            if self.kept is None:
                yield columns
            else:
                first, stop = np.searchsorted(self.kept, (start, end))
                if stop - first == end - start:
                    yield columns
                elif stop > first:
                    offsets = pa.array(self.kept[first:stop] - start)
                    yield [column.take(offsets) for column in columns]
            start = end

    def _columns(self) -> list[list[Any]]:
        if self._batches is None:
            raise StoreError(f"{self._paths[0]} is closed: open the memory again to read passages")
        return self._batches

    def _check_kept(self, kept: Numbers) -> None:
        inside = not len(kept) or (kept[0] >= 0 and kept[-1] < self.stored)
        if not inside or (kept[1:] <= kept[:-1]).any():
            raise StoreCorruptError(
                f"the passage numbers of {self._paths[0]} do not ascend within its {self.stored} "
                "passages: rebuild this version of the memory"
            )


def _read_batches(path: Path) -> list[Any]:
    """Map a file into memory and return its record batches."""
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path), "r"))
        if not reader.schema.equals(SCHEMA):
            raise StoreCorruptError(
                f"{path} has columns {reader.schema.names}, expected {SCHEMA.names}: "
                "rebuild this version of the memory"
            )
        return [reader.get_batch(i) for i in range(reader.num_record_batches)]
    except FileNotFoundError:
        raise StoreCorruptError(f"{path} is missing: rebuild this version of the memory") from None
    except (pa.ArrowException, OSError) as error:
        raise StoreCorruptError(
            f"{path} cannot be read as passages ({error}): rebuild this version of the memory"
        ) from error


def _to_json(passage: Passage) -> str:
    if not passage.metadata:
        return "{}"
    try:
        text = json.dumps(dict(passage.metadata), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise CorpusError(
            f"passage {passage.id!r}: its metadata cannot be written as JSON ({error}): use "
            "strings, finite numbers, booleans, null, lists and mappings only; write null where a "
            "number is NaN or infinite"
        ) from None
    if _depth(text) > DEEPEST:
        raise CorpusError(
            f"passage {passage.id!r}: its metadata is nested more than {DEEPEST} levels deep: "
            "write it flatter"
        )
    return text


_MARKS: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]')
"""Strings, which may hold brackets, and brackets."""


def _depth(text: str) -> int:
    """Return at least how deep the lists and mappings of a JSON text are nested."""
    if text.count("[") + text.count("{") <= DEEPEST:
        return 0
    depth = deepest = 0
    for mark in _MARKS.findall(text):
        depth += 1 if mark in "[{" else -1 if mark in "]}" else 0
        deepest = max(deepest, depth)
    return deepest


def _passage(id: str, title: str, text: str, metadata: str) -> Passage:  # noqa: A002
    if metadata == "{}":
        return Passage(id, title, text, {})
    return Passage(id, title, text, json.loads(metadata, parse_constant=_null))


def _null(name: str) -> None:
    """Read NaN and infinities, which earlier releases wrote, as null: JSON has no such numbers."""


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)

"""Passages on disk: Arrow files, written as a stream and read through a memory map.

Knows a file's columns (id, title, text, metadata as JSON) and nothing of versions or retrievers. A
row is a passage's place, from 0, among those that are there. A file is cut into record batches of
bounded size, so that neither writing nor reading ever holds more than one of them.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

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
BATCH_CHARACTERS: Final = 1 << 22


class PassageWriter:
    """Writes passages to a new file, in order; a context manager.

    Holds at most 4,096 passages, or four million characters and the passage that goes beyond. The
    file is complete once the context is left; left by an exception it stays without its end, and
    `Passages` refuses it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: list[tuple[str, str, str, str]] = []
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
            CorpusError: a passage holds what cannot be written: metadata that is not JSON, or a
                text with lone surrogates, which no UTF-8 can say.
        """
        for passage in passages:
            row = (passage.id, passage.title, passage.text, _to_json(passage))
            self._held.append(row)
            self._characters += sum(map(len, row))
            if len(self._held) >= BATCH_ROWS or self._characters >= BATCH_CHARACTERS:
                self._flush()

    def _flush(self) -> None:
        if not self._held:
            return
        try:
            columns = [pa.array(column, pa.string()) for column in zip(*self._held, strict=True)]
        except UnicodeEncodeError as error:
            raise CorpusError(self._unwritable(error)) from None
        self._writer.write_batch(pa.record_batch(columns, schema=SCHEMA))
        self._rows += len(self._held)
        self._held, self._characters = [], 0

    def _unwritable(self, error: UnicodeEncodeError) -> str:
        for at, row in enumerate(self._held):
            for name, value in zip(SCHEMA.names, row, strict=True):
                if value == error.object:
                    return (
                        f"passage {self._rows + at + 1} ({row[0]!r}): its {name} holds a lone "
                        f"surrogate, {error.object[error.start]!r} at character {error.start}, "
                        "which is no Unicode text: repair the corpus"
                    )
        return f"a passage cannot be written as UTF-8: {error}"


class Passages:
    """The passages of one file or several, read-only, by row; safe to use from several threads.

    Opening maps the files and reads where their batches lie; a passage is read when it is asked
    for.

        passages = Passages(folder / "passages.arrow")
        passages[0].title

    A version that was derived from another has its files and one more, and leaves out what was
    removed or changed since: its rows are those of `kept`, counted from 0 without holes.

    Attributes:
        kept: which passages there are, as places in all files together; None for all of them.
    """

    def __init__(self, path: Path, *more: Path, kept: Numbers | None = None) -> None:
        """Open files that `PassageWriter` wrote.

        Args:
            path: the first file.
            more: those whose passages follow.
            kept: which passages there are, as places in all files together, ascending; int64 [n];
                all of them where None.

        Raises:
            StoreCorruptError: a file is missing, it was cut off, its columns are others, or `kept`
                names what is not there.
        """
        self._paths = (path, *more)
        opened = [batch for one in self._paths for batch in _opened(one)]
        self._batches: list[list[Any]] | None = [batch.columns for batch in opened]
        self._ends = list(accumulate(batch.num_rows for batch in opened))
        self.kept: Final = kept
        if kept is not None:
            self._refuse_strange(kept)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files; passages that were read stay valid."""
        # A map ends with the last array that looks into it, so no reader can be cut off.
        self._batches = None

    def __len__(self) -> int:
        return self.stored if self.kept is None else len(self.kept)

    @property
    def stored(self) -> int:
        """How many passages the files hold, those that are left out too."""
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, row: int) -> Passage:
        """The passage of a row.

        Raises:
            ComponentError: there is no such row; negative rows do not count from the end.
        """
        return self.take([row])[0]

    def take(self, rows: Iterable[int]) -> list[Passage]:
        """The passages of rows, in the order asked for.

        Raises:
            ComponentError: a row is not there.
        """
        batches = self._columns()
        taken = []
        for row in rows:
            if not 0 <= row < len(self):
                raise ComponentError(
                    f"row {row} was asked of {self._paths[0]}, which has {len(self)} passages: "
                    f"expected rows from 0 to {len(self) - 1}"
                )
            number = row if self.kept is None else int(self.kept[row])
            at = bisect_right(self._ends, number)
            place = number - (self._ends[at - 1] if at else 0)
            taken.append(_passage(*(column[place].as_py() for column in batches[at])))
        return taken

    def __iter__(self) -> Iterator[Passage]:
        """All passages by row, one batch in memory at a time."""
        for batch in self.batches():
            yield from batch

    def batches(self) -> Iterator[list[Passage]]:
        """All passages by row, as lists of at most 4,096."""
        for columns in self._kept_columns():
            rows = zip(*(column.to_pylist() for column in columns), strict=True)
            yield [_passage(*row) for row in rows]

    def metadata(self) -> Iterator[list[Mapping[str, Any]]]:
        """The metadata of all passages by row, as lists of at most 4,096."""
        for columns in self._kept_columns():
            # One text for them all: read many times quicker than one by one.
            yield json.loads(f"[{','.join(columns[3].to_pylist())}]")

    def row_of(self, id: str) -> int:  # noqa: A002 (a passage's own word)
        """The row of the passage with this id; looks through all ids.

        Raises:
            StoreError: no passage has it.
        """
        rows = self.rows_of([id])
        if not rows:
            raise StoreError(
                f"no passage of {self._paths[0]} has the id {id!r}: expected one of its ids"
            )
        return rows[id]

    def rows_of(self, ids: Sequence[str]) -> dict[str, int]:
        """The rows of the passages with these ids, of those that are there; looks through all."""
        wanted = pa.array(ids, pa.string())
        rows: dict[str, int] = {}
        start = 0
        for columns in self._kept_columns():
            found = pc.indices_nonzero(pc.is_in(columns[0], wanted))
            there = zip(found.to_pylist(), columns[0].take(found).to_pylist(), strict=True)
            rows |= {name: start + place for place, name in there}
            start += len(columns[0])
        return rows

    def _kept_columns(self) -> Iterator[list[Any]]:
        """The columns of each batch, without what is left out."""
        start = 0
        for end, columns in zip(self._ends, self._columns(), strict=True):
            if self.kept is None:
                yield columns
            else:
                first, after = np.searchsorted(self.kept, (start, end))
                if after - first == end - start:
                    yield columns
                elif after > first:
                    places = pa.array(self.kept[first:after] - start)
                    yield [column.take(places) for column in columns]
            start = end

    def _columns(self) -> list[list[Any]]:
        if self._batches is None:
            raise StoreError(f"{self._paths[0]} is closed: open the memory again to read passages")
        return self._batches

    def _refuse_strange(self, kept: Numbers) -> None:
        inside = not len(kept) or (kept[0] >= 0 and kept[-1] < self.stored)
        if not inside or (kept[1:] <= kept[:-1]).any():
            raise StoreCorruptError(
                f"the rows kept of {self._paths[0]} do not ascend within its {self.stored} "
                "passages: rebuild this version of the memory"
            )


def _opened(path: Path) -> list[Any]:
    """The record batches of a file."""
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
        return json.dumps(dict(passage.metadata), ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise CorpusError(
            f"passage {passage.id!r}: its metadata cannot be written as JSON ({error}): use "
            "strings, numbers, booleans, null, lists and mappings only"
        ) from None


def _passage(id: str, title: str, text: str, metadata: str) -> Passage:  # noqa: A002
    held: Mapping[str, Any] = {} if metadata == "{}" else json.loads(metadata)
    return Passage(id, title, text, held)

"""Keep measurements as plain records, in a file that several runs can add to.

Knows nothing of indexes. A record that is measured again replaces the earlier one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, TypeVar

__all__ = ["Built", "Cost", "Log", "Point", "Record", "Through"]


@dataclass(frozen=True, slots=True)
class Built:
    """An index of one kind after its build.

    Attributes:
        family: kinds of one family share a colour.
        size: number of vectors.
        seconds: time from the start to the first hit, training included.
        bytes: bytes of all files it saves, for each vector.
        can: its capabilities.
    """

    kind: str
    family: str
    size: int
    dim: int
    seconds: float
    bytes: float
    can: tuple[str, ...]

    @property
    def key(self) -> tuple[str, ...]:
        return ("built", self.kind)


@dataclass(frozen=True, slots=True)
class Point:
    """An index searched with one setting.

    Attributes:
        setting: such as "efSearch 64"; empty if there is nothing to set.
        recall: recall@10 against exact search.
        batch: queries a second, 64 at once.
        single: queries a second, one by one.
        load: seconds until the first hit of an index on disk, memory-mapped if possible.
    """

    kind: str
    setting: str
    recall: float
    batch: float
    single: float
    load: float

    @property
    def key(self) -> tuple[str, ...]:
        return ("point", self.kind, self.setting)


@dataclass(frozen=True, slots=True)
class Through:
    """Time of a search through ragcore over that of the library itself, on one index object.

    Attributes:
        queries: at once, 1 or 64.
        ratio, low, high: median and quartiles over the rounds, each round being one of both.
        raw: seconds of a search of the library itself, median over the rounds.
        target: the largest ratio that is acceptable.
    """

    kind: str
    setting: str
    queries: int
    ratio: float
    low: float
    high: float
    raw: float
    target: float

    @property
    def key(self) -> tuple[str, ...]:
        return ("through", self.kind, str(self.queries))


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of an index of one kind: for each vector, and in all at the paper's size.

    Attributes:
        sizes: the numbers of vectors at which it was measured.
        formula, bytes: bytes for each vector, by the formula and as measured between the two sizes.
        fixed: bytes that do not grow with the vectors, such as centroids.
        train: seconds of training, on as many vectors as the first size has.
        add: seconds of adding the second half.
        law: how the time grows with the number of vectors.
        drift: time of the second half, divided by what the law predicts from the first.
        total_bytes, hours: of the whole index, by the formula and the law.
    """

    kind: str
    dim: int
    sizes: tuple[int, int]
    formula: float
    bytes: float
    fixed: float
    train: float
    add: float
    law: str
    drift: float
    total_bytes: float
    hours: float

    @property
    def key(self) -> tuple[str, ...]:
        return ("cost", self.kind)


Record = Built | Point | Through | Cost
R = TypeVar("R", Built, Point, Through, Cost)

_TYPES: Final = {kind.__name__: kind for kind in (Built, Point, Through, Cost)}


class Log:
    """The records of this run and, if there is a file, of earlier ones."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._records: dict[tuple[str, ...], Record] = {}
        if path is not None and path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                self._keep(_from_dict(json.loads(line)))

    def add(self, record: Record) -> None:
        """Keep a record, and append it to the file."""
        self._keep(record)
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps({"is": type(record).__name__} | asdict(record)) + "\n")

    def of(self, kind: type[R]) -> Iterator[R]:
        """Yield the records of one type, in the order of their first measurement."""
        return (record for record in self._records.values() if isinstance(record, kind))

    def _keep(self, record: Record) -> None:
        self._records[record.key] = record


def _from_dict(row: dict[str, object]) -> Record:
    kind = _TYPES[str(row.pop("is"))]
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}
    return kind(**values)

"""Measurements of databases: printed as they come, appended to a file, and fitted to rates.

Rates are those of `ragcore memory plan`, in ragcore/planning/databases.json: the time of writing a
table, of making its graph, and of a search by one client. Knows records; knows neither databases
nor how they are searched.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from scaling.fitting import fitted
from scaling.records import Record, circumstances

from databases.clients import Built, K, Searched
from ragcore.planning.layout import DATABASE_KINDS, IndexKind
from ragcore.planning.rates import FORMAT, LAWS, Law, Rate, Work, read_rates

__all__ = ["Report", "write_rates"]

_COLUMNS: Final = "kind clients build_s MB recall q/s median_ms p95_ms median_ratio q/s_ratio"


class Report:
    """Rows of a table on standard output, and the same as lines of JSON in a file."""

    def __init__(self, path: Path | None) -> None:
        """Note where lines are appended; no file where `path` is None."""
        self._path = path
        self._about: Record = {}
        self._records: list[Record] = []

    def measure(self, rows: int, dim: int) -> None:
        """Begin with so many vectors, of so many dimensions."""
        self._about = {"passages": rows, "dim": dim, **circumstances()}
        print(f"{rows:,} x {dim}, {self._about['cores']} cores, k = {K}", flush=True)

    def begin(self, columns: str = _COLUMNS) -> None:
        """Print the names of the columns."""
        print("  ".join(f"{name:>13}" for name in columns.split()), flush=True)

    def searches(
        self,
        kind: str,
        built: Built,
        recall: float,
        clients: int,
        seen: Searched,
        *,
        size: int | None = None,
        against: Searched | None = None,
    ) -> None:
        """Print and append what clients saw of an index.

        Args:
            kind: of the index, as plans call it, or FAISS's factory.
            built: the index.
            recall: of its hits.
            clients: how many there were.
            seen: what they saw.
            size: bytes in the database; those of the files where None.
            against: what as many clients saw of FAISS.
        """
        size = built.size if size is None else size
        cells = [kind, f"{clients}", f"{built.seconds:.1f}", f"{size / 1e6:.1f}", f"{recall:.3f}"]
        cells += [f"{seen.rate:,.1f}", f"{seen.median:.2f}", f"{seen.p95:.2f}"]
        record: Record = {
            "kind": kind,
            "clients": clients,
            "build_seconds": round(built.seconds, 3),
            "bytes": size,
            "recall": round(recall, 4),
            "questions_per_second": round(seen.rate, 3),
            **{f"{name}_ms": round(getattr(seen, name), 4) for name in ("median", "p95", "p99")},
        }
        if against is not None:
            ratios = (seen.median / against.median, seen.rate / against.rate)
            cells += [f"{ratio:.2f}" for ratio in ratios]
            record |= dict(zip(("median_ratio", "rate_ratio"), ratios, strict=True))
        self.add(cells, record)

    def add(self, cells: Sequence[str], record: Record) -> None:
        """Print cells of a row, and append a record."""
        print("  ".join(f"{cell:>13}" for cell in cells), flush=True)
        self._records.append({**self._about, **record})
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(self._records[-1]) + "\n")

    def all(self) -> list[Record]:
        """Return the records of this run, and of the file those of other runs."""
        if self._path is None or not self._path.exists():
            return self._records
        return [json.loads(line) for line in self._path.read_text(encoding="utf-8").splitlines()]


def write_rates(path: Path, records: Sequence[Record], *, script: str) -> int:
    """Put the rates that records allow in the place of those in a file; return how many.

    A kind of index that was measured loses its earlier rates, also those that are not allowed now.

    Args:
        path: a file of rates, which may be missing.
        records: of searches.
        script: that measured them.
    """
    measured = {record["kind"] for record in records}
    rates = {
        rate.name: rate
        for rate in (read_rates(path).rates if path.exists() else [])
        if rate.name.partition(".")[2] not in measured
    }
    # A time that does not grow with the vectors was measured with too few to see that it does.
    new = [rate for rate in _rates(records, script) if rate.slope]
    rates |= {rate.name: rate for rate in new}
    content: dict[str, Any] = {
        "ragcore_rates": FORMAT,
        "rates": [rate.model_dump(mode="json", exclude_none=True) for rate in rates.values()],
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return len(new)


def _rates(records: Sequence[Record], script: str) -> Iterator[Rate]:
    kinds: dict[str, IndexKind] = {kind: kind for kind in DATABASE_KINDS}
    alone = [each for each in records if each.get("clients") == 1 and each["kind"] in kinds]
    tables = {_key(each): each["build_seconds"] for each in alone}
    for kind in dict.fromkeys(kinds[each["kind"]] for each in alone):
        own = [each for each in alone if each["kind"] == kind]
        is_graph = kind.endswith("-hnsw")
        law: Law = "walk" if is_graph else "values"
        for name, figure in (("search", "median_ms"), ("search_p99", "p99_ms")):
            seconds = [each[figure] / 1000 for each in own]
            yield _rate(f"{name}.{kind}", law, kind, own, seconds, script)
        if not is_graph:
            yield _rate(f"build.{kind}", law, kind, own, [e["build_seconds"] for e in own], script)
            continue
        # What the graph takes is what a table with one takes longer than a table alone.
        table = kind.removesuffix("-hnsw")
        pairs = [(each, tables.get(_key(each, table))) for each in own]
        graphs = [(each, each["build_seconds"] - alone) for each, alone in pairs if alone]
        graphs = [(each, seconds) for each, seconds in graphs if seconds > 0]
        if graphs:
            measured, seconds = [each for each, _ in graphs], [seconds for _, seconds in graphs]
            yield _rate(f"add.{kind}", "graph", kind, measured, seconds, script)


def _key(record: Record, kind: str | None = None) -> tuple[Any, ...]:
    return kind or record["kind"], record["passages"], record["dim"]


def _rate(
    name: str,
    law: Law,
    kind: IndexKind,
    records: Sequence[Record],
    values: Sequence[float],
    script: str,
) -> Rate:
    works = [LAWS[law](Work(each["passages"], each["dim"], 1.0, kind)) for each in records]
    fixed, slope = fitted(works, values)
    largest = max(range(len(works)), key=works.__getitem__)
    estimate = fixed + slope * works[largest]
    commits = ", ".join(dict.fromkeys(each["commit"] for each in records))
    cores = " or ".join(dict.fromkeys(str(each["cores"]) for each in records))
    busy = ", busy with other programs" if any(each["busy"] for each in records) else ""
    single = ", one size: no part is fixed" if len(set(works)) == 1 else ""
    return Rate(
        name=name,
        law=law,
        fixed=float(f"{fixed:.6g}"),
        slope=float(f"{slope:.6g}"),
        source=f"{script} at {commits}, the server on the same {cores} cores{busy}{single}",
        sizes=tuple(sorted({each["passages"] for each in records})),
        dim=records[0]["dim"],
        drift=round(values[largest] / estimate, 3) if estimate else None,
    )

"""Fit the rates of `ragcore memory plan` to measurements, and write them as a file of rates.

A rate is `fixed + slope · work`, by the law of its stage; see `ragcore.planning.rates`. With
several sizes both are fitted by least squares of relative errors, neither below 0; with one size
the slope alone.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from ragcore.planning.layout import FILE_KINDS, IndexKind
from ragcore.planning.rates import FORMAT, LAWS, Law, Rate, Work
from scaling.records import Record, time_of

__all__ = ["fitted", "fitted_rates", "write_rates"]

SCRIPT: Final = "benchmarks/scale.py"

ADDING: Final[Mapping[IndexKind, Law]] = {
    "sq8": "values",
    "ivf": "lists",
    "ivf-pq": "lists",
    "hnsw": "graph",
}
SEARCHING: Final[Mapping[IndexKind, Law]] = {
    "flat": "values",
    "sq8": "values",
    "ivf": "probes",
    "ivf-pq": "probes",
    "hnsw": "walk",
    "bm25": "text",
}

Points = list[tuple[Record, float]]


def fitted(works: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """Return `fixed` and `slope`, neither negative, of least relative error."""
    work, value = np.asarray(works, float), np.asarray(values, float)
    weights = 1 / np.maximum(value, 1e-12)
    through_zero = max(0.0, float((work * value * weights**2).sum() / (work**2 * weights**2).sum()))
    if len(set(works)) < 2:
        return 0.0, through_zero
    matrix = np.stack([np.ones_like(work), work], axis=1) * weights[:, None]
    # Columns of one scale, since works are up to 1e13.
    scale = np.abs(matrix).max(axis=0)
    solution = np.linalg.lstsq(matrix / scale, value * weights, rcond=None)[0] / scale
    fixed, slope = map(float, solution)
    if fixed < 0:
        return 0.0, through_zero
    if slope < 0:
        return float((value * weights**2).sum() / (weights**2).sum()), 0.0
    return fixed, slope


def fitted_rates(records: Sequence[Record]) -> list[Rate]:
    """Return all rates that the records allow."""
    return [rate for rate in _rates(records) if rate is not None]


def _rates(records: Sequence[Record]) -> Iterator[Rate | None]:
    by_stage: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        by_stage[record["stage"], record["kind"]].append(record)

    def points(stage: str, kind: str, figure: str) -> Points:
        records = [each for each in by_stage[stage, kind] if each.get(figure) is not None]
        if figure in ("seconds", "p99"):
            return [(each, time_of(each, figure)) for each in records]
        return [(each, float(each[figure])) for each in records]

    for record in (each for each in records if each["stage"] == "encode"):
        yield from _encoding(record)
    yield _rate("write.dense", "values", points("build", "flat", "seconds"))
    passage_bytes = [each for kind in FILE_KINDS for each in points("build", kind, "passage_bytes")]
    yield _rate("disk.passages", "text", passage_bytes)
    yield _rate("disk.bm25", "text", points("build", "bm25", "retriever_bytes"))
    yield _rate("build.bm25", "text", points("build", "bm25", "seconds"))
    for kind in FILE_KINDS:
        size: Law = "text" if kind == "bm25" else "index"
        if kind == "ivf-pq":
            codebooks = _codebooks(by_stage)
            yield _rate("train.codebooks", "codebooks", codebooks, parallel=True)
        if kind in ("sq8", "ivf"):
            law: Law = "constant" if kind == "sq8" else "training"
            yield _rate(f"train.{kind}", law, points("train", kind, "seconds"), parallel=True)
        if kind in ADDING:
            yield _rate(f"add.{kind}", ADDING[kind], _adding(by_stage, kind), parallel=True)
        yield _rate(f"merge.{kind}", size, points("merge", kind, "seconds"))
        yield _rate(f"open.{kind}", size, points("open", kind, "seconds"))
        yield _rate(f"search.{kind}", SEARCHING[kind], points("search", kind, "seconds"))
        yield _rate(f"search_p99.{kind}", SEARCHING[kind], points("search", kind, "p99"))
        yield _rate(f"update.{kind}", size, points("update", kind, "seconds"))
        yield _rate(f"disk_update.{kind}", size, points("update", kind, "bytes"))
        # What is mapped can be dropped while building, but must be there for quick searches.
        for stage, figure in (
            ("build", "peak_anonymous"),
            ("merge", "peak_anonymous"),
            ("update", "peak_anonymous"),
            ("open", "peak_rss"),
            ("search", "peak_rss"),
        ):
            name = f"ram.{stage}.{kind}"
            yield _rate(name, size, points(stage, kind, figure) or points(stage, kind, "peak_rss"))


def _adding(by_stage: Mapping[tuple[str, str], list[Record]], kind: IndexKind) -> Points:
    """Return what adding all passages to a trained index takes.

    Of an index without training, what its build took longer than that of a flat one. Where that is
    nothing, the clock was too coarse: it is no measurement.
    """
    if any("added" in record for record in by_stage["train", kind]):
        return [
            (record, _added(record) * record["passages"] / record["added"])
            for record in by_stage["train", kind]
            if "added" in record
        ]
    flat = {_size(record): time_of(record) for record in by_stage["build", "flat"]}
    trained = {_size(record): _spent(record) for record in by_stage["train", kind]}
    # Of a busy machine there are processor seconds of all threads, which a quiet one divides.
    points = [
        (
            record,
            (time_of(record) - flat[size] - trained.get(size, 0.0))
            / (record["cores"] if record["busy"] else 1),
        )
        for record in by_stage["build", kind]
        if (size := _size(record)) in flat
    ]
    return [(record, seconds) for record, seconds in points if seconds > 0]


def _added(record: Record) -> float:
    """Return in how many seconds vectors were added with all cores."""
    if not record["busy"]:
        return float(record["adding_seconds"])
    return float(record["adding_processor_seconds"]) / int(record["cores"])


def _codebooks(by_stage: Mapping[tuple[str, str], list[Record]]) -> Points:
    """Return what training product codes in lists takes longer than training lists alone."""
    lists = {_size(record): time_of(record) for record in by_stage["train", "ivf"]}
    return [
        (record, max(0.0, time_of(record) - lists[size]))
        for record in by_stage["train", "ivf-pq"]
        if (size := _size(record)) in lists
    ]


def _spent(record: Record) -> float:
    """Return what training adds to a build's time, which is the processor's on a busy machine."""
    return float(record["processor_seconds" if record["busy"] else "seconds"])


def _size(record: Record) -> tuple[int, int]:
    return record["passages"], record["dim"]


def _encoding(record: Record) -> Iterator[Rate]:
    """Return an encoder's seconds a passage, and the memory that encoding takes."""
    name, source = record["kind"], f"{_source([record])}, its shape with random weights, float32"
    seconds = time_of(record) / record["passages"]
    yield Rate(
        name=f"encode.{name}", law="passages", slope=seconds, source=source, cores=record["cores"]
    )
    peak = record["peak_anonymous"] or record["peak_rss"]
    yield Rate(name=f"ram.encode.{name}", law="constant", slope=peak, source=source)


def _rate(name: str, law: Law, points: Points, *, parallel: bool = False) -> Rate | None:
    """Fit a rate to points; None where there are none."""
    if not points:
        return None
    works = [LAWS[law](_work(record)) for record, _ in points]
    values = [value for _, value in points]
    least = 0.0
    if name.startswith("ram.") and len(set(works)) == 1:
        # One size does not show what a process takes whatever it does; its beginning does.
        least = min(float(record.get("start_memory", 0)) for record, _ in points)
    fixed, slope = fitted(works, [max(0.0, value - least) for value in values])
    fixed += least
    largest = max(range(len(points)), key=works.__getitem__)
    estimate = fixed + slope * works[largest]
    records = [record for record, _ in points]
    return Rate(
        name=name,
        law=law,
        fixed=_digits(fixed),
        slope=_digits(slope),
        source=_source(records),
        cores=records[0]["cores"] if parallel else None,
        sizes=tuple(sorted({record["passages"] for record in records})),
        dim=None if law in ("constant", "passages", "text") else records[0]["dim"],
        drift=round(values[largest] / estimate, 3) if estimate else None,
    )


def _work(record: Record) -> Work:
    kind = record["kind"]
    return Work(record["passages"], record["dim"], record["text_bytes"], kind)


def _source(records: Sequence[Record]) -> str:
    commits = dict.fromkeys(record["commit"] for record in records)
    cores = " or ".join(dict.fromkeys(str(record["cores"]) for record in records))
    if len({record["passages"] for record in records}) == 1 and records[0]["stage"] != "encode":
        cores += " cores, one size: no part is fixed"
    else:
        cores += " cores"
    busy = ", processor time on a busy machine" if any(each["busy"] for each in records) else ""
    return f"{SCRIPT} at {', '.join(commits)}, {cores}{busy}"


def _digits(value: float) -> float:
    return float(f"{value:.6g}")


def write_rates(path: Path, records: Sequence[Record]) -> int:
    """Write all rates that the records allow; return how many."""
    rates = fitted_rates(records)
    sized = [record for record in records if record.get("text_bytes")]
    texts = dict.fromkeys(str(record["text"]) for record in sized)
    content: dict[str, Any] = {
        "ragcore_rates": FORMAT,
        "machine": f"{records[0]['cores']} cores, {' and '.join(texts)} text",
        "text_bytes": round(max(sized, key=lambda each: each["passages"])["text_bytes"], 1),
        "rates": [rate.model_dump(mode="json", exclude_none=True) for rate in rates],
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return len(rates)

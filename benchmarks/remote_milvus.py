"""Measure vectors in Milvus against FAISS on the same machine: latency and throughput.

Usage: python benchmarks/remote_milvus.py [--rows N …] [--dim D] [--clients 1 8 32] [--seconds S]
           [--kinds exact hnsw] [--uri URI] [--json FILE] [--rates-out FILE]

Builds, searches and prints as remote.py does for PostgreSQL. Bytes are those of the layout of a row
in Milvus's memory, since it does not tell its own. Without --uri a Milvus is started on this
machine, from the environment that `make test-engines` makes, or RAGCORE_TEST_MILVUS names: no
network is measured. A million vectors by 384 need some 12 GB of memory.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "plugins/ragcore-milvus/tests"))

from databases.clients import EF_SEARCH, LINKS, Drawn, build, drawn
from databases.report import Report, write_rates
from remote import compare_searches, local_index, parser_of

from ragcore.planning.layout import index_bytes

KINDS = {"exact": "milvus", "hnsw": "milvus-hnsw"}
"""Each kind as plans call it."""


def main() -> int:
    parser = parser_of(KINDS)
    parser.add_argument("--uri", help="of Milvus")
    options = parser.parse_args()
    try:
        import faiss  # noqa: F401
        from milvus_server import Unavailable, running
        from ragcore_milvus.index import Milvus  # noqa: F401
    except ImportError as error:
        print(f"skipped: {error}")
        return 0
    report = Report(options.json)
    with ExitStack() as stack:
        uri = options.uri
        if uri is None and options.kinds:
            folder = Path(stack.enter_context(TemporaryDirectory()))
            try:
                uri = stack.enter_context(running(folder / "server")).uri
            except Unavailable as reason:
                print(f"skipped: {reason}; name a server with --uri")
                return 0
        if options.kinds:
            report.begin()
        for rows in options.rows if options.kinds else ():
            report.measure(rows, options.dim)
            vectors = drawn(rows, options.dim)
            for kind in options.kinds:
                with ExitStack() as built:
                    compare(built, report, kind, uri, vectors, options)
    if options.rates_out:
        count = write_rates(options.rates_out, report.all(), script="benchmarks/remote_milvus.py")
        print(f"{count} rates in {options.rates_out}")
    return 0


def compare(
    stack: ExitStack, report: Report, kind: str, uri: str, drawn: Drawn, options: Any
) -> None:
    """Build and search one kind in both, and print their rows as soon as they are measured."""
    from ragcore_milvus.config import MilvusConfig
    from ragcore_milvus.index import Milvus

    factory, local = local_index(stack, kind, drawn)
    config = MilvusConfig(
        uri=uri,
        method=kind,
        m=LINKS,
        ef_search=EF_SEARCH,
        timeout=600,
        build_timeout=36_000,
    )
    remote = build(stack, f"Milvus {kind}", Milvus, config, drawn.vectors)
    stack.callback(Milvus.drop, remote.folder, config)
    # As ten minutes after the build, when searches no longer wait for writes.
    remote.index._collection._completed = 0.0
    size = round(index_bytes(KINDS[kind], *drawn.vectors.shape))
    compare_searches(report, ((factory, local), (KINDS[kind], remote)), drawn, size, options)


if __name__ == "__main__":
    sys.exit(main())

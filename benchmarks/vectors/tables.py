"""Print the records as tables in Markdown."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from vectors.paper import PASSAGES, REPORTED, TRAINED_ON
from vectors.records import Built, Cost, Log, Point, Through

__all__ = ["show"]

REACHED = (0.9, 0.95, 0.99)
"""Recalls for which the speed of each kind is printed."""


def show(log: Log) -> None:
    """Print all tables for which there are records."""
    for title, table in (
        ("ragcore's overhead: the time of its search over the library's own", _through(log)),
        ("Kinds of index; queries a second in batches of 64, at a recall@10 of", _kinds(log)),
        ("Recall@10 and queries a second, setting by setting", _points(log)),
        (f"{PASSAGES:,} vectors, estimated", _costs(log)),
    ):
        if table.row_count:
            print(f"\n{title}\n")
            Console(width=200).print(table)
    if any(log.of(Cost)):
        print(
            "\nbytes by the formula; hours from the measured rates, training scaled to "
            f"{TRAINED_ON:,} vectors,\ngraphs by n log n (drift: the second half's time over "
            "what n log n predicts from the first's);\nthe time to make the vectors is not included"
        )
        for name, size in REPORTED:
            print(f"  reported for {name}: {size}")


def _table(*columns: str) -> Table:
    """Make a table with its first column aligned left, and figures right."""
    table = Table(box=box.MARKDOWN)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    return table


def _through(log: Log) -> Table:
    table = _table("kind", "setting", "queries", "library's ms", "ratio", "quartiles", "")
    for record in log.of(Through):
        table.add_row(
            record.kind,
            record.setting,
            str(record.queries),
            f"{record.raw * 1e3:.3g}",
            f"{record.ratio:.3f}",
            f"{record.low:.3f} to {record.high:.3f}",
            f"<= {record.target}: {'reached' if record.ratio <= record.target else 'not reached'}",
        )
    return table


def _kinds(log: Log) -> Table:
    table = _table(
        "kind", "build s", "bytes a vector", "load ms", *(str(share) for share in REACHED), "can"
    )
    points = list(log.of(Point))
    for built in log.of(Built):
        of_kind = [point for point in points if point.kind == built.kind]
        rates_by_recall = [
            [point.batch for point in of_kind if point.recall >= share] for share in REACHED
        ]
        table.add_row(
            built.kind,
            f"{built.seconds:.1f}",
            f"{built.bytes:,.0f}",
            f"{min((point.load for point in of_kind), default=0) * 1e3:.0f}",
            *(f"{max(rates):,.0f}" if rates else "–" for rates in rates_by_recall),
            ", ".join(name for name in ("filter", "remove") if name in built.can),
        )
    return table


def _points(log: Log) -> Table:
    table = _table("kind", "setting", "recall@10", "64 at once", "one by one")
    for record in log.of(Point):
        rates = (f"{rate:,.0f}" for rate in (record.batch, record.single))
        table.add_row(record.kind, record.setting, f"{record.recall:.3f}", *rates)
    return table


def _costs(log: Log) -> Table:
    table = _table(
        "kind", "bytes a vector", "measured", "GB", "GiB", "hours", "of these training", "drift"
    )
    for record in log.of(Cost):
        training = record.train * TRAINED_ON / record.sizes[0] / 3600
        table.add_row(
            record.kind,
            f"{record.formula:,.1f}",
            f"{record.bytes:,.1f}",
            f"{record.total_bytes / 1e9:.1f}",
            f"{record.total_bytes / 2**30:.1f}",
            f"{record.hours:.2f}",
            f"{training:.2f}",
            f"{record.drift:.2f}" if record.law != "linear" else "",
        )
    return table

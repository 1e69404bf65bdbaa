"""The records as tables, which are Markdown and can be read as they are."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from vectors.paper import PASSAGES, REPORTED, TRAINED_ON
from vectors.records import Built, Cost, Log, Point, Through

__all__ = ["show"]

REACHED = (0.9, 0.95, 0.99)
"""Recalls for which the speed of each kind is told."""


def show(log: Log) -> None:
    """All tables for which there are records."""
    for title, table in (
        ("What ragcore adds to a search: its time over the library's own", _through(log)),
        ("Kinds of index; queries a second in batches of 64, at a recall@10 of", _kinds(log)),
        ("Recall@10 and queries a second, setting by setting", _points(log)),
        (f"{PASSAGES:,} vectors, reckoned", _costs(log)),
    ):
        if table.row_count:
            print(f"\n{title}\n")
            Console(width=200).print(table)
    if any(log.of(Cost)):
        print(
            "\nbytes by the formula; hours from the measured rates, training scaled to "
            f"{TRAINED_ON:,} vectors,\ngraphs by n log n (drift: the second half's time over "
            "what the law makes of the first's);\nmaking the vectors is not in it"
        )
        for name, size in REPORTED:
            print(f"  reported for {name}: {size}")


def _table(*columns: str) -> Table:
    """The first column to the left, figures to the right."""
    found = Table(box=box.MARKDOWN)
    for place, column in enumerate(columns):
        found.add_column(column, justify="right" if place else "left", no_wrap=True)
    return found


def _through(log: Log) -> Table:
    found = _table("kind", "setting", "queries", "library's ms", "ratio", "quartiles", "")
    for one in log.of(Through):
        found.add_row(
            one.kind,
            one.setting,
            str(one.queries),
            f"{one.raw * 1e3:.3g}",
            f"{one.ratio:.3f}",
            f"{one.low:.3f} to {one.high:.3f}",
            f"<= {one.target}: {'reached' if one.ratio <= one.target else 'not reached'}",
        )
    return found


def _kinds(log: Log) -> Table:
    found = _table(
        "kind", "build s", "bytes a vector", "load ms", *(str(share) for share in REACHED), "can"
    )
    points = list(log.of(Point))
    for built in log.of(Built):
        own = [point for point in points if point.kind == built.kind]
        quick = [[point.batch for point in own if point.recall >= share] for share in REACHED]
        found.add_row(
            built.kind,
            f"{built.seconds:.1f}",
            f"{built.bytes:,.0f}",
            f"{min((point.load for point in own), default=0) * 1e3:.0f}",
            *(f"{max(rates):,.0f}" if rates else "–" for rates in quick),
            ", ".join(name for name in ("filter", "remove") if name in built.can),
        )
    return found


def _points(log: Log) -> Table:
    found = _table("kind", "setting", "recall@10", "64 at once", "one by one")
    for one in log.of(Point):
        rates = (f"{rate:,.0f}" for rate in (one.batch, one.single))
        found.add_row(one.kind, one.setting, f"{one.recall:.3f}", *rates)
    return found


def _costs(log: Log) -> Table:
    found = _table(
        "kind", "bytes a vector", "measured", "GB", "GiB", "hours", "of these training", "drift"
    )
    for one in log.of(Cost):
        training = one.train * TRAINED_ON / one.sizes[0] / 3600
        found.add_row(
            one.kind,
            f"{one.formula:,.1f}",
            f"{one.bytes:,.1f}",
            f"{one.total_bytes / 1e9:.1f}",
            f"{one.total_bytes / 2**30:.1f}",
            f"{one.hours:.2f}",
            f"{training:.2f}",
            f"{one.drift:.2f}" if one.law != "linear" else "",
        )
    return found

"""Tables of cost against size, in Markdown: a row for each kind of index, a column for each size.

They are printed, and written into a page between two comments; the page's outputs of
`ragcore memory plan` are written again, too, since its rates change with the measurements.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import tempfile
from collections.abc import Callable, Sequence
from contextlib import chdir, redirect_stdout
from pathlib import Path
from typing import Any, Final

from ragcore.planning.layout import FILE_KINDS
from ragcore.views.tables import NONE, byte_size, time_text
from scaling.records import Record, time_of

__all__ = ["refresh_page", "tables"]

Show = Callable[[Any], str]


def _rate_text(rate: float) -> str:
    return f"{rate:,.0f}"


def _figure(record: Record, name: str) -> Any:
    """Return a figure of a record; `rate` is passages a second. None where it has none."""
    if name == "rate":
        return record["passages"] / time_of(record)
    return time_of(record, name) if name in ("seconds", "p99") else record.get(name)


def _recall_text(recall: float) -> str:
    return f"{recall:.3f}"


FIGURES: Final[tuple[tuple[str, str, str, Show], ...]] = (
    ("Build, passages a second", "build", "rate", _rate_text),
    ("Build, peak of the process's own memory", "build", "peak_anonymous", byte_size),
    ("Build, peak with mapped files", "build", "peak_rss", byte_size),
    ("One of the shards, peak of its own memory", "shard", "peak_anonymous", byte_size),
    ("Train", "train", "seconds", time_text),
    ("Disk: the index's files", "build", "retriever_bytes", byte_size),
    ("Disk: the passages", "build", "passage_bytes", byte_size),
    ("Merge of the shards", "merge", "seconds", time_text),
    ("Open", "open", "seconds", time_text),
    ("First search after opening", "open", "first_search", time_text),
    ("Search, median", "search", "seconds", time_text),
    ("Search, 99th percentile", "search", "p99", time_text),
    ("Search, peak with mapped files", "search", "peak_rss", byte_size),
    ("Search of the merged shards, median", "merged-search", "seconds", time_text),
    ("Recall@10", "search", "recall", _recall_text),
    ("Update of 0.1 %", "update", "seconds", time_text),
    ("Update of 0.1 %, new bytes", "update", "bytes", byte_size),
    ("Swap: pause", "swap", "pause", time_text),
)


def tables(records: Sequence[Record]) -> str:
    """Return all tables that have a figure."""
    measured = [record for record in records if record["stage"] != "encode"]
    sizes = sorted({record["passages"] for record in measured})
    columns = "".join(f" {size:,} |" for size in sizes)
    parts = [_circumstances(records)]
    for title, stage, figure, show in FIGURES:
        rows = []
        for kind in FILE_KINDS:
            figures = {
                record["passages"]: _figure(record, figure)
                for record in sorted(measured, key=lambda each: each["peak_rss"])
                if (record["stage"], record["kind"]) == (stage, kind)
            }
            if any(value is not None for value in figures.values()):
                cells = (figures.get(size) for size in sizes)
                shown = (NONE if value is None else show(value) for value in cells)
                rows.append(f"| {kind} | {' | '.join(shown)} |")
        if rows:
            head = f"| passages |{columns}\n| --- |{' --- |' * len(sizes)}"
            parts.append(f"**{title}**\n\n{head}\n" + "\n".join(rows))
    encoding = [record for record in records if record["stage"] == "encode"]
    if encoding:
        lines = [f"| {each['kind']} | {_rate_text(_figure(each, 'rate'))} |" for each in encoding]
        head = "| encoder's shape | passages a second |\n| --- | --- |"
        parts.append("**Encode on processors**\n\n" + "\n".join([head, *lines]))
    return "\n\n".join(parts) + "\n"


def _circumstances(records: Sequence[Record]) -> str:
    def listed(name: str) -> str:
        values = dict.fromkeys(str(each[name]) for each in records if each.get(name) is not None)
        return ", ".join(values)

    busy = (
        " The machine was busy with other programs: times of one stage alone are the processor's, "
        "those of pauses and of first searches are too long."
        if any(each["busy"] for each in records)
        else ""
    )
    return (
        f"Measured at commit {listed('commit')} with {listed('cores')} cores, {listed('text')} "
        f"text, vectors of {listed('dim')} dimensions, {listed('shards')} shards.{busy}"
    )


_TABLES: Final = re.compile(r"(<!-- scale: tables -->\n).*?(<!-- scale: end -->)", re.DOTALL)
_FILE: Final = re.compile(r"^<!-- test: file (\S+) -->\n```\w+\n(.*?)^```", re.M | re.DOTALL)
_PLAN: Final = re.compile(r"^\$ (ragcore memory plan [^\n]*)\n(.*?)(?=^\$ |^```)", re.M | re.DOTALL)


def refresh_page(path: Path, records: Sequence[Record]) -> None:
    """Write the tables, and the outputs of `ragcore memory plan`, into a page.

    Raises:
        ValueError: the page has no place for tables.
    """
    path = path.resolve()
    page = path.read_text(encoding="utf-8")
    if not _TABLES.search(page):
        raise ValueError(f"{path} has no comments <!-- scale: tables --> and <!-- scale: end -->")
    body = tables(records)
    page = _TABLES.sub(lambda match: f"{match[1]}\n{body}\n{match[2]}", page)
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        for name, text in _FILE.findall(page):
            Path(name).write_text(text, encoding="utf-8")
        page = _PLAN.sub(lambda match: f"$ {match[1]}\n{_output(match[1])}", page)
    path.write_text(page, encoding="utf-8")


def _output(command: str) -> str:
    """Return what a command prints to a terminal of 80 columns, as tests of pages run it."""
    from ragcore.cli import main

    os.environ["COLUMNS"] = "80"
    with redirect_stdout(io.StringIO()) as out:
        failed = main(shlex.split(command)[1:])
    if failed:
        raise RuntimeError(f"`{command}` failed with code {failed}")
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"

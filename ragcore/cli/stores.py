"""What the commands on memories share: the store that is meant, progress bars, sizes in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ragcore.store.store import Progress, Store

__all__ = ["StoreArgument", "bars", "size", "store_at"]

StoreArgument = Annotated[
    str, typer.Argument(metavar="STORE", help="The store's folder, or a pipeline's YAML file.")
]


def store_at(place: str, *, new: bool = False) -> tuple[Store, str | None]:
    """The store that a folder is or a pipeline file names, and the version that the file names.

    Raises:
        StoreError: the folder is not there, and it is not to be a `new` one.
    """
    from ragcore.config import load_config
    from ragcore.errors import StoreError
    from ragcore.store.store import Store

    version = None
    folder = Path(place)
    if folder.is_file() or folder.suffix in (".yaml", ".yml"):
        section = load_config(place).memory
        folder, version = section.store, section.version
    if not new and not folder.is_dir():
        raise StoreError(
            f"{folder}: there is no such store: build a version with `ragcore memory build`"
        )
    return Store(folder), version


@contextmanager
def bars() -> Iterator[Progress]:
    """A progress bar for each stage, on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:>8}"), BarColumn(), TextColumn("{task.fields[count]}"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as bars:
        stages: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int | None) -> None:
            if stage == "kept":
                bars.console.print(f"going on: {done:,} passages were encoded before")
                return
            if stage not in stages:
                stages[stage] = bars.add_task(stage, total=total, count="")
            count = size(done) if stage == "files" else f"{done:,}"
            bars.update(stages[stage], completed=done, total=total, count=count)

        yield report


def size(count: int) -> str:
    """A number of bytes as people read it."""
    size, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.0f} {units[0]}" if units[0] == "B" else f"{size:.1f} {units[0]}"

"""`ragcore cache`: show the embedding cache, make it smaller, empty it, and forget texts."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ragcore.cli.arguments import JsonOption
from ragcore.views.output import print_json, print_text

if TYPE_CHECKING:
    from ragcore.config import CacheConfig

__all__ = ["app"]

app = typer.Typer(
    help="Show the embedding cache, make it smaller, empty it, or forget texts.",
    add_completion=False,
)

_GIB: Final = 1 << 30
_DAY: Final = 24 * 60 * 60

_Pipeline = Annotated[
    str | None,
    typer.Argument(help="A pipeline's YAML file, for its memory.cache; else the default cache."),
]


@app.command()
def show(pipeline: _Pipeline = None, as_json: JsonOption = False) -> None:
    """Show which encoders' vectors there are, how large, and when they were last used."""
    from ragcore.embeddings.upkeep import encoders, size_of
    from ragcore.views.cache import cache_view
    from ragcore.views.console import print_view

    folder, config = _cache_of(pipeline)
    listed, size = encoders(folder), size_of(folder)
    if as_json:
        rows = [asdict(encoder) for encoder in listed]
        for row in rows:
            if row["broken"] is None:
                del row["broken"]
        limit = round(config.max_gib * _GIB)
        print_json(
            {"folder": str(folder), "bytes": size, "max_bytes": limit, "encoders": rows},
        )
        return
    print_view(cache_view(folder, listed, size, config.max_gib))


@app.command()
def prune(
    pipeline: _Pipeline = None,
    max_gib: Annotated[
        float | None,
        typer.Option(min=0, help="How large it may be, in GiB; else memory.cache.max_gib."),
    ] = None,
    unused_days: Annotated[
        float | None,
        typer.Option(min=0, help="Remove all that was not used for so many days instead."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Remove the vectors that were not used for the longest time."""
    from ragcore.embeddings.upkeep import evict
    from ragcore.errors import ConfigError

    folder, config = _cache_of(pipeline)
    if unused_days is None:
        freed = evict(folder, (config.max_gib if max_gib is None else max_gib) * _GIB)
    elif max_gib is None:
        freed = evict(folder, 0, unused_since=time.time() - unused_days * _DAY)
    else:
        raise ConfigError("found both --max-gib and --unused-days: give one of them")
    _print_freed(folder, freed, as_json)


@app.command()
def clear(pipeline: _Pipeline = None, as_json: JsonOption = False) -> None:
    """Remove all vectors of all encoders."""
    from ragcore.embeddings.upkeep import clear as remove_all

    folder, _ = _cache_of(pipeline)
    _print_freed(folder, remove_all(folder), as_json)


@app.command()
def forget(
    passages: Annotated[
        Path, typer.Argument(help="JSON lines, each with the title and the text of a passage.")
    ],
    pipeline: _Pipeline = None,
    as_json: JsonOption = False,
) -> None:
    """Remove the vectors of some texts, of every encoder."""
    from ragcore.corpora.jsonl import Jsonl
    from ragcore.embeddings.upkeep import forget as forget_texts
    from ragcore.errors import StoreError

    folder, _ = _cache_of(pipeline)
    forgotten = forget_texts(folder, Jsonl(Jsonl.Config.model_validate({"path": passages})))
    if as_json:
        print_json(asdict(forgotten))
    else:
        print_text(f"{folder}: {forgotten.vectors:,} vectors removed")
    if forgotten.left:
        reasons = "; ".join(f"{path}: {reason}" for path, reason in forgotten.left.items())
        raise StoreError(
            f"vectors may be left in files that cannot be changed: {reasons}: repair them, or "
            "delete them with `ragcore cache clear`"
        )


def _cache_of(pipeline: str | None) -> tuple[Path, CacheConfig]:
    """Return the folder of a pipeline's cache and its settings; the default's where None.

    Raises:
        ConfigError: the pipeline's file is faulty, or the cache is switched off.
    """
    from ragcore.config import CacheConfig, load_config
    from ragcore.embeddings.location import cache_folder
    from ragcore.errors import ConfigError

    config = CacheConfig() if pipeline is None else load_config(pipeline).memory.cache
    if config is None:
        raise ConfigError(f"{pipeline}: memory.cache is null: this pipeline has no cache")
    folder = cache_folder(config.folder)
    if folder is None:
        raise ConfigError(
            "RAGCORE_CACHE is off: set it to a folder, or name a pipeline with memory.cache.folder"
        )
    return folder, config


def _print_freed(folder: Path, freed: int, as_json: bool) -> None:
    from ragcore.embeddings.upkeep import size_of
    from ragcore.views.tables import byte_size

    size = size_of(folder)
    if as_json:
        print_json({"folder": str(folder), "freed": freed, "bytes": size})
        return
    print_text(f"{folder}: {byte_size(freed)} freed, {byte_size(size)} left")

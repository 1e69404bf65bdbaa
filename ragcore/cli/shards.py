"""Options of `ragcore memory build` for shards, and the build of one of them."""

from __future__ import annotations

import re
from pathlib import Path

from ragcore.cli.made import made_row, print_summary
from ragcore.cli.progress import stage_bars
from ragcore.views.output import print_json, print_text

__all__ = ["build_one_shard", "check_spread", "shard_options"]


def check_spread(on: str | None, shards: int | None, shard: str | None) -> None:
    """Check that options for shards on other machines belong together.

    Raises:
        ConfigError: one is missing, or is for something else.
    """
    from ragcore.errors import ConfigError

    if on is None and shards is not None:
        raise ConfigError(
            "--shards without --on: say where the shards are built, such as --on processes "
            "--shards 4; one shard alone is built by --shard I/N"
        )
    if on is not None and shards is None:
        raise ConfigError(
            f"--on {on} without --shards: say how many parts to build, such as --shards 64"
        )
    if on is not None and shard is not None:
        raise ConfigError(
            "--shard builds one part here, and --on all of them elsewhere: leave one of the two out"
        )


def shard_options(
    shard: str | None, out: Path | None, version: str | None, *, no_activate: bool
) -> tuple[int, int, Path]:
    """Return number and count of a shard, and its folder.

    Raises:
        ConfigError: one of the options is missing or faulty, or there are others that shards lack.
    """
    from ragcore.errors import ConfigError

    if shard is None or out is None:
        raise ConfigError(
            "--shard and --out belong together: name the part and the folder that it is put into, "
            "such as --shard 3/64 --out shards"
        )
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", shard, re.ASCII)
    if match is None:
        raise ConfigError(
            f"--shard {shard[:40]!r}: expected a number and how many there are, counted from 0, "
            "such as 0/64 to 63/64"
        )
    if version is not None or no_activate:
        raise ConfigError(
            "--version and --no-activate are options of `ragcore memory merge`, which makes a "
            "version of the shards"
        )
    return int(match[1]), int(match[2]), out


def build_one_shard(
    pipeline: str,
    overrides: list[str] | None,
    number: int,
    of: int,
    out: Path,
    training: Path | None,
    *,
    fresh: bool,
    as_json: bool,
) -> None:
    """Build a shard, and print what it has."""
    from ragcore.build import build_shard
    from ragcore.views.tables import byte_size, counted

    with stage_bars() as progress:
        built = build_shard(
            pipeline,
            *(overrides or ()),
            number=number,
            of=of,
            out=out,
            training=training,
            fresh=fresh,
            progress=progress,
        )
    if as_json:
        print_json(made_row(built))
        return
    was = " was built already" if built.was_there else ""
    passages, size = counted(built.passages, "passage"), byte_size(built.bytes)
    print_text(f"shard {number}/{of} in {out}{was}: {passages}, {size}")
    if built.read_whole:
        print_text("the corpus cannot be divided, so that all of it was read to find this part")
    print_summary(built)

"""`ragcore memory`: build and update a memory; versions.py has the rest."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragcore.cli import versions
from ragcore.cli.arguments import JsonOption, PipelineArgument, StoreArgument, is_override
from ragcore.cli.calibrate import calibrate_temperature
from ragcore.cli.compare import compare
from ragcore.cli.plan import plan
from ragcore.cli.progress import stage_bars
from ragcore.cli.search import search
from ragcore.cli.stores import version_row
from ragcore.views.output import print_json, print_text

if TYPE_CHECKING:
    from ragcore.store.info import BuildInfo
    from ragcore.store.store import Allowed, UpdateInfo

__all__ = ["app"]

app = typer.Typer(
    help="Build, update, activate, compare and export versions of a memory.",
    add_completion=False,
)

for command in (plan, compare, *versions.COMMANDS):
    app.command(command.__name__.rstrip("_"))(command)

# The name that `ragcore search` had before; and what `ragcore calibrate` has grown from.
app.command("search", hidden=True)(search)
app.command("calibrate", hidden=True)(calibrate_temperature)

_Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Changes to the file: memory.retriever.index.use=exact"),
]


_NoActivate = Annotated[
    bool,
    typer.Option(
        "--no-activate", help="Leave the current version in use; see `ragcore memory compare`."
    ),
]


@app.command()
def build(
    pipeline: PipelineArgument,
    overrides: _Overrides = None,
    version: Annotated[
        str | None,
        typer.Option(help="The new version's name; else memory.version, else today's date."),
    ] = None,
    no_activate: _NoActivate = False,
    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="Do not reuse what an interrupted build has encoded."),
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Build one of N parts, counted from 0, for `ragcore memory merge`.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The folder for shards, which may be one for all.")
    ] = None,
    training: Annotated[
        Path | None, typer.Option(help="For shards: the folder that `train-index` made.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Build a new version from the pipeline's corpus, and make it the current one.

    With --shard and --out, build one part of it; each may be built on another machine.
    """
    from ragcore.build import build_memory

    if shard is not None or out is not None or training is not None:
        number, of, folder = _shard_options(shard, out, version, no_activate=no_activate)
        _build_shard(
            pipeline, overrides, number, of, folder, training, fresh=fresh, as_json=as_json
        )
        return
    with stage_bars() as progress:
        built = build_memory(
            pipeline,
            *(overrides or ()),
            version=version,
            fresh=fresh,
            activate=not no_activate,
            progress=progress,
        )
    if as_json:
        print_json(_made_row(built))
        return
    _print_made("built", built)
    _print_summary(built)


def _shard_options(
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


def _build_shard(
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
        print_json(_made_row(built))
        return
    was = " was built already" if built.was_there else ""
    passages, size = counted(built.passages, "passage"), byte_size(built.bytes)
    print_text(f"shard {number}/{of} in {out}{was}: {passages}, {size}")
    if built.read_whole:
        print_text("the corpus cannot be divided, so that all of it was read to find this part")
    _print_summary(built)


@app.command()
def train_index(
    pipeline: PipelineArgument,
    out: Annotated[Path, typer.Option(help="The folder to make.")],
    overrides: _Overrides = None,
    sample: Annotated[
        int | None,
        typer.Option(min=1, help="How many passages to draw; else as many as the index wants."),
    ] = None,
) -> None:
    """Train the index on a sample of the whole corpus, for `build --shard … --training`."""
    from ragcore import build

    with stage_bars() as progress:
        trained = build.train_index(
            pipeline, *(overrides or ()), out=out, sample=sample, progress=progress
        )
    print_text(f"trained on {trained.sample:,} of {trained.passages:,} passages: {trained.folder}")


@app.command()
def merge(
    pipeline: PipelineArgument,
    folders: Annotated[
        list[str],
        typer.Argument(
            help="Folders of shards, in any order; and changes to the file, as for `build`."
        ),
    ],
    version: Annotated[
        str | None,
        typer.Option(help="The new version's name; else memory.version, else today's date."),
    ] = None,
    no_activate: _NoActivate = False,
    as_json: JsonOption = False,
) -> None:
    """Make a version of shards that `build --shard` made, and make it the current one.

    Their files are verified, then shared by hard links where the file system allows it.
    """
    from ragcore.build import merge_shards

    overrides = [each for each in folders if is_override(each) and not Path(each).exists()]
    with stage_bars() as progress:
        merged = merge_shards(
            pipeline,
            [each for each in folders if each not in overrides],
            *overrides,
            version=version,
            activate=not no_activate,
            progress=progress,
        )
    if as_json:
        print_json(_made_row(merged))
        return
    _print_made("merged", merged)


@app.command()
def update(
    location: StoreArgument,
    changes: Annotated[
        str | None,
        typer.Argument(
            help='JSON lines: passages to add or replace, and {"id": …, "delete": true}; else the '
            "differences to the pipeline's corpus."
        ),
    ] = None,
    overrides: _Overrides = None,
    version: Annotated[
        str | None, typer.Option(help="The new version's name; else today's date.")
    ] = None,
    parent: Annotated[
        str | None, typer.Option(help="The version to start from; else the current one.")
    ] = None,
    no_activate: _NoActivate = False,
    allow_older: Annotated[
        bool, typer.Option("--allow-older", help="Also by a corpus older than the memory's.")
    ] = False,
    allow_other: Annotated[
        bool, typer.Option("--allow-other", help="Also by a corpus of something else.")
    ] = False,
    allow_deletions: Annotated[
        bool,
        typer.Option(
            "--allow-deletions", help="Also where more than a fifth of the documents is deleted."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a new version from another by adding, replacing and deleting passages.

    It becomes the current version. Where nothing changes, no version is made.
    """
    from ragcore.build import update_memory
    from ragcore.views.versions import document_line

    arguments = [] if changes is None else [changes, *(overrides or ())]
    file, settings = _changes_and_overrides(arguments)
    allowed: dict[Allowed, bool] = {
        "older": allow_older,
        "other": allow_other,
        "deletions": allow_deletions,
    }
    with stage_bars() as progress:
        updated = update_memory(
            location,
            file,
            overrides=settings,
            version=version,
            parent=parent,
            activate=not no_activate,
            allow=[name for name, is_allowed in allowed.items() if is_allowed],
            progress=progress,
        )
    if as_json:
        row = {**_made_row(updated), "nothing_changed": updated.nothing_changed}
        if updated.documents is None:
            del row["documents"]
        print_json({**row, "encodings_saved": updated.encodings_saved})
        return
    if updated.nothing_changed:
        print_text(f"nothing changed: version {updated.parent} has these passages already")
        _print_summary(updated)
        return
    _print_made("made", updated, _counts(updated))
    if updated.documents is not None:
        print_text(document_line(updated.documents))
        print_text(
            f"{updated.encodings_saved:,} of {updated.passages:,} passages were not encoded again; "
            f"{updated.seconds:,.1f} s"
        )
    _print_summary(updated)


def _changes_and_overrides(arguments: list[str]) -> tuple[Path | None, list[str]]:
    """Split the arguments of `update` into the file of changes and changes to the pipeline.

    Raises:
        ConfigError: there are two files.
    """
    from ragcore.errors import ConfigError

    files: list[str] = []
    overrides: list[str] = []
    for argument in arguments:
        is_setting = is_override(argument) and not Path(argument).exists()
        (overrides if is_setting else files).append(argument)
    if len(files) > 1:
        raise ConfigError(
            f"two files of changes, {files[0]!r} and {files[1]!r}: give one; an override is "
            "written as section.key=value"
        )
    return Path(files[0]) if files else None, overrides


def _counts(updated: UpdateInfo) -> str:
    """Return how many passages an update added, changed, removed and moved."""
    moved = f", {updated.moved:,} moved" if updated.moved else ""
    return (
        f", {updated.added:,} added, {updated.changed:,} changed, {updated.removed:,} removed"
        f"{moved} since {updated.parent}"
    )


def _made_row(version: BuildInfo | UpdateInfo) -> dict[str, Any]:
    """Return a version that was just made as JSON shows it."""
    row = version_row(version)
    if version.encodings is None:
        del row["encodings"]
    if not version.cut_passages:
        del row["cut_passages"]
    if not version.summary:
        del row["summary"]
    return row


def _print_made(verb: str, version: BuildInfo | UpdateInfo, counts: str = "") -> None:
    """Print a version that was just made, how it was encoded, and whether it is the current one."""
    from ragcore.views.tables import byte_size, counted

    encodings = version.encodings
    encoded = (
        f"; {encodings.encoded:,} encoded, {encodings.from_cache:,} from the cache"
        if encodings is not None
        else ""
    )
    use = "it is the current one" if version.current else "it is not the current one"
    print_text(
        f"{verb} version {version.name}: {counted(version.passages, 'passage')}{counts}, "
        f"{byte_size(version.bytes)}{encoded}; {use}"
    )


def _print_summary(version: BuildInfo | UpdateInfo) -> None:
    """Print what the corpus says of its files, such as which it skipped and why."""
    for line in version.summary:
        print_text(line)

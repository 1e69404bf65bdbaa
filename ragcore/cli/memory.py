"""`ragcore memory`: build and update a memory; versions.py has the rest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragcore.cli import versions
from ragcore.cli.arguments import (
    JsonOption,
    OnOption,
    OnSettingsOption,
    PipelineArgument,
    StoreArgument,
    is_override,
    runner_on,
)
from ragcore.cli.calibrate import calibrate_temperature
from ragcore.cli.compare import compare
from ragcore.cli.made import made_row, print_made, print_summary
from ragcore.cli.plan import plan
from ragcore.cli.progress import stage_bars
from ragcore.cli.search import search
from ragcore.cli.shards import build_one_shard, check_spread, shard_options
from ragcore.views.output import print_json, print_text

if TYPE_CHECKING:
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
        Path | None, typer.Option(help="The folder that `train-index` made.")
    ] = None,
    on: OnOption = None,
    on_option: OnSettingsOption = None,
    shards: Annotated[
        int | None, typer.Option(min=1, help="With --on: how many parts to build and merge.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Build a new version from the pipeline's corpus, and make it the current one.

    With --shard and --out, build one part of it; each may be built on another machine. With --on
    and --shards, build all parts in other processes or on a cluster, and merge them.
    """
    from ragcore.build import build_memory

    check_spread(on, shards, shard)
    runner = runner_on(on, on_option)
    if runner is None and (shard is not None or out is not None):
        number, of, folder = shard_options(shard, out, version, no_activate=no_activate)
        build_one_shard(
            pipeline, overrides, number, of, folder, training, fresh=fresh, as_json=as_json
        )
        return
    with stage_bars() as progress:
        if runner is not None:
            from ragcore.distributed import build_in_shards

            assert shards is not None
            built = build_in_shards(
                pipeline,
                *(overrides or ()),
                runner=runner,
                shards=shards,
                out=out,
                training=training,
                version=version,
                fresh=fresh,
                activate=not no_activate,
                progress=progress,
            )
        else:
            built = build_memory(
                pipeline,
                *(overrides or ()),
                version=version,
                training=training,
                fresh=fresh,
                activate=not no_activate,
                progress=progress,
            )
    if as_json:
        print_json(made_row(built))
        return
    print_made("built", built)
    print_summary(built)


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
    """Train the index on a sample of the whole corpus, for `build --training`, also of shards."""
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
    verify: Annotated[
        str,
        typer.Option(
            metavar="full|sampled|sizes",
            help="What of the shards' files is read and compared with its sha256.",
        ),
    ] = "full",
    as_json: JsonOption = False,
) -> None:
    """Make a version of shards that `build --shard` made, and make it the current one.

    Their files are verified, then shared by hard links where the file system allows it.
    """
    from ragcore.build import merge_shards
    from ragcore.errors import ConfigError
    from ragcore.store.layout import Verify

    checks: dict[str, Verify] = {"full": "full", "sampled": "sampled", "sizes": False}
    if verify not in checks:
        raise ConfigError(f"--verify {verify[:40]!r}: expected one of {', '.join(checks)}")

    overrides = [each for each in folders if is_override(each) and not Path(each).exists()]
    with stage_bars() as progress:
        merged = merge_shards(
            pipeline,
            [each for each in folders if each not in overrides],
            *overrides,
            version=version,
            activate=not no_activate,
            verify=checks[verify],
            progress=progress,
        )
    if as_json:
        print_json(made_row(merged))
        return
    print_made("merged", merged)


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
        row = {**made_row(updated), "nothing_changed": updated.nothing_changed}
        if updated.documents is None:
            del row["documents"]
        print_json({**row, "encodings_saved": updated.encodings_saved})
        return
    if updated.nothing_changed:
        print_text(f"nothing changed: version {updated.parent} has these passages already")
        print_summary(updated)
        return
    print_made("made", updated, _counts(updated))
    if updated.documents is not None:
        print_text(document_line(updated.documents))
        print_text(
            f"{updated.encodings_saved:,} of {updated.passages:,} passages were not encoded again; "
            f"{updated.seconds:,.1f} s"
        )
    print_summary(updated)


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

"""Commands of `ragcore memory` on a store's versions: list, show, switch, compare, move, delete."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragcore.cli.arguments import JsonOption, StoreArgument
from ragcore.cli.outputs import check_file
from ragcore.cli.progress import stage_bars
from ragcore.cli.stores import cache_at, forget_states, retriever_at, store_at, version_row
from ragcore.views.output import print_json, print_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ragcore.contracts import Fragments
    from ragcore.store.diff import Differences
    from ragcore.store.store import Store
    from ragcore.types import Passage

__all__ = ["COMMANDS"]

_Version = Annotated[
    str | None,
    typer.Argument(help="The version's name; else the pipeline's, else the current one."),
]


def list_(
    location: StoreArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False,
) -> None:
    """List the versions of a store; * marks the current one.

    A version whose manifest is broken is listed with the reason.
    """
    from ragcore.views.console import print_view
    from ragcore.views.versions import versions_view

    store, _ = store_at(location)
    versions = store.versions()
    if as_json:
        print_json([version_row(version) for version in versions])
        return
    print_view(versions_view(versions) if versions else f"{store.folder} has no version yet")


def show(location: StoreArgument, version: _Version = None, as_json: JsonOption = False) -> None:
    """Show a version: its passages, retriever, corpus, parent version and files."""
    from ragcore.views.console import print_view
    from ragcore.views.versions import manifest_view

    store, preferred = store_at(location)
    manifest = store.manifest(version or preferred)
    current = manifest.name == store.current()
    fragments = _fragments(store, manifest.name)
    if as_json:
        row = {**manifest.model_dump(mode="json"), "bytes": manifest.bytes, "current": current}
        if fragments is not None:
            row["fragments"] = asdict(fragments)
        print_json(row)
        return
    print_view(manifest_view(manifest, current=current, fragments=fragments))


def _fragments(store: Store, version: str) -> Fragments | None:
    """Return a version's segments; None without any, or if its plugin is not installed here."""
    from ragcore.errors import ConfigError, PluginError

    try:
        return store.fragments(version)
    except (ConfigError, PluginError):
        return None


def compact(
    location: StoreArgument,
    version: Annotated[
        str | None, typer.Option(help="The new version's name; else today's date.")
    ] = None,
    parent: Annotated[
        str | None, typer.Option(help="The version to compact; else the current one.")
    ] = None,
    no_activate: Annotated[
        bool, typer.Option("--no-activate", help="Leave the current version in use.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a version without removed rows in its index, and with one segment if possible.

    It answers as before, and becomes the current one. `ragcore memory show` tells how many there
    are.
    """
    from ragcore.views.tables import byte_size, counted

    store, preferred = store_at(location)
    with stage_bars() as progress:
        compacted = store.compact(
            version,
            parent=parent or preferred,
            retriever=retriever_at(location),
            activate=not no_activate,
            progress=progress,
        )
    if as_json:
        print_json({**version_row(compacted), "nothing_changed": compacted.nothing_changed})
        return
    if compacted.nothing_changed:
        print_text(f"version {compacted.parent} is compact already")
        return
    use = "it is the current one" if compacted.current else "it is not the current one"
    before, after = (
        f"{counted(segments, 'segment')}, {counted(removed, 'removed row')}"
        for segments, removed in (
            (compacted.parent_segments, compacted.parent_removed),
            (compacted.segments, compacted.removed),
        )
    )
    print_text(
        f"compacted version {compacted.parent} ({before}) to {compacted.name} ({after}): "
        f"{byte_size(compacted.bytes)}, {compacted.seconds:,.1f} s; {use}"
    )
    if compacted.segments > 1 or compacted.removed:
        print_text(
            "what is left belongs to an index that was trained apart in each segment, or that "
            "gives no vectors back: build the memory again to have one"
        )


def verify(location: StoreArgument, version: _Version = None) -> None:
    """Compare every file of a version with the sha256 in its manifest, and tables in databases."""
    from ragcore.views.tables import byte_size, counted

    store, preferred = store_at(location)
    retriever = retriever_at(location) if store.has_remote_data else None
    checked = store.verify(version or preferred, retriever=retriever)
    size = byte_size(checked.bytes)
    print_text(f"version {checked.name} is intact: {counted(checked.passages, 'passage')}, {size}")


def activate(
    location: StoreArgument,
    version: Annotated[str, typer.Argument(help="The version's name.")],
    check: Annotated[
        bool, typer.Option("--check", help="Open it and search it once first.")
    ] = False,
) -> None:
    """Make a version the current one."""
    store, _ = store_at(location)
    retriever = retriever_at(location) if check else None
    store.activate(version, check=check, retriever=retriever)
    print_text(f"version {version} is the current one")


def rollback(location: StoreArgument) -> None:
    """Make the version that was current before the current one again."""
    store, _ = store_at(location)
    old, new = store.rollback()
    print_text(f"version {new} is the current one again" + (f", in place of {old}" if old else ""))


def gc(
    location: StoreArgument,
    keep: Annotated[int, typer.Option(min=1, help="How many versions to keep at least.")] = 3,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Delete nothing; print what would be deleted.")
    ] = False,
    deleted: Annotated[
        list[Path] | None,
        typer.Option(help="A store that was merged from these shards and is deleted; repeat it."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Delete old versions and leftovers of interrupted builds.

    Keeps the current version, the rollback target, the newest, and any that a program has open.
    """
    from ragcore.views.tables import byte_size

    store, _ = store_at(location)
    retriever = retriever_at(location) if store.has_remote_data else None
    collected = store.gc(keep, retriever=retriever, dry_run=dry_run, deleted=deleted or ())
    if as_json:
        row = {**asdict(collected), "left": [each.problem for each in collected.left]}
        print_json({**row, "dry_run": dry_run})
        return
    for name in collected.removed:
        broken = ", whose manifest is broken" if name in collected.broken else ""
        print_text(f"{'would delete' if dry_run else 'deleted'} version {name}{broken}")
    for name in collected.in_use:
        print_text(f"kept version {name}, which a program has open")
    for each in collected.left:
        print_text(f"{each.problem}: {each.advice}")
    if collected.remote:
        drops = "to drop" if dry_run else "dropped"
        print_text(f"{collected.remote} tables in databases {drops}")
    freed = f"{byte_size(collected.bytes)} {'to free' if dry_run else 'freed'}"
    print_text(f"{len(collected.kept)} versions kept, {collected.orphans} orphans, {freed}")


def forget(
    location: StoreArgument,
    ids: Annotated[list[str], typer.Argument(help="Ids of documents or of passages.")],
    everywhere: Annotated[
        bool, typer.Option("--everywhere", help="Rewrite the files of all versions, too.")
    ] = False,
    version: Annotated[
        str | None, typer.Option(help="The new version's name; else today's date.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Remove documents or passages from the current version, and say where they are left."""
    from ragcore.embeddings.upkeep import Forgotten, size_of
    from ragcore.embeddings.upkeep import forget as forget_vectors
    from ragcore.views.tables import counted

    store, _ = store_at(location)
    cache = cache_at(location)
    cached = Forgotten(0)
    states: dict[str, int] = {}

    def forget_copies(passages: Sequence[Passage]) -> None:
        nonlocal cached, states
        if cache is not None:
            cached = forget_vectors(cache, passages)
        states = forget_states(location, passages)

    with stage_bars() as progress:
        forgotten = store.forget(
            ids,
            everywhere=everywhere,
            version=version,
            retriever=retriever_at(location),
            forget_copies=forget_copies,
            progress=progress,
        )
    if as_json:
        row = asdict(forgotten)
        row["passages"] = sorted({each.id for each in forgotten.passages})
        print_json({**row, "cache": asdict(cached), "states": states})
        return
    count = len({passage.id for passage in forgotten.passages})
    if forgotten.version is None:
        these = f"these {count:,} passages" if count > 1 else "them"
        print_text(f"the current version has none of {these}")
    else:
        passages = counted(count, "passage")
        print_text(f"forgot {passages}: version {forgotten.version} is the current one")
    if forgotten.rewritten:
        print_text(f"rewritten: versions {', '.join(forgotten.rewritten)}")
    if forgotten.in_use:
        names = ", ".join(forgotten.in_use)
        print_text(f"left in versions {names}, which a program has open: close it, and repeat this")
    elif forgotten.left:
        names = ", ".join(forgotten.left)
        print_text(f"left in the files of versions {names}: --everywhere rewrites them")
    if cached.vectors:
        print_text(f"{cached.vectors:,} vectors removed from the embedding cache {cache}")
    for folder, files in states.items():
        print_text(f"{counted(files, 'passage')} removed from what a generator keeps in {folder}")
    for path, reason in cached.left.items():
        print_text(f"left in the embedding cache {path}: {reason}: delete this file")
    if not everywhere and cache is not None and size_of(cache):
        print_text(f"left in the embedding cache {cache}: --everywhere removes vectors there, too")
    print_text(
        "left in other places: the corpus, from which the next build or update reads them again, "
        "exported versions, vectors of interrupted builds until `ragcore memory gc`, runs of "
        "`ragcore eval`, and logs"
    )


def diff(
    location: StoreArgument,
    old: Annotated[str, typer.Argument(help="The name of a version.")],
    new: Annotated[str, typer.Argument(help="The name of the version to compare it with.")],
    limit: Annotated[
        int, typer.Option(min=0, help="The most passages of each kind to print; 0 prints counts.")
    ] = 20,
    changes: Annotated[
        Path | None,
        typer.Option(help="Write the changes from old to new as a file for `memory update`."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per passage, one a line.")
    ] = False,
) -> None:
    """Show passages added, removed, changed or moved between two versions."""
    from ragcore.store.diff import write_changes
    from ragcore.views.console import print_view
    from ragcore.views.versions import difference_view

    if changes is not None:
        check_file("--changes", changes)
    store, _ = store_at(location)
    differences = store.diff(old, new)
    if changes is not None:
        write_changes(changes, differences)
    if as_json:
        _print_lines(differences)
    else:
        print_view(difference_view(differences, limit))


def export(
    location: StoreArgument,
    file: Annotated[
        Path,
        typer.Argument(help="The file to write, such as world-2026-02.tar; - for standard output."),
    ],
    version: _Version = None,
) -> None:
    """Write a version as one file, with the sha256 of everything in it."""
    from ragcore.views.output import binary_output
    from ragcore.views.tables import byte_size

    store, preferred = store_at(location)
    if str(file) == "-":
        with binary_output() as stream:
            store.export(stream, version or preferred)
        return
    with stage_bars() as progress:
        written = store.export(file, version or preferred, progress=progress)
    print_text(f"wrote version {written.name} to {file}: {byte_size(file.stat().st_size)}")


def import_(
    location: StoreArgument,
    file: Annotated[Path, typer.Argument(help="A file that `memory export` wrote.")],
    version: Annotated[
        str | None, typer.Option(help="The version's name in this store; else its old name.")
    ] = None,
    activate: Annotated[
        bool, typer.Option("--activate", help="Make it the current version.")
    ] = False,
) -> None:
    """Add an exported version to a store, if all its files match their sha256."""
    from ragcore.views.tables import byte_size, counted

    store, _ = store_at(location, new=True)
    with stage_bars() as progress:
        imported = store.import_version(
            file,
            version,
            activate=activate,
            retriever=retriever_at(location) if activate else None,
            progress=progress,
        )
    current = "; it is the current one" if activate else ""
    size = byte_size(imported.bytes)
    passages = counted(imported.passages, "passage")
    print_text(f"version {imported.name}: {passages}, {size}{current}")


COMMANDS = (list_, show, compact, verify, activate, rollback, gc, forget, diff, export, import_)
"""The commands, by their names without the underscores that Python needs."""


def _print_lines(differences: Differences) -> None:
    """Print each difference as a line of JSON."""
    rows = [{"change": "removed", "old": asdict(passage)} for passage in differences.removed]
    rows += [{"change": "added", "new": asdict(passage)} for passage in differences.added]
    for change, pairs in (("changed", differences.changed), ("moved", differences.moved)):
        rows += [
            {"change": change, "old": asdict(before), "new": asdict(after)}
            for before, after in pairs
        ]
    for row in rows:
        print_json(row)

"""`ragcore memory`'s commands on the versions of a store: which there are, and which is current."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragcore.cli.stores import StoreArgument, bars, size, store_at

if TYPE_CHECKING:
    from rich.text import Text

    from ragcore.store.diff import Differences
    from ragcore.store.manifest import Manifest
    from ragcore.types import Passage

__all__ = ["COMMANDS"]

_Version = Annotated[
    str | None, typer.Argument(help="Its name; else the pipeline's, else the current one.")
]
_Json = Annotated[bool, typer.Option("--json", help="One JSON object.")]


def list_(
    place: StoreArgument,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list.")] = False,
) -> None:
    """The versions of a store; * marks the current one."""
    from dataclasses import asdict

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    store, _ = store_at(place)
    versions = store.versions()
    if as_json:
        print(json.dumps([asdict(version) for version in versions], ensure_ascii=False))
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("", "version", "passages", "retriever", "size", "created"):
        table.add_column(name, justify="right" if name in ("passages", "size") else "left")
    for one in versions:
        table.add_row(
            "*" if one.current else "",
            Text(one.name, style="bold" if one.current else ""),
            f"{one.passages:,}",
            Text(one.retriever),
            size(one.bytes),
            one.created,
        )
    Console().print(table if versions else Text(f"{store.folder} has no version yet"))


def show(place: StoreArgument, version: _Version = None, as_json: _Json = False) -> None:
    """What a version is made of: its passages, its retriever, where it comes from, its files."""
    from rich.console import Console

    store, preferred = store_at(place)
    manifest = store.manifest(version or preferred)
    current = manifest.name == store.current()
    if as_json:
        said = manifest.model_dump(mode="json")
        print(json.dumps({**said, "bytes": manifest.bytes, "current": current}, ensure_ascii=False))
        return
    console = Console(highlight=False)
    console.print(_facts(manifest, current=current), markup=False)
    for name, record in manifest.files.items():
        console.print(f"  {size(record.bytes):>10}  {record.sha256[:12]}  {name}", markup=False)


def verify(place: StoreArgument, version: _Version = None) -> None:
    """Compare every file of a version with the sha256 that its manifest gives."""
    store, preferred = store_at(place)
    checked = store.verify(version or preferred)
    print(f"version {checked.name} is whole: {checked.passages:,} passages, {size(checked.bytes)}")


def activate(
    place: StoreArgument, version: Annotated[str, typer.Argument(help="The version's name.")]
) -> None:
    """Make a version the current one."""
    store, _ = store_at(place)
    store.activate(version)
    print(f"version {version} is the current one")


def rollback(place: StoreArgument) -> None:
    """Make the version that was active before the current one the current one again."""
    store, _ = store_at(place)
    old, new = store.rollback()
    print(f"version {new} is the current one again" + (f", in place of {old}" if old else ""))


def gc(
    place: StoreArgument,
    keep: Annotated[int, typer.Option(min=1, help="How many versions to keep at least.")] = 3,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Remove nothing, and say what would be removed.")
    ] = False,
    as_json: _Json = False,
) -> None:
    """Remove old versions, and what killed builds have left.

    Kept are the current version, the one that rollback would go to, then the newest; and each that
    a program has open.
    """
    from dataclasses import asdict

    store, _ = store_at(place)
    found = store.gc(keep, dry_run=dry_run)
    if as_json:
        print(json.dumps({**asdict(found), "dry_run": dry_run}, ensure_ascii=False))
        return
    for name in found.removed:
        print(f"{'would remove' if dry_run else 'removed'} version {name}")
    for name in found.in_use:
        print(f"kept version {name}, which a program has open")
    freed = f"{size(found.bytes)} {'to free' if dry_run else 'freed'}"
    print(f"{len(found.kept)} versions kept, {found.orphans} orphans, {freed}")


def diff(
    place: StoreArgument,
    old: Annotated[str, typer.Argument(help="A version's name.")],
    new: Annotated[str, typer.Argument(help="Another's.")],
    limit: Annotated[
        int, typer.Option(min=0, help="How many passages of each kind to print; 0 prints counts.")
    ] = 20,
    changes: Annotated[
        Path | None,
        typer.Option(help="Write what makes the old version the new one, for `memory update`."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a passage and line.")
    ] = False,
) -> None:
    """Passages that another version has besides, has no more, or has otherwise."""
    from rich.console import Console

    from ragcore.store.diff import write_changes

    store, _ = store_at(place)
    found = store.diff(old, new)
    if changes is not None:
        write_changes(changes, found)
    if as_json:
        _print_lines(found)
        return
    console = Console(highlight=False)
    for passage in found.removed[:limit]:
        console.print(_marked("-", passage, "red"))
    for passage in found.added[:limit]:
        console.print(_marked("+", passage, "green"))
    for before, after in found.changed[:limit]:
        console.print(_marked("~", after, "yellow"))
        console.print(_rewritten(before, after))
    counts = (len(found.added), len(found.removed), len(found.changed))
    print("{:,} added, {:,} removed, {:,} changed".format(*counts))


def export(
    place: StoreArgument,
    file: Annotated[Path, typer.Argument(help="The file to write, such as world-2026-02.tar.")],
    version: _Version = None,
) -> None:
    """Write a version as one file, each part of it with its sha256."""
    store, preferred = store_at(place)
    with bars() as progress:
        written = store.export(file, version or preferred, progress=progress)
    print(f"wrote version {written.name} to {file}: {size(file.stat().st_size)}")


def import_(
    place: StoreArgument,
    file: Annotated[Path, typer.Argument(help="A file that `memory export` wrote.")],
    version: Annotated[
        str | None, typer.Option(help="The version's name here; else the one that it had.")
    ] = None,
    activate: Annotated[
        bool, typer.Option("--activate", help="Make it the current version.")
    ] = False,
) -> None:
    """Take in a version that was exported, when each part of it agrees with its sha256."""
    store, _ = store_at(place, new=True)
    with bars() as progress:
        made = store.import_version(file, version, activate=activate, progress=progress)
    told = "; it is the current one" if activate else ""
    print(f"version {made.name}: {made.passages:,} passages, {size(made.bytes)}{told}")


COMMANDS = (list_, show, verify, activate, rollback, gc, diff, export, import_)
"""The commands, by their names without the underscores that Python needs."""


def _facts(manifest: Manifest, *, current: bool) -> str:
    facts = {
        "version": manifest.name + (" (current)" if current else ""),
        "created": manifest.created,
        "passages": f"{manifest.passages:,}",
        "retriever": json.dumps(manifest.retriever, ensure_ascii=False),
        "fingerprint": manifest.fingerprint,
        "corpus": json.dumps(manifest.corpus, ensure_ascii=False) if manifest.corpus else "",
        "parent": manifest.parent,
        "ragcore": manifest.ragcore,
        "size": size(manifest.bytes),
    }
    return "\n".join(f"{name:<11}  {fact}" for name, fact in facts.items() if fact)


def _print_lines(found: Differences) -> None:
    """Each difference as a line of JSON."""
    from dataclasses import asdict

    for passage in found.removed:
        print(json.dumps({"change": "removed", "old": asdict(passage)}, ensure_ascii=False))
    for passage in found.added:
        print(json.dumps({"change": "added", "new": asdict(passage)}, ensure_ascii=False))
    for before, after in found.changed:
        said = {"change": "changed", "old": asdict(before), "new": asdict(after)}
        print(json.dumps(said, ensure_ascii=False))


def _marked(mark: str, passage: Passage, style: str) -> Text:
    from rich.text import Text

    line = Text(f"{mark} ", style=style)
    line.append(passage.title or passage.id, style="bold")
    return line.append(f"  {passage.id}", style="dim")


def _rewritten(before: Passage, after: Passage) -> Text:
    """What was taken out and put in, word by word; three words around each."""
    from difflib import SequenceMatcher

    from rich.text import Text

    old, new = _told(before), _told(after)
    line = Text("  ")
    for group in SequenceMatcher(None, old, new, autojunk=False).get_grouped_opcodes(3):
        line.append("… ", style="dim")
        for kind, a, b, c, d in group:
            if kind == "equal":
                line.append(" ".join(old[a:b]) + " ")
                continue
            for words, sign, style in ((old[a:b], "-", "red"), (new[c:d], "+", "green")):
                if words:
                    line.append(f"[{sign}{' '.join(words)}{sign}] ", style=style)
    return line


def _told(passage: Passage) -> list[str]:
    """A passage's words, its metadata after its text."""
    metadata = json.dumps(dict(passage.metadata), ensure_ascii=False) if passage.metadata else ""
    return f"{passage.title} | {passage.text} {metadata}".split()

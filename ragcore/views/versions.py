"""Show the versions of a store in a terminal: a list, one version, and the difference of two."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from textwrap import indent
from typing import TYPE_CHECKING, Any

import yaml
from rich.console import Group, RenderableType
from rich.text import Text

from ragcore.views.source import on_one_line
from ragcore.views.tables import byte_size, plain_table

if TYPE_CHECKING:
    from ragcore.contracts import Fragments
    from ragcore.store.comparing import DocumentCounts
    from ragcore.store.diff import Differences
    from ragcore.store.manifest import Manifest
    from ragcore.store.store import VersionInfo
    from ragcore.types import Passage

__all__ = ["difference_view", "document_line", "manifest_view", "versions_view"]

_CONTEXT_WORDS = 3
"""Unchanged words shown around a change."""


def versions_view(versions: Sequence[VersionInfo], *, marked: str | None = None) -> RenderableType:
    """Show the versions of a store as a table.

    Args:
        versions: as the store lists them.
        marked: the name of the one that * marks; the current one where None.
    """
    columns = ("", "version", "passages", "retriever", "size", "created")
    table = plain_table(*columns, numbers=("passages", "size"))
    for version in versions:
        is_marked = version.current if marked is None else version.name == marked
        table.add_row(
            "*" if is_marked else "",
            Text(version.name, style="bold" if is_marked else ""),
            "" if version.broken else f"{version.passages:,}",
            Text("broken", style="red") if version.broken else Text(version.retriever),
            byte_size(version.bytes),
            version.created,
        )
    broken = [Text(f"{each.name}: {each.broken}") for each in versions if each.broken]
    return Group(table, *broken) if broken else table


def manifest_view(
    manifest: Manifest, *, current: bool, fragments: Fragments | None = None
) -> RenderableType:
    """Show what a manifest records: passages, retriever, corpus, parent, and each file.

    Args:
        manifest: of the version.
        current: whether it is the current one.
        fragments: what updates have left in the retriever's files, if it has segments.
    """
    segments = ""
    if fragments is not None and not fragments.is_compact:
        segments = f"{fragments.segments:,}, with {fragments.removed:,} removed rows"
    facts = {
        "version": manifest.name + (" (current)" if current else ""),
        "created": manifest.created,
        "passages": f"{manifest.passages:,}",
        "documents": "" if manifest.documents is None else f"{manifest.documents:,}",
        "retriever": _settings(manifest.retriever),
        "fingerprint": manifest.fingerprint,
        "passages in": _settings(manifest.passage_store),
        "corpus": _settings(manifest.corpus),
        "of": " of ".join(filter(None, (manifest.corpus_identity, manifest.corpus_date))),
        "segments": segments,
        "parent": manifest.parent,
        "ragcore": manifest.ragcore,
        "size": byte_size(manifest.bytes),
    }
    lines = [
        f"{name}{fact}" if fact.startswith("\n") else f"{name:<11}  {fact}"
        for name, fact in facts.items()
        if fact
    ]
    lines += [
        f"  {byte_size(record.bytes):>10}  {record.sha256[:12]}  {name}"
        for name, record in manifest.files.items()
    ]
    return Text("\n".join(lines))


def _settings(settings: Mapping[str, Any] | None) -> str:
    """Return a component's settings as a pipeline has them: YAML, below their name."""
    if not settings:
        return ""
    text = yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True, width=100)
    return "\n" + indent(text.rstrip("\n"), "    ")


def document_line(counts: DocumentCounts) -> str:
    """Say in one line what happened to the documents of a version."""
    unchanged = f"{counts.unchanged + counts.same_text:,} unchanged"
    if counts.same_text:
        unchanged += f" ({counts.same_text:,} of them revised without a change of text)"
    kinds = [f"{getattr(counts, kind):,} {kind}" for kind in ("added", "edited", "renamed")]
    kinds += [f"{counts.removed:,} removed", unchanged]
    if counts.left:
        kinds.append(f"{counts.left:,} kept that the corpus lacks")
    return f"documents: {', '.join(kinds)}"


def difference_view(differences: Differences, limit: int) -> RenderableType:
    """Show removed (-), added (+) and changed (~) passages, and the words that changed.

    Passages that moved are only counted.

    Args:
        differences: the difference between two versions.
        limit: the most passages of each kind to show; the last line has the full counts.
    """
    return Group(*_differences(differences, limit))


def _differences(differences: Differences, limit: int) -> Iterator[Text]:
    for passage in differences.removed[:limit]:
        yield _marked("-", passage, "red")
    for passage in differences.added[:limit]:
        yield _marked("+", passage, "green")
    for before, after in differences.changed[:limit]:
        yield _marked("~", after, "yellow")
        yield _rewritten(before, after)
    kinds = (differences.added, differences.removed, differences.changed)
    moved = f", {len(differences.moved):,} moved" if differences.moved else ""
    yield Text("{:,} added, {:,} removed, {:,} changed{}".format(*map(len, kinds), moved))
    if differences.documents is not None:
        yield Text(document_line(differences.documents))


def _marked(mark: str, passage: Passage, style: str) -> Text:
    line = Text(f"{mark} ", style=style)
    line.append(on_one_line(passage.title) or on_one_line(passage.id), style="bold")
    return line.append(f"  {on_one_line(passage.id)}", style="dim")


def _rewritten(before: Passage, after: Passage) -> Text:
    """Show removed and inserted words, with a few unchanged words around each."""
    old, new = _words(before), _words(after)
    line = Text("  ")
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    for group in matcher.get_grouped_opcodes(_CONTEXT_WORDS):
        line.append("… ", style="dim")
        for kind, old_start, old_end, new_start, new_end in group:
            removed, inserted = old[old_start:old_end], new[new_start:new_end]
            if kind == "equal":
                line.append(" ".join(removed) + " ")
                continue
            for words, sign, style in ((removed, "-", "red"), (inserted, "+", "green")):
                if words:
                    line.append(f"[{sign}{' '.join(words)}{sign}] ", style=style)
    return line


def _words(passage: Passage) -> list[str]:
    """Split a passage into words: its title, its text, then its metadata."""
    metadata = json.dumps(dict(passage.metadata), ensure_ascii=False) if passage.metadata else ""
    return f"{passage.title} | {passage.text} {metadata}".split()

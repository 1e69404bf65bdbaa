"""Changes to a memory's passages: read from a file, or found by comparing with a corpus.

Knows passages, their ids and their documents; knows nothing of stores or retrievers. Memory is
taken by the passages that change, and by the ids of a version that records no documents.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from ragcore.corpora.jsonl import passage_from_json
from ragcore.corpora.lines import lines_of
from ragcore.disk.replacing import replacing
from ragcore.errors import CorpusError, EmptyCorpusError
from ragcore.memory.passages import Passages
from ragcore.questions.texts import fault_of
from ragcore.store.checking import checked_passages
from ragcore.store.comparing import (
    DocumentCounts,
    change_of,
    has_moved,
    pair_passages,
    same_text,
)
from ragcore.store.documents import DocumentRecord, Documents
from ragcore.types import Passage

if TYPE_CHECKING:
    from ragcore.types import Rows

__all__ = [
    "Changes",
    "Derivation",
    "Differences",
    "RecordedPassages",
    "changes_to",
    "derive",
    "differences",
    "differences_by_document",
    "read_changes",
    "write_changes",
]


_BATCH: Final = 512
"""Passages that are read together."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Passages to add or replace, in their order, and ids to delete.

    Attributes:
        upserts: passages by id; one that exists is replaced, any other is added.
        deletions: ids, each with where the deletion was read ("changes.jsonl:7"), for errors.
    """

    upserts: Mapping[str, Passage]
    deletions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Derivation:
    """How a version's passages follow from its parent's: those that stay, then those added.

    Attributes:
        removed: rows of the parent that do not stay, int64 [r], ascending.
        added: passages that follow those that stay, in order.
        replaced: how many of the added ones have the id of a removed one.
        moved: rows of passages that stay where only the place in their file differs, each with the
            passage that has the new metadata.
    """

    removed: Rows
    added: list[Passage]
    replaced: int
    moved: list[tuple[int, Passage]]

    @property
    def is_empty(self) -> bool:
        """Whether the passages are the parent's."""
        return not len(self.removed) and not self.added and not self.moved


@dataclass(frozen=True, slots=True)
class Differences:
    """How the passages of two versions differ; their order does not count.

    They are paired by id; where both versions record documents, within a document also by their
    positions (`pair_passages`), and metadata that say which revision a passage is of do not count.
    Metadata that say where it is tell that it moved.

    Attributes:
        added: passages with ids of the new version only, in its order.
        removed: passages with ids of the old version only, in its order.
        changed: the old and the new passage of each pair whose title, text or metadata differ, in
            the new version's order.
        documents: how many documents differ how; None where a version records none.
        moved: the old and the new passage of each pair that differs only in where it is in its
            document or file, in the new version's order.
    """

    added: tuple[Passage, ...]
    removed: tuple[Passage, ...]
    changed: tuple[tuple[Passage, Passage], ...]
    documents: DocumentCounts | None = None
    moved: tuple[tuple[Passage, Passage], ...] = ()


def read_changes(path: Path) -> Changes:
    """Read changes from JSON lines: passages, and deletions as `{"id": "7", "delete": true}`.

    A passage is written as in a corpus of `jsonl`, with an id.

    Raises:
        CorpusError: no such file, a line that is neither, or an id that occurs twice; names file
            and line.
    """
    upserts: dict[str, Passage] = {}
    deletions: dict[str, str] = {}
    lines: dict[str, int] = {}
    for number, line in lines_of(path):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        deleted = _deleted_id(line, where)
        passage = passage_from_json(line, number, where) if deleted is None else None
        name = passage.id if passage else str(deleted)
        fault = fault_of(name)
        if fault is not None:
            raise CorpusError(f"{where}: the id {fault}")
        if name in lines:
            raise CorpusError(
                f"{where}: id {name!r} was in line {lines[name]} already: give each passage one "
                "line"
            )
        lines[name] = number
        if passage:
            upserts[name] = passage
        else:
            deletions[name] = where
    return Changes(upserts, deletions)


def changes_to(passages: Passages, corpus: Iterable[Passage], name: str | None = None) -> Changes:
    """Compare a version with a corpus: the changes that make its passages those of the corpus.

    The order of passages does not count. Takes some 150 bytes for each id of the version, and some
    100 for each of the corpus.

    Args:
        passages: of the version.
        corpus: yields each passage that there should be.
        name: under which the corpus is registered, for errors.

    Raises:
        CorpusError: an id occurs twice in the corpus, or a passage has no id or no text.
    """
    return _changes_to(passages, checked_passages(corpus, name))


def _changes_to(passages: Passages, corpus: Iterable[Passage]) -> Changes:
    """Compare as `changes_to`; the ids of `corpus` are known to be unique."""
    rows = {passage.id: row for row, passage in enumerate(passages)}
    upserts: dict[str, Passage] = {}
    stream = iter(corpus)
    # In batches: a passage store is asked once for each of them.
    while batch := list(islice(stream, _BATCH)):
        paired = {each.id: row for each in batch if (row := rows.pop(each.id, None)) is not None}
        stored = dict(zip(paired, passages.take(paired.values()), strict=True))
        for passage in batch:
            earlier = stored.get(passage.id)
            if earlier is None or not _is_same(earlier, passage):
                upserts[passage.id] = passage
    # The ids that remain are not in the corpus.
    return Changes(upserts, dict.fromkeys(rows, "the corpus"))


def differences(old: Passages, new: Passages) -> Differences:
    """Compare the passages of two versions; takes memory as `changes_to` does for the old one."""
    changes = _changes_to(old, new)
    rows = old.rows_of([*changes.upserts, *changes.deletions])
    upserts = changes.upserts.values()
    removed = sorted(rows[name] for name in changes.deletions)
    new_ones = [passage for passage in upserts if passage.id in rows]
    old_ones = old.take([rows[passage.id] for passage in new_ones])
    pairs = list(zip(old_ones, new_ones, strict=True))
    return Differences(
        added=tuple(passage for passage in upserts if passage.id not in rows),
        removed=tuple(old.take(removed)),
        changed=tuple(pair for pair in pairs if not _has_only_moved(*pair)),
        moved=tuple(pair for pair in pairs if _has_only_moved(*pair)),
    )


@dataclass(frozen=True, slots=True)
class RecordedPassages:
    """The passages of a version and what it records of documents.

    Attributes:
        passages: of the version.
        documents: of the version.
    """

    passages: Passages
    documents: Documents

    def of(self, record: DocumentRecord | None) -> list[Passage]:
        """Return the passages of a document, in its order; none for None."""
        return [] if record is None else self.passages.take(self.passages.rows(record.numbers))

    def loose(self) -> dict[str, Passage]:
        """Return the passages that belong to no document, by their ids."""
        loose = np.ones(len(self.passages), bool)
        for numbers in self.documents.numbers():
            loose[self.passages.rows(numbers)] = False
        return {each.id: each for each in self.passages.take(np.flatnonzero(loose).tolist())}


def differences_by_document(
    old: RecordedPassages, new: RecordedPassages, *, trusted: bool
) -> Differences:
    """Compare two versions document by document; holds what differs, and a byte for each document.

    Args:
        old: the earlier version.
        new: the later one.
        trusted: whether documents with the same key have the same passages.
    """
    added: list[Passage] = []
    removed: list[Passage] = []
    changed: list[tuple[Passage, Passage]] = []
    moved: list[tuple[Passage, Passage]] = []
    counts: Counter[str] = Counter()
    seen = np.zeros(len(old.documents), bool)
    loose_before, loose_after = old.loose(), new.loose()

    def compare(before: list[Passage], after: list[Passage], *, same_key: bool) -> None:
        # What belongs to the document in the one version may belong to none in the other.
        before += _taken(loose_before, after)
        after += _taken(loose_after, before)
        pairing = pair_passages(before, after)
        added.extend(after[position] for position in sorted(pairing.added))
        removed.extend(before[position] for position in sorted(pairing.removed))
        pairs = sorted(pairing.changed, key=lambda pair: pair[1])
        changed.extend((before[earlier], after[later]) for earlier, later in pairs)
        moved.extend((before[earlier], after[later]) for earlier, later in pairing.moved)
        change = change_of(before, after, pairing, same_key=same_key)
        counts.update([change] if change else [])

    for record in new.documents:
        position = old.documents.position(record.id)
        earlier = None if position is None else old.documents.at(position)
        if position is not None:
            seen[position] = True
        same_key = earlier is not None and record.key == earlier.key != ""
        if same_key and trusted:
            counts["unchanged"] += bool(record.numbers)
            continue
        compare(old.of(earlier), new.of(record), same_key=same_key)
    for position in np.flatnonzero(~seen).tolist():
        compare(old.of(old.documents.at(position)), [], same_key=False)
    documents = DocumentCounts.of(counts)
    for name, passage in loose_after.items():
        if name not in loose_before:
            added.append(passage)
        elif _has_only_moved(loose_before[name], passage):
            moved.append((loose_before[name], passage))
        elif not _is_same(loose_before[name], passage):
            changed.append((loose_before[name], passage))
    removed.extend(passage for name, passage in loose_before.items() if name not in loose_after)
    return Differences(tuple(added), tuple(removed), tuple(changed), documents, tuple(moved))


def _taken(loose: dict[str, Passage], others: Iterable[Passage]) -> list[Passage]:
    """Take from loose passages those that have the ids of others."""
    return [loose.pop(passage.id) for passage in others if passage.id in loose]


def write_changes(path: Path, differences: Differences) -> None:
    """Write JSON lines that turn the old version's passages into the new one's.

    `read_changes` reads them.

    Raises:
        StoreError: what is at the path is no regular file.
    """
    # What replaces a passage of another id does not delete it.
    replaced = (old for old, new in differences.changed if old.id != new.id)
    with replacing(path) as file:
        for passage in (*differences.removed, *replaced):
            file.write(json.dumps({"id": passage.id, "delete": True}).encode() + b"\n")
        replacing_others = (new for _, new in (*differences.changed, *differences.moved))
        for passage in (*replacing_others, *differences.added):
            fields = {
                "id": passage.id,
                "title": passage.title,
                "text": passage.text,
                "metadata": dict(passage.metadata),
            }
            file.write(json.dumps(fields, ensure_ascii=False).encode("utf-8") + b"\n")


def derive(passages: Passages, changes: Changes) -> Derivation:
    """Work out which rows changes remove and which passages they add.

    A passage that is replaced by an equal one stays where it is; one that differs only in where it
    is in its file stays, too, and has moved (`has_moved`).

    Raises:
        CorpusError: an id to delete does not exist.
        EmptyCorpusError: no passage would be left.
    """
    rows = passages.rows_of([*changes.upserts, *changes.deletions])
    for name, where in changes.deletions.items():
        if name not in rows:
            raise CorpusError(
                f"{where}: no passage has the id {name!r}, so it cannot be deleted: check the id, "
                "or the version that the changes are for"
            )
    removed = [rows[name] for name in changes.deletions]
    added, moved, replaced = [], [], 0
    stored = _in_batches(passages, [rows[name] for name in changes.upserts if name in rows])
    for name, passage in changes.upserts.items():
        if name not in rows:
            added.append(passage)
            continue
        earlier = next(stored)
        if _has_only_moved(earlier, passage):
            moved.append((rows[name], passage))
        elif not _is_same(earlier, passage):
            removed.append(rows[name])
            added.append(passage)
            replaced += 1
    if len(removed) == len(passages) and not added:
        raise EmptyCorpusError(
            f"the changes delete all {len(passages)} passages: a memory needs at least one"
        )
    return Derivation(np.sort(np.array(removed, np.int64)), added, replaced, moved)


def _in_batches(passages: Passages, rows: Sequence[int]) -> Iterator[Passage]:
    """Yield the passages of rows; a passage store is asked once for many of them."""
    for start in range(0, len(rows), _BATCH):
        yield from passages.take(rows[start : start + _BATCH])


def _deleted_id(line: str, where: str) -> str | None:
    """Return the id that a line deletes, or None where the line is a passage with an id."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{where}: not JSON ({error}): expected one object a line") from None
    name = fields.get("id") if isinstance(fields, dict) else None
    named = isinstance(name, str | int) and not isinstance(name, bool) and name != ""
    if not isinstance(fields, dict) or not named:
        raise CorpusError(
            f"{where}: no 'id': each line of changes names the passage that it adds, replaces or "
            'deletes, as in {"id": "7", "text": "…"} or {"id": "7", "delete": true}'
        )
    if "delete" not in fields:
        return None
    if fields["delete"] is not True or set(fields) != {"id", "delete"}:
        raise CorpusError(
            f"{where}: found {line.strip()[:80]!r}: a line that deletes has 'id' and "
            "'delete': true, and nothing else"
        )
    return str(name)


def _has_only_moved(old: Passage, new: Passage) -> bool:
    """Return whether passages of the same id differ in where they are, and at most in revision."""
    return same_text(old, new) and has_moved(old, new)


def _is_same(old: Passage, new: Passage) -> bool:
    """Return whether two passages are stored alike: equal, with equal JSON for their metadata."""
    if (old.id, old.title, old.text) != (new.id, new.title, new.text):
        return False
    return json.dumps(dict(old.metadata)) == json.dumps(dict(new.metadata))

"""What is to become otherwise in a memory: passages that are new or changed, and ids that go.

Read from a file of JSON lines, or found by comparing a corpus with a version. Knows passages and
ids, and nothing of stores or retrievers. What is held is what changes, not what stays.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ragcore.corpora.readers import lines_of, passage_from_json
from ragcore.errors import CorpusError, EmptyCorpusError
from ragcore.memory.passages import Passages
from ragcore.types import Passage

if TYPE_CHECKING:
    from ragcore.types import Rows


__all__ = [
    "Changes",
    "Derivation",
    "Differences",
    "changes_to",
    "derive",
    "differences",
    "read_changes",
    "write_changes",
]


@dataclass(frozen=True, slots=True)
class Changes:
    """Passages to put in, in their order, and ids to take out.

    Attributes:
        upserts: by id; a passage of this id is replaced, or comes as a new one.
        deletions: ids, each with where it was asked for ("changes.jsonl:7").
    """

    upserts: Mapping[str, Passage]
    deletions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Derivation:
    """A version's passages as they follow from another's: those that stay, in order, then new ones.

    Attributes:
        gone: rows of the other version that do not stay, int64, ascending.
        new: passages that come after those that stay.
        replaced: how many of the new ones have the id of one that is gone.
    """

    gone: Rows
    new: list[Passage]
    replaced: int


@dataclass(frozen=True, slots=True)
class Differences:
    """What tells two versions' passages apart, by id; their order is not looked at.

    Attributes:
        added: passages of the new version alone, in its order.
        removed: passages of the old version alone, in its order.
        changed: the old and the new passage of an id whose title, text or metadata differ, in the
            new version's order.
    """

    added: tuple[Passage, ...]
    removed: tuple[Passage, ...]
    changed: tuple[tuple[Passage, Passage], ...]


def read_changes(path: Path) -> Changes:
    """Read JSON lines: a passage as corpora of `jsonl` have it, or `{"id": "7", "delete": true}`.

    Raises:
        CorpusError: no such file, a line that says neither, or an id that comes twice; names file
            and line.
    """
    upserts: dict[str, Passage] = {}
    deletions: dict[str, str] = {}
    seen: dict[str, int] = {}
    for number, line in lines_of(path):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        deleted = _deleted(line, where)
        passage = passage_from_json(line, number, where) if deleted is None else None
        name = passage.id if passage else str(deleted)
        if name in seen:
            raise CorpusError(
                f"{where}: id {name!r} was in line {seen[name]} already: say once what is to "
                "become of a passage"
            )
        seen[name] = number
        if passage:
            upserts[name] = passage
        else:
            deletions[name] = where
    return Changes(upserts, deletions)


def changes_to(passages: Passages, corpus: Iterable[Passage]) -> Changes:
    """What makes the passages of a version those of a corpus, whatever their order.

    Holds the ids of the version, some 150 bytes each.
    """
    left = {passage.id: row for row, passage in enumerate(passages)}
    upserts: dict[str, Passage] = {}
    for passage in corpus:
        row = left.pop(passage.id, None)
        if row is None or not _same(passages[row], passage):
            upserts[passage.id] = passage
    return Changes(upserts, dict.fromkeys(left, "the corpus"))


def differences(old: Passages, new: Passages) -> Differences:
    """What tells two versions' passages apart; holds the old one's ids, and what differs."""
    changes = changes_to(old, new)
    rows = old.rows_of([*changes.upserts, *changes.deletions])
    upserts = changes.upserts.values()
    gone = sorted(rows[name] for name in changes.deletions)
    return Differences(
        added=tuple(passage for passage in upserts if passage.id not in rows),
        removed=tuple(old.take(gone)),
        changed=tuple(
            (old[rows[passage.id]], passage) for passage in upserts if passage.id in rows
        ),
    )


def write_changes(path: Path, found: Differences) -> None:
    """Write JSON lines that make the old version's passages the new one's: see `read_changes`."""
    with path.open("w", encoding="utf-8") as file:
        for passage in found.removed:
            file.write(json.dumps({"id": passage.id, "delete": True}) + "\n")
        for passage in (*(new for _, new in found.changed), *found.added):
            said: dict[str, Any] = {"id": passage.id, "title": passage.title, "text": passage.text}
            said |= {"metadata": dict(passage.metadata)}
            file.write(json.dumps(said, ensure_ascii=False) + "\n")


def derive(passages: Passages, changes: Changes) -> Derivation:
    """What a version becomes by changes; a passage that is put in as it was stays where it is.

    Raises:
        CorpusError: an id is to be deleted that is not there.
        EmptyCorpusError: no passage would be left.
    """
    rows = passages.rows_of([*changes.upserts, *changes.deletions])
    for name, where in changes.deletions.items():
        if name not in rows:
            raise CorpusError(
                f"{where}: no passage has the id {name!r}, so it cannot be deleted: check the id, "
                "or the version that the changes are for"
            )
    gone = [rows[name] for name in changes.deletions]
    new, replaced = [], 0
    for name, passage in changes.upserts.items():
        if name not in rows:
            new.append(passage)
        elif not _same(passages[rows[name]], passage):
            gone.append(rows[name])
            new.append(passage)
            replaced += 1
    if len(gone) == len(passages) and not new:
        raise EmptyCorpusError(
            f"the changes delete all {len(passages)} passages: a memory needs at least one"
        )
    return Derivation(np.sort(np.array(gone, np.int64)), new, replaced)


def _deleted(line: str, where: str) -> str | None:
    """The id that a line deletes, or None where it says a passage with an id."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{where}: not JSON ({error}): expected one object a line") from None
    if not isinstance(said, dict) or not isinstance(said.get("id"), str | int):
        raise CorpusError(
            f"{where}: no 'id': each line of changes names the passage that it is about, as in "
            '{"id": "7", "text": "…"} or {"id": "7", "delete": true}'
        )
    if "delete" not in said:
        return None
    if said["delete"] is not True or set(said) != {"id", "delete"}:
        raise CorpusError(
            f"{where}: found {line.strip()[:80]!r}: a line that deletes has 'id' and "
            "'delete': true, and nothing else"
        )
    return str(said["id"])


def _same(old: Passage, new: Passage) -> bool:
    """Whether both would be stored alike; what JSON cannot tell apart is the same."""
    if (old.id, old.title, old.text) != (new.id, new.title, new.text):
        return False
    return json.dumps(dict(old.metadata)) == json.dumps(dict(new.metadata))

"""Compare the passages of a document's two states, and of two versions document by document.

Knows passages and their documents; knows nothing of files, stores or retrievers.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from ragcore.types import Passage

__all__ = [
    "LOCATION",
    "PROVENANCE",
    "Change",
    "DocumentCounts",
    "Pairing",
    "change_of",
    "has_moved",
    "pair_passages",
    "same_text",
]

PROVENANCE: Final = frozenset({"date", "revision", "timestamp", "uri", "url"})
"""Keys of metadata that say which revision a passage was read from.

Where nothing else differs, a passage is the same: the revision that it names still has its text.
"""

LOCATION: Final = frozenset({"line", "mtime", "page", "row", "span"})
"""Keys of metadata that say where in its document a passage is, and when that file was written.

Where nothing else differs but what `PROVENANCE` names, a passage has moved: it stays, with its new
metadata.
"""

Change = Literal["added", "edited", "left", "removed", "renamed", "same_text", "unchanged"]


@dataclass(frozen=True, slots=True)
class DocumentCounts:
    """How many documents of a version there are of each kind, compared with an earlier one.

    Documents without a passage in either are not counted.

    Attributes:
        unchanged: have the same key.
        same_text: have another key and the same passages, as after a null edit of a wiki's page;
            the passages may have moved in the document.
        edited: have other passages under the same title.
        renamed: have another title.
        added: have passages in the later version only.
        removed: have passages in the earlier version only.
        left: are not in the corpus, which does not say that they are deleted, and stay.
    """

    unchanged: int = 0
    same_text: int = 0
    edited: int = 0
    renamed: int = 0
    added: int = 0
    removed: int = 0
    left: int = 0

    @classmethod
    def of(cls, counts: Counter[str]) -> DocumentCounts:
        """Return counts by name as one value."""
        return cls(**{name: counts[name] for name in cls.__slots__})

    @property
    def before(self) -> int:
        """How many documents with passages the earlier version has."""
        stayed = self.unchanged + self.same_text + self.edited + self.renamed
        return stayed + self.removed + self.left


@dataclass(frozen=True, slots=True)
class Pairing:
    """How the passages of a document's new state follow from those of the old; all are positions.

    Attributes:
        same: new to old, of those that stay.
        moved: old and new, of those among them that have moved in the document.
        changed: old and new, of those that replace each other.
        removed: old ones that nothing replaces.
        added: new ones that replace nothing.
    """

    same: dict[int, int]
    moved: list[tuple[int, int]]
    changed: list[tuple[int, int]]
    removed: list[int]
    added: list[int]

    @property
    def is_same(self) -> bool:
        """Whether all passages stay, perhaps in another order."""
        return not (self.changed or self.removed or self.added)


def pair_passages(old: Sequence[Passage], new: Sequence[Passage]) -> Pairing:
    """Pair the passages of two states of a document, by id, and the others by their position.

    Those with the same id are a pair. Of the others each new one is paired with the next old one
    that comes after the same pair, so that a rewritten paragraph is a change and an inserted one is
    an addition.

    Args:
        old: in the document's order; ids are unique.
        new: the same for the new state.
    """
    positions = {passage.id: position for position, passage in enumerate(old)}
    pairing = Pairing({}, [], [], [], [])
    paired = set()
    for position, passage in enumerate(new):
        earlier = positions.get(passage.id)
        if earlier is None:
            continue
        paired.add(passage.id)
        if same_text(old[earlier], passage):
            pairing.same[position] = earlier
            if has_moved(old[earlier], passage):
                pairing.moved.append((earlier, position))
        else:
            pairing.changed.append((earlier, position))
    unpaired = _unpaired(old, paired)
    for anchor, positions_after in _unpaired(new, paired).items():
        candidates = unpaired.get(anchor, [])
        pairs = list(zip(candidates, positions_after, strict=False))
        pairing.changed.extend(pairs)
        pairing.added.extend(positions_after[len(pairs) :])
        unpaired[anchor] = candidates[len(pairs) :]
    pairing.removed.extend(position for rest in unpaired.values() for position in rest)
    return pairing


def _unpaired(passages: Sequence[Passage], paired: set[str]) -> dict[Hashable, list[int]]:
    """Return the positions of passages with other ids, by the last paired id before each."""
    positions: dict[Hashable, list[int]] = {}
    anchor: str | None = None
    for position, passage in enumerate(passages):
        if passage.id in paired:
            anchor = passage.id
        else:
            positions.setdefault(anchor, []).append(position)
    return positions


def change_of(
    old: Sequence[Passage], new: Sequence[Passage], pairing: Pairing, *, same_key: bool
) -> Change | None:
    """Say what happened to a document; None where it has no passage in either state.

    Args:
        old: its passages before.
        new: its passages now.
        pairing: of these.
        same_key: whether its key is the same.
    """
    if not old:
        return "added" if new else None
    if not new:
        return "removed"
    if pairing.is_same:
        return "unchanged" if same_key else "same_text"
    return "edited" if old[0].title == new[0].title else "renamed"


def same_text(old: Passage, new: Passage) -> bool:
    """Return whether two passages differ at most in the revision and in the place they are from."""
    if (old.id, old.title, old.text) != (new.id, new.title, new.text):
        return False
    return old.metadata == new.metadata or _described(old.metadata) == _described(new.metadata)


def has_moved(old: Passage, new: Passage) -> bool:
    """Return whether two passages with the same text are from different places of a document."""
    if old.metadata == new.metadata:
        return False
    return _location(old.metadata) != _location(new.metadata)


def _described(metadata: Mapping[str, Any]) -> str:
    """Return metadata as they are stored, without those of revision and place."""
    left_out = PROVENANCE | LOCATION
    return _spelled({key: value for key, value in metadata.items() if key not in left_out})


def _location(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Return what metadata say of the place, each as it is stored."""
    return {key: _spelled(metadata[key]) for key in LOCATION if key in metadata}


def _spelled(value: object) -> str:
    # What JSON cannot write makes a difference here, and an error where it is to be written.
    return json.dumps(value, default=repr, skipkeys=True)

"""Count the documents that an update deletes under one id and adds under another.

Knows documents and passages; a corpus of files cannot tell a renamed file from a new one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path

from ragcore.memory.passages import Passages
from ragcore.store.documents import Documents
from ragcore.store.layout import VersionFolder, choice_of, passage_file, passage_files
from ragcore.types import Passage

__all__ = ["count_renamed"]


def count_renamed(base: VersionFolder, passages: Passages, staging: Path) -> int:
    """Return how many new documents have the texts of one that is missing.

    Reads the passages of both kinds, and holds 200 bytes for each that is missing.

    Args:
        base: the version that is updated.
        passages: of it.
        staging: the folder of the new version, with its documents and its new passages.
    """
    old, added = base.open_documents(), passage_file(staging, len(passage_files(base.path)))
    if old is None or not added.exists():
        return 0
    new = Documents(staging)
    missing = Counter(
        _digest(passages.take(passages.rows(record.numbers)))
        for record in old
        if record.numbers and new.position(record.id) is None
    )
    count = 0
    with Passages(added, choose=choice_of(base.store_of_new())) as new_passages:
        for record in new:
            if not record.numbers or old.position(record.id) is not None:
                continue
            # Passages of no document may have come to it; they are not in the new file.
            rows = [number - passages.stored for number in record.numbers]
            if min(rows) < 0:
                continue
            digest = _digest(new_passages.take(rows))
            if missing[digest] > 0:
                missing[digest] -= 1
                count += 1
    return count


def _digest(passages: Iterable[Passage]) -> bytes:
    """Return a digest of the texts of passages, in their order."""
    digest = blake2b(digest_size=16)
    for passage in passages:
        text = passage.text.encode("utf-8", "surrogatepass")
        digest.update(len(text).to_bytes(8, "little"))
        digest.update(text)
    return digest.digest()

"""Check the passages of a corpus while they are streamed.

Knows what every passage of a memory must have; knows nothing of how passages are stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b

from ragcore.errors import CorpusError
from ragcore.questions.texts import undecodable
from ragcore.types import Passage

__all__ = ["checked_passages"]


def checked_passages(corpus: Iterable[Passage]) -> Iterator[Passage]:
    """Stream the passages of a corpus, each with an id, unique among them, and a text.

    Holds 16 bytes for each id.

    Raises:
        CorpusError: a passage without id or text, with one that is not Unicode, or with an id that
            an earlier one has.
    """
    seen: set[bytes] = set()
    for number, passage in enumerate(corpus, start=1):
        if not passage.id or not passage.text.strip():
            lacking = "text" if passage.id else "id"
            raise CorpusError(
                f"passage {number} of the corpus (id {passage.id!r}, title {passage.title!r}) has "
                f"an empty {lacking}: give it one or leave the passage out"
            )
        for name in ("id", "title", "text"):
            fault = undecodable(getattr(passage, name))
            if fault is not None:
                raise CorpusError(
                    f"passage {number} of the corpus (id {passage.id!r}): its {name} {fault}"
                )
        digest = blake2b(passage.id.encode("utf-8"), digest_size=16).digest()
        if digest in seen:
            raise CorpusError(
                f"passage {number} of the corpus (title {passage.title!r}) has the id "
                f"{passage.id!r}, which an earlier passage has: ids must be unique"
            )
        seen.add(digest)
        yield passage

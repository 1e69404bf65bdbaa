"""The core's types of documents, also where the core is older than they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ragcore.types import Passage

__all__ = ["Document", "KnownDocuments"]


@dataclass(frozen=True, slots=True)
class Document:
    """One page of a corpus.

    Attributes:
        id: stays when the page is edited or renamed.
        key: equal keys mean equal passages.
        passages: None where the page is known, unchanged and not parsed.
    """

    id: str
    key: str
    passages: tuple[Passage, ...] | None


class KnownDocuments(Protocol):
    """Which documents a memory has; can be pickled."""

    def key(self, document_id: str) -> str | None:
        """Return a document's key, or None where it is not known."""
        ...

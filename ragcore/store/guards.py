"""Refuse an update that would do harm: by another corpus, by an older one, or that deletes much.

Knows what a manifest records of a corpus; knows nothing of how an update works.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple

from ragcore.contracts import DocumentCorpus
from ragcore.errors import CorpusError, StoreError
from ragcore.store.comparing import DocumentCounts
from ragcore.store.manifest import Manifest

__all__ = [
    "Allowed",
    "CorpusFacts",
    "check_deletions",
    "check_same_corpus",
    "facts_of",
    "keys_cover_settings",
]

Allowed = Literal["deletions", "older", "other"]
"""What an update may do where it is asked to: delete much, go back in time, change the corpus."""

_SHARE: Final = 0.2
"""The largest share of a version's documents that an update deletes unasked."""

_DAY: Final = len("2026-11-30")

_FEW: Final = 10
"""So few deleted documents are never too many."""


class CorpusFacts(NamedTuple):
    """What a corpus tells of itself; empty where it does not.

    Attributes:
        identity: what it is a copy of, such as a wiki's name.
        date: of what state, ISO 8601.
    """

    identity: str
    date: str


def keys_cover_settings(corpus: DocumentCorpus) -> bool:
    """Return whether a corpus gives a document another key where settings change its passages."""
    return getattr(corpus, "keys_cover_settings", False) is True


def facts_of(corpus: DocumentCorpus, label: str) -> CorpusFacts:
    """Ask a corpus what it is.

    Raises:
        CorpusError: it answers with something else than text, or with a date that is none.
    """
    facts = CorpusFacts(getattr(corpus, "identity", ""), getattr(corpus, "date", ""))
    for name, value in facts._asdict().items():
        if not isinstance(value, str):
            raise CorpusError(
                f"{label}: its {name} is {type(value).__name__}, expected text, which may be empty"
            )
    if facts.date and _moment(facts.date) is None:
        raise CorpusError(
            f"{label}: its date is {facts.date[:80]!r}: expected a day or a time in ISO 8601, such "
            "as 2026-11-30, or empty text"
        )
    return facts


def check_same_corpus(manifest: Manifest, facts: CorpusFacts, allow: Collection[Allowed]) -> None:
    """Check that a corpus is a later state of the one that a version was built from.

    Of a day and a time in it neither is older; times are compared wherever their zones are.

    Args:
        manifest: of the version.
        facts: what the corpus says of itself.
        allow: may hold "other" and "older".

    Raises:
        StoreError: it is another one, or an older state.
    """
    identity, date = manifest.corpus_identity or "", manifest.corpus_date or ""
    if identity and facts.identity and identity != facts.identity and "other" not in allow:
        raise StoreError(
            f"version {manifest.name!r} was built from {identity!r}, and the corpus is "
            f"{facts.identity!r}: an update would delete the one and add the other: check "
            "memory.corpus and memory.store, or allow it with --allow-other"
        )
    if _is_older(facts.date, date) and "older" not in allow:
        raise StoreError(
            f"version {manifest.name!r} was built from a corpus of {date}, and this one is of "
            f"{facts.date}, which is older: check memory.corpus, or allow it with --allow-older"
        )


def _is_older(date: str, than: str) -> bool:
    """Return whether a date or time is before another; not where one of them is unknown."""
    moment, other = _moment(date), _moment(than)
    if moment is None or other is None:
        return False
    if min(len(date), len(than)) > _DAY:
        return moment < other
    return date[:_DAY] < than[:_DAY]


def _moment(date: str) -> datetime | None:
    """Read a date or time, without a zone as UTC; None for any other text."""
    try:
        moment = datetime.fromisoformat(date)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def check_deletions(
    version: str,
    counts: DocumentCounts,
    loose: tuple[int, int],
    allow: Collection[Allowed],
    *,
    renamed: Callable[[], int],
) -> None:
    """Check that an update does not delete a large share of a version's documents.

    Nor a large share of the passages that belong to no document.

    Args:
        version: that is updated.
        counts: of its documents, compared with the corpus.
        loose: how many passages without a document would be deleted, and how many it has.
        allow: may hold "deletions".
        renamed: called to count the new documents with the content of one that would be deleted.

    Raises:
        StoreError: more than a fifth of them, and more than ten, would be deleted.
    """
    if "deletions" in allow:
        return
    shares = {
        "documents": (counts.removed, counts.before),
        "passages without a document": loose,
    }
    for kind, (removed, before) in shares.items():
        if removed > max(_FEW, _SHARE * before):
            again = renamed()
            hint = (
                f"; {again:,} new documents have the same text as one of these, as after a file or "
                "folder was renamed"
            )
            raise StoreError(
                f"{removed:,} of the {before:,} {kind} of version {version!r} are not in the "
                f"corpus, and an update would delete them{hint if again else ''}: check that "
                "memory.corpus is complete, or allow it with --allow-deletions"
            )

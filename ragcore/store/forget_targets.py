"""Find what is to be forgotten: which passages and documents some ids stand for, and who has them.

Knows versions and what is in their files; changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ragcore.errors import CorpusError, EmptyCorpusError
from ragcore.store.catalog import Catalog, LeasedVersion
from ragcore.types import Passage

if TYPE_CHECKING:
    from ragcore.types import Rows

__all__ = ["Targets", "find", "has_document", "holding", "refuse_empty", "staying_after"]


@dataclass(frozen=True, slots=True)
class Targets:
    """What some ids stand for.

    Attributes:
        ids: of passages, in any version.
        documents: ids of documents.
        current: those that the current version has.
        passages: one of each id and text; a cache of embeddings may be searched for these.
    """

    ids: frozenset[str]
    documents: frozenset[str]
    current: frozenset[str]
    passages: tuple[Passage, ...]


def find(catalog: Catalog, ids: Sequence[str]) -> Targets:
    """Find the passages that ids of documents or passages stand for, in any version.

    An id that a version knows as a document's stands for the document, in all versions.

    Raises:
        CorpusError: an id stands for nothing in any version.
    """
    names, current = catalog.names(), catalog.current()
    wanted: set[str] = set()
    documents: set[str] = set()
    for name in names:
        with catalog.lease(name) as version:
            recorded = version.open_documents()
            if recorded is None:
                continue
            with version.open_passages() as passages:
                for document_id in ids:
                    position = recorded.position(document_id)
                    if position is not None:
                        documents.add(document_id)
                        rows = passages.rows(recorded.at(position).numbers)
                        wanted.update(passage.id for passage in passages.take(rows))
    wanted.update(set(ids) - documents)
    stored: dict[tuple[str, str], Passage] = {}
    in_current: set[str] = set()
    for name in names:
        with catalog.lease(name) as version, version.open_all_passages() as passages:
            for passage in passages.take(passages.stored_numbers(sorted(wanted)).tolist()):
                stored[passage.id, passage.text] = passage
        if name == current:
            with catalog.lease(name) as version, version.open_passages() as passages:
                in_current.update(passages.rows_of(sorted(wanted)))
    known = documents | {passage_id for passage_id, _ in stored}
    for name in ids:
        if name not in known:
            raise CorpusError(
                f"store {catalog.folder}: no version has a document or a passage with the id "
                f"{name!r}: check the id; `ragcore search --json` shows ids"
            )
    return Targets(
        frozenset(wanted), frozenset(documents), frozenset(in_current), tuple(stored.values())
    )


def holding(catalog: Catalog, targets: Targets) -> list[str]:
    """List the versions whose files have a passage, also one that is left out, or a document."""
    names = []
    for name in catalog.names():
        with catalog.lease(name) as version, version.open_all_passages() as passages:
            if len(passages.stored_numbers(sorted(targets.ids))) or has_document(
                version, targets.documents
            ):
                names.append(name)
    return names


def refuse_empty(catalog: Catalog, ids: Collection[str]) -> None:
    """Check that every version has another passage than those of these ids.

    Raises:
        EmptyCorpusError: one has none; names it.
    """
    for name in catalog.names():
        with catalog.lease(name) as version:
            staying_after(version, ids)


def has_document(version: LeasedVersion, documents: Collection[str]) -> bool:
    """Return whether a version knows one of these documents, also one without passages."""
    recorded = version.open_documents()
    return recorded is not None and any(
        recorded.position(document_id) is not None for document_id in documents
    )


def staying_after(version: LeasedVersion, ids: Collection[str]) -> Rows:
    """Return the numbers of a version's passages without those of some ids, int64 [n], ascending.

    Raises:
        EmptyCorpusError: there is none left.
    """
    with version.open_passages() as passages:
        numbers = np.arange(len(passages)) if passages.kept is None else np.array(passages.kept)
        erased = passages.stored_numbers(sorted(ids))
    left: Rows = numbers[~np.isin(numbers, erased)]
    if not len(left):
        raise EmptyCorpusError(
            f"version {version.name!r} has no other passage: delete it with `ragcore memory gc`, "
            "or build the memory again"
        )
    return left

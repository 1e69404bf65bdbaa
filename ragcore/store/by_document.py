"""Work out an update by comparing a version with a corpus document by document.

Knows how documents and new passages come into a new version's folder; knows nothing of retrievers.
Documents are streamed: what is held for each of the version's is one byte, for each passage at most
17, for each that is removed eight, for each that moves 24, and what checks that ids are unique,
some 100 bytes for each new one. Writing the documents takes 32 bytes for each.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from ragcore.contracts import DocumentCorpus
from ragcore.errors import CorpusError, EmptyCorpusError, StoreCorruptError
from ragcore.memory.passages import Passages, PassageWriter
from ragcore.memory.remote import RemotePassageWriter
from ragcore.store.checking import PassageChecks, checked_documents, label_of
from ragcore.store.comparing import DocumentCounts, Pairing, change_of, pair_passages
from ragcore.store.documents import (
    DocumentRecord,
    Documents,
    DocumentWriter,
    KeylessDocuments,
    NoDocuments,
)
from ragcore.store.layout import (
    VersionFolder,
    choice_of,
    passage_file,
    passage_files,
    passage_writer,
)
from ragcore.store.moved import MovedPassages
from ragcore.store.progress import Progress
from ragcore.types import Document, Passage

if TYPE_CHECKING:
    from ragcore.types import Rows

__all__ = ["DocumentUpdate", "update_documents", "without_passages"]

_EVERY: Final = 512
"""Documents between two reports of progress."""

_IDS: Final = 1 << 19
"""Ids that are looked up in a version together."""


class DocumentUpdate(NamedTuple):
    """How a version's passages become those of a corpus; the new ones are in the new folder.

    Attributes:
        removed: numbers of the version's passages that do not stay, int64 [r], ascending.
        added: how many new ones follow those that stay.
        replaced: how many of them replace a removed one.
        moved: how many of those that stay have new metadata.
        documents: what happened to how many documents.
        loose: how many of the removed passages belong to no document, as all do in versions of
            earlier releases, of how many.
        recorded: how many documents with passages the new version has.
        is_empty: whether passages, their metadata and documents are the version's.
    """

    removed: Rows
    added: int
    replaced: int
    moved: int
    documents: DocumentCounts
    loose: tuple[int, int]
    recorded: int
    is_empty: bool


def update_documents(
    base: VersionFolder,
    passages: Passages,
    corpus: DocumentCorpus,
    staging: Path,
    *,
    name: str | None,
    trusted: bool,
    report: Progress,
) -> DocumentUpdate:
    """Compare a version with a corpus, and write what is new into the folder of a new version.

    A passage stays if the document has one with its id, title and text, and metadata that differ
    at most in which revision they name (`PROVENANCE`) and in where the passage is (`LOCATION`).
    Where it is elsewhere it has moved, and has the new metadata from now on; else it keeps those
    that it has. A version that records no documents is compared by the ids of passages, which takes
    some 150 bytes for each.

    Args:
        base: the version.
        passages: of it.
        corpus: what they shall become.
        staging: the new version's folder, which shares no file of passages yet.
        name: under which the corpus is registered, for errors.
        trusted: whether the version's keys mean the same to this corpus.
        report: called with the number of documents that are compared ("documents").

    Raises:
        CorpusError: the corpus is faulty, or an id occurs twice.
        EmptyCorpusError: no passage would be left.
        StoreCorruptError: the version's documents do not fit its passages.
    """
    documents = base.open_documents()
    number, passage_store = len(passage_files(base.path)), base.store_of_new()
    with (
        passage_writer(staging, number, passage_store) as new_passages,
        MovedPassages(staging) as moved,
        DocumentWriter(staging) as records,
    ):
        comparison = _Comparison(
            passages, documents, new_passages, moved, records, label_of(name), trusted=trusted
        )
        for count, document in enumerate(checked_documents(corpus, comparison.known, name), 1):
            comparison.compare(document)
            if not count % _EVERY:
                report("documents", count, None)
        comparison.finish(corpus)
    target = passage_file(staging, number)
    if not comparison.added:
        # A passage store has nothing to remove: no pointer was written.
        target.unlink(missing_ok=True)
    else:
        with Passages(target, choose=choice_of(passage_store)) as new:
            comparison.check_ids(new)
    if len(comparison.removed) == len(passages) and not comparison.added:
        raise EmptyCorpusError(
            f"the corpus deletes all {len(passages)} passages: a memory needs at least one"
        )
    result = comparison.result(records.count)
    moved.write(base, staging, result.removed)
    return result


class _Comparison:
    """The state of a comparison.

    Attributes:
        known: the documents that the corpus need not parse again.
        added: how many new passages were written.
        removed: numbers of the version's passages that do not stay.
    """

    def __init__(
        self,
        passages: Passages,
        documents: Documents | None,
        new_passages: PassageWriter | RemotePassageWriter,
        moved: MovedPassages,
        records: DocumentWriter,
        label: str,
        *,
        trusted: bool,
    ) -> None:
        self.known: Documents | KeylessDocuments | NoDocuments
        if documents is None:
            self.known, trusted = NoDocuments(), False
        else:
            self.known = documents if trusted else KeylessDocuments(documents)
        self.added = 0
        self.removed = array("q")
        self._passages = passages
        self._documents = documents
        self._new_passages = new_passages
        self._moved = moved
        self._records = records
        self._label = label
        self._trusted = trusted
        self._checks = PassageChecks(label)
        self._seen = np.zeros(0 if documents is None else len(documents), bool)
        self._loose = _loose(passages, documents)
        self._loose_before = len(self._loose)
        self._loose_removed = 0
        self._counts: Counter[str] = Counter()
        self._replaced = 0
        self._is_same = documents is not None

    def compare(self, document: Document) -> None:
        """Compare one document of the corpus, and write its record and its new passages."""
        record = self._record(document.id)
        same_key = record is not None and record.key == document.key
        if record is not None and same_key and self._trusted:
            self._records.write(record)
            self._counts["unchanged"] += bool(record.numbers)
            return
        new = document.passages or ()
        self._check(document.id, new)
        numbers = list(record.numbers) if record else []
        if self._loose:
            numbers += [self._loose.pop(passage.id) for passage in new if passage.id in self._loose]
        old = self._passages.take(self._passages.rows(numbers))
        pairing = pair_passages(old, new)
        for earlier, later in pairing.moved:
            self._moved.add(numbers[earlier], new[later])
        new_record = DocumentRecord(document.id, document.key, self._numbers(numbers, new, pairing))
        self._records.write(new_record)
        self._is_same &= record == new_record
        change = change_of(old, new, pairing, same_key=same_key)
        if change is not None:
            self._counts[change] += 1

    def finish(self, corpus: DocumentCorpus) -> None:
        """Remove what the corpus says is deleted, and keep the other documents that it lacks."""
        covers: Callable[[str], bool] | None = getattr(corpus, "covers", None)
        complete = bool(corpus.complete)
        for position in np.flatnonzero(~self._seen).tolist():
            assert self._documents is not None
            record = self._documents.at(position)
            if complete or (covers is not None and covers(record.id)):
                self.removed.extend(record.numbers)
                self._counts["removed"] += bool(record.numbers)
                self._is_same = False
            else:
                self._records.write(record)
                self._counts["left"] += bool(record.numbers)
        if complete:
            self.removed.extend(self._loose.values())
            self._loose_removed = len(self._loose)

    def check_ids(self, new: Passages) -> None:
        """Check that no new passage has the id of one that stays.

        Raises:
            CorpusError: one has; names the id.
        """
        stays = np.ones(len(self._passages), bool)
        for start in range(0, len(self.removed), _IDS):
            stays[self._passages.rows(self.removed[start : start + _IDS])] = False
        ids = (passage.id for passage in new)
        while chunk := list(islice(ids, _IDS)):
            for passage_id, row in self._passages.rows_of(chunk).items():
                if stays[row]:
                    raise CorpusError(
                        f"{self._label}: a new passage has the id {passage_id!r}, which a passage "
                        "of another document has: ids of passages must be unique"
                    )

    def result(self, recorded: int) -> DocumentUpdate:
        """Return what the comparison found; `recorded` documents with passages were written."""
        removed = np.sort(np.array(self.removed, np.int64))
        return DocumentUpdate(
            removed=removed,
            added=self.added,
            replaced=self._replaced,
            moved=self._moved.count,
            documents=DocumentCounts.of(self._counts),
            loose=(self._loose_removed, self._loose_before),
            recorded=recorded,
            is_empty=self._is_same and not (len(removed) or self.added or self._moved.count),
        )

    def _record(self, document_id: str) -> DocumentRecord | None:
        """Return what the version records of a document, and note that the corpus has it."""
        position = None if self._documents is None else self._documents.position(document_id)
        if self._documents is None or position is None:
            return None
        self._seen[position] = True
        return self._documents.at(position)

    def _check(self, document_id: str, passages: Sequence[Passage]) -> None:
        """Check the passages of a document, each of its own, and that their ids differ."""
        ids = set()
        for passage in passages:
            self._checks.check(passage)
            if passage.id in ids:
                raise CorpusError(
                    f"{self._label}: document {document_id!r} has the passage id {passage.id!r} "
                    "twice: ids of passages must be unique"
                )
            ids.add(passage.id)

    def _numbers(
        self, numbers: Sequence[int], new: Sequence[Passage], pairing: Pairing
    ) -> list[int]:
        """Write a document's new passages; return the numbers of all, in its order.

        Args:
            numbers: of its old passages.
            new: its passages now.
            pairing: of old and new.
        """
        self._replaced += len(pairing.changed)
        self.removed.extend(numbers[old] for old, _ in pairing.changed)
        self.removed.extend(numbers[old] for old in pairing.removed)
        result = []
        for position, passage in enumerate(new):
            if position in pairing.same:
                result.append(numbers[pairing.same[position]])
                continue
            self._checks.note(passage)
            self._new_passages.write([passage])
            result.append(self._passages.stored + self.added)
            self.added += 1
        return result


def _loose(passages: Passages, documents: Documents | None) -> dict[str, int]:
    """Return the numbers of passages that belong to no document, by their ids.

    Raises:
        StoreCorruptError: the documents have a passage that is not in the version, or one twice.
    """
    listed = np.ones(passages.stored, bool)
    if passages.kept is not None:
        listed[:] = False
        listed[passages.kept] = True
    loose = listed.copy()
    for numbers in () if documents is None else documents.numbers():
        inside = not len(numbers) or (numbers.min() >= 0 and numbers.max() < len(listed))
        if not inside or not loose[numbers].all() or len(np.unique(numbers)) < len(numbers):
            raise StoreCorruptError(
                "the documents of this version do not fit its passages: rebuild it"
            )
        loose[numbers] = False
    rows = passages.rows(np.flatnonzero(loose))
    return dict(
        zip(passages.ids(np.array(rows, np.int64)), np.flatnonzero(loose).tolist(), strict=True)
    )


def without_passages(
    documents: Documents,
    removed: Rows,
    staging: Path,
    *,
    changed: Rows | None = None,
    forgotten: Collection[str] = (),
) -> int | None:
    """Write the documents of a version without some passages; their keys become unknown.

    So the next update from the corpus compares these documents again.

    Args:
        documents: of the version.
        removed: numbers of passages that do not stay, int64 [r], ascending.
        staging: the new version's folder.
        changed: numbers of passages that stay with other metadata, int64 [m]; None for none.
        forgotten: ids of documents that are left out, also those without a passage.

    Returns:
        How many documents with passages are left; None where none had such a passage, none is
        forgotten, and nothing was written.
    """
    is_same = all(documents.position(document_id) is None for document_id in forgotten)
    touched = removed if changed is None else np.concatenate((removed, changed))
    if is_same and not any(np.isin(numbers, touched).any() for numbers in documents.numbers()):
        return None
    removed_numbers = frozenset(removed.tolist())
    changed_numbers = frozenset(() if changed is None else changed.tolist())
    with DocumentWriter(staging) as writer:
        for record in documents:
            if record.id in forgotten:
                continue
            left = [number for number in record.numbers if number not in removed_numbers]
            if len(left) == len(record.numbers) and changed_numbers.isdisjoint(left):
                writer.write(record)
            elif left:
                writer.write(DocumentRecord(record.id, "", left))
    return writer.count

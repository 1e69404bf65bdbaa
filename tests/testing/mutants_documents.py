"""Wrong corpora that know documents, each `Chapters` with one fault; `CorpusSuite` catches all."""

from __future__ import annotations

import itertools

import ragcore
from ragcore.store.documents import NoDocuments
from ragcore.types import Document, Passage


class Chapters:
    """A correct corpus: documents of one to three passages."""

    class Config(ragcore.ComponentConfig):
        count: int = 20

    capabilities = frozenset({"documents"})
    complete = True
    identity = "chapters"

    def __init__(self, config):
        self.config = config

    def key(self, number: int) -> str:
        return f"key-{number}"

    def passages(self, number: int) -> tuple[Passage, ...]:
        return tuple(
            Passage(f"{number}-{part}", f"Chapter {number}", f"Part {part} of {number}.")
            for part in range(1 + number % 3)
        )

    def documents(self, known):
        for number in range(self.config.count):
            name, key = str(number), self.key(number)
            unchanged = known.key(name) == key
            yield Document(name, key, None if unchanged else self.passages(number))

    def __iter__(self):
        for document in self.documents(NoDocuments()):
            yield from document.passages


class DocumentsTwice(Chapters):
    caught_by = "test_documents_have_ids_and_keys"

    def documents(self, known):
        for document in super().documents(known):
            yield document
            if document.id == "7":
                yield Document("7", document.key, ())


class IdsOfDocumentsAreNumbers(Chapters):
    caught_by = "test_documents_have_ids_and_keys"

    def documents(self, known):
        for document in super().documents(known):
            yield Document(int(document.id), document.key, document.passages)


class EmptyKeys(Chapters):
    caught_by = "test_documents_have_ids_and_keys"

    def key(self, number):
        return ""


class ListsOfPassages(Chapters):
    caught_by = "test_documents_have_ids_and_keys"

    def passages(self, number):
        return list(super().passages(number))


class DocumentsLackPassages(Chapters):
    caught_by = "test_documents_have_all_passages"

    def __iter__(self):
        yield from super().__iter__()
        yield Passage("more", "", "A passage of no document.")


class PassagesInAnotherOrder(Chapters):
    caught_by = "test_documents_have_all_passages"

    def __iter__(self):
        for number in range(self.config.count):
            yield from reversed(self.passages(number))


class CountedKeys(Chapters):
    caught_by = "test_keys_are_stable"
    _next = itertools.count()

    def key(self, number):
        return str(next(self._next))


class LeavesKnownDocumentsOut(Chapters):
    caught_by = "test_known_documents_need_no_passages"

    def documents(self, known):
        return (each for each in super().documents(known) if each.passages is not None)


class KnownDocumentsLosePassages(Chapters):
    caught_by = "test_known_documents_need_no_passages"

    def documents(self, known):
        for document in super().documents(known):
            yield Document(document.id, document.key, document.passages or ())


class KnownWithAnyKey(Chapters):
    caught_by = "test_changed_documents_have_passages"

    def documents(self, known):
        for document in super().documents(known):
            passages = None if known.key(document.id) else document.passages
            yield Document(document.id, document.key, passages)


class ChangedDocumentsAreEmpty(Chapters):
    caught_by = "test_changed_documents_have_passages"

    def documents(self, known):
        for document in super().documents(known):
            changed = known.key(document.id) not in (None, document.key)
            yield Document(document.id, document.key, () if changed else document.passages)


class CompleteByWord(Chapters):
    caught_by = "test_it_tells_whether_it_is_complete"
    complete = "yes"


class DateIsNoDate(Chapters):
    caught_by = "test_it_tells_whether_it_is_complete"
    date = "late in 2026"


class DateIsNoText(Chapters):
    caught_by = "test_it_tells_whether_it_is_complete"
    date = 2026

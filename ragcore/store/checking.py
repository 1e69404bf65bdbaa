"""Check the passages and documents of a corpus while they are streamed.

Knows what every passage of a memory must have; knows nothing of how passages are stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import cast

from ragcore.contracts import DocumentCorpus, KnownDocuments
from ragcore.errors import CorpusError
from ragcore.questions.texts import undecodable
from ragcore.types import Document, Passage

__all__ = [
    "PassageChecks",
    "checked_documents",
    "checked_passages",
    "document_corpus",
    "label_of",
]


def checked_passages(corpus: Iterable[Passage], name: str | None = None) -> Iterator[Passage]:
    """Stream the passages of a corpus, each with an id, unique among them, and a text.

    Holds 16 bytes for each id.

    Args:
        corpus: from a plugin or a caller, so it may yield anything.
        name: under which it is registered, for errors.

    Raises:
        CorpusError: the corpus yields something else than passages, or is no iterable; or a passage
            without id or text, with one that is not Unicode, or with an id that an earlier one has.
    """
    label = label_of(name)
    locations = getattr(corpus, "locations", None)
    checks = PassageChecks(label, locations if callable(locations) else None)
    for passage in _iterator(corpus, label):
        yield checks.checked(passage)


class PassageChecks:
    """Checks passages one by one; holds 16 bytes for each id (some 100 as Python stores them).

    Args:
        label: what the corpus is called in errors.
        locations: returns where the first two passages with an id are, for errors; None where that
            is not known.
    """

    def __init__(self, label: str, locations: Callable[[str], Sequence[str]] | None = None) -> None:
        self._label = label
        self._locations = locations
        self._seen: set[bytes] = set()
        self._number = 0

    def checked(self, passage: Passage) -> Passage:
        """Return a passage that has an id, unique among those before it, and a text.

        Raises:
            CorpusError: see `checked_passages`.
        """
        self.check(passage)
        self.note(passage)
        return passage

    def check(self, passage: Passage) -> None:
        """Check a passage of its own: its type, its texts, and that neither id nor text is empty.

        Args:
            passage: from a plugin or a caller, so it may be anything.

        Raises:
            CorpusError: see `checked_passages`.
        """
        self._number += 1
        number = self._number
        _check_type(passage, number, self._label)
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

    def note(self, passage: Passage) -> None:
        """Note the id of the passage that was checked last.

        Raises:
            CorpusError: it was noted before.
        """
        digest = blake2b(passage.id.encode("utf-8"), digest_size=16).digest()
        if digest in self._seen:
            locations = () if self._locations is None else self._locations(passage.id)
            where = f" ({' and '.join(locations)})" if locations else ""
            raise CorpusError(
                f"passage {self._number} of the corpus (title {passage.title!r}) has the id "
                f"{passage.id!r}, which an earlier passage has{where}: ids must be unique"
            )
        self._seen.add(digest)


def checked_documents(
    corpus: DocumentCorpus, known: KnownDocuments, name: str | None = None
) -> Iterator[Document]:
    """Stream the documents of a corpus, each with an id, a key, and passages where it needs them.

    The passages themselves are not checked; nor is whether ids are unique, which `DocumentWriter`
    does.

    Args:
        corpus: from a plugin, so it may yield anything.
        known: documents that need no passages where their keys have not changed.
        name: under which it is registered, for errors.

    Raises:
        CorpusError: the corpus yields something else than documents, or one without passages that
            is not known with its key.
    """
    label = label_of(name)
    documents = corpus.documents(known)
    if not isinstance(documents, Iterator):
        raise CorpusError(
            f"{label}: documents returned {_a_value(documents)} where an iterator is expected: "
            "yield each document"
        )
    for number, document in enumerate(documents, start=1):
        if not isinstance(document, Document):
            raise CorpusError(
                f"{label} yielded {_a_value(document)} where a ragcore.types.Document is expected "
                f"(item {number}): yield Document(id=…, key=…, passages=…)"
            )
        for field in ("id", "key"):
            value = getattr(document, field)
            fault = undecodable(value) if isinstance(value, str) else f"is {_a_value(value)}"
            if fault is None and not value:
                fault = "is empty"
            if fault is not None:
                raise CorpusError(
                    f"{label}: the {field} of document {number} (id {document.id!r}) {fault}: "
                    "expected text"
                )
        # A generator would be used up by the first check, and its passages lost.
        if document.passages is not None and not isinstance(document.passages, tuple | list):
            raise CorpusError(
                f"{label}: the passages of document {number} (id {document.id!r}) are "
                f"{_a_value(document.passages)}: expected a tuple of passages"
            )
        if document.passages is None and known.key(document.id) != document.key:
            raise CorpusError(
                f"{label} yielded the document {document.id!r} without passages, though it is not "
                f"known with the key {document.key!r}: leave passages out only where "
                "known.key(id) is the document's key"
            )
        yield document


def document_corpus(corpus: object) -> DocumentCorpus | None:
    """Return a corpus that knows documents; None for any other iterable."""
    if "documents" in getattr(corpus, "capabilities", ()):
        return cast("DocumentCorpus", corpus)
    return None


def label_of(name: str | None) -> str:
    """Return what a corpus is called in errors, by the name that it is registered under."""
    return "the corpus" if name is None else f"corpus {name!r}"


def _iterator(corpus: Iterable[Passage], label: str) -> Iterator[Passage]:
    """Return a corpus's iterator; Python's own error about a wrong one names no corpus.

    Raises:
        CorpusError: `__iter__` returns something else, such as a list.
    """
    method = getattr(type(corpus), "__iter__", None)
    if method is None:
        return iter(corpus)
    iterator = method(corpus)
    if not isinstance(iterator, Iterator):
        raise CorpusError(
            f"{label}: its __iter__ returned {_a_value(iterator)} where an iterator is expected: "
            "yield each passage, or return iter(...) of it"
        )
    return iterator


def _check_type(passage: object, number: int, label: str) -> None:
    """Check that a corpus yielded a passage, and that its fields have their types.

    Raises:
        CorpusError: it is something else.
    """
    if not isinstance(passage, Passage):
        raise CorpusError(
            f"{label} yielded {_a_value(passage)} where a ragcore.Passage is expected (item "
            f"{number}): yield Passage(id=…, title=…, text=…)"
        )
    for field in ("id", "title", "text"):
        value = getattr(passage, field)
        if not isinstance(value, str):
            raise CorpusError(
                f"{label} yielded a Passage whose {field} is {_a_value(value)} where text (str) is "
                f"expected (passage {number}, id {passage.id!r})"
            )
    if not isinstance(passage.metadata, Mapping):
        raise CorpusError(
            f"{label} yielded a Passage whose metadata is {_a_value(passage.metadata)} where a "
            f"mapping of names to values is expected (passage {number}, id {passage.id!r})"
        )


def _a_value(value: object) -> str:
    if value is None:
        return "None"
    kind = type(value).__name__
    return f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"

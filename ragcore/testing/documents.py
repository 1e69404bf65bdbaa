"""Laws of corpora that know documents; capability `documents`."""

from __future__ import annotations

import itertools
import unittest
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, ClassVar

from ragcore.testing.suite import Suite
from ragcore.testing.tokenizing import built_corpus
from ragcore.types import Document, Passage

__all__ = ["DocumentLaws", "Known"]


class Known:
    """Documents that a memory has already, by their ids; see `KnownDocuments`."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._keys = dict(keys)

    def key(self, document_id: str) -> str | None:
        """Return the key of a document, None where it is not known."""
        return self._keys.get(document_id)


class DocumentLaws(Suite):
    """Test a corpus against `ragcore.contracts.DocumentCorpus`; see `CorpusSuite`."""

    first: ClassVar[int] = 1000

    def documents(self, component: Any, known: Mapping[str, str] | None = None) -> list[Document]:
        """Return the first documents of a corpus that declares to know them.

        Args:
            component: that the fixture returned.
            known: keys of the documents that a memory has already.
        """
        corpus = built_corpus(self.spec(component))
        self.needs(corpus, "documents")
        return list(itertools.islice(corpus.documents(Known(known or {})), self.first))

    def test_documents_have_ids_and_keys(self, component: Any) -> None:
        """Documents are `ragcore.types.Document`; ids and keys are texts, and each id is unique.

        Passages are a tuple where no document is known. Capability `documents`.

        Fix: take what stays when a document is edited as its id, and of what its passages depend on
        a digest, or its revision, as its key.
        """
        documents = self.documents(component)
        assert documents, "there is no document"
        for document in documents:
            assert isinstance(document, Document), (
                f"an item is {type(document).__name__}, not Document"
            )
            for name in ("id", "key"):
                value = getattr(document, name)
                is_text = isinstance(value, str) and value != ""
                assert is_text, f"{name} of document {document.id!r} is {value!r}: expected text"
            assert isinstance(document.passages, tuple), (
                f"passages of document {document.id!r} are {document.passages!r}, though it is not "
                "known: expected a tuple"
            )
        ids = Counter(document.id for document in documents)
        twice = sorted(name for name, count in ids.items() if count > 1)
        assert not twice, f"documents {twice[:5]} occur more than once"

    def test_documents_have_all_passages(self, component: Any) -> None:
        """The passages of all documents, in order, are those of an iteration.

        Capability `documents`.

        Fix: let `__iter__` yield from the passages of each document.
        """
        passages = _passages_of(self.documents(component))
        assert passages, "no document has a passage"
        expected = list(itertools.islice(built_corpus(self.spec(component)), len(passages) + 1))
        complete = len(self.documents(component)) < self.first
        assert passages == (expected if complete else expected[: len(passages)]), (
            "the documents have other passages than the corpus, or in another order"
        )

    def test_keys_are_stable(self, component: Any) -> None:
        """A second corpus of the same settings yields the same ids and keys in the same order.

        Capability `documents`.

        Fix: make keys from what was read: no clock, no counter, no `hash()` of a text.
        """
        first, second = (
            [(document.id, document.key) for document in self.documents(component)]
            for _ in range(2)
        )
        assert first == second, "a second corpus yields other documents or keys"

    def test_known_documents_need_no_passages(self, component: Any) -> None:
        """Where all documents are known, ids and keys are the same, and passages too or None.

        Capability `documents`.

        Fix: yield a document that is known as `Document(id, key, None)`, and leave none out: one
        that is left out counts as deleted.
        """
        documents = self.documents(component)
        known = {document.id: document.key for document in documents}
        again = self.documents(component, known)
        assert [(each.id, each.key) for each in again] == list(known.items()), (
            "other documents or keys where they are known"
        )
        for document, before in zip(again, documents, strict=True):
            assert document.passages in (None, before.passages), (
                f"document {document.id!r} has other passages where it is known"
            )

    def test_changed_documents_have_passages(self, component: Any) -> None:
        """A document that is known with another key has its passages.

        Capability `documents`.

        Fix: compare `known.key(id)` with the document's key, not with None.
        """
        documents = self.documents(component)
        # Every second one has changed since.
        known = {
            document.id: document.key if number % 2 else f"{document.key}~"
            for number, document in enumerate(documents)
        }
        for number, document in enumerate(self.documents(component, known)):
            if not number % 2:
                assert document.passages == documents[number].passages, (
                    f"document {document.id!r} has the passages {document.passages!r} where it is "
                    f"known with another key: expected {documents[number].passages!r}"
                )

    def test_it_tells_whether_it_is_complete(self, component: Any) -> None:
        """`complete` is True or False, and `identity` and `date`, where they exist, are texts.

        A `date` that is not empty is a day or a time in ISO 8601. Capability `documents`.

        Fix: return False where the files are a part of a whole: what they lack is then not deleted.
        Return an empty date where none is known.
        """
        corpus = built_corpus(self.spec(component))
        self.needs(corpus, "documents")
        for _ in itertools.islice(corpus.documents(Known({})), self.first):
            pass
        assert isinstance(corpus.complete, bool), f"complete is {corpus.complete!r}"
        for name in ("identity", "date"):
            value = getattr(corpus, name, "")
            assert isinstance(value, str), f"{name} is {value!r}: expected text"
            if name == "date" and value:
                try:
                    datetime.fromisoformat(value)
                except ValueError:
                    raise AssertionError(f"date is {value!r}: expected ISO 8601") from None

    def test_its_summary_is_lines_of_text(self, component: Any) -> None:
        """`summary()`, where it exists, returns lines of text, the same for the same documents.

        Before an iteration has ended it may return none; capability `documents`.

        Fix: return a list of strings without line breaks, with counts and no times.
        """
        corpus = self.spec(component).build()
        self.needs(corpus, "documents")
        if not hasattr(corpus, "summary"):
            raise unittest.SkipTest("it has no summary")
        _lines_of(corpus)
        summaries = []
        for _ in range(2):
            for _ in corpus.documents(Known({})):
                pass
            summaries.append(_lines_of(corpus))
        assert summaries[0] == summaries[1], "after a second iteration the summary is another"
        assert summaries[0], "after an iteration the summary has no line"


def _lines_of(corpus: Any) -> tuple[str, ...]:
    """Return a corpus's summary; empty where it has none."""
    if not hasattr(corpus, "summary"):
        return ()
    lines = corpus.summary()
    assert isinstance(lines, list | tuple), f"summary() is {type(lines).__name__}: expected a list"
    for line in lines:
        assert isinstance(line, str), f"a line of summary() is {line!r}: expected text"
        assert len(line.splitlines()) == 1, f"a line of summary() is {line!r}: expected one line"
    return tuple(lines)


def _passages_of(documents: Iterable[Document]) -> list[Passage]:
    return [passage for document in documents for passage in document.passages or ()]

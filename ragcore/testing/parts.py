"""Laws of corpora that can be divided (capability `parts`)."""

from __future__ import annotations

import itertools
from typing import Any, ClassVar, Final

from ragcore.contracts import DocumentCorpus, supports
from ragcore.testing.documents import Known
from ragcore.testing.suite import Suite

__all__ = ["PartLaws"]

_COUNTS: Final = (1, 2, 3, 7, 40)
"""Into how many parts a corpus is divided; into more than it has passages, too."""


class PartLaws(Suite):
    """Test `part` and `fingerprint`: shards are built from parts on several machines."""

    first: ClassVar[int] = 1000

    def build(self, component: Any) -> Any:
        """Build the corpus."""
        raise NotImplementedError

    def test_parts_are_the_whole(self, component: Any) -> None:
        """All parts in their order have the passages of the whole, with the same ids (`parts`).

        Fix: let a part begin where the one before it ends, and a row belong to the part that it
        begins in; number rows without ids as the whole does.
        """
        corpus = self.build(component)
        self.needs(corpus, "parts")
        whole = list(itertools.islice(corpus, self.first))
        for of in _COUNTS:
            parts = (self.build(component).part(number, of) for number in range(of))
            passages = list(itertools.islice(itertools.chain.from_iterable(parts), self.first))
            assert passages == whole, (
                f"{of} parts have other passages, or another order: {_difference(passages, whole)}"
            )

    def test_parts_have_the_documents_of_the_whole(self, component: Any) -> None:
        """All parts have the documents of the whole, in its order (`parts` and `documents`).

        Fix: let a document belong to the part that it begins in.
        """
        corpus = self.build(component)
        self.needs(corpus, "parts")
        self.needs(corpus, "documents")
        whole = list(itertools.islice(corpus.documents(Known({})), self.first))
        for of in _COUNTS:
            parts = [self.build(component).part(number, of) for number in range(of)]
            assert all(supports(part, DocumentCorpus) for part in parts), "a part has no documents"
            chained = itertools.chain.from_iterable(part.documents(Known({})) for part in parts)
            documents = list(itertools.islice(chained, self.first))
            assert documents == whole, (
                f"{of} parts have other documents: {_difference(documents, whole)}"
            )

    def test_a_part_leaves_the_corpus_as_it_was(self, component: Any) -> None:
        """After parts were made and read, the corpus has all its passages (`parts`).

        Fix: return a new corpus from `part`.
        """
        corpus = self.build(component)
        self.needs(corpus, "parts")
        before = list(itertools.islice(corpus, self.first))
        list(itertools.islice(corpus.part(1, 3), self.first))
        assert list(itertools.islice(corpus, self.first)) == before, "the corpus became a part"

    def test_parts_have_one_fingerprint(self, component: Any) -> None:
        """Equal corpora and their parts have one fingerprint, that is text (`parts`).

        Fix: derive it from names, sizes and contents of files; never from times, or where they lie.
        """
        corpus = self.build(component)
        self.needs(corpus, "parts")
        fingerprint = corpus.fingerprint
        assert isinstance(fingerprint, str), f"it is {type(fingerprint).__name__}"
        assert fingerprint, "it is empty"
        for other in (self.build(component), corpus.part(0, 2), corpus.part(1, 2)):
            assert other.fingerprint == fingerprint, "it is another one for an equal corpus or part"


def _difference(found: list[Any], expected: list[Any]) -> str:
    """Return where two lists differ first."""
    pairs = itertools.zip_longest(found, expected)
    return next((f"{one!r}, expected {other!r}" for one, other in pairs if one != other), "")

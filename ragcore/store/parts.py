"""Which part of a corpus a shard is built from.

A corpus with the capability `parts` gives the part. Any other is read whole to count its passages
and to make its fingerprint, then the shard's own range is read. Knows corpora; knows nothing of how
a shard is stored.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from itertools import islice
from typing import Any, NamedTuple, cast

from ragcore.contracts import Capabilities, DividedCorpus, DocumentCorpus, KnownDocuments
from ragcore.errors import ConfigError
from ragcore.memory.columns import metadata_to_json
from ragcore.store.checking import (
    PassageChecks,
    checked_documents,
    document_corpus,
    label_of,
)
from ragcore.store.documents import NoDocuments
from ragcore.types import Document, Passage

__all__ = ["CorpusPart", "check_shard", "part_of"]


class CorpusPart(NamedTuple):
    """A part of a corpus.

    Attributes:
        corpus: has the part's passages, and documents where the whole has them.
        fingerprint: of the whole.
        first: how many passages the parts before it have; None where that is not known.
        expected: how many it has; None where that is not known.
    """

    corpus: Iterable[Passage]
    fingerprint: str
    first: int | None = None
    expected: int | None = None


def check_shard(number: int, of: int) -> None:
    """Check that there is a shard of this number.

    Raises:
        ConfigError: there is none.
    """
    if not 0 <= number < of:
        raise ConfigError(
            f"shard {number}/{of}: expected a number and how many there are, counted from 0: "
            f"{f'0/{of} to {of - 1}/{of}' if of > 0 else '0/64 to 63/64'}"
        )


def part_of(corpus: Iterable[Passage], number: int, of: int, name: str | None) -> CorpusPart:
    """Return one of several parts of a corpus, which have about as many passages or documents.

    Args:
        corpus: the whole.
        number: of the part, from 0.
        of: how many parts there are.
        name: under which the corpus is registered, for errors.

    Raises:
        CorpusError: it cannot be read.
    """
    if "parts" in getattr(corpus, "capabilities", ()):
        divided = cast("DividedCorpus", corpus)
        return CorpusPart(divided.part(number, of), divided.fingerprint)
    checks, digest = PassageChecks(label_of(name)), blake2b(digest_size=16)

    def note(passage: Passage) -> None:
        checks.check(passage)
        for text in (passage.id, passage.title, passage.text, metadata_to_json(passage)):
            data = text.encode("utf-8")
            digest.update(len(data).to_bytes(8, "little"))
            digest.update(data)

    documents = document_corpus(corpus)
    # How many passages each document has; without documents, each passage counts alone.
    sizes = array("Q")
    if documents is None:
        count = 0
        for passage in corpus:
            note(passage)
            count += 1
        start, stop = count * number // of, count * (number + 1) // of
        part: Iterable[Passage] = _Passages(corpus, start, stop)
        return CorpusPart(part, f"passages:{digest.hexdigest()}", start, stop - start)
    for document in checked_documents(documents, NoDocuments(), name):
        digest.update(repr((document.id, document.key)).encode("utf-8", "backslashreplace"))
        for passage in document.passages or ():
            note(passage)
        sizes.append(len(document.passages or ()))
    start, stop = len(sizes) * number // of, len(sizes) * (number + 1) // of
    return CorpusPart(
        _Documents(documents, start, stop),
        f"documents:{digest.hexdigest()}",
        sum(sizes[:start]),
        sum(sizes[start:stop]),
    )


class _Passages:
    """A range of a corpus's passages."""

    capabilities: Capabilities = frozenset()

    def __init__(self, corpus: Iterable[Passage], start: int, stop: int) -> None:
        self._corpus = corpus
        self._range = (start, stop)

    def __iter__(self) -> Iterator[Passage]:
        return islice(self._corpus, *self._range)

    def __length_hint__(self) -> int:
        start, stop = self._range
        return stop - start

    def locations(self, id_: str) -> list[str]:
        """Return where the first two passages with an id are, if the corpus knows it."""
        locations = getattr(self._corpus, "locations", None)
        return list(locations(id_)) if callable(locations) else []


class _Documents(_Passages):
    """A range of a corpus's documents."""

    capabilities: Capabilities = frozenset({"documents"})
    complete = False

    def __init__(self, corpus: DocumentCorpus, start: int, stop: int) -> None:
        super().__init__(corpus, start, stop)
        self._documents = corpus

    def __length_hint__(self) -> int:
        """Return 0: how many passages it has is not known."""
        return 0

    def __iter__(self) -> Iterator[Passage]:
        for document in self.documents(NoDocuments()):
            yield from document.passages or ()

    def documents(self, known: KnownDocuments) -> Iterator[Document]:
        """Yield the documents of the range."""
        return islice(self._documents.documents(known), *self._range)

    @property
    def identity(self) -> Any:
        """What the corpus is a copy of, where it tells."""
        return getattr(self._documents, "identity", "")

    @property
    def date(self) -> Any:
        """Of what state the corpus is, where it tells."""
        return getattr(self._documents, "date", "")

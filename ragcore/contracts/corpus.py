"""A corpus: a source of passages, and of the documents that they belong to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from ragcore.contracts.component import Component
from ragcore.types import Document, Passage

__all__ = ["Corpus", "DividedCorpus", "DocumentCorpus", "KnownDocuments"]


@runtime_checkable
class Corpus(Component, Protocol):
    """A source of passages. Iterating streams them; each iteration starts from the beginning.

    It may have further members, which are used where they exist:

    - `locations(id) -> list[str]`, where the first two passages with an id are, such as
      `passages.jsonl:7`, for the error that names them;
    - `__len__` or `__length_hint__`, how many passages it has, to show progress;
    - `summary() -> Sequence[str]`: what the last iteration that has ended read and what it skipped,
      in lines of text, which `ragcore memory build` and `update` print.
    """

    def __iter__(self) -> Iterator[Passage]:
        """Yield the passages; ids are unique, texts not empty.

        Raises:
            CorpusError: a passage cannot be read or used; names file and line.
        """
        ...


@runtime_checkable
class DividedCorpus(Corpus, Protocol):
    """A corpus with the capability `parts`: a part can be read without reading all of it.

    All parts in their order have the passages of the whole, in its order, for any number of parts;
    of a `DocumentCorpus`, they are that as well, and together they have its documents. A part may
    be empty. Ids do not depend on the parts: where a row has none, the whole numbers it.
    """

    @property
    def fingerprint(self) -> str:
        """Name the state of what is read, the same on every machine, without reading all of it.

        It is that of the whole, also for a part; names and sizes of files are in it, and samples.
        """
        ...

    def part(self, number: int, of: int) -> Corpus:
        """Return part `number`, from 0, of as many of about the same size.

        Raises:
            CorpusError: the corpus cannot be divided after all, such as one that is a pipe.
        """
        ...


class KnownDocuments(Protocol):
    """The documents that a memory has already; they lie in a file, and the object can be pickled.

    So a corpus may pass it to its worker processes.
    """

    def key(self, document_id: str) -> str | None:
        """Return the key of a document; None where it is not known.

        "" where the document is known, and its passages must be compared all the same.
        """
        ...


@runtime_checkable
class DocumentCorpus(Corpus, Protocol):
    """A corpus with the capability `documents`: it tells which document a passage belongs to.

    Iterating it yields the passages of all documents, in their order. Where a passage has the id,
    title and text that it had, an update does not encode it again, though it is at another place
    of its document and its metadata `line`, `span`, `page` or `mtime` tell so.

    It may have further members, which an update uses where they exist:

    - `identity: str`, what it is a copy of, such as a wiki's name: a memory of one is not updated
      by another;
    - `date: str`, of what state, ISO 8601, to notice that it is older than the memory;
    - `keys_cover_settings: bool`, whether a document has another key where other settings would
      give it other passages: such a corpus need not parse all documents again when one changes;
    - `covers(document_id) -> bool`, where it is not complete: whether a document that it lacks is
      deleted all the same, as in a file with a range of pages;
    - `summary() -> Sequence[str]`: what the last iteration that has ended read and what it skipped,
      in lines of text, which `ragcore memory build` and `update` print.
    """

    @property
    def complete(self) -> bool:
        """Say whether a document that the corpus lacks is deleted; asked after it was read.

        False for a part of a whole: what it lacks may be in another part.
        """
        ...

    def documents(self, known: KnownDocuments) -> Iterator[Document]:
        """Yield each document once, with its passages unless it is known with the same key.

        Args:
            known: documents that need no passages where their keys have not changed.

        Raises:
            CorpusError: a document cannot be read; names file and line.
        """
        ...

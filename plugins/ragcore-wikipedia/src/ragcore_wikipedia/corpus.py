"""The corpus `wikipedia`: passages and documents of a MediaWiki dump."""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Final, Self
from urllib.parse import urlsplit

from ragcore.contracts import KnownDocuments
from ragcore.corpora.ranges import Part, sketch
from ragcore.errors import CorpusError
from ragcore.process.cpus import usable_cpus
from ragcore.types import Document, Passage
from ragcore_wikipedia.articles import DocumentMaker, NothingKnown
from ragcore_wikipedia.config import WikipediaConfig
from ragcore_wikipedia.dumps.counts import Counts
from ragcore_wikipedia.dumps.faults import BrokenDumpError
from ragcore_wikipedia.dumps.files import DumpFile, check_parts, find_files
from ragcore_wikipedia.dumps.job import Job
from ragcore_wikipedia.dumps.reader import read_site
from ragcore_wikipedia.dumps.reading import PageReader
from ragcore_wikipedia.pages import Site

__all__ = ["Wikipedia"]

_LOGGER: Final = logging.getLogger("ragcore_wikipedia")
_WIKIMEDIA: Final = re.compile(
    r"([a-z-]+)\.(wiki(?:pedia|news|books|quote|source|versity|voyage)|wiktionary)\.org"
)
_SUFFIXES: Final = {"wikipedia": "wiki"}
"""What the names of databases end in, where that is not the project's name."""
_SMALL: Final = 1 << 23
"""Bytes of a dump that is read in one process: starting others takes longer."""


class Wikipedia:
    """The pages of a wiki, from a dump of its current revisions, or of all.

    A document is a page, its id the page's id. What the last iteration found is in `counts`; what
    is asked of a corpus before the first, such as `site`, is read from the files' heads.
    """

    Config: ClassVar[type[WikipediaConfig]] = WikipediaConfig
    capabilities: ClassVar[frozenset[str]] = frozenset({"documents", "parts"})
    # A key has the layout in it, and pages that settings leave out are told as such.
    keys_cover_settings: ClassVar[bool] = True

    def __init__(self, config: WikipediaConfig) -> None:
        self._config = config
        self._part: Part | None = None
        self._read: PageReader[Document] | None = None
        self._site: Site | None = None

    @property
    def site(self) -> Site:
        """The wiki, as the first file describes it.

        Raises:
            CorpusError: there is no such file, it is no dump, or the files are of several wikis.
        """
        if self._site is None:
            stop = self._config.faults == "stop"
            self._site = _site_of(self._files(), stop_at_faults=stop)
        return self._site

    @property
    def identity(self) -> str:
        """The wiki's database, such as `enwiki`, or where it is not known, its host; or "".

        Raises:
            CorpusError: as for `site`.
        """
        return _identity(self.site)

    @property
    def newest(self) -> str:
        """The largest timestamp of a revision, ISO 8601; "" before an iteration has ended."""
        return "" if self._read is None else self._read.counts.newest

    @property
    def date(self) -> str:
        """The dump's date by its name, such as `2024-09-20`; where it has none, `newest`.

        A nameless dump that was left at a fault has none: its newest revision may not have been
        read.

        Raises:
            CorpusError: there is no such file.
        """
        dates = [file.date for file in self._files() if file.date]
        if dates:
            return max(dates)
        # Of a part, that of its own newest revision.
        return "" if self._read is None or self._read.faults else self.newest

    @property
    def counts(self) -> Counts:
        """What the last iteration that has ended read; zeros before."""
        return Counts() if self._read is None else self._read.counts

    @property
    def complete(self) -> bool:
        """Whether a page that the dump lacks is deleted; False before an iteration has ended.

        False, too, where a file was left at a fault, and for parts, of which `covers` says more.
        """
        read = self._read
        if self._part is not None or read is None or len(read.ended) < len(read.files):
            return False
        if self._config.complete == "auto":
            (file, *others) = read.files
            return not others and file.whole and file.has(self._config.namespaces)
        return self._config.complete

    def covers(self, document_id: str) -> bool:
        """Return whether the dump would have a page if the wiki still had it.

        It does where the dump is complete, and for ids in the range of a part that was read to its
        end.
        """
        if self.complete:
            return True
        read = self._read
        is_part = self._part is not None
        if is_part or read is None or self._config.complete is False or not document_id.isdigit():
            return False
        id_ = int(document_id)
        return any(
            file.pages is not None and file.pages[0] <= id_ <= file.pages[1]
            for file in read.ended
            if file not in read.strays and file.has(self._config.namespaces)
        )

    @property
    def fingerprint(self) -> str:
        """Name the files' contents, as far as sizes and samples tell; see `DividedCorpus`."""
        return sketch([file.path for file in self._files()])

    def part(self, number: int, of: int) -> Self:
        """Return a part; see `DividedCorpus`.

        A multistream dump is divided between its streams of a hundred pages. Any other file is not
        divided.
        """
        part = copy.copy(self)
        part._part, part._read = (number, of), None
        return part

    def __iter__(self) -> Iterator[Passage]:
        """Yield the passages of all pages, in the order of the files.

        Raises:
            CorpusError: as for `documents`.
        """
        for document in self.documents(NothingKnown()):
            yield from document.passages or ()

    def documents(self, known: KnownDocuments) -> Iterator[Document]:
        """Yield the pages that have passages, and those known ones that have none any more.

        Args:
            known: pages that are not parsed if their revision, title and text are the same.

        Raises:
            CorpusError: there is no such file, a part is missing, a file is no dump, damaged or
                cut short, or the files are of several wikis; names file and line or page.
        """
        files = self._files()
        if self._config.complete is not False:
            check_parts(files)
        config = self._config
        namespaces = frozenset(config.namespaces)
        lists = config.layout == "structured" if config.lists is None else config.lists
        maker = DocumentMaker(
            self.site,
            known,
            config.layout,
            namespaces,
            config.redirects,
            config.disambiguation,
            lists,
        )
        reader = PageReader(
            files,
            Job(maker, self.site, namespaces, needs_text=True),
            workers=config.workers or _default_workers(files),
            stop_at_faults=config.faults == "stop",
            part=self._part,
        )
        yield from reader
        self._read = reader
        _LOGGER.info("%s: read %s", files[0].path, reader.counts)
        if reader.counts.unparseable:
            _LOGGER.warning(
                "%s: %d pages have faults in their markup; log at level debug to see each",
                files[0].path,
                reader.counts.unparseable,
            )

    def _files(self) -> list[DumpFile]:
        path = self._config.path
        return find_files([path] if isinstance(path, Path) else path)


def _default_workers(files: Sequence[DumpFile]) -> int:
    size = sum(file.path.stat().st_size for file in files)
    return 1 if size < _SMALL else usable_cpus()


def _site_of(files: Sequence[DumpFile], *, stop_at_faults: bool) -> Site:
    """Return the wiki that all files are of; with `stop_at_faults`, all whose heads are whole."""
    first: tuple[DumpFile, Site] | None = None
    fault: BrokenDumpError | None = None
    for file in files:
        try:
            site = read_site(file.path)
        except BrokenDumpError as error:
            if not stop_at_faults:
                raise
            fault = fault or error
            continue
        if first is None:
            first = file, site
        elif _identity(site) != _identity(first[1]):
            raise CorpusError(
                f"{file.path}: a dump of {_identity(site)!r}, and {first[0].path} is one of "
                f"{_identity(first[1])!r}: read each wiki as a corpus of its own"
            )
    if first is None:
        assert fault is not None
        raise fault
    return first[1]


def _identity(site: Site) -> str:
    host = urlsplit(site.base).hostname or ""
    # Dumps of old schemas do not name the database; Wikimedia's follow from the host.
    wikimedia = _WIKIMEDIA.fullmatch(host)
    database = ""
    if wikimedia is not None:
        language, project = wikimedia.groups()
        database = f"{language.replace('-', '_')}{_SUFFIXES.get(project, project)}"
    return site.database or database or host or site.name

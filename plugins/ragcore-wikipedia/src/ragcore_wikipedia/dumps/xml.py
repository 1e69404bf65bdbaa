"""Turn the bytes of a dump's XML into pages.

Knows the elements of MediaWiki's export schemas 0.1 to 0.11, by local name, since each schema has
another XML namespace. Knows nothing of files. Expat is fed chunks and calls back, so that the text
of one page, at most `MOST_TEXT` characters, and one chunk are in memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final
from xml.parsers import expat

from ragcore.errors import CorpusError
from ragcore_wikipedia.dumps.drafts import PageDraft, RevisionDraft
from ragcore_wikipedia.dumps.faults import BrokenDumpError
from ragcore_wikipedia.pages import Page, Site

__all__ = ["MOST_TEXT", "PageParser"]

MOST_TEXT: Final = 1 << 24
"""Characters of the longest text that is read: eight times what MediaWiki lets users save."""

_MOST_DEPTH: Final = 64
_MOST_FIELD: Final = 1 << 16
_MOST_TOKEN: Final = 1 << 23
"""Bytes of the longest tag or comment. Expat holds one until it ends."""

_MOST_REST: Final = 80
_MOST_NAMESPACES: Final = 1 << 12

# Where the parser is. Elements other than those named here, and those in them, are skipped.
_OUTSIDE, _ROOT, _SITE, _PAGE, _REVISION = range(5)

_SITE_FIELDS: Final = frozenset({"sitename", "dbname", "base", "case", "namespace"})
_PAGE_FIELDS: Final = frozenset({"title", "ns", "id"})
_REVISION_FIELDS: Final = frozenset({"id", "timestamp", "model", "text"})

_TIMESTAMP: Final = re.compile(
    r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
    r"T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z"
)
"""The one form that MediaWiki writes, so that texts compare as times do."""

_NUMBER: Final = re.compile(r"-?[0-9]{1,18}")
_VERSION: Final = re.compile(r"0\.([0-9]{1,4})")
_FIRST_WITH_REDIRECTS: Final = 4
"""The first schema with an element for redirects is 0.4."""


class PageParser:
    """Collect the pages of one file, or of a part of it that holds whole pages.

    Attributes:
        site: the wiki, complete once the first page begins.
        closed: whether the root element has ended: the whole file was read.
        rest: what follows the root besides white space, up to its first bytes.
        oversized: how many texts were left out because they are longer than `MOST_TEXT`.
    """

    def __init__(
        self,
        where: str,
        *,
        namespaces: frozenset[int] | None = None,
        needs_text: bool = False,
        site: Site | None = None,
        first_line: int = 1,
    ) -> None:
        """Begin.

        Args:
            where: the file, for errors.
            namespaces: read texts of these alone, to save time; other pages have None. None reads
                all.
            needs_text: raise an error at a stub, which has sizes of texts instead of texts.
            site: the wiki, to read a part of a file that begins after the root's tag.
            first_line: number of the part's first line in the file.
        """
        self.site = Site() if site is None else site
        self.closed = False
        self.rest = b""
        self.oversized = 0
        self._where = where
        self._namespaces = namespaces
        self._needs_text = needs_text
        self._first_line = first_line
        self._pages: list[Page] = []
        self._last = ""
        self._fed = 0
        self._state, self._depth = _OUTSIDE, 0
        self._has_redirects = True
        self._page, self._revision = PageDraft(), RevisionDraft()
        self._site_fields: dict[str, str] = {}
        self._names: dict[int, str] = {}
        # The element whose text is collected, its depth, and the text.
        self._field = self._namespace_key = ""
        self._field_depth = self._length = self._limit = 0
        self._parts: list[str] = []
        self._parser = parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.buffer_size = 1 << 18
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        if site is not None:
            root = b"<mediawiki version='0.4'>"
            parser.Parse(root, False)
            self._fed = len(root)

    @property
    def in_page(self) -> bool:
        """Whether a page, or another element below the root, has begun and not ended."""
        return self._depth > 1

    @property
    def line(self) -> int:
        """The line of the file that has been reached."""
        return self._parser.CurrentLineNumber + self._first_line - 1

    def feed(self, data: bytes) -> None:
        """Parse the next bytes.

        Raises:
            BrokenDumpError: they are not well-formed.
            CorpusError: they are no dump.
        """
        if self.rest:
            self._add_rest(data)
        else:
            self._parse(data, False)

    def finish(self) -> None:
        """Check that the file is complete.

        Raises:
            BrokenDumpError: it ends before the root element does, or something follows that.
        """
        if not self.closed:
            self._parse(b"", True)
        # A literal `\\n` is at the end of genuine dumps, and harmless.
        elif self.rest.replace(rb"\n", b"").strip():
            raise BrokenDumpError(
                f"{self._where}:{self.line}: found {self.rest!r} after </mediawiki>: repair the "
                "file, or download it again"
            )

    def take(self) -> Iterator[Page]:
        """Yield the pages that have ended since the last call."""
        pages, self._pages = self._pages, []
        yield from pages

    def release(self) -> None:
        """Free the parser's memory; nothing can be fed from now on.

        Expat's object and this one refer to each other, so that both would wait for the garbage
        collector, each with a buffer.
        """
        parser = self._parser
        parser.StartElementHandler = parser.EndElementHandler = None
        parser.CharacterDataHandler = parser.StartDoctypeDeclHandler = None

    def _parse(self, data: bytes, final: bool) -> None:
        try:
            self._parser.Parse(data, final)
        except expat.ExpatError as error:
            if not self.closed:
                raise self._broken(error) from None
            self._add_rest(data[self._parser.ErrorByteIndex - self._fed :])
        self._fed += len(data)
        if not self.closed and self._fed - self._parser.CurrentByteIndex > _MOST_TOKEN:
            raise self._fault(f"a tag or comment is longer than {_MOST_TOKEN:,} bytes")

    def _add_rest(self, data: bytes) -> None:
        """Take what follows the root, and refuse a second one."""
        if b"<" in data:
            raise BrokenDumpError(
                f"{self._where}:{self.line}: found another element after </mediawiki>: if these "
                "are several dumps in one file, use them as several files"
            )
        self.rest = (self.rest + data)[:_MOST_REST]

    def _broken(self, error: expat.ExpatError) -> BrokenDumpError:
        reason = expat.ErrorString(error.code)
        line = error.lineno + self._first_line - 1
        if error.code != expat.errors.codes[expat.errors.XML_ERROR_NO_ELEMENTS]:
            return self._fault(f"broken XML, {reason}", line)
        if self._state == _OUTSIDE:
            return self._fault("there is no <mediawiki> element in the file", line)
        return self._fault("the file is cut short, it ends before </mediawiki>", line)

    def _fault(self, what: str, line: int | None = None) -> BrokenDumpError:
        """Make the error for a fault, with the page that it is in or after."""
        after = ""
        if self._state in (_PAGE, _REVISION) and self._page.title:
            after = f" (in page {self._page.title[:200]!r})"
        elif self._last:
            after = f" (after page {self._last})"
        return BrokenDumpError(
            f"{self._where}:{line or self.line}: {what}{after}: repair the file, or download it "
            "again"
        )

    def _refuse_doctype(self, *_: Any) -> None:
        raise CorpusError(
            f"{self._where}:{self.line}: found a document type (<!DOCTYPE …>), which no dump has "
            "and which can define entities that grow without bound: use a dump that MediaWiki wrote"
        )

    # Elements. The states are nested: the root is 1 deep, a site or page 2, a revision 3. What a
    # state reads stands right below its element, so that the text of a second slot, which is
    # deeper, is skipped.

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth = depth = self._depth + 1
        state = self._state
        if state == _REVISION:
            if depth == 4 and (name := _local(name)) in _REVISION_FIELDS:
                self._open_field(name)
                if name == "text":
                    self._open_text(attributes)
        elif state == _PAGE:
            if depth == 3:
                name = _local(name)
                if name == "revision":
                    self._state, self._revision = _REVISION, RevisionDraft()
                elif name == "redirect":
                    self._page.redirect = attributes.get("title", "")
                elif name in _PAGE_FIELDS:
                    self._open_field(name)
        elif state == _ROOT:
            if depth == 2:
                name = _local(name)
                if name == "page":
                    self._state = _PAGE
                    self._page = PageDraft(self.site, self._has_redirects)
                elif name == "siteinfo":
                    self._state = _SITE
        elif state == _SITE:
            if depth <= 4 and (name := _local(name)) in _SITE_FIELDS:
                self._open_field(name)
                self._namespace_key = attributes.get("key", "")
        else:
            self._open_root(_local(name), attributes)
        if depth > _MOST_DEPTH:
            raise self._fault(f"elements are nested more than {_MOST_DEPTH} deep")

    def _end(self, name: str) -> None:
        depth = self._depth
        self._depth = depth - 1
        state = self._state
        if self._field:
            if depth == self._field_depth:
                self._close_field(state, self._field)
        elif state == _REVISION:
            if depth == 3:
                self._state = _PAGE
                self._close_revision()
        elif state == _PAGE:
            if depth == 2:
                self._close_page()
                self._state = _ROOT
        elif state == _SITE:
            if depth == 2:
                self._state = _ROOT
                self._close_site()
        elif depth == 1:
            self.closed = True

    def _open_root(self, name: str, attributes: dict[str, str]) -> None:
        if name != "mediawiki":
            raise CorpusError(
                f"{self._where}:{self.line}: found <{name[:80]}>, expected <mediawiki>: use a dump "
                "of a wiki's pages, such as …-pages-articles.xml.bz2"
            )
        self._state = _ROOT
        version = _VERSION.fullmatch(attributes.get("version", ""))
        self._has_redirects = version is not None and int(version[1]) >= _FIRST_WITH_REDIRECTS
        self._site_fields["language"] = attributes.get("xml:lang", "")

    def _open_field(self, name: str) -> None:
        self._field, self._field_depth = name, self._depth
        self._length, self._limit = 0, _MOST_FIELD
        self._parser.CharacterDataHandler = self._characters

    def _open_text(self, attributes: dict[str, str]) -> None:
        revision, page = self._revision, self._page
        revision.hidden = "deleted" in attributes
        # Stubs alone have the address of a text.
        addressed = "location" in attributes or "id" in attributes
        revision.stub = addressed and attributes.get("bytes") != "0"
        size = attributes.get("bytes", "")
        revision.size = int(size) if _NUMBER.fullmatch(size) else 0
        self._limit = MOST_TEXT
        if not self._is_wanted(page) or revision.is_older_than(page.newest):
            self._parser.CharacterDataHandler = None

    def _is_wanted(self, page: PageDraft) -> bool:
        return self._namespaces is None or page.settle_namespace() in self._namespaces

    def _characters(self, text: str) -> None:
        self._length += len(text)
        if self._length <= self._limit:
            self._parts.append(text)
        elif self._limit != MOST_TEXT:
            raise self._fault(f"<{self._field}> is longer than {self._limit:,} characters")

    def _close_field(self, state: int, field: str) -> None:
        skipped = self._parser.CharacterDataHandler is None
        self._parser.CharacterDataHandler = None
        self._field = ""
        value = "".join(self._parts)
        self._parts.clear()
        if state == _REVISION:
            revision = self._revision
            if field == "text":
                too_long = self._length > MOST_TEXT
                self.oversized += too_long
                revision.text = None if too_long or skipped else value
                revision.oversized = too_long
                # A text that nobody asked for is not lost.
                revision.size = 0 if skipped else revision.size
            elif field == "id":
                revision.id = self._number(value, "id of a revision")
            elif field == "timestamp":
                # Anything else would count as later than every time, or earlier.
                timestamp = value.strip()
                revision.timestamp = timestamp if _TIMESTAMP.fullmatch(timestamp) else ""
            else:
                revision.model = value.strip()
        elif state == _PAGE:
            if field == "title":
                self._page.title = value
            elif field == "id":
                self._page.id = self._number(value, "id of a page")
            else:
                self._page.namespace = self._number(value, "number of a namespace")
        elif field != "namespace":
            self._site_fields[field] = value
        elif len(self._names) < _MOST_NAMESPACES:
            self._names[self._number(self._namespace_key, "number of a namespace")] = value

    def _number(self, value: str, what: str) -> int:
        digits = value.strip()
        if not _NUMBER.fullmatch(digits):
            raise self._fault(f"the {what} is {digits[:80]!r}, expected a number")
        return int(digits)

    def _close_site(self) -> None:
        fields = self._site_fields
        self.site = Site(
            fields.get("sitename", ""),
            fields.get("dbname", ""),
            fields.get("base", ""),
            fields.get("language", ""),
            {0: "", **self._names},
            fields.get("case", "first-letter") == "first-letter",
        )

    def _close_revision(self) -> None:
        page, revision = self._page, self._revision
        if revision.is_older_than(page.newest):
            return
        stub = revision.stub and revision.absent and not revision.hidden
        if stub and self._needs_text and self._is_wanted(page):
            raise CorpusError(
                f"{self._where}:{self.line}: page {page.title[:200]!r} has the size of its text "
                "instead of the text: this is a stub dump; use the dump of the same date that is "
                "called pages-articles"
            )
        page.newest = revision

    def _close_page(self) -> None:
        page = self._page
        if page.id is None:
            raise self._fault("a page has no id")
        self._last = f"{page.id}, {page.title[:200]!r}"
        self._pages.append(page.page())
        self._page = PageDraft()


def _local(name: str) -> str:
    """Return an element's name without its prefix."""
    return name.rpartition(":")[2] if ":" in name else name

"""Make a document of a page, or say why it has none.

Runs in the processes that read a dump. Knows pages, layouts and which pages a memory has already;
knows no files.
"""

from __future__ import annotations

import logging
from collections.abc import Set
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, Literal

from ragcore.contracts import KnownDocuments
from ragcore.types import Document
from ragcore_wikipedia.dumps.counts import Counts
from ragcore_wikipedia.layouts import is_disambiguation, is_list, read_page
from ragcore_wikipedia.pages import Page, Site

__all__ = ["DocumentMaker", "NothingKnown"]

_FORMAT: Final = 1
"""Counts up when the same text gives other passages, so that updates read every page again."""

_LOGGER: Final = logging.getLogger("ragcore_wikipedia")


class NothingKnown:
    """The known documents of a first build: none."""

    def key(self, document_id: str) -> str | None:
        """Return None."""
        return None


@dataclass(frozen=True, slots=True)
class DocumentMaker:
    """Turn pages into documents; can be pickled if `known` can.

    Attributes:
        site: the wiki.
        known: documents that a memory has.
        layout: how pages are cut into passages.
        namespaces: of the pages that have passages.
        redirects: whether pages that redirect do.
        disambiguation: whether pages that list the meanings of their titles do.
        lists: whether list pages do.
    """

    site: Site
    known: KnownDocuments
    layout: Literal["structured", "psgs"]
    namespaces: Set[int]
    redirects: bool
    disambiguation: bool
    lists: bool

    def __call__(self, page: Page, counts: Counts) -> Document | None:
        """Return a page's document, and count the page.

        A page that is left out is a document without passages where the memory knows it: it was an
        article, and its passages must go. Else it is None.
        """
        reason = self._left_out(page)
        if reason is not None:
            setattr(counts, reason, getattr(counts, reason) + 1)
            if self.known.key(str(page.id)) is None:
                return None
            if page.lost and reason == "without_text":
                return self._as_before(page, reason)
            return Document(str(page.id), f"{page.revision}:{reason}", ())
        counts.articles += 1
        id_, key = str(page.id), self._key(page)
        known_key = self.known.key(id_)
        if known_key == key:
            counts.unchanged += 1
            return Document(id_, key, None)
        try:
            content = read_page(page, self.site, self.layout)
        # One page must not stop the build of a million others, whatever its markup does.
        except MemoryError:
            raise
        except Exception as error:
            counts.unparseable += 1
            _LOGGER.warning(
                "page %d, %r: its markup cannot be read (%s: %s); %s",
                page.id,
                page.title,
                type(error).__name__,
                error,
                "its passages stay as they are" if known_key else "it has no passages",
            )
            # Not the page's own key: the next update reads it again.
            return self._as_before(page, "unparseable")
        counts.unparseable += bool(content.fault)
        if content.fault:
            _LOGGER.debug("page %d, %r: %s", page.id, page.title, content.fault)
        counts.passages += len(content.passages)
        return Document(id_, key, tuple(content.passages))

    def _as_before(self, page: Page, reason: str) -> Document:
        """Return a page with the passages that the memory has, or without any if it has none."""
        known_key = self.known.key(str(page.id))
        if known_key:
            return Document(str(page.id), known_key, None)
        return Document(str(page.id), f"{page.revision}:{reason}", ())

    def _left_out(self, page: Page) -> str | None:
        """Return the count of the pages that are left out for the same reason; None for others."""
        if page.namespace not in self.namespaces:
            return "other_namespaces"
        if page.redirect is not None and not self.redirects:
            return "redirects"
        if page.model != "wikitext":
            return "other_models"
        if page.text is None:
            return "without_text"
        if not self.disambiguation and is_disambiguation(page, self.site):
            return "disambiguations"
        if not self.lists and is_list(page, self.site):
            return "lists"
        return None

    def _key(self, page: Page) -> str:
        """Return the revision, and a digest of what else passages are made of.

        The text is compared, too: ids of revisions of a wiki that was set up again can repeat.
        """
        content = f"{_FORMAT}\0{self.layout}\0{page.title}\0{page.text}"
        return f"{page.revision}:{blake2b(content.encode(), digest_size=8).hexdigest()}"

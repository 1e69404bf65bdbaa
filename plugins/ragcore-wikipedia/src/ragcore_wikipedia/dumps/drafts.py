"""Hold a page and a revision while their elements are read, and choose the newest revision."""

from __future__ import annotations

from dataclasses import dataclass, field

from ragcore_wikipedia.dumps.titles import namespace_of, redirect_target
from ragcore_wikipedia.pages import Page, Site

__all__ = ["PageDraft", "RevisionDraft"]


@dataclass(slots=True)
class RevisionDraft:
    """A revision, as far as it has been read.

    Attributes:
        id: revision id.
        timestamp: when it was saved; "" where it is missing or no time.
        model: content model, or "" where the schema has none.
        text: the main slot's; None where it is not read.
        hidden: the text is suppressed.
        stub: the dump has the text's address instead of the text.
        size: bytes of the text, as the dump says; 0 where it does not.
        oversized: the text is too long to be read.
    """

    id: int = 0
    timestamp: str = ""
    model: str = ""
    text: str | None = None
    hidden: bool = False
    stub: bool = False
    size: int = 0
    oversized: bool = False

    @property
    def absent(self) -> bool:
        """Whether the dump lacks the text, which is not the same as an empty text."""
        return not self.text and (self.hidden or self.stub)

    @property
    def lost(self) -> bool:
        """Whether there is a text that the dump does not give, or that is too long."""
        return self.oversized or (not self.text and self.size > 0 and not self.hidden)

    def is_older_than(self, other: RevisionDraft | None) -> bool:
        """Compare by time, then by id: ids of imported revisions are not in the order of time."""
        return other is not None and (self.timestamp, self.id) < (other.timestamp, other.id)


@dataclass(slots=True)
class PageDraft:
    """A page, as far as it has been read.

    Attributes:
        site: the wiki.
        has_redirects: whether the schema says which pages redirect.
        id: page id.
        namespace: its number; None where the schema has none.
        title: with its prefix.
        redirect: the target; "" where the schema does not name it.
        newest: the newest revision so far.
    """

    site: Site = field(default_factory=Site)
    has_redirects: bool = True
    id: int | None = None
    namespace: int | None = None
    title: str = ""
    redirect: str | None = None
    newest: RevisionDraft | None = None

    def settle_namespace(self) -> int:
        """Return the namespace, by the title where the schema does not number it."""
        if self.namespace is None:
            self.namespace = namespace_of(self.title, self.site.namespaces)
        return self.namespace

    def page(self) -> Page:
        """Return the page; its id must have been read."""
        assert self.id is not None
        newest = self.newest or RevisionDraft()
        text = None if newest.absent or newest.lost else newest.text
        redirect = self.redirect
        if text and (redirect == "" or (redirect is None and not self.has_redirects)):
            target = redirect_target(text)
            redirect = redirect if target is None else target
        return Page(
            self.id,
            self.settle_namespace(),
            self.title,
            redirect,
            newest.id,
            newest.timestamp,
            newest.model or "wikitext",
            text,
            newest.lost,
        )

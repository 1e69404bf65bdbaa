"""Say what is done with each page of a dump."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from ragcore_wikipedia.dumps.counts import Counts
from ragcore_wikipedia.dumps.xml import PageParser
from ragcore_wikipedia.pages import Page, Site

__all__ = ["Job"]

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Job(Generic[Item]):
    """What is done with each page; can be pickled.

    Attributes:
        make: returns what becomes of a page, or None, and counts it.
        site: the wiki.
        namespaces: texts of these alone are read; None reads all.
        needs_text: whether a dump without texts is an error.
    """

    make: Callable[[Page, Counts], Item | None]
    site: Site
    namespaces: frozenset[int] | None = None
    needs_text: bool = False

    def parser(self, path: Path) -> PageParser:
        """Return a parser for a file from its beginning."""
        return PageParser(str(path), namespaces=self.namespaces, needs_text=self.needs_text)

    def apply(self, pages: Iterable[Page], counts: Counts) -> Iterator[Item]:
        """Yield what becomes of the pages."""
        for page in pages:
            counts.see(page.id, page.timestamp)
            item = self.make(page, counts)
            if item is not None:
                yield item

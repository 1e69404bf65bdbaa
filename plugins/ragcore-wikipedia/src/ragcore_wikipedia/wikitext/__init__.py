"""Read a page's wikitext as sections of plain text.

Four passes, each linear in the page's length: content of extension tags is taken out
(`extensions`), brackets are resolved from the inside out (`scan`), inline markup is removed
(`inline`) and lines are grouped into blocks (`blocks`). Nothing is fetched, so a template shows
only what its parameters say.

mwparserfromhell and wikitextparser read the same language, but build a tree of Python objects
first. On one core they read a fifth and a third of wikiextractor's English pages a second, before
any text is taken from the tree. `benchmarks/wikitext.py` compares them.
"""

from __future__ import annotations

from dataclasses import dataclass

from ragcore_wikipedia.pages import Site
from ragcore_wikipedia.wikitext.blocks import Block, Section, sections
from ragcore_wikipedia.wikitext.extensions import without_extensions
from ragcore_wikipedia.wikitext.links import Links, in_category
from ragcore_wikipedia.wikitext.marks import clear
from ragcore_wikipedia.wikitext.scan import Scan

__all__ = ["Block", "PageText", "Section", "in_category", "read_wikitext", "visible_source"]


@dataclass(frozen=True, slots=True)
class PageText:
    """The text of a page.

    Attributes:
        sections: those with text, in order.
        fault: the first fault in the markup, or "". The text around it is there nevertheless.
    """

    sections: list[Section]
    fault: str


def visible_source(text: str) -> str:
    """Return wikitext without comments, code and other content that is no wikitext."""
    return without_extensions(clear(text), prose=True)[0]


def read_wikitext(text: str, title: str, site: Site, *, prose: bool) -> PageText:
    """Read a page's wikitext. Any text is read; none raises.

    Args:
        text: wikitext.
        title: the page's title, which some templates show.
        site: the wiki, for the names of its namespaces.
        prose: leave out lists, tables, infoboxes, formulas and code.
    """
    source, fault = without_extensions(clear(text), prose=prose)
    scan = Scan(Links(site), title, prose=prose)
    resolved = scan.resolve(source)
    return PageText(sections(resolved, scan.blocks, prose=prose), fault or scan.fault)

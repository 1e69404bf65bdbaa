"""What the elements of HTML are to a reader: text, structure, navigation, or hidden."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal

__all__ = [
    "BLOCKS",
    "CODE",
    "ENDS_HEADING",
    "HEADINGS",
    "LEFT_OUT",
    "LISTS",
    "Region",
    "integer",
    "is_hidden",
    "region_of",
    "words",
]

Region = Literal["body", "article", "main", "header", "navigation", "aside", "bar"]
"""Part of a page. `aside` and `bar` may be navigation, which their content tells at their end."""


def words(text: str) -> frozenset[str]:
    """Return the words of a text as a set."""
    return frozenset(text.split())


# Elements whose content is no text of the document.
LEFT_OUT: Final = words(
    "annotation annotation-xml applet area audio base basefont button canvas col colgroup datalist"
    " del embed iframe link map noembed noscript optgroup option param progress rp rtc s script"
    " select source strike style svg template textarea track video"
)
# Elements that end a paragraph; text before and behind them is no single sentence.
BLOCKS: Final = words(
    "address article aside blockquote body caption center dd details dialog dir div dl dt fieldset"
    " figcaption figure footer form frameset header hgroup hr html legend li main menu nav ol"
    " p pre search section summary table tbody td tfoot th thead tr ul"
)
HEADINGS: Final = {f"h{level}": level for level in range(1, 7)}
# These cannot be part of a heading: one that is open was never closed.
ENDS_HEADING: Final = words("p ul ol dl pre table blockquote")
CODE: Final = frozenset(("pre", "listing", "xmp", "plaintext"))
LISTS: Final = frozenset(("ul", "ol", "menu", "dir"))
_NAVIGATION_ROLES: Final = words(
    "alertdialog banner contentinfo dialog menu menubar navigation search toolbar tooltip"
)
# Words of `class` and `id` by which generators of documentation mark what is never the text itself.
_NAVIGATION_NAMES: Final = words(
    "cookie-banner edit-this-page md-source-file mw-editsection mw-jump-link skip-link"
    " skip-to-content"
)
# Words of `class` and `id` of navigation. Chapters on one page and boxes next to the text have the
# first ones too; the others are also the ids of sections of such a title.
_ASIDE_NAMES: Final = words(
    "noprint sidebar table-of-contents table_of_contents toc toctree-wrapper"
)
_BAR_NAMES: Final = words(
    "breadcrumb breadcrumbs md-sidebar nav navbar navfooter navheader navigation pagination"
    " prev-next-area rst-footer-buttons sphinxsidebar wy-breadcrumbs wy-nav-side"
)
_NAMES: Final = _NAVIGATION_NAMES | _ASIDE_NAMES | _BAR_NAMES
_NOTES: Final = words(
    "doc-endnote doc-endnotes doc-footnote endnote endnotes footnote footnotes rearnote rearnotes"
)
_HIDDEN_CLASSES: Final = words(
    "gutter headerlink line-number line-numbers-rows lineno linenodiv linenos lnt"
)
_HIDDEN_STYLE: Final = re.compile(r"(?:display\s*:\s*none|visibility\s*:\s*hidden)", re.IGNORECASE)


def region_of(tag: str, attributes: Mapping[str, str | None], region: Region) -> Region:
    """Return the region of an element inside another region."""
    role = attributes.get("role")
    if region in ("navigation", "header"):
        return "navigation" if tag == "nav" or role in _NAVIGATION_ROLES else region
    if tag == "main" or role == "main":
        return "main"
    if tag == "nav" or role in _NAVIGATION_ROLES:
        return "navigation"
    if attributes and tag not in ("body", "html", "main", "article"):
        names = f"{attributes.get('class') or ''} {attributes.get('id') or ''}".lower().split()
        if role == "complementary":
            return "aside"
        if not _NAMES.isdisjoint(names):
            if not _NAVIGATION_NAMES.isdisjoint(names):
                return "navigation"
            return "aside" if _BAR_NAMES.isdisjoint(names) else "bar"
    if region == "body":
        if tag == "article" or role == "article":
            return "article"
        if tag == "header":
            return "header"
        if tag == "footer":
            return "navigation"
    return region


def is_hidden(tag: str, attributes: Mapping[str, str | None]) -> bool:
    """Return whether a browser, or a reader aloud, leaves an element out.

    Notes of books are hidden where they stand, and shown where they are referred to.
    """
    if _is_note(attributes):
        return False
    if "hidden" in attributes and attributes["hidden"] != "until-found":
        return True
    if tag == "dialog" and "open" not in attributes:
        return True
    if (attributes.get("aria-hidden") or "").lower() == "true":
        return True
    if (style := attributes.get("style")) and _HIDDEN_STYLE.search(style):
        return True
    names = (attributes.get("class") or "").lower().split()
    return not _HIDDEN_CLASSES.isdisjoint(names)


def _is_note(attributes: Mapping[str, str | None]) -> bool:
    if "role" not in attributes and "epub:type" not in attributes:
        return False
    kinds = f"{attributes.get('role') or ''} {attributes.get('epub:type') or ''}".lower()
    return not _NOTES.isdisjoint(kinds.split())


def integer(value: str | None, default: int) -> int:
    """Return the number that an attribute states, or a default."""
    value = (value or "").strip()
    return int(value) if re.fullmatch(r"-?[0-9]{1,9}", value) else default

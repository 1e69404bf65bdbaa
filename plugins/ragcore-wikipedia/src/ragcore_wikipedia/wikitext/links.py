"""Turn internal links into the text a reader sees."""

from __future__ import annotations

import re
from functools import cache

from ragcore_wikipedia.pages import Site
from ragcore_wikipedia.wikitext import names
from ragcore_wikipedia.wikitext.marks import literal

__all__ = ["Links", "in_category"]

_SIMPLE = re.compile(r"\[\[([^\[\]{}|\n<>]{1,255})(?:\|([^\[\]{}|\n]*))?\]\]")
# The prefix and the colon; no link of one to a category, `[[:Category:…]]`, has a prefix there.
_PREFIX = re.compile(r"\[\[([^\[\]|:\n]{1,100}):[ _]*+")
_FILE_NAME = re.compile(r"\.(?:jpe?g|png|svg|gif|tiff?|webp|og[agv]|webm|djvu)\s*+$", re.IGNORECASE)
_IMAGE_OPTION = re.compile(r"thumb|thumbnail|frameless|\d{0,4}x?\d{1,4} ?px|upright(?:=[\d.]+)?")


class Links:
    """Render links by a wiki's namespaces."""

    def __init__(self, site: Site) -> None:
        local = site.namespaces
        self._dropped = _dropped(local.get(6, ""), local.get(-2, ""), local.get(14, ""))

    def replace_simple(self, text: str) -> str:
        """Replace links that hold no other markup, which nearly all do."""
        return _SIMPLE.sub(self._simple, text)

    def _simple(self, match: re.Match[str]) -> str:
        target, label = match.groups()
        if ":" not in target and "=" not in target:
            shown = target if label is None or not label.strip() else label
            return literal_in_links(shown)
        return self._shown(target, label)

    def render(self, inner: str) -> str:
        """Return the text of the link whose brackets hold `inner`, rendered already."""
        target, bar, rest = inner.partition("|")
        if "\n" in target:
            return f"{inner}"
        return self._shown(target, rest if bar else None)

    def _shown(self, target: str, label: str | None) -> str:
        target = target.strip()
        prefix, colon, page = target.partition(":")
        if colon and prefix:
            key = _key(prefix)
            if key in self._dropped:
                return ""
            if label is None and names.LANGUAGE_LINK.fullmatch(prefix.strip()) and page[:1] != " ":
                return ""
        if label is not None and label.strip():
            if _is_image(target, label):
                return ""
            # A link has one label; further bars belong to it.
            return literal_in_links(label)
        return literal_in_links(target.lstrip(":"))


def in_category(text: str, category: re.Pattern[str], site: Site) -> bool:
    """Tell whether a link puts a page with this wikitext in a category whose name so starts."""
    local = site.namespaces.get(14, "")
    prefixes = names.CATEGORY | {_key(local)} if local else names.CATEGORY
    return any(
        _key(link[1]) in prefixes and category.match(text, link.end()) is not None
        for link in _PREFIX.finditer(text)
    )


def _is_image(target: str, label: str) -> bool:
    """Tell an image, whose prefix may be of any language, by the file's name or its options."""
    if _FILE_NAME.search(target):
        return True
    return any(_IMAGE_OPTION.fullmatch(option.strip()) for option in label.split("|")[:5])


def literal_in_links(text: str) -> str:
    """Mark what a template around the link would read as its own parameters."""
    if "|" in text:
        text = text.replace("|", literal("|"))
    return text.replace("=", literal("=")) if "=" in text and "<" not in text else text


@cache
def _dropped(*local: str) -> frozenset[str]:
    """Return the prefixes of links that show no text."""
    return names.FILE | names.CATEGORY | {_key(name) for name in local if name}


def _key(prefix: str) -> str:
    return prefix.strip().replace(" ", "_").lower()

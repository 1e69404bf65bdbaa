"""Tell the title of a document from what only looks like one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ragcore.corpora.structure import Block

__all__ = ["lone_heading", "sensible_title"]

# Headings and titles that say nothing of what a document is about.
_GENERIC: Final = frozenset(
    [
        "about",
        "abstract",
        "contents",
        "description",
        "document",
        "foreword",
        "home",
        "index",
        "introduction",
        "name",
        "new page",
        "no title",
        "overview",
        "preface",
        "readme",
        "summary",
        "synopsis",
        "table of contents",
        "title",
        "unknown",
        "untitled",
        "untitled document",
        "usage",
    ]
)
_LONGEST: Final = 500


def sensible_title(text: str) -> str:
    """Return a title on one line, or "" if it says nothing, such as `Untitled`.

    >>> sensible_title("README.md"), sensible_title(" Moving  house ")
    ('', 'Moving house')
    """
    title = " ".join(text[: 4 * _LONGEST].split())
    word = title.lower().strip(" .:#*_-=")
    stem = word.rsplit(".", 1)[0] if word.startswith(("readme", "index")) else word
    return "" if not word or stem in _GENERIC or len(title) > _LONGEST else title


def lone_heading(blocks: Sequence[Block]) -> str:
    """Return the first heading if it is the title of the document, or "".

    It is if no other heading has its level or a higher one.
    """
    headings = [block for block in blocks if block.kind == "heading"]
    if not headings or any(heading.level <= headings[0].level for heading in headings[1:]):
        return ""
    return sensible_title(headings[0].heading)

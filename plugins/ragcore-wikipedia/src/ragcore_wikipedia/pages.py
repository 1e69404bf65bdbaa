"""Define what a dump tells of a wiki and of one page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Page", "Site"]


@dataclass(frozen=True, slots=True)
class Site:
    """A wiki.

    Attributes:
        name: `sitename`, or "".
        database: `dbname`, such as `enwiki`, or "".
        base: URL of the main page, or "".
        language: language code, such as `en`, or "".
        namespaces: number to local name, such as {14: "Category"}; {0: ""} at least.
        first_letter: whether the first letter of a title is capital in any case (`case` is
            `first-letter`).
    """

    name: str = ""
    database: str = ""
    base: str = ""
    language: str = ""
    namespaces: Mapping[int, str] = field(default_factory=lambda: {0: ""})
    first_letter: bool = True


@dataclass(frozen=True, slots=True)
class Page:
    """The newest revision of a page in a dump.

    Attributes:
        id: page id.
        namespace: number; 0 holds articles.
        title: with its namespace's prefix, entities resolved.
        redirect: title of the target, which may be "" where only the text tells, or None.
        revision: revision id.
        timestamp: ISO 8601 with Z, such as `2016-05-01T12:00:00Z`, or "".
        model: content model, such as `wikitext`.
        text: the main slot's text; None where it is hidden or not in the dump.
        lost: whether the page has a text that could not be read: the dump has its size alone, or it
            is too long.
    """

    id: int
    namespace: int
    title: str
    redirect: str | None
    revision: int
    timestamp: str
    model: str
    text: str | None
    lost: bool = False

"""Count what was read of a dump."""

from __future__ import annotations

from dataclasses import dataclass, fields

__all__ = ["Counts"]


@dataclass(slots=True)
class Counts:
    """What was read of a dump; the counts of its parts can be added.

    Attributes:
        pages: pages of all namespaces.
        articles: pages whose passages were asked for.
        unchanged: articles that were known, and not parsed.
        other_namespaces: pages outside the namespaces that were asked for.
        redirects: pages that redirect, where these are left out.
        disambiguations: pages that list meanings of their title, where these are left out.
        lists: list pages, where these are left out.
        other_models: pages of another content model than wikitext, such as JSON.
        without_text: pages whose text is suppressed, or not in the dump.
        oversized: texts too long to be read.
        unparseable: pages with faults in their markup, such as a bracket that is never closed; they
            are read as far as the markup tells.
        passages: passages of the articles that were parsed.
        newest: the largest timestamp of a revision, ISO 8601, or "".
        lowest_id: the smallest page id; 0 without pages.
        highest_id: the largest page id.
    """

    pages: int = 0
    articles: int = 0
    unchanged: int = 0
    other_namespaces: int = 0
    redirects: int = 0
    disambiguations: int = 0
    lists: int = 0
    other_models: int = 0
    without_text: int = 0
    oversized: int = 0
    unparseable: int = 0
    passages: int = 0
    newest: str = ""
    lowest_id: int = 0
    highest_id: int = 0

    def see(self, page_id: int, timestamp: str) -> None:
        """Count a page that was read."""
        self.pages += 1
        if timestamp > self.newest:
            self.newest = timestamp
        if page_id > self.highest_id:
            self.highest_id = page_id
        if not self.lowest_id or page_id < self.lowest_id:
            self.lowest_id = page_id

    def add(self, other: Counts) -> None:
        """Add the counts of another part of the dump."""
        lowest = [count for count in (self.lowest_id, other.lowest_id) if count]
        newest = max(self.newest, other.newest)
        highest = max(self.highest_id, other.highest_id)
        for field in fields(self):
            if field.type == "int":
                total = getattr(self, field.name) + getattr(other, field.name)
                setattr(self, field.name, total)
        self.newest, self.lowest_id, self.highest_id = newest, min(lowest, default=0), highest

    def __str__(self) -> str:
        names = [field.name for field in fields(self) if field.type == "int"]
        counted = [name for name in names if not name.endswith("_id") and getattr(self, name)]
        parts = [f"{getattr(self, name):,} {name.replace('_', ' ')}" for name in counted]
        return ", ".join(parts) or "nothing"

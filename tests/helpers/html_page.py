"""Read a page that a view writes, as a browser would."""

from __future__ import annotations

from html.parser import HTMLParser

__all__ = ["Page"]

_VOID = {"br", "img", "input", "link", "meta"}


class Page(HTMLParser):
    """The tags, attributes and text of a page; tags must be closed in the order they require.

    Attributes:
        tags: every tag with its attributes.
        open: tags that are not closed.
        text: all text outside of <style>.
        cells: the text of each <td>.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.cells: list[str] = []
        self.feed(html)
        self.close()

    @property
    def names(self) -> set[str]:
        """The names of all tags."""
        return {tag for tag, _ in self.tags}

    @property
    def attributes(self) -> set[str]:
        """The names of all attributes."""
        return {name for _, attributes in self.tags for name in attributes}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "td":
            self.cells.append(data)
        if self.open and self.open[-1] != "style":
            self.text += data

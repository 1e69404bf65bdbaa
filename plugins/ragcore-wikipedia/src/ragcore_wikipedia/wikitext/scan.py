"""Resolve the brackets of wikitext: templates, links and tables, from the inside out.

One pass with a stack: when a bracket closes, what it holds is text already. Each character is
copied at most once for each bracket around it, `MAX_DEPTH` times in all, and broken markup costs no
more than sound markup.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ragcore_wikipedia.wikitext import infobox
from ragcore_wikipedia.wikitext.links import Links
from ragcore_wikipedia.wikitext.marks import BLOCK, NOTHING, block_mark
from ragcore_wikipedia.wikitext.tables import Repeats, parse_table, table_lines
from ragcore_wikipedia.wikitext.templates import render_call

__all__ = ["MAX_DEPTH", "Rows", "Scan"]

MAX_DEPTH = 40
"""Brackets within brackets; MediaWiki's own limit for templates is of the same order."""

# All alternatives start with a literal, so that the search skips text quickly.
_TOKEN = re.compile(r"\{\{|\}\}|\[\[|\]\]|\{\||\|\}")
_INDENT = " \t:*#"
_REPEATED = 8
_LEAST_REPEATED = 10_000
"""How often the length of a page its tables may repeat, and how many characters at least."""
_PARAMETER = re.compile(r"\{\{\{[^{}|]*(?:\|([^{}]*))?\}\}\}")
_LOOK_BACK = 100
_OPENINGS = {"template": "{{", "link": "[[", "table": "{|"}
_KINDS = {
    "{{": ("template", True),
    "}}": ("template", False),
    "[[": ("link", True),
    "]]": ("link", False),
    "{|": ("table", True),
    "|}": ("table", False),
}
_POPULATIONS = re.compile(
    r"\s*(?:historical populations?|us census population|census population|"
    r"évolution population|evolución demográfica|einwohnerentwicklung)\b",
    re.IGNORECASE,
)
_WRAPPERS = re.compile(
    r"(?:stack|vertical stack|div col|columns-list|col-list|multicol|nobold|center|sidebar stack)",
    re.IGNORECASE,
)


@dataclass(slots=True)
class Rows:
    """A block of lines that belong together: an infobox or a table.

    Attributes:
        heading: the caption, or "".
        lines: one a row or fact; may hold marks of blocks.
        box: whether it is an infobox.
    """

    heading: str
    lines: list[str]
    box: bool


@dataclass(slots=True)
class _Frame:
    kind: str
    opening: str
    start: int
    parts: list[str] = field(default_factory=list)
    own_line: bool = False


class Scan:
    """Resolve brackets of one page.

    Attributes:
        blocks: tables and infoboxes, by the number in their marks.
        fault: the first fault, or "".
    """

    def __init__(self, links: Links, title: str, *, prose: bool) -> None:
        self.blocks: list[Rows] = []
        self.fault = ""
        self._repeats = Repeats(0)
        self._links = links
        self._title = title
        self._prose = prose

    def resolve(self, text: str) -> str:
        """Return `text` without brackets; marks stand where tables and infoboxes were."""
        if "{{{" in text:
            text = _PARAMETER.sub(lambda match: match[1] or "", text)
        text = self._links.replace_simple(text)
        self._repeats = Repeats(max(_REPEATED * len(text), _LEAST_REPEATED))
        lead = _first_heading(text)
        stack = [_Frame("page", "", 0)]
        depths = {"template": 0, "link": 0, "table": 0}
        position = 0
        skipped = 0
        after = 0
        while (token := _TOKEN.search(text, after)) is not None:
            start, after = token.span()
            end = after
            kind, opens = _KINDS[token[0]]
            if kind == "table" and not self._is_table(text, start, opens, stack, depths):
                after = start + 1  # the bar or brace after it may belong to another bracket
                continue
            shown = text[position:start]
            position = end
            if skipped:
                skipped += 1 if opens else -1
                continue
            top = stack[-1]
            top.parts.append(shown.rstrip(_INDENT) if kind == "table" else shown)
            if opens:
                if len(stack) > MAX_DEPTH:
                    self._note_fault(f"more than {MAX_DEPTH} brackets around character {start}")
                    skipped = 1
                    continue
                frame = _Frame(kind, token[0], start)
                if kind == "template" and start < lead and len(stack) == 1:
                    before = text[max(0, start - _LOOK_BACK) : start].rpartition("\n")[2].rstrip()
                    frame.own_line = not before or before.endswith("}}")
                stack.append(frame)
                depths[kind] += 1
                continue
            if not depths[kind]:
                if kind != "table":
                    top.parts.append(token[0])
                continue
            while stack[-1].kind != kind:
                self._unclosed(stack, depths)
            frame = stack.pop()
            depths[kind] -= 1
            rendered = self._rendered(frame, inside=stack[-1].kind)
            if not rendered and depths["table"] and kind == "template":
                rendered = NOTHING
            stack[-1].parts.append(rendered)
        stack[-1].parts.append(text[position:] if not skipped else "")
        while len(stack) > 1:
            self._unclosed(stack, depths)
        return "".join(stack[0].parts)

    @staticmethod
    def _is_table(
        text: str, start: int, opens: bool, stack: list[_Frame], depths: dict[str, int]
    ) -> bool:
        """Tell whether `{|` or `|}` is a table's, not part of a template such as `{{a|}}`."""
        if not _starts_line(text, start):
            return False
        if opens:
            return True
        return depths["table"] > 0 and not (
            stack[-1].kind == "template" and text[start + 2 : start + 3] == "}"
        )

    def _note_fault(self, fault: str) -> None:
        self.fault = self.fault or fault

    def _unclosed(self, stack: list[_Frame], depths: dict[str, int]) -> None:
        """Give the text after an opening that is never closed to what is around it."""
        frame = stack.pop()
        depths[frame.kind] -= 1
        self._note_fault(f"{_OPENINGS[frame.kind]} at character {frame.start} is never closed")
        content = "".join(frame.parts)
        if frame.kind == "table":
            end = _first_heading(content)
            frame.parts = [content[:end]]
            content = self._rendered(frame, inside="page") + content[end:]
        elif frame.kind == "template":
            content = _after_parameters(content)
        stack[-1].parts.append(content)

    def _rendered(self, frame: _Frame, *, inside: str) -> str:
        inner = "".join(frame.parts)
        if frame.kind == "link":
            return self._links.render(inner)
        if frame.kind == "table":
            if self._prose:
                return ""
            table = parse_table(inner)
            lines = table_lines(table, self._repeats)
            if self._repeats.exceeded:
                self._note_fault(
                    f"up to the table at character {frame.start}, cells that span rows or columns "
                    f"and names of columns repeat more than {self._repeats.limit} characters"
                )
            marks = BLOCK.findall(inner)
            # Infoboxes and tables within a table used for layout follow it.
            after = "".join(f"\n{block_mark(int(number))}\n" for number in marks)
            if not lines:
                return after
            caption = table.caption.strip()
            return f"\n{self._mark(Rows(caption, lines, box=False))}\n{after}"
        return self._template(frame, inner, inside)

    def _template(self, frame: _Frame, inner: str, inside: str) -> str:
        name, *parts = inner.split("|")
        shown = render_call(name, parts, self._title, inside=inside)
        if shown is not None:
            return shown
        if self._prose:
            return ""
        if infobox.is_infobox(name) or (frame.own_line and infobox.looks_like_infobox(name, parts)):
            lines = infobox.facts(name, parts, self._title)
            return f"\n{self._mark(Rows('', lines, box=True))}\n" if lines else ""
        if _POPULATIONS.match(name):
            lines = infobox.populations(parts)
            return f"\n{self._mark(Rows(name.strip(), lines, box=False))}\n" if lines else ""
        boxes = [number for number in map(int, BLOCK.findall(inner)) if self.blocks[number].box]
        if _WRAPPERS.match(name.strip()):
            return "\n".join(parts)
        return "".join(f"\n{block_mark(number)}\n" for number in boxes)

    def _mark(self, rows: Rows) -> str:
        self.blocks.append(rows)
        return block_mark(len(self.blocks) - 1)


def _first_heading(text: str) -> int:
    """Return where the first heading starts, or the text's length."""
    if text.startswith("=="):
        return 0
    at = text.find("\n==")
    return len(text) if at < 0 else at + 1


def _starts_line(text: str, start: int) -> bool:
    """Tell whether only an indent is before `start` on its line."""
    at = start - 1
    while at >= 0 and start - at < _LOOK_BACK and text[at] in _INDENT:
        at -= 1
    return at < 0 or text[at] == "\n"


def _after_parameters(content: str) -> str:
    """Drop the name and the parameters of a template that is never closed."""
    lines = content.split("\n")
    first = 1
    while first < len(lines) and lines[first].lstrip()[:1] in {"|", "}"}:
        first += 1
    return content if first == 1 else "\n" + "\n".join(lines[first:])

"""Say where a passage comes from: section, place in the file, date of the revision, link.

Knows sources and citations; knows nothing of answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.text import Text

from ragcore.types import Citation, CitedSpan, Source

__all__ = ["citation_line", "on_one_line", "source_line", "source_parts", "span_text"]

_LONGEST: Final = 2000
"""Characters of a part that are shown; browsers take no longer link either."""
_MOST_SPANS: Final = 3
"""Occurrences of an answer in a passage that are shown."""


def source_line(source: Source) -> Text | None:
    """Show a source on one line, which is wrapped; None where nothing is known.

    A link is not cut, so that it can be copied; but past 2,000 characters it is none.

    Texts of passages are untrusted: no escape code of a link is written, only its text.
    """
    parts = source_parts(source)
    return Text(" · ".join(parts), no_wrap=False, overflow="fold") if parts else None


def source_parts(source: Source) -> list[str]:
    """Return what is known of a source, besides its title; a link comes last."""
    position = source.path or ""
    if source.line is not None:
        position += f":{source.line}" if position else f"line {source.line}"
    if source.row is not None:
        position += f"{': ' if position else ''}row {source.row}"
    if source.page is not None:
        position += f"{' ' if position else ''}page {source.page}"
    parts = [source.heading, position, (source.date or "")[:10], source.uri]
    return [on_one_line(part) for part in parts if part]


def citation_line(citation: Citation) -> Text:
    """Show a citation: number, title, source, and where the answer is; on one line, wrapped.

    A passage of unknown source has its id.
    """
    line = Text(f"[{citation.number}] ", no_wrap=False, overflow="fold")
    title, identifier = on_one_line(citation.title), on_one_line(citation.passage_id)
    line.append(title or identifier, style="cyan")
    parts = source_parts(citation.source) or ([identifier] if title else [])
    parts += [span_text(citation.spans)] if citation.spans else []
    line.append("".join(f" · {part}" for part in parts))
    return line


def span_text(spans: Sequence[CitedSpan]) -> str:
    """Say where an answer is in the document; in the passage where the document is not known."""
    shown = ", ".join(map(_place, spans[:_MOST_SPANS]))
    more = len(spans) - _MOST_SPANS
    where = "" if spans[0].source is not None else " of the passage"
    return f"answer at {shown}{where}" + (f", and {more} more" if more > 0 else "")


def _place(span: CitedSpan) -> str:
    start, end = span.source or (span.start, span.end)
    line = "" if span.line is None else f"line {span.line}, "
    return f"{line}characters {start}-{end}"


def on_one_line(part: str) -> str:
    """Return a title, an id or a place without line breaks, cut at 2,000 characters.

    A line break in it could forge lines of a table, and a terminal takes seconds for megabytes.
    """
    line = " ".join(part[: 4 * _LONGEST].split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"

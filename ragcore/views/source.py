"""Say where a passage comes from: section, place in the file, date of the revision, link.

Knows sources and citations; knows nothing of answers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from rich.text import Text

from ragcore.types import Citation, CitedSpan, Source
from ragcore.views.tables import figure_text

__all__ = ["citation_line", "on_one_line", "source_line", "source_parts", "span_text"]

_LONGEST: Final = 2000
"""Characters of a part that are shown; browsers take no longer link either."""
_MOST_SPANS: Final = 3
"""Occurrences of an answer in a passage that are shown."""
_QUOTE: Final = 60
"""Characters of a quote around an answer."""
_LONGEST_WORD: Final = 20
"""Characters at either end of a quote that are left out so that it begins and ends with a word."""
_GAP: Final = re.compile(r"\s+")


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


def citation_line(citation: Citation, text: str) -> Text:
    """Show a citation: number, posterior, title, source, and where the answer is; on one line.

    A passage of unknown source has its id.

    Args:
        citation: of a passage.
        text: the passage's.
    """
    line = Text(f"[{citation.number}] ", no_wrap=False, overflow="fold")
    line.append(f"{figure_text(citation.posterior, 2)} ", style="dim")
    title, identifier = on_one_line(citation.title), on_one_line(citation.passage_id)
    line.append(title or identifier, style="cyan")
    parts = source_parts(citation.source) or ([identifier] if title else [])
    parts += [span_text(citation.spans, text)] if citation.spans else []
    line.append("".join(f" · {part}" for part in parts))
    return line


def span_text(spans: Sequence[CitedSpan], text: str) -> str:
    """Say where an answer is: by lines of the file, or else by the words around it.

    Nobody can count characters in the text of a PDF or of a page of the web.

    Args:
        spans: of a passage; at least one.
        text: the passage's.
    """
    shown = ", ".join(
        _quote(text, span.start, span.end)
        if span.line is None
        else f"line {span.line}, characters {_offsets(span)}"
        for span in spans[:_MOST_SPANS]
    )
    more = len(spans) - _MOST_SPANS
    where = "in" if spans[0].line is None else "at"
    return f"answer {where} {shown}" + (f", and {more} more" if more > 0 else "")


def _offsets(span: CitedSpan) -> str:
    start, end = span.source or (span.start, span.end)
    return f"{start}-{end}"


def _quote(text: str, start: int, end: int) -> str:
    """Quote the characters [start, end) with words around them, of some 60 characters together."""
    margin = max(_QUOTE - (end - start), 0) // 2
    first, last = max(start - margin, 0), min(end + margin, len(text))
    # Begin and end between words; writing without spaces is cut anywhere.
    before, after = text[first:start], text[end:last]
    if first and (gap := _GAP.search(before[:_LONGEST_WORD])):
        before = before[gap.end() :]
    if last < len(text) and (gaps := list(_GAP.finditer(after, len(after) - _LONGEST_WORD))):
        after = after[: gaps[-1].start()]
    quoted = on_one_line(before + text[start:end] + after)
    return f"“{'…' if first else ''}{quoted}{'…' if last < len(text) else ''}”"


def on_one_line(part: str) -> str:
    """Return a title, an id or a place without line breaks, cut at 2,000 characters.

    A line break in it could forge lines of a table, and a terminal takes seconds for megabytes.
    """
    line = " ".join(part[: 4 * _LONGEST].split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"

"""Say where a passage comes from: section, place in the file, date of the revision, link.

Knows sources; knows nothing of answers.
"""

from __future__ import annotations

from typing import Final

from rich.text import Text

from ragcore.types import Source

__all__ = ["source_line"]

_LONGEST: Final = 2000
"""Characters of a part that are shown; browsers take no longer link either."""


def source_line(source: Source) -> Text | None:
    """Show a source on one line, which is wrapped; None where nothing is known.

    A link is not cut, so that it can be copied; but past 2,000 characters it is none.

    Texts of passages are untrusted: no escape code of a link is written, only its text.
    """
    position = source.path or ""
    if source.line is not None:
        position += f":{source.line}" if position else f"line {source.line}"
    if source.page is not None:
        position += f"{' ' if position else ''}page {source.page}"
    # The title is shown with the passage.
    parts = [source.heading, position, (source.date or "")[:10], source.uri]
    shown = [_shortened(" ".join(part.split())) for part in parts if part]
    return Text(" · ".join(shown), no_wrap=False, overflow="fold") if shown else None


def _shortened(part: str) -> str:
    return part if len(part) <= _LONGEST else f"{part[: _LONGEST - 1]}…"

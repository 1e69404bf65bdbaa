"""The skeleton of an HTML page that stands alone: no script, no font, no image, nothing fetched.

Knows HTML, and the colours and type that all pages share; knows nothing of what a page shows. The
title is escaped here; the caller escapes all text in the body.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Final

__all__ = ["html_page"]

_STYLE: Final = """
:root { color-scheme: light dark; --ground: #ffffff; --ink: #1b1f24; --soft: #59636e;
  --line: #d1d9e0; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #0d1117; --ink: #e6edf3; --soft: #9aa6b2; --line: #30363d; } }
body { background: var(--ground); color: var(--ink); margin: 2rem auto; padding: 0 1rem;
  max-width: 72rem; font: 1rem/1.5 system-ui, sans-serif; }
.soft { color: var(--soft); font-size: .9rem; }
.scroll { overflow-x: auto; }
""".strip()


def html_page(title: str, style: str, body: Iterable[str]) -> str:
    """Return a whole page.

    Args:
        title: plain text, for the browser's tab.
        style: CSS of this page, after the rules that all pages share; it may use their colours
            --ground, --ink, --soft and --line, and their classes `soft` and `scroll`.
        body: lines of HTML in which all text is escaped already.
    """
    lines = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title>\n<style>\n{_STYLE}\n{style.strip()}\n</style>\n</head>",
        "<body>\n<main>",
        *body,
        "</main>\n</body>\n</html>\n",
    ]
    return "\n".join(lines)

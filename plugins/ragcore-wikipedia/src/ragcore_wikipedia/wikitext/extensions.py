"""Replace what is no wikitext inside: comments, references, formulas, code, galleries.

Knows tags whose content the parser of MediaWiki does not read as wikitext. Each tag is looked for
once from left to right, so the time is linear even where thousands of tags are never closed.
"""

from __future__ import annotations

import html
import re

from ragcore_wikipedia.wikitext.marks import literal

__all__ = ["without_extensions"]

# Content is not text of the article.
_NO_TEXT = """
categorytree ce charinsert gallery graph hiero imagemap includeonly indicator inputbox mapframe
maplink ref references rss score script section style templatedata templatestyles timeline
"""
_DROPPED = frozenset(_NO_TEXT.split())
# Content is text, not wikitext.
_SEMISTRUCTURED = frozenset({"math", "chem", "pre", "source", "syntaxhighlight"})
_LITERAL = _SEMISTRUCTURED | {"nowiki"}

_OPENING = re.compile(
    r"<!--|<(" + "|".join(sorted(_DROPPED | _LITERAL)) + r")(?=[\s/>])([^<>]*)>",
    re.IGNORECASE,
)


def without_extensions(text: str, *, prose: bool) -> tuple[str, str]:
    """Return `text` without the content of extension tags, and the first fault or "".

    Args:
        text: a page's wikitext.
        prose: also drop formulas and code.
    """
    if "<" not in text:
        return text, ""
    lowered: str | None = None
    pieces: list[str] = []
    position = 0
    fault = ""
    unclosed: set[str] = set()
    for opening in _OPENING.finditer(text):
        start, end = opening.span()
        if start < position:
            continue
        pieces.append(text[position:start])
        position = end
        name = opening[1]
        if name is None:
            close = -1 if "-->" in unclosed else text.find("-->", end)
            if close < 0:
                # As MediaWiki does, a comment that is never closed hides the rest of the page.
                unclosed.add("-->")
                fault = fault or f"<!-- at character {start} is never closed"
                position = len(text)
                break
            # A comment alone on its lines leaves no empty line behind.
            position = close + 3
            alone = (start == 0 or text[start - 1] == "\n") and text[
                position : position + 1
            ] == "\n"
            position += alone
            continue
        name = name.lower()
        if opening[2].endswith("/"):
            continue
        if lowered is None:
            lowered = text.lower() if len(text.lower()) == len(text) else text
        closing = f"</{name}"
        close = -1 if name in unclosed else lowered.find(closing, end)
        if close < 0:
            unclosed.add(name)
            fault = fault or f"<{name}> at character {start} is never closed"
            continue
        after = text.find(">", close)
        position = len(text) if after < 0 else after + 1
        if name in _LITERAL and not (prose and name in _SEMISTRUCTURED):
            content = text[end:close]
            if name in {"math", "chem"}:
                content = " ".join(content.split())
            elif name in {"nowiki", "pre"}:
                content = html.unescape(content)
            pieces.append(literal(content))
    pieces.append(text[position:])
    return "".join(pieces), fault

"""Turn inline markup into plain text: emphasis, HTML tags, external links, entities."""

from __future__ import annotations

import html
import re

from ragcore_wikipedia.wikitext.marks import BREAK, restore

__all__ = ["one_line", "without_inline_markup"]

# Classes exclude the opening bracket, so that a run of openings costs linear time. Of two
# repetitions next to each other, the first gives nothing back, which could take the square of it.
_EXTERNAL = re.compile(
    r"\[(?:(?:https?|ftps?|news|irc|git):|mailto:)?//?[^\s\[\]<>\"]*+([^\[\]\n]*+)\]"
)
_MAILTO = re.compile(r"\[mailto:[^\s\[\]]*+([^\[\]\n]*+)\]")
_QUOTES = re.compile("''+")
_TAG = re.compile(r"</?([a-zA-Z][a-zA-Z0-9]*)\b[^<>]*>")
_SWITCH = re.compile(r"__[A-Z]{3,30}__|__[^\W\d_]{3,30}__")
_VARIANT = re.compile(r"-\{([^{}]*)\}-")
# What a dropped template leaves behind: "( ; )", "(, text".
_HOLLOW = re.compile(r" ?[(（][\s;,:/–—]{0,20}[)）]")
_HOLLOW_START = re.compile(r"([(（])[\s;,]{1,20}")
_HOLLOW_END = re.compile(r"[\s;,]{1,10}([)）])")
_GAPS = (" ,", " .", " ;", " :")
_SPACE_BEFORE = re.compile(r" ([,.;:](?:\s|$))")

_TAGS = {
    "br": BREAK,
    "p": "\n\n",
    "div": "\n",
    "blockquote": "\n\n",
    "center": "\n",
    "li": "\n*",
    "ul": "\n",
    "ol": "\n",
    "dd": "\n:",
    "dt": "\n;",
    "dl": "\n",
    "tr": "\n",
    "td": BREAK,
    "th": BREAK,
    "table": "\n\n",
    "hr": "\n\n",
    "poem": "\n\n",
    **{f"h{level}": "\n\n" for level in range(1, 7)},
}


def _tag(match: re.Match[str]) -> str:
    name = match[1].lower()
    replacement = _TAGS.get(name, "")
    if match[0][1] == "/" and name in {"li", "dd", "dt", "td", "th"}:
        return ""
    return replacement


def _variant(match: re.Match[str]) -> str:
    """Return the first variant of `-{zh-hans:…; zh-hant:…}-`."""
    rules = match[1]
    flag, bar, rest = rules.partition("|")
    if bar:
        if flag.strip() in {"H", "T", "-"}:  # rules for elsewhere on the page
            return ""
        rules = rest
    if ":" not in rules:
        return rules
    return rules.split(";", 1)[0].partition(":")[2].strip()


def without_inline_markup(text: str) -> str:
    """Return wikitext of any number of lines without emphasis, tags and external links."""
    if "''" in text:
        text = _QUOTES.sub(lambda match: "'" if len(match[0]) == 4 else "", text)
    if "[" in text:
        text = _EXTERNAL.sub(r"\1", text)
        if "[mailto:" in text:
            text = _MAILTO.sub(r"\1", text)
    if "-{" in text:
        text = _VARIANT.sub(_variant, text)
    if "<" in text:
        text = _TAG.sub(_tag, text)
    if "__" in text:
        text = _SWITCH.sub("", text)
    return text


def one_line(text: str, breaks: str = " ") -> str:
    """Return text without inline markup as one line of plain text.

    Args:
        text: what `without_inline_markup` returned.
        breaks: what a line break becomes.
    """
    if BREAK in text:
        parts = [restore(part).strip() for part in text.split(BREAK)]
        if breaks == ", ":
            parts = [part.rstrip(",;") for part in parts]
        text = breaks.join(part for part in parts if part)
    if "&" in text:
        text = html.unescape(text)
    text = " ".join(restore(text).split())
    if "(" in text or "（" in text:
        text = _HOLLOW.sub("", text)
        text = _HOLLOW_START.sub(r"\1", text)
        text = _HOLLOW_END.sub(r"\1", text)
    if any(gap in text for gap in _GAPS):
        text = _SPACE_BEFORE.sub(r"\1", text)
    return text

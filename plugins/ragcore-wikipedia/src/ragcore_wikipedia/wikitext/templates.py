"""Evaluate calls: templates that stand for a few words of a sentence, and parser functions.

All other templates are dropped from prose: without the wiki's own template pages nobody can tell
what they show.
"""

from __future__ import annotations

import re

from ragcore_wikipedia.wikitext.call import parameters
from ragcore_wikipedia.wikitext.marks import literal, restore
from ragcore_wikipedia.wikitext.renderers import RENDERERS

__all__ = ["render_call"]

_LANGUAGE = re.compile(r"lang-[a-z]{2,3}(?:-[a-z]+)?|[a-z]{2}-lang|script/[a-z]+|لغة-\w{2,4}")
# `{{NOR}}` shows a flag and the country; three capitals can be a note to editors, too.
_COUNTRY = re.compile(r"[A-Z]{3}")
_NOTES = frozenset({"POV", "TOC", "COI", "BLP", "OTRS", "CSD", "AFD"})
_PLAIN_ARGUMENT = frozenset(
    {"lc", "uc", "lcfirst", "ucfirst", "formatnum", "padleft", "padright", "plural"}
)


def render_call(name: str, parts: list[str], title: str, *, inside: str = "page") -> str | None:
    """Return what a template shows within a line, or None if it is not known.

    Args:
        name: the call's first part, as written.
        parts: the parts after it.
        title: of the page.
        inside: what the call stands in: "page", "template", "link" or "table".
    """
    key = _key(name)
    if key.startswith("#"):
        return _function(name.strip(), parts)
    renderer = RENDERERS.get(key)
    if renderer is not None:
        return renderer(parameters(key, parts, inside=inside))
    if ":" in key:
        function, _, argument = key.partition(":")
        argument = name.partition(":")[2].strip()
        if function in _PLAIN_ARGUMENT:
            return {"lc": str.lower, "uc": str.upper}.get(function, str)(argument)
        if function in {"subst", "safesubst", "template", "msg"} and argument:
            return render_call(argument, parts, title) if ":" not in argument else None
        return None
    if (
        key in {"pagename", "fullpagename", "basepagename", "subjectpagename", "title"}
        and not parts
    ):
        return literal(title)
    if not parts and _COUNTRY.fullmatch(name.strip()) and name.strip() not in _NOTES:
        return name.strip()
    if _LANGUAGE.fullmatch(key):
        return parameters(key, parts).at(0)
    return None


def _key(name: str) -> str:
    return " ".join(name.replace("_", " ").split()).lower()


def _function(name: str, parts: list[str]) -> str:
    """Evaluate the parser functions that need no other page."""
    function, _, condition = name.partition(":")
    function, condition = function.strip().lower(), restore(condition).strip()
    values = [part.strip() for part in parts]
    branch = [*values, "", "", ""]
    match function:
        case "#if":
            return branch[0] if condition else branch[1]
        case "#ifeq":
            return branch[1] if condition == branch[0] else branch[2]
        case "#iferror" | "#ifexpr" | "#ifexist":
            return branch[1] if function == "#iferror" else branch[0]
        case "#switch":
            return _switch(condition, values)
        case "#dateformat" | "#formatdate":
            return condition
    return ""


def _switch(condition: str, cases: list[str]) -> str:
    default = ""
    matched = False
    for number, case in enumerate(cases):
        value, equals, result = case.partition("=")
        value = value.strip()
        if not equals:
            if number == len(cases) - 1:
                return case
            matched = matched or value == condition
        elif matched or value == condition:
            return result.strip()
        elif value == "#default":
            default = result.strip()
    return default

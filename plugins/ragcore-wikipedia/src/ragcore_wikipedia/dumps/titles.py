"""Derive what old dumps leave out: a page's namespace and the target of a redirect.

Schemas before 0.6 have no `<ns>`, and those before 0.4 no `<redirect>`. Knows titles and the first
line of a text; knows no XML.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

__all__ = ["namespace_of", "redirect_target"]

_STANDARD: Final = {
    "media": -2,
    "special": -1,
    "talk": 1,
    "user": 2,
    "user talk": 3,
    "project": 4,
    "project talk": 5,
    "file": 6,
    "file talk": 7,
    "image": 6,
    "image talk": 7,
    "mediawiki": 8,
    "mediawiki talk": 9,
    "template": 10,
    "template talk": 11,
    "help": 12,
    "help talk": 13,
    "category": 14,
    "category talk": 15,
}
"""Names that every wiki knows besides its own."""

_WORDS: Final = """
redirect redirection weiterleitung rinvia redirección redirecionamento doorverwijzing omdirigering
omdiriger omdirigér viderestilling tilvísun uudelleenohjaus ohjaus suuna átirányítás patrz
przekieruj tam přesměruj presmeruj preusmeritev preusmjeri preusmeri aldonu alidirekti birzuzendu
aýdaw ýolla yönlendir yönlendirme istiqamətləndirmə redirecteazã redirecționare peradresavimas
перенаправление перенапр перенаправлення пренасочване преусмери пренасочи перанакіраваньне
ανακατευθυνση ανακατεύθυνση ohdir alih đổi tamḍit adkas athchuir ailgyfeirio stiúradh
تحويل تغییر_مسیر تغییرمسیر رجوع_مکرر הפניה ווייטערפירן पुनर्निर्देशित अनुप्रेषित पुनर्निर्देशन
পুনর্নির্দেশ வழிமாற்று దారిమార్పు തിരിച്ചുവിടുക ಪುನರ್ನಿರ್ದೇಶನ เปลี่ยนทาง ប្ដូរទីតាំងទៅ
გადამისამართება վերահղում айдау бағыттау юнәлтү 重定向 重新導向 転送 リダイレクト 넘겨주기
"""
_KNOWN: Final = frozenset(_WORDS.split())
"""MediaWiki's magic word `redirect` in the languages of large wikis, without `#`, folded."""

_REDIRECT: Final = re.compile(r"\s*+[#＃]\s*+([^\W\d][^\s:\[#]*+)\s*+:?\s*+\[\[([^\]|#\n]*+)")


def namespace_of(title: str, namespaces: Mapping[int, str]) -> int:
    """Return the number of the namespace that a title's prefix names; 0 without such a prefix.

    Args:
        title: with its prefix.
        namespaces: the wiki's own, number to name.
    """
    prefix, colon, _ = title.partition(":")
    if not colon:
        return 0
    name = prefix.replace("_", " ").strip().casefold()
    for number, local in namespaces.items():
        if local and local.casefold() == name:
            return number
    return _STANDARD.get(name, 0)


def redirect_target(text: str) -> str | None:
    """Return the title that a text redirects to, without a section; None if it does not.

    A list item, `# [[Link]]`, redirects nowhere.

    >>> redirect_target("#REDIRECT [[Chad#History]]")
    'Chad'
    >>> redirect_target("# [[Chad]]") is None
    True
    """
    match = _REDIRECT.match(text)
    if match is None or match[1].casefold() not in _KNOWN:
        return None
    return match[2].replace("_", " ").strip().removeprefix(":").strip()

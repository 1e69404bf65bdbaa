"""Other names of the Factbook's countries: adjectives, abbreviations, long and former names.

Knows how the fields "Nationality" and "Country name" are written; knows nothing of files, passages
or retrieval. A question may say "the French president" or "Swaziland", and most passages of these
countries do not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

__all__ = ["other_names"]

# Names in use that the Factbook lacks, or has within a remark only.
_FURTHER: Final[Mapping[str, Sequence[str]]] = {
    "ar": ("Argentinian",),
    "cv": ("Cape Verde", "Cape Verdean"),
    "ee": ("EU", "European"),
    "iv": ("Ivorian",),
    "nl": ("Holland",),
    "tu": ("Turkiye",),
    "uk": ("Britain", "England"),
    "vt": ("Vatican",),
    "we": ("Palestinian",),
    "wz": ("Swazi",),
}

# Words that name one country and are in names that others had: "French Guinea", "Upper Peru".
_OWNERS: Final[Mapping[str, str]] = {
    "belgian": "be",
    "british": "uk",
    "chinese": "ch",
    "curacao": "uc",
    "danish": "da",
    "dutch": "nl",
    "egyptian": "eg",
    "ethiopia": "et",
    "french": "fr",
    "frenchman": "fr",
    "frenchwoman": "fr",
    "german": "gm",
    "italian": "it",
    "mali": "ml",
    "netherlands": "nl",
    "pakistan": "pk",
    "palestine": "we",
    "peru": "pe",
    "philippines": "rp",
    "portuguese": "po",
    "sahara": "wi",
    "spanish": "sp",
}

# Words of many names, which tell no country from another.
_STATE_WORDS: Final = """
and arab autonomous bailiwick central collectivity commonwealth cooperative country democratic
dependencies district districts east eastern federal federated federation federative free grand
great greater in independent is island islander islanders islands islamic kingdom lands man
mandatory na national new none north northern oriental outer of overseas pacific people peoples
plurinational principality protectorate region republic s saint savage south south-west southern
soviet special state states socialist sultanate territorial territory the trust union united
upper west western
"""
_COMMON: Final = frozenset(_STATE_WORDS.split())

_LONGEST: Final = 5
"""Words of a name; what is longer is a remark, such as "sometimes referred to as"."""

_REMARK: Final = re.compile(r";?\s*note\b.*", re.DOTALL)
_OR: Final = re.compile(r"\(or ([^)]*)\)")
_IN_BRACKETS: Final = re.compile(r"[(\[][^)\]]*[)\]]?")
_BETWEEN: Final = re.compile(r"[,;/\]]| or | and (?=[A-Z])")


def other_names(code: str, name: str, texts: Sequence[str]) -> list[str]:
    """Return what else a country and its people are called, those in most use first.

    A name that adds no word to those before it is left out, as "Republic of Chad" is, and a
    colonial one that names the owner, since a question on the French is not about Guinea.

    Args:
        code: the country, by the Factbook's two letters.
        name: the country's name as it stands in titles.
        texts: plain text of the fields' values, such as "Frenchman(men), Frenchwoman(women)".

    >>> other_names("fr", "France", ["French", "Frenchman(men)", "French Republic"])
    ['French', 'Frenchman']
    >>> other_names("gv", "Guinea", ["Guinean(s)", "Republic of Guinea", "French Guinea"])
    ['Guinean']
    """
    seen = set(_words(name)) | _COMMON
    others = []
    for other in (*_FURTHER.get(code, ()), *(part for text in texts for part in _parts(text))):
        new = set(_words(other)) - seen
        is_name = len(other.split()) <= _LONGEST and not other.islower()
        if new and is_name and all(_OWNERS.get(word, code) == code for word in _words(other)):
            seen |= new
            others.append(other)
    return others


def _parts(text: str) -> Iterator[str]:
    """Split a field's value into names, without remarks and what is in brackets."""
    without = _IN_BRACKETS.sub("", _OR.sub(r", \1", _REMARK.sub("", text)))
    for part in _BETWEEN.split(without):
        yield " ".join(part.split())


def _words(name: str) -> list[str]:
    return re.findall(r"[\w-]+", name.casefold().replace("'s", ""))

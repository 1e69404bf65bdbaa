"""Write names as a question has them: a country with its article, an adjective, a typing error.

Knows rows of the Factbook's questions; knows no wording (wordings.py).
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Final

__all__ = ["adjective_of", "in_a_sentence", "mistyped", "office_word"]

_ADJECTIVES: Final = {
    # What people write where the Factbook has two words, a noun, or a name that others share.
    "Laos": "Laotian",
    "Botswana": "",
    "Curacao": "",
    "Democratic Republic of the Congo": "",
    "Dominican Republic": "",
    "Saint Vincent and the Grenadines": "Vincentian",
    "Singapore": "Singaporean",
    "Virgin Islands": "",
}

_NEIGHBOURS: Final = {
    "a": "sq", "b": "vn", "c": "xv", "d": "sf", "e": "wr", "f": "dg", "g": "fh", "h": "gj",
    "i": "uo", "j": "hk", "k": "jl", "l": "k", "m": "n", "n": "bm", "o": "ip", "p": "o",
    "q": "w", "r": "et", "s": "ad", "t": "ry", "u": "yi", "v": "cb", "w": "qe", "x": "zc",
    "y": "tu", "z": "x",
}  # fmt: skip
"""The keys to the left and right of each on a QWERTY keyboard."""

_SHORTEST: Final = 5
"""Letters of a word that is mistyped: fewer leave too little to recognise."""


def in_a_sentence(country: str, question: str) -> str:
    """Return the country as its question writes it, with its article."""
    return f"the {country}" if f"the {country}" in question else country


def office_word(office: str) -> str:
    """Return an office as people type it within a sentence."""
    return office.lower()


def adjective_of(country: str, demonyms: Sequence[str]) -> str:
    """Return the adjective of a country; empty where it is another country's too, or is none."""
    if country in _ADJECTIVES:
        return _ADJECTIVES[country]
    return demonyms[0] if demonyms else ""


def mistyped(text: str, phrase: str, seed: str) -> str | None:
    """Put one typing error into the longest word of a phrase in a text.

    A letter is left out, doubled, exchanged with the next one, or hit on the key next to it; the
    first letter stays.

    Args:
        text: the question.
        phrase: a part of it.
        seed: decides which error, the same in every run.

    Returns:
        The text with the error; None where the phrase is not in it, or all its words are short.
    """
    word = max(re.findall(r"[^\W\d_]+", phrase), key=len, default="")
    at = text.rfind(phrase)
    if len(word) < _SHORTEST or at < 0:
        return None
    rng = random.Random(seed)
    wrong = word
    while wrong == word:
        index = rng.randrange(1, len(word) - 1)
        kind = rng.choice(("drop", "double", "swap", "neighbour"))
        letter = word[index]
        if kind == "drop":
            wrong = word[:index] + word[index + 1 :]
        elif kind == "double":
            wrong = word[:index] + letter + word[index:]
        elif kind == "swap":
            wrong = word[:index] + word[index + 1] + letter + word[index + 2 :]
        else:
            wrong = word[:index] + rng.choice(_NEIGHBOURS.get(letter, letter)) + word[index + 1 :]
    begin = text.index(word, at)
    return text[:begin] + wrong + text[begin + len(word) :]

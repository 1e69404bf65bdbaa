"""Word questions as people type them, and mistype names in them.

Every wording is by hand, and none is among the training's (examples/world/questions.py; a test
compares them), so that the figures say how the demo does with wordings that it was not trained on.
Knows rows of the Factbook's questions: country, role, office, kind of fact; knows nothing of
memories.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import Final

__all__ = [
    "ADJECTIVE",
    "CONVERSATIONAL",
    "EITHER",
    "INDIRECT",
    "REWORDED",
    "adjective_of",
    "in_a_sentence",
    "mistyped",
    "office_word",
]

CONVERSATIONAL: Final = (
    "hey, do you know who the {office} of {of} is?",
    "can you tell me who's {office} of {of} right now",
    "I forgot the name of {of}'s {office}, can you help?",
    "so who is currently the {office} in {of}?",
    "My teacher asked me who the {office} of {of} is. Do you know?",
    "i need the name of the {office} of {of} please",
    "Quick question: who serves as {office} of {of}?",
    "who's the {office} over in {of} these days?",
    "Could you look up {of}'s {office} for me?",
    "what's the name of the current {office} of {of}",
    "tell me the {office} of {of}",
    "{country} - who is the {office}?",
    "Any idea who {of} has as its {office} at the moment?",
    "We were wondering last night who the {office} of {of} is.",
    "ok so {of}, who is their {office}",
    "Hi! I'm preparing a quiz: who is the {office} of {of}?",
    "A friend and I were talking about {of} yesterday and could not remember the {office}'s name.",
    "sorry to bother you again, but I still don't know who {of} has for a {office}, who is it?",
    "My son has homework about {of}. He has to write down the {office}. What should he write?",
    "hello there, I was reading the news about {of} and they mentioned the {office}, who's that",
    "If I met the {office} of {of}, whom would I be meeting?",
    "whats the {office} of {of} called again, it's on the tip of my tongue",
)

EITHER: Final = "either"

REWORDED: Final[Mapping[str, Sequence[str]]] = {
    "chief of state": (
        "who is {of}'s first citizen",
        "Which person is at the top of the state in {of}?",
        "who holds the highest office in {of}?",
        "Who officially stands at the head of {of}?",
        "Who is number one in {of} by protocol?",
        "Whose portrait hangs in the public offices of {of}?",
        "Who receives foreign ambassadors in {of}?",
    ),
    "head of government": (
        "who gives the government of {of} its orders",
        "Who heads the cabinet of {of}?",
        "Which politician directs day-to-day politics in {of}?",
        "Who chairs the cabinet meetings in {of}?",
        "Who is at the helm of the government of {of}?",
        "who's the chief minister or premier or so in {of}",
        "Who do the ministers of {of} work under?",
    ),
    "representative": (
        "Who speaks for the crown in {of}?",
        "Who acts for the monarch in {of}?",
        "who stands in for the king or queen in {of}",
        "Who governs {of} on behalf of a faraway country or crown?",
    ),
    EITHER: (
        "Who has the say in {of}?",
        "who has the last word in {of}",
        "Who rules {of} these days?",
        "who's the leader of {country}",
        "Who steers {of} nowadays?",
        "who is running {of} at the moment?",
        "{country} leader name",
        "Who calls the shots in {of}?",
    ),
}
"""By role, without the office's title; to those of `EITHER` both leading roles are right."""

ADJECTIVE: Final = (
    "and the {adjective} {office} would be?",
    "Which name does the {adjective} {office} have?",
    "Who's the current {adjective} {office}",
    "name of {adjective} {office}",
    "Who sits in the chair of the {adjective} {office}?",
    "who is {adjective} {office} now",
    "I'd like to know who the {adjective} {office} is.",
    "Tell me the name of the {adjective} {office}, please.",
    "{adjective} {office} name?",
    "Which person is the {adjective} {office} today?",
    "Have you heard who the {adjective} {office} is?",
    "which name goes with {adjective} {office}",
    "the {adjective} {office} is who?",
    "Who was most recently made {adjective} {office}?",
)

INDIRECT: Final[Mapping[str, Sequence[str]]] = {
    "capital": (
        "From which city is {of} governed?",
        "Where does the government of {of} sit?",
        "which town is the seat of government in {of}",
    ),
    "population": (
        "How many people call {of} home?",
        "how many heads does {of} count",
        "How many would have to sign if all of {of} signed?",
        "What's the headcount of {of}?",
    ),
    "area": (
        "How much ground does {of} take up?",
        "how large is the territory of {of}?",
        "How many square kilometers does {of} cover?",
    ),
    "coastline": (
        "How many kilometers of sea shore does {of} have?",
        "how long is the coast of {of}",
    ),
    "highest-point": (
        "What's the tallest mountain in {of}?",
        "Where would I be standing at the very top of {of}?",
        "which peak rises highest in {of}?",
    ),
    "highest-elevation": (
        "How tall is the tallest mountain in {of}?",
        "How far above sea level does {of} rise at most?",
    ),
    "lowest-point": (
        "What is the lowest-lying spot in {of}?",
        "where is the land deepest in {of}?",
    ),
    "official-language": (
        "What language does the government of {of} use?",
        "which language should I learn before moving to {of}?",
        "what do people speak officially in {of}",
    ),
    "currency": (
        "What is in people's wallets in {of}?",
        "what cash do shops in {of} take",
        "Which banknotes do I need for a trip to {of}?",
    ),
    "life-expectancy": (
        "How old do people in {of} get on average?",
        "How long do people live in {of}?",
        "how many birthdays does somebody born in {of} get?",
    ),
    "literacy": (
        "What share of people in {of} can read and write?",
        "how many percent of {of}'s people can read",
    ),
    "tld": (
        "What do web addresses in {of} end in?",
        "which ending do websites from {of} have",
    ),
    "independence": (
        "When did {of} become a country of its own?",
        "since when is {of} independent",
        "On what day did {of} stop being ruled by others?",
    ),
    "independence-from": (
        "Who ruled {of} before it became independent?",
        "Whose colony or part was {of} before?",
    ),
    "anthem": (
        "What song do they play for {of} at the Olympics?",
        "What's {of}'s national song called?",
    ),
    "government-type": (
        "By what system do they rule {of}?",
        "what kind of state is {of}?",
    ),
    "voting-age": (
        "How old must I be to vote in {of}?",
        "From what age can people in {of} take part in elections?",
    ),
    "demonym": (
        "What do you call something from {of}?",
        "what is the word for things that come from {of}?",
    ),
    "national-holiday": (
        "What do people in {of} celebrate as their national day?",
        "which national day does {of} have?",
    ),
    "national-holiday-date": (
        "When do people in {of} celebrate their national day?",
        "On which day of the year does {of} celebrate itself?",
    ),
    "long-name": (
        "By what whole name does {of} sign treaties?",
        "What's {of}'s full official name?",
    ),
    "former-name": (
        "What did old maps call {of}?",
        "under what name was {of} known in the past?",
    ),
    "location": (
        "In what part of the world is {of}?",
        "which region would I fly to for a visit of {of}",
    ),
    "largest-city": (
        "What's the biggest city in {of}?",
        "which city of {of} has the most people in it?",
    ),
    "national-symbol": (
        "Which animal or plant stands for {of}?",
        "What is the emblem of {of}?",
    ),
}
"""By kind of fact, without the words that the Factbook uses for it where there are others."""

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

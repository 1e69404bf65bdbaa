"""Word questions as people type them, and mistype names in them.

Every wording is by hand. None has the words of one that a model of the demo is trained on, in any
order (examples/world/*wordings.py and questions.py; a test compares them), nor nearly the same
words for the same idea, so that the figures say how the demo does with wordings that are new to it.
Many were written to differ from the training's, so that they are less usual than what most ask.
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
    "A friend and I were talking about {of} yesterday and could not remember the {office}'s name.",
    "sorry to bother you again, but I still don't know who {of} has for a {office}, who is it?",
    "My flight lands in {of} tomorrow and I'd be embarrassed not to know the {office}. Who is it?",
    "no clue about {of} at all. {office}?",
    "Settle a bet for us. {of}, {office}, who?",
    "wait, did {of} get another {office}? who is in the job",
    "I am from far away and do not know {of}. What person is there the {office}?",
    "There's a handshake on the front page with the {office} of {of}. Whose hand is that?",
    "grandma wants to know who became {office} of {of}",
    "Our class is writing to the {office} of {of}. What name goes on the envelope?",
    "Before my interview with {of}'s {office} I should at least learn whom I will be talking to.",
    "hi, me again. {of} this time. the {office}?",
    "Fill in the blank: the {office} of {of} is ____.",
    'The subtitles only said "the {office} of {of}". Who would that have been?',
    "I married into a family from {of}; they keep quoting the {office}. Whom are they quoting?",
    "Whom would you google if you wanted the {office} of {of}?",
    "Fact check before we print: the {office} of {of} is which person?",
    "Looking for: {office}, {country}.",
    "{office} {country} biography",
    "Make me a flash card. Front: {office} of {of}. Back: ?",
    "Dad says he was at university with {of}'s {office}. With whom, then?",
    "lol totally blanked on {of}'s {office}",
    'Which name should replace "N. N." in our article about N. N., {office} of {of}?',
    "excuse my English, {office} in {of}, which man or woman is?",
    "My quiz card says {of} and underneath {office}. I pass, what is the solution?",
    "Who in the world is {of}'s {office}, I never hear of that place",
)

EITHER: Final = "either"

REWORDED: Final[Mapping[str, Sequence[str]]] = {
    "chief of state": (
        "Is it a king, a queen, a president in {of}, and what is the person's name?",
        "{country} king queen president who",
        "Who occupies the throne or the presidential palace of {of}?",
        'Whose name follows "God save" or "long live" in {of}?',
        "Crowned or elected, which person has the topmost rank of all in {of}?",
        "Whose personal standard flies over the palace of {of}?",
        "Who gets a bow or a curtsy before all others in {of}?",
        "A foreign queen writes to her equal in {of}. Who opens that letter?",
    ),
    "head of government": (
        "Which politician formed the present government of {of}?",
        "Which politician directs day-to-day politics in {of}?",
        "who's the chief minister or premier or so in {of}",
        "Whose resignation would bring down all the ministers of {of} with it?",
        "Who is the British prime minister's opposite number in {of}?",
        "Which party leader got to fill the ministries of {of}?",
        "Who has a seat like 10 Downing Street in {of}?",
        "who must defend what the ministries of {of} do at question time, first of all",
    ),
    "representative": (
        "Who governs {of} on behalf of a faraway country or crown?",
        "Which envoy of the mother country looks after {of}?",
        "To whom in {of} does Buckingham Palace or the Hague delegate?",
        "viceroy {country} name",
        "Crowned heads cannot be everywhere; whom do they have in {of}?",
        "Which person watches {of} through the eyes of a king or queen overseas?",
    ),
    EITHER: (
        "Who has the say in {of}?",
        "Who steers {of} nowadays?",
        'whom would I get to see if I said "take me to your leader" in {of}',
        "Which politician matters most in {of}?",
        "Who sits in the driver's seat of {of}?",
        "Whom would journalists call the strong man or woman of {of}?",
        "On the cover of a magazine about power in {of}, whose face would you print?",
        "who would negotiate for {of} if the big decisions are made",
        "At whose desk does every important matter of {of} land?",
        "president or prime minister {country}, whichever counts",
        "Whom would a coup in {of} topple?",
    ),
}
"""By role, without the office's title; to those of `EITHER` both leading roles are right."""

ADJECTIVE: Final = (
    "Have you heard who the {adjective} {office} is?",
    "I met the {adjective} {office} once but the name escapes me.",
    'Whose business card says "{adjective} {office}"?',
    "{adjective} {office} wiki",
    "Our guest is the {adjective} {office}. How do I introduce this person by name?",
    "if the {adjective} {office} rang me up, who would be on the line?",
    "A photo shows the {adjective} {office}. Who is in the picture?",
    "For ten points: the {adjective} {office}!",
    "Who signs letters as {adjective} {office}?",
    "Somebody must be {adjective} {office}. Who?",
    "Guess who's {adjective} {office}!",
    "Ask me about the {adjective} {office} and I draw a blank. Who is it?",
    "Whose face should I look for if I want to spot the {adjective} {office}?",
    "google {adjective} {office}",
    "the {adjective} {office} just walked past our hotel, who did we see",
    "Which man or woman do you think of when you read {adjective} {office}?",
    "Somewhere in my notes I had the {adjective} {office} written down. Which person was it?",
)

INDIRECT: Final[Mapping[str, Sequence[str]]] = {
    "capital": (
        "What is to {of} as Paris is to France, among cities?",
        "to which city would I take a petition for the rulers of {of}",
        "In what city is the big presidential or royal palace of {of}?",
    ),
    "population": (
        "How many would have to sign if all of {of} signed?",
        "How crowded is {of}, in total number of persons?",
        "If everybody in {of} got one euro, how many euros would that be?",
        "population figure please, I mean how many men, women and children has {of}",
    ),
    "area": (
        "How many football pitches, no, square kilometers fit into {of}?",
        "is {of} tiny or huge, what does the atlas say in km2",
        "{of} as a rectangle, length times width, makes what in sq km?",
    ),
    "coastline": (
        "How much seaside has {of}?",
        "What length of {of}'s edge is washed by waves?",
        "going round {of} with a towel and swimming trunks, how many kilometers of waterside",
    ),
    "highest-point": (
        "On which summit would a flag be above everything else in {of}?",
        "Which place in {of} is nearest to the clouds?",
        "for a hiker in {of} no trail goes higher than where",
    ),
    "highest-elevation": (
        "how many meters has the biggest mountain of {country}",
        "What number does the sign on the loftiest top of {of} show?",
        "Do I need oxygen on top of {of}, or how many meters is it there?",
    ),
    "lowest-point": (
        "Which spot in {of} would a rising sea drown first, by height?",
        "to get as far down as possible in {of}, where do I go",
        "Opposite of the summit: which place of {of} is that?",
    ),
    "official-language": (
        "which language should I learn before moving to {of}?",
        "I have to fill in a form for the authorities of {of}. In which language?",
        "Into what would a contract be translated for a court in {of}?",
    ),
    "currency": (
        "What do I get from a cash machine in {of}?",
        "exchange dollars for what in {country}",
        "In what units is a restaurant bill in {of}?",
    ),
    "life-expectancy": (
        "how many candles would be on the last cake of a typical person in {of}?",
        "how old become the inhabitants of {of} normally",
        "A baby girl or boy in {of} today: how many years lie ahead?",
    ),
    "literacy": (
        "Of a hundred grown-ups in {of}, how many could make sense of this question on paper?",
        "do all of them go through school well enough to read in {of}, percentage",
        "How many percent know their ABC in {of}?",
    ),
    "tld": (
        "I want to register a site in {of}. Dot what?",
        "France has .fr, and {of}?",
        "which two letters behind the dot tell me a page is from {of}",
    ),
    "independence": (
        "Since what date has {of} been its own master?",
        "when did {of} leave its colonizers or the bigger state around it",
        "What day would {of} call its birthday as a nation among nations?",
    ),
    "independence-from": (
        "Whose governors packed their bags when {of} got free?",
        "which power did {of} say goodbye to",
        "Before {of} stood alone, where was it ruled from, by which state?",
    ),
    "anthem": (
        "What tune do footballers from {of} hum before kick-off?",
        "For what music does everybody in {of} stand up?",
        "I'm a bandmaster and we welcome guests from {of}. Which piece must we rehearse?",
    ),
    "government-type": (
        "politically, what sort of thing is {of}, ruled by one, by few, by all?",
        "In a civics book, which heading would the chapter on {of} have: monarchy, republic, what?",
        "Kingdom, dictatorship, democracy: which label fits {of}?",
    ),
    "voting-age": (
        "my cousin from {of} is a teenager, in which year of life will she be a voter",
        "Do they send teenagers to the polls in {of}, or who is too young?",
        "as soon as you are how old does {of} let you choose its politicians",
    ),
    "demonym": (
        "If a dish is from {of}, it is a ... dish?",
        "Swedes live in Sweden. And in {of}?",
        "an inhabitant of {of} is a what",
    ),
    "national-holiday": (
        "Which feast of the nation closes the shops in {of}?",
        "why is everybody off work and waving flags in {of} once a year, name of the feast",
        "The French have Bastille Day. What have the people of {of}?",
    ),
    "national-holiday-date": (
        "On what date are there parades for the nation in {of}?",
        "when are the fireworks for {of}'s great feast",
        "What day should I avoid for business in {of} because the whole nation is out partying?",
    ),
    "long-name": (
        "On a diplomatic document, what stands in place of {of}?",
        "surely {of} is short for something, for what",
        "What would a very stiff ambassador say instead of just {of}?",
    ),
    "former-name": (
        "On stamps from long ago, how is {of} labelled?",
        "{of} got rebaptised at some time, from what",
        "A letter to {of} a hundred years ago would have had which name on it?",
    ),
    "location": (
        "which region would I fly to for a visit of {of}",
        "Where on the globe do I put my finger for {of}?",
        "{country} where is that even, never seen it on a map",
    ),
    "largest-city": (
        "What's the number one city of {of} by inhabitants?",
        "Which city of {of} has the thickest phone book?",
        "in {of} no town is bigger than which",
    ),
    "national-symbol": (
        "Canada has its maple leaf; what has {of}?",
        "the kiwi makes me think of New Zealand, what should make me think of {of}",
        "Think of {of}: which beast, tree or thing comes to mind as its badge?",
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

"""Word questions for facts of the World Factbook in many ways, by kind of fact.

Knows wordings only. `{c}` stands for the country as a sentence says it ("the Maldives"), `{o}` for
the office, `{d}` for a word such as "provinces". A reader trained on one wording a kind learns the
wording; one trained on twenty learns the question.
"""

from __future__ import annotations

import random

__all__ = ["FACTS", "LEADERS", "ROLES", "ask_fact", "ask_leader"]

LEADERS = (
    "Who is the {o} of {c}?",
    "Who is {c}'s {o}?",
    "What is the name of the {o} of {c}?",
    "Name the {o} of {c}.",
    "Who holds the office of {o} in {c}?",
    "Who serves as {o} of {c}?",
    "Who currently serves as the {o} of {c}?",
    "Who is currently {o} of {c}?",
    "Which person is the {o} of {c}?",
    "Tell me who the {o} of {c} is.",
    "{o} of {c}",
    "The {o} of {c} is who?",
    "Do you know who the {o} of {c} is?",
    "Who is the current {o} of {c}?",
    "Who has been {o} of {c}?",
    "In {c}, who is {o}?",
    "Who is {o} in {c}?",
    "Who occupies the post of {o} in {c}?",
    "name of {c}'s {o}",
    "What's the name of {c}'s {o}?",
    "Who acts as {o} of {c}?",
    "Give the name of the {o} of {c}.",
    "Who works as the {o} of {c}?",
    "The office of {o} of {c} is held by whom?",
    "By whom is the position of {o} of {c} held?",
)

ROLES = {
    "chief of state": (
        "chief of state",
        "head of state",
        "chief of state",
        "head of state",
        "state's leader",
    ),
    "head of government": (
        "head of government",
        "head of the government",
        "government leader",
        "head of government",
    ),
    "representative": (
        "representative of the crown",
        "representative of the monarch",
        "crown's representative",
    ),
}
"""Words for a role, for questions that do not name the office."""

LEADER_EXTRA = {
    "head of government": (
        "Who heads the government of {c}?",
        "Who leads the government of {c}?",
        "Who is at the head of {c}'s government?",
        "By whom is {c}'s government led?",
        "Who runs the government in {c}?",
    ),
    "chief of state": (
        "Who is {c}'s head of state?",
        "Which person is head of state in {c}?",
        "Who heads the state of {c}?",
    ),
    "representative": ("Who represents the crown in {c}?", "Who represents the monarch in {c}?"),
}

FACTS: dict[str, tuple[str, ...]] = {
    "capital": (
        "What is the capital of {c}?",
        "Which city is the capital of {c}?",
        "What is the capital city of {c}?",
        "What is {c}'s capital?",
        "capital of {c}",
        "Name the capital of {c}.",
        "Which town is the seat of government of {c}?",
        "What city serves as the capital of {c}?",
        "Where is the capital of {c}?",
        "{c}'s capital city is called what?",
        "Tell me the capital of {c}.",
    ),
    "population": (
        "What is the population of {c}?",
        "How many people live in {c}?",
        "How many inhabitants does {c} have?",
        "population of {c}",
        "What is {c}'s population?",
        "How large is the population of {c}?",
        "How many residents are there in {c}?",
        "What is the number of people living in {c}?",
        "How populous is {c}?",
        "By how many people is {c} inhabited?",
    ),
    "area": (
        "What is the total area of {c}?",
        "What is the area of {c}?",
        "How large is {c}?",
        "How big is {c}?",
        "total area of {c}",
        "How many square kilometres does {c} cover?",
        "What area does {c} cover?",
        "What is the size of {c} in square kilometers?",
        "What is {c}'s area?",
        "How much territory does {c} have?",
    ),
    "coastline": (
        "How long is the coastline of {c}?",
        "What is the length of the coastline of {c}?",
        "coastline of {c}",
        "How many kilometres of coast does {c} have?",
        "How long is {c}'s coast?",
        "What is the coastline length of {c}?",
        "How much coastline has {c}?",
    ),
    "highest-point": (
        "What is the highest point in {c}?",
        "What is the highest mountain in {c}?",
        "Which is the highest point of {c}?",
        "What is {c}'s highest point?",
        "What is the name of the highest place in {c}?",
        "highest point in {c}",
        "What is the tallest peak of {c}?",
        "Which peak is the highest in {c}?",
        "Name the highest elevation in {c}.",
    ),
    "highest-elevation": (
        "How high is the highest point in {c}?",
        "What is the elevation of the highest point in {c}?",
        "What height does the highest point in {c} reach?",
        "How tall is the highest mountain in {c}?",
        "How many metres high is {c}'s highest point?",
        "At what elevation is the highest point of {c}?",
        "To what height does {c} rise?",
    ),
    "lowest-point": (
        "What is the lowest point in {c}?",
        "What is the lowest point of {c}?",
        "lowest point of {c}",
        "Which place is the lowest in {c}?",
        "Where is the lowest point of {c}?",
        "What is {c}'s lowest point?",
        "Name the lowest point in {c}.",
    ),
    "official-languages": (
        "What is one of the official languages of {c}?",
        "Name an official language of {c}.",
        "Which languages are official in {c}?",
        "Give one official language of {c}.",
        "What official languages does {c} have?",
    ),
    "official-language": (
        "What is the official language of {c}?",
        "Which language is official in {c}?",
        "What is {c}'s official language?",
        "official language of {c}",
        "Which language has official status in {c}?",
        "What language does {c} use officially?",
        "Name the official language of {c}.",
    ),
    "anthem": (
        "What is the name of the national anthem of {c}?",
        "What is the national anthem of {c}?",
        "What is {c}'s national anthem called?",
        "national anthem of {c}",
        "Which song is the national anthem of {c}?",
        "What is the title of {c}'s anthem?",
        "How is the anthem of {c} called?",
    ),
    "government-type": (
        "What is the form of government in {c}?",
        "What type of government does {c} have?",
        "What kind of government does {c} have?",
        "government type of {c}",
        "How is {c} governed?",
        "What is {c}'s system of government?",
        "What sort of state is {c}, by its government?",
        "Which form of government has {c}?",
    ),
    "demonym": (
        "What adjective describes something from {c}?",
        "What is the nationality adjective for {c}?",
        "What is the demonym adjective of {c}?",
        "How do you call something that comes from {c}?",
        "What is the adjective for {c}?",
        "Which adjective goes with {c}?",
        "What is the adjective of nationality of {c}?",
    ),
    "tld": (
        "What is the internet top-level domain of {c}?",
        "What is the internet country code of {c}?",
        "Which top-level domain does {c} use?",
        "internet domain of {c}",
        "What does {c}'s web addresses end in?",
        "What is {c}'s country code on the internet?",
        "What is the TLD of {c}?",
    ),
    "national-holiday": (
        "What is the national holiday of {c}?",
        "What is {c}'s national holiday called?",
        "national holiday of {c}",
        "Which holiday is the national holiday of {c}?",
        "What national day does {c} celebrate?",
        "Name the national holiday of {c}.",
    ),
    "national-holiday-date": (
        "On what date is the national holiday of {c} celebrated?",
        "When is the national holiday of {c}?",
        "On which day does {c} celebrate its national holiday?",
        "What is the date of {c}'s national holiday?",
        "When does {c} celebrate its national day?",
    ),
    "voting-age": (
        "At what age can people vote in {c}?",
        "What is the voting age in {c}?",
        "How old must one be to vote in {c}?",
        "voting age in {c}",
        "From what age may citizens of {c} vote?",
        "What is the age of suffrage in {c}?",
        "What age do you have to be to vote in {c}?",
    ),
    "life-expectancy": (
        "What is the life expectancy at birth in {c}?",
        "What is the life expectancy in {c}?",
        "How long do people live in {c} on average?",
        "life expectancy in {c}",
        "How many years can a newborn in {c} expect to live?",
        "To what age do people in {c} live on average?",
    ),
    "literacy": (
        "What is the literacy rate in {c}?",
        "What share of the population of {c} can read and write?",
        "literacy rate of {c}",
        "What percentage of people in {c} is literate?",
        "How high is literacy in {c}?",
        "How many percent of adults in {c} can read?",
    ),
    "largest-city": (
        "What is the largest urban area in {c}?",
        "Which city in {c} has the largest urban population?",
        "What is the largest city in {c}?",
        "What is {c}'s biggest city?",
        "biggest city of {c}",
        "Which is the most populous city of {c}?",
        "In which city of {c} do most people live?",
    ),
    "utc-offset": (
        "In which time zone is the capital of {c}?",
        "What is the time difference of {c}'s capital to UTC?",
        "Which UTC offset does the capital of {c} have?",
        "What time zone does {c} use?",
        "What is the time zone of {c}?",
        "UTC offset of {c}",
    ),
    "location": (
        "Where is {c} located?",
        "Where is {c}?",
        "In which part of the world is {c}?",
        "Where does {c} lie?",
        "location of {c}",
        "Whereabouts is {c} situated?",
        "In what region is {c} found?",
    ),
    "area-comparative": (
        "How does the area of {c} compare with a US state or city?",
        "How large is {c} compared with a US state?",
        "Compared with a US state or city, how big is {c}?",
        "To which US state or city is {c} similar in size?",
        "What is the comparative area of {c}?",
        "How does the size of {c} compare to places in the US?",
    ),
    "currency": (
        "What is the currency of {c}?",
        "What currency is used in {c}?",
        "Which currency does {c} use?",
        "currency of {c}",
        "What money do people pay with in {c}?",
        "In what currency does one pay in {c}?",
        "What is {c}'s money called?",
    ),
    "independence": (
        "When did {c} become independent?",
        "When did {c} gain independence?",
        "On what date did {c} gain its independence?",
        "date of independence of {c}",
        "Since when has {c} been independent?",
        "When was {c}'s independence?",
        "What is the date of {c}'s independence?",
    ),
    "independence-from": (
        "From which country did {c} gain independence?",
        "Which country did {c} become independent from?",
        "From whom did {c} gain independence?",
        "Who ruled {c} before its independence?",
        "Of which country was {c} a part before it became independent?",
    ),
    "divisions": (
        "How many {d} does {c} have?",
        "What is the number of {d} of {c}?",
        "Into how many {d} is {c} divided?",
        "How many {d} are there in {c}?",
        "number of {d} in {c}",
    ),
    "national-symbol": (
        "What is a national symbol of {c}?",
        "Name a national symbol of {c}.",
        "What is {c}'s national symbol?",
        "Which symbol stands for {c}?",
        "national symbol of {c}",
        "What symbolises {c}?",
    ),
    "mean-elevation": (
        "What is the mean elevation of {c}?",
        "What is the average elevation of {c}?",
        "How high does {c} lie on average?",
        "mean elevation of {c}",
        "What is {c}'s average height above sea level?",
    ),
    "long-name": (
        "What is the official long-form name of {c}?",
        "What is the conventional long form of the name {c}?",
        "What is the full name of {c}?",
        "What is the official name of {c}?",
        "How is {c} called officially?",
        "What is {c}'s full official name?",
    ),
    "former-name": (
        "What was a former name of {c}?",
        "What was {c} called before?",
        "Under what name was {c} formerly known?",
        "former name of {c}",
        "What did {c} use to be called?",
    ),
    "border-count": (
        "How many neighbouring countries does {c} have?",
        "How many countries border {c}?",
        "With how many countries does {c} share a border?",
        "What is the number of countries that border {c}?",
    ),
    "border": (
        "Which country shares a land border with {c}?",
        "Name a country that borders {c}.",
        "What is a neighbouring country of {c}?",
        "Which country is next to {c}?",
        "Give a neighbour of {c}.",
    ),
}


def ask_fact(kind: str, country: str, rng: random.Random, *, division: str = "") -> str:
    """Draw a wording for a kind of fact, sometimes typed carelessly."""
    wording = rng.choice(FACTS[kind])
    return _roughen(wording.format(c=country, d=division or "divisions"), rng)


def ask_leader(role: str, office: str, country: str, rng: random.Random) -> str:
    """Draw a question for the holder of an office, by its title or by its role."""
    draw = rng.random()
    if draw < 0.12 and role in LEADER_EXTRA:
        return _roughen(rng.choice(LEADER_EXTRA[role]).format(c=country), rng)
    named = rng.choice(ROLES.get(role, (role,))) if draw < 0.4 else office
    if rng.random() < 0.4:
        named = named.lower()
    return _roughen(rng.choice(LEADERS).format(o=named, c=country), rng)


def _roughen(question: str, rng: random.Random) -> str:
    question = question[0].upper() + question[1:]
    if rng.random() < 0.2:
        question = question.rstrip("?.")
    return question.lower() if rng.random() < 0.15 else question

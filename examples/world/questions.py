"""Word questions for offices and facts of the World Factbook in many ways.

Knows wordings of offices, and draws others from `role_wordings.py`, and those of facts from
`fact_wordings.py`, `further_wordings.py` and `field_wordings.py`; `wording.py` varies how they are
typed. `{c}` stands for the country as a
sentence says it ("the Maldives"), `{a}` for its adjective ("Maldivian"), `{o}` for the office,
`{d}` for a word such as "provinces". A reader trained on one wording a kind learns the wording; one
trained on hundreds learns the question.
"""

from __future__ import annotations

import random

from fact_wordings import FACTS
from field_wordings import FIELD_WORDINGS
from further_wordings import FACTS_MORE
from role_wordings import LEADER_LIVES, LEADER_PHRASES, ROLE_WORDINGS, SINCE_PHRASES
from wording import roughen

__all__ = ["ask_fact", "ask_leader", "ask_life", "ask_since", "usable"]

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
        "Who is the boss of {c}'s government?",
        "Whose government rules {c}?",
        "Who is in charge of the government of {c}?",
        "the one who leads {c}'s government",
        "Who chairs the cabinet of {c}?",
    ),
    "chief of state": (
        "Who is {c}'s head of state?",
        "Which person is head of state in {c}?",
        "Who heads the state of {c}?",
        "Who stands at the top of the state in {c}?",
        "Who represents {c} as its head of state?",
        "{c}'s formal head, who is it?",
        "Who is formally at the top in {c}?",
    ),
    "representative": ("Who represents the crown in {c}?", "Who represents the monarch in {c}?"),
}

LEADERS_MORE = (
    "Who is the {a} {o}?",
    "who's the {a} {o}",
    "the {a} {o}",
    "What's the {a} {o} called?",
    "Name the {a} {o}.",
    "What is the name of the {a} {o}?",
    "{c} {o}",
    "{c}'s {o}",
    "{c}: who is {o}?",
    "Who's {o} of {c} now?",
    "Who is {o} of {c} at the moment?",
    "Whom do people in {c} call their {o}?",
    "Who currently has the job of {o} in {c}?",
    "What {o} does {c} have?",
    "Do you know the {a} {o}?",
    "Who is serving as the {a} {o}?",
)

BOTH_ROLES = (
    "Who leads {c}?",
    "Who runs {c}?",
    "Who rules {c}?",
    "Who is in charge of {c}?",
    "Who governs {c}?",
    "Who is the leader of {c}?",
    "Who is in power in {c}?",
    "the leader of {c}",
    "Who is the {a} leader?",
    "Who's running {c} these days?",
    "Who is the top politician of {c}?",
)
"""For a country in which one person heads state and government."""


def ask_fact(
    kind: str, country: str, rng: random.Random, *, adjective: str = "", division: str = ""
) -> str:
    """Draw a wording for a kind of fact, sometimes typed carelessly."""
    listed = (*FACTS.get(kind, ()), *FACTS_MORE.get(kind, ()), *FIELD_WORDINGS.get(kind, ()))
    wordings = usable(listed, adjective)
    wording = rng.choice(wordings)
    return roughen(wording.format(c=country, a=adjective, d=division or "divisions"), rng)


def ask_leader(
    role: str,
    office: str,
    country: str,
    rng: random.Random,
    *,
    adjective: str = "",
    both: bool = False,
) -> str:
    """Draw a question for the holder of an office, by its title or by its role.

    With `both`, the holder heads state and government, or governs for a monarch who does not, so
    that a question may ask who leads.
    """
    draw = rng.random()
    if both and draw < 0.2:
        wording = rng.choice(usable((*BOTH_ROLES, *ROLE_WORDINGS["both"]), adjective))
        return roughen(wording.format(c=country, a=adjective), rng)
    if draw < 0.5 and role in ROLE_WORDINGS:
        wording = rng.choice(usable((*LEADER_EXTRA[role], *ROLE_WORDINGS[role]), adjective))
        return roughen(wording.format(c=country, a=adjective), rng)
    named = rng.choice(ROLES.get(role, (role,))) if draw < 0.6 else office
    if rng.random() < 0.5:
        named = named.lower()
    wording = rng.choice(usable((*LEADERS, *LEADERS_MORE, *LEADER_PHRASES), adjective))
    return roughen(wording.format(o=named, c=country, a=adjective), rng)


def ask_since(office: str, country: str, rng: random.Random, *, adjective: str = "") -> str:
    """Draw a question since when the holder of an office has been in it."""
    return _ask(SINCE_PHRASES, office, country, rng, adjective)


def ask_life(office: str, country: str, rng: random.Random, *, adjective: str = "") -> str:
    """Draw a question about the holder of an office that the Factbook does not answer."""
    return _ask(LEADER_LIVES, office, country, rng, adjective)


def _ask(
    wordings: tuple[str, ...], office: str, country: str, rng: random.Random, adjective: str
) -> str:
    named = office.lower() if rng.random() < 0.5 else office
    wording = rng.choice(usable(wordings, adjective))
    return roughen(wording.format(o=named, c=country, a=adjective), rng)


def usable(wordings: tuple[str, ...], adjective: str) -> list[str]:
    return [wording for wording in wordings if adjective or "{a}" not in wording]

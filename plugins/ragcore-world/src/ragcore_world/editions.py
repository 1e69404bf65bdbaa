"""The editions of the World Factbook in ragcore-world: who holds which office at which time.

`2026-01` is the Factbook as `factbook.py` reads it. For an older edition the passages on the
executive branch are replaced by sentences of our own, written from a table of who held which office
then (`leaders/EDITION.csv`); every other passage stays as it is in 2026. A country without a row
in the table has no passage on its executive branch, since the newer one would be an anachronism.

In every edition passages on the executive branch begin with the edition's month, so that a reader
sees that "the president in 1990" is not answered by them.
"""

from __future__ import annotations

import csv
import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import groupby
from typing import Final

from ragcore.types import Passage
from ragcore_world.factbook import factbook_passages, split_words
from ragcore_world.keywords import keywords_of

__all__ = [
    "CURRENT",
    "EDITIONS",
    "Holder",
    "as_of",
    "edition_passages",
    "executive_branch",
    "leaders",
]

CURRENT: Final = "2026-01"
EDITIONS: Final = (CURRENT, "2016-11", "2018-12")
FIELD: Final = "Executive branch"

_WITH_ARTICLE: Final = frozenset(
    {
        "British Indian Ocean Territory",
        "Comoros",
        "French Southern and Antarctic Lands",
        "Holy See (Vatican City)",
        "Isle of Man",
        "Maldives",
        "Netherlands",
        "Philippines",
        "Seychelles",
    }
)


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds one office.

    Attributes:
        code: the country, by the Factbook's code, which outlives changes of its name.
        country: the country's name at that time.
        role: "chief of state", "representative" (of the chief of state above it), "head of
            government", or "prime minister" where that is neither.
        office: the holder's title, such as "Prime Minister"; may be empty.
        holder: full name.
        since: a date, a month or a year; may be empty.
        acting: whether the office is held temporarily.
    """

    code: str
    country: str
    role: str
    office: str
    holder: str
    since: str
    acting: bool


def leaders(edition: str) -> dict[str, list[Holder]]:
    """Read the table of an older edition, by country code, in the table's order.

    >>> leaders("2018-12")["et"][1].holder
    'Abiy Ahmed'
    """
    table = (files("ragcore_world") / "leaders" / f"{edition}.csv").read_text(encoding="utf-8")
    rows = [
        Holder(code, country, role, office, holder, since, acting == "yes")
        for code, country, role, office, holder, since, acting in csv.reader(
            table.splitlines()[1:], strict=True
        )
    ]
    return {code: list(holders) for code, holders in groupby(rows, key=lambda row: row.code)}


def edition_passages(
    edition: str = CURRENT, words: int = 100, codes: Sequence[str] | None = None
) -> Iterator[Passage]:
    """Stream the passages of an edition.

    Args:
        edition: one of `EDITIONS`.
        words: the most words that a passage's text may have.
        codes: only these countries.

    Raises:
        ValueError: there is no such edition, or `words` is below 20.
    """
    if edition not in EDITIONS:
        raise ValueError(
            f"no edition {edition!r} of the World Factbook: expected one of {EDITIONS}"
        )
    opening = as_of(edition)
    passages = factbook_passages(words, codes, {FIELD: opening})
    if edition == CURRENT:
        yield from passages
        return
    room = words - len(opening.split())
    table = leaders(edition)
    replaced: set[str] = set()
    for passage in passages:
        code = passage.metadata["code"]
        if passage.metadata["field"] != FIELD:
            yield passage
        elif code not in replaced:
            replaced.add(code)
            text = executive_branch(passage.metadata["country"], table.get(code, []))
            stem = passage.id.rpartition(":")[0]
            metadata = {**passage.metadata, "keywords": keywords_of(FIELD)}
            for number, piece in enumerate(split_words(text, room)):
                yield Passage(f"{stem}:{number}", passage.title, opening + piece, metadata)


def as_of(edition: str) -> str:
    """Return what passages begin with whose facts are those of an edition's month.

    >>> as_of("2018-12")
    'As of December 2018: '
    """
    return f"As of {datetime.date.fromisoformat(f'{edition}-01'):%B %Y}: "


def executive_branch(country: str, holders: Sequence[Holder]) -> str:
    """Write who governs a country, in sentences that name it.

    >>> executive_branch("Chad", leaders("2016-11")["cd"])
    'The chief of state of Chad is President Idriss Deby Itno (since 4 December 1990). The head of \
government of Chad is Prime Minister Albert Pahimi Padacke (since 15 February 2016).'
    """
    if not holders:
        return ""
    name = _in_a_sentence(country)
    if holders[0].country != country:
        name += f" ({holders[0].country})"
    chiefs = _with_representatives(holders)
    heads = [_named(holder) for holder in holders if holder.role == "head of government"]
    if chiefs == heads:
        sentences = [_sentence("chief of state and head of government", name, chiefs)]
    else:
        sentences = [
            _sentence("chief of state", name, chiefs),
            _sentence("head of government", name, heads),
        ]
    sentences += [
        f"The {holder.office} of {name} is {holder.holder}{_since(holder)}."
        for holder in holders
        if holder.role == "prime minister"
    ]
    return " ".join(filter(None, sentences))


def _with_representatives(holders: Sequence[Holder]) -> list[str]:
    """Return the chiefs of state, each with those who represent them."""
    chiefs: list[str] = []
    for holder in holders:
        if holder.role == "chief of state":
            chiefs.append(_named(holder))
        elif holder.role == "representative":
            chiefs[-1] += f", who is represented by {_named(holder)}"
    return chiefs


def _sentence(role: str, country: str, named: Sequence[str]) -> str:
    if not named:
        return ""
    if len(named) == 1:
        return f"The {role} of {country} is {named[0]}."
    # A comma goes before "and" if a name in the list holds a comma.
    comma = "," if any(", " in name for name in named) else ""
    everyone = f"{', '.join(named[:-1])}{comma} and {named[-1]}"
    return f"The {role.replace(' ', 's ', 1)} of {country} are {everyone}."


def _named(holder: Holder) -> str:
    acting = "Acting" if holder.acting else ""
    return " ".join(filter(None, (acting, holder.office, holder.holder))) + _since(holder)


def _since(holder: Holder) -> str:
    return f" (since {holder.since})" if holder.since else ""


def _in_a_sentence(country: str) -> str:
    """Return the name as it follows "of": "the United Kingdom", "the Gambia", "Chad"."""
    if country.startswith("The "):
        return "the " + country.removeprefix("The ")
    if (
        country in _WITH_ARTICLE
        or country.startswith(("United ", "Republic ", "Democratic ", "Federated "))
        or country.endswith(("Islands", "Republic"))
    ):
        return "the " + country
    return country

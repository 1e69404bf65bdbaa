"""Load questions about countries: the World Factbook's offices, facts and fields.

Knows the snapshots of the development data (see README.md) and the passages that `ragcore-world`
makes. Leaves out all questions about held-out countries, and their passages.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from items import Item, find_near, is_held_out, occurs, read_rows
from questions import ask_fact, ask_leader, ask_life, ask_since
from ragcore_world.editions import edition_passages

from ragcore.answering.spelling import find_span

__all__ = ["adjectives_of", "in_a_sentence", "snapshot_items", "titled_items"]

FIELDS = {
    "capital": ("Capital",),
    "population": ("Population",),
    "area": ("Area",),
    "coastline": ("Coastline",),
    "highest-point": ("Elevation",),
    "highest-elevation": ("Elevation",),
    "lowest-point": ("Elevation",),
    "mean-elevation": ("Elevation",),
    "official-languages": ("Languages",),
    "official-language": ("Languages",),
    "anthem": ("National anthem(s)",),
    "government-type": ("Government type",),
    "demonym": ("Nationality",),
    "tld": ("Internet country code",),
    "national-holiday": ("National holiday",),
    "national-holiday-date": ("National holiday",),
    "voting-age": ("Suffrage",),
    "life-expectancy": ("Life expectancy at birth",),
    "literacy": ("Literacy",),
    "largest-city": ("Major urban areas - population",),
    "utc-offset": ("Capital",),
    "location": ("Location",),
    "area-comparative": ("Area - comparative",),
    "currency": ("Exchange rates", "Currency"),
    "independence": ("Independence",),
    "independence-from": ("Independence",),
    "divisions": ("Administrative divisions",),
    "national-symbol": ("National symbol(s)",),
    "long-name": ("Country name",),
    "former-name": ("Country name",),
    "border-count": ("Land boundaries",),
    "border": ("Land boundaries",),
    "leader": ("Executive branch",),
    "since": ("Executive branch",),
}
"""The factbook's fields that contain the answer to each kind of question."""

_PERCENT = r"(-?[\d.]+%)"
_MONEY = r"(\$[\d.,]+(?: (?:trillion|billion|million))?)"
_ITEM = r"([A-Za-z][\w' /-]*?)(?= [\d(<]|[,;(]|$)"
_LIST = r"([a-z][^;()]*?)(?= \(|;|$)"
FIELD_ANSWERS = {
    "religion": ("Religions", _ITEM),
    "ethnic-group": ("Ethnic groups", _ITEM),
    "median-age": ("Median age", r"total: ([\d.]+ years)"),
    "birth-rate": ("Birth rate", r"([\d.]+) births"),
    "death-rate": ("Death rate", r"([\d.]+) deaths"),
    "fertility": ("Total fertility rate", r"([\d.]+) child"),
    "growth": ("Population growth rate", _PERCENT),
    "infant-mortality": ("Infant mortality rate", r"total: ([\d.]+) deaths"),
    "unemployment": ("Unemployment rate", _PERCENT),
    "inflation": ("Inflation rate (consumer prices)", _PERCENT),
    "gdp": ("Real GDP (purchasing power parity)", _MONEY),
    "gdp-per-capita": ("Real GDP per capita", _MONEY),
    "gdp-growth": ("Real GDP growth rate", _PERCENT),
    "export-partner": ("Exports - partners", _ITEM),
    "import-partner": ("Imports - partners", _ITEM),
    "export-good": ("Exports - commodities", _LIST),
    "import-good": ("Imports - commodities", _LIST),
    "resource": ("Natural resources", _LIST),
    "crop": ("Agricultural products", _LIST),
    "industry": ("Industries", _LIST),
    "internet": ("Internet users", _PERCENT),
    "climate": ("Climate", r"^([^;:]+)(?:;|$)"),
    "terrain": ("Terrain", r"^([^;:]+)(?:;|$)"),
    "airports": ("Airports", r"^([\d,]+)"),
    "military-share": ("Military expenditures", r"([\d.]+% of GDP)"),
    "obesity": ("Obesity - adult prevalence rate", _PERCENT),
    "urban": ("Urbanization", r"urban population: ([\d.]+%)"),
    "law": ("Legal system", r"^([^;:]+?)(?:;|$)"),
    "debt": ("Public debt", r"([\d.]+% of GDP)"),
    "aircraft-prefix": ("Civil aircraft registration country code prefix", r"^(\w[\w-]*)"),
    "doctors": ("Physician density", r"([\d.]+) physicians"),
}
"""Fields of the newest edition, and the pattern of the answer in the first passage of each."""

_LONGEST = 12  # words of an answer that is a list; of a longer one the first entry is asked
_MONARCHS = re.compile(
    r"king|queen|emperor|emir|amir|sultan|grand duke|prince|monarch|sovereign", re.I
)


def snapshot_items(folder: Path, names: set[str]) -> list[Item]:
    """Load the questions of one snapshot with its passages, titled with the country."""
    passages = {row["id"]: row for row in read_rows(folder / "passages.jsonl.gz")}
    by_country: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for row in passages.values():
        if not is_held_out(row["id"].split(":")[1]):
            by_country[row["title"]].append((row["title"], row["text"]))
    rng = random.Random(1)
    items, by_kind = [], defaultdict(list)
    for kind, row, item in _questions(folder, names):
        item.gold = [(passages[i]["title"], passages[i]["text"]) for i in row["passage_ids"]]
        items.append((kind, item))
        by_kind[kind].append(item)
    for kind, item in items:
        of_country = by_country[item.gold[0][0]]
        wrong = rng.sample(of_country, min(6, len(of_country)))
        wrong += [rng.choice(other.gold) for other in rng.sample(by_kind[kind], 3)]
        item.wrong = _lacking(item, wrong)
    all_items = [item for _, item in items]
    find_near(all_items, [p for group in by_country.values() for p in group])
    return all_items


def titled_items(edition: str, folder: Path, names: set[str]) -> list[Item]:
    """Load the same questions with `ragcore-world`'s passages, titled with country and field."""
    fields: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    by_country: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for passage in edition_passages(edition):
        code = passage.metadata["code"]
        if not is_held_out(code):
            fields[code, passage.metadata["field"]].append((passage.title, passage.text))
            by_country[code].append((passage.title, passage.text))
    rng = random.Random(2)
    is_newest = edition == "2026-01"
    items, known = [], {}
    for kind, row, item in _questions(folder, names):
        known[row["code"]] = row
        if not is_newest and kind not in ("leader", "since"):
            continue  # the older memories differ from the newest only in their leaders
        code = row["code"]
        of_fields = [p for name in FIELDS.get(kind, ()) for p in fields[code, name]]
        item.gold = [p for p in of_fields if find_span(row["answers"][0], p[1])]
        if item.gold:
            items.append(_with_wrong(item, code, FIELDS[kind][0], fields, by_country, rng))
    if is_newest:
        adjectives = adjectives_of(folder)
        for code, row in known.items():
            country = in_a_sentence(row["country"], row["question"])
            for kind, (name, pattern) in FIELD_ANSWERS.items():
                golds = fields[code, name][:1]
                match = re.search(pattern, golds[0][1]) if golds else None
                if match:
                    item = _field_item(kind, match[1], country, adjectives.get(code, ""))
                    item.gold = golds
                    items.append(_with_wrong(item, code, name, fields, by_country, rng))
    items += _offices_not_held(folder, fields)
    items += _lives(folder, fields)
    find_near(
        [item for item in items if item.answers],
        [p for group in by_country.values() for p in group],
    )
    return items


def _field_item(kind: str, answer: str, country: str, adjective: str) -> Item:
    if len(answer.split()) > _LONGEST:
        answer = answer.split(",")[0]

    def ask(rng: random.Random) -> str:
        return ask_fact(kind, country, rng, adjective=adjective)

    return Item(ask, [answer.strip()], [], now=2026)


def _with_wrong(
    item: Item,
    code: str,
    name: str,
    fields: dict[tuple[str, str], list[tuple[str, str]]],
    by_country: dict[str, list[tuple[str, str]]],
    rng: random.Random,
) -> Item:
    """Add passages of the country's other fields, and of other countries' same field."""
    wrong = rng.sample(by_country[code], min(6, len(by_country[code])))
    wrong += fields[code, name]
    others = _like_named(item.gold[0][0], by_country) + rng.sample(sorted(by_country), 4)
    for other in others:
        wrong += fields[other, name][:1] if other != code else []
    item.wrong = _lacking(item, wrong)
    return item


def _like_named(title: str, by_country: dict[str, list[tuple[str, str]]]) -> list[str]:
    """Return countries whose name holds a word of the title's: Guinea and Equatorial Guinea."""
    words = set(re.findall(r"\w{4,}", title.split(",")[0])) - {
        "Island",
        "Islands",
        "South",
        "North",
    }
    return [
        code
        for code, passages in by_country.items()
        if words & set(re.findall(r"\w{4,}", passages[0][0].split(",")[0]))
    ]


def _lacking(item: Item, passages: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [
        passage
        for passage in dict.fromkeys(passages)
        if passage not in item.gold and not any(occurs(a, passage[1]) for a in item.answers)
    ]


def _questions(folder: Path, names: set[str]) -> Iterator[tuple[str, dict, Item]]:
    """Yield kind, row and item (without passages) of each question of the other countries."""
    adjectives = adjectives_of(folder)
    now = int(folder.name[:4])
    holders: dict[str, dict[str, str]] = defaultdict(dict)
    reigning: set[str] = set()
    rows = [row for row in read_rows(folder / "leaders.jsonl.gz") if not is_held_out(row["code"])]
    for row in rows:
        holders[row["code"]][row["role"]] = row["answers"][0]
        if row["role"] == "chief of state" and _MONARCHS.search(row["office"]):
            reigning.add(row["code"])
    for row in rows:
        names.add(row["answers"][0])
        country = in_a_sentence(row["country"], row["question"])
        of_country = holders[row["code"]]
        both = of_country.get("chief of state") == of_country.get("head of government")
        both |= row["role"] == "head of government" and row["code"] in reigning

        def leader(
            rng: random.Random,
            row: dict = row,
            country: str = country,
            both: bool = both,
            adjective: str = adjectives.get(row["code"], ""),
        ) -> str:
            if rng.random() < 0.05:
                return row[rng.choice(["question", "question_generic"])]
            role, office = row["role"], row["office"]
            return ask_leader(role, office, country, rng, adjective=adjective, both=both)

        year = re.search(r"\d{4}", row.get("since") or "")
        since = int(year[0]) if year else None
        yield "leader", row, Item(leader, row["answers"], [], is_name=True, since=since, now=now)
        if row["office"] and row["since"]:

            def begun(
                rng: random.Random,
                office: str = row["office"],
                country: str = country,
                adjective: str = adjectives.get(row["code"], ""),
            ) -> str:
                return ask_since(office, country, rng, adjective=adjective)

            yield "since", {**row, "answers": [row["since"]]}, Item(begun, [row["since"]], [])
    for row in read_rows(folder / "facts.jsonl.gz"):
        if is_held_out(row["code"]):
            continue
        country = in_a_sentence(row["country"], row["question"])
        counted = re.match(r"How many (.+?) does ", row["question"])
        adjective = "" if row["kind"] == "demonym" else adjectives.get(row["code"], "")

        def fact(
            rng: random.Random,
            row: dict = row,
            country: str = country,
            division: str = counted[1] if counted else "",
            adjective: str = adjective,
        ) -> str:
            if rng.random() < 0.05:
                return row["question"]
            return ask_fact(row["kind"], country, rng, adjective=adjective, division=division)

        yield row["kind"], row, Item(fact, row["answers"], [], now=now)


def _offices_not_held(
    folder: Path, fields: dict[tuple[str, str], list[tuple[str, str]]]
) -> list[Item]:
    """Make questions for offices that a country does not have: the king of a republic."""
    adjectives = adjectives_of(folder)
    items = []
    by_code: dict[str, list[dict]] = defaultdict(list)
    for row in read_rows(folder / "leaders.jsonl.gz"):
        if not is_held_out(row["code"]):
            by_code[row["code"]].append(row)
    for code, rows in by_code.items():
        passages = fields[code, "Executive branch"]
        text = " ".join(text for _, text in passages).lower()
        offices = " ".join(row["office"] for row in rows)
        if not passages or not offices:
            continue
        if _MONARCHS.search(text) is None:
            missing = ["King", "Queen", "Emperor", "Sultan", "monarch"]
        elif "president" not in text:
            missing = ["President", "president", "Emperor"]
        else:
            continue
        country = in_a_sentence(rows[0]["country"], rows[0]["question"])

        def ask(
            rng: random.Random,
            missing: list[str] = missing,
            country: str = country,
            adjective: str = adjectives.get(code, ""),
        ) -> str:
            office = rng.choice(missing)
            return ask_leader(office, office, country, rng, adjective=adjective)

        items.append(Item(ask, [], passages[:2]))
    return items


def _lives(folder: Path, fields: dict[tuple[str, str], list[tuple[str, str]]]) -> list[Item]:
    """Make questions about office holders that passages on offices do not answer."""
    adjectives = adjectives_of(folder)
    items = []
    for row in read_rows(folder / "leaders.jsonl.gz"):
        passages = fields[row["code"], "Executive branch"]
        if is_held_out(row["code"]) or not row["office"] or not passages:
            continue

        def ask(
            rng: random.Random,
            office: str = row["office"],
            country: str = in_a_sentence(row["country"], row["question"]),
            adjective: str = adjectives.get(row["code"], ""),
        ) -> str:
            return ask_life(office, country, rng, adjective=adjective)

        items.append(Item(ask, [], passages))
    return items


def adjectives_of(folder: Path) -> dict[str, str]:
    """Return each country's adjective of nationality."""
    rows = (row for row in read_rows(folder / "facts.jsonl.gz") if row["kind"] == "demonym")
    return {row["code"]: row["answers"][0] for row in rows}


def in_a_sentence(country: str, question: str) -> str:
    """Return the country as the question writes it, with its article."""
    return f"the {country}" if f"the {country}" in question else country

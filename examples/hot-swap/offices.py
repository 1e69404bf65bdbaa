"""Who held which office at two dates: the questions of the experiment, and their two answers.

Knows two sources: the tables that `ragcore-world` ships for its older editions, and a folder of
snapshots (`EDITION/leaders.jsonl.gz`, and `hotswap/A_B.changed.jsonl.gz` where somebody has sorted
the offices already).
"""

from __future__ import annotations

import difflib
import gzip
import json
import re
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Office", "matches", "of_editions", "of_snapshots"]

SAME_NAME = 0.85
"""Two spellings of a name are at least so alike (difflib's ratio): Azail and Azali Assoumani."""


@dataclass(frozen=True, slots=True)
class Office:
    """An office, asked for in the same words at both dates.

    Attributes:
        question: as the paper asks: "Who is {position}?"
        answers: by date, the ways to write the holder's name, the full one first.
        changed: whether the two dates have different holders.
    """

    question: str
    answers: dict[str, tuple[str, ...]]
    changed: bool


def matches(answer: str, golds: Sequence[str]) -> bool:
    """Exact match after SQuAD's normalisation, with any of the gold answers."""
    return normalised(answer) in {normalised(gold) for gold in golds}


def normalised(text: str) -> str:
    """Lower case, no punctuation, no articles, single spaces."""
    text = "".join(char for char in text.lower() if char not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def of_editions(dates: tuple[str, str], countries: Sequence[str] | None = None) -> list[Office]:
    """The offices in the tables of `ragcore-world`, for two of its older editions."""
    from ragcore_world.editions import leaders

    held: list[dict[str, tuple[str, ...]]] = []
    for date in dates:
        seats: dict[str, tuple[str, ...]] = {}
        for code, holders in leaders(date).items():
            for one in holders:
                if countries is None or code in countries or one.country in countries:
                    question = f"Who is the {one.office or one.role} of {one.country}?"
                    # Where several share an office, each of them is right.
                    seats[question] = (*seats.get(question, ()), one.holder)
        held.append(seats)
    old, new = held
    return [
        office(question, dates, old[question], new[question]) for question in old if question in new
    ]


def of_snapshots(folder: Path, dates: tuple[str, str]) -> list[Office]:
    """The offices of a folder of snapshots: as they were sorted, else as the two tables tell."""
    sorted_ = [folder / "hotswap" / f"{'_'.join(dates)}.{kind}.jsonl.gz" for kind in KINDS]
    if all(path.exists() for path in sorted_):
        return [
            Office(row["question"], {date: tuple(row[date]["answers"]) for date in dates}, changed)
            for path, changed in zip(sorted_, KINDS.values(), strict=True)
            for row in rows(path)
        ]
    return derived(*(list(rows(folder / date / "leaders.jsonl.gz")) for date in dates), dates)


KINDS = {"changed": True, "unchanged": False}


def derived(
    old: list[dict[str, Any]], new: list[dict[str, Any]], dates: Sequence[str]
) -> list[Office]:
    """The offices that both tables have, but those whose holder sits in another country.

    Where an office has another name at the two dates (King, Queen) its role is asked for.
    """
    later = {row["id"]: row for row in new}
    found = []
    for row in old:
        other = later.get(row["id"])
        elsewhere = row["dependency"] and row["role"] != "head of government"
        if other is None or elsewhere:
            continue
        alike = row["question"] == other["question"]
        found.append(
            office(
                row["question"] if alike else row["question_generic"],
                (dates[0], dates[1]),
                tuple(row["answers"]),
                tuple(other["answers"]),
            )
        )
    return found


def office(
    question: str, dates: tuple[str, str], old: tuple[str, ...], new: tuple[str, ...]
) -> Office:
    return Office(question, dict(zip(dates, (old, new), strict=True)), not same_holder(old, new))


def same_holder(old: Sequence[str], new: Sequence[str]) -> bool:
    """Whether two lists of spellings, the full name first, are of one person."""
    one, other = ([normalised(name) for name in names] for names in (old, new))
    # A family name alone says nothing: two Prime Ministers of Eswatini were Dlamini.
    full = {name for name in one if " " in name} & {name for name in other if " " in name}
    alike = difflib.SequenceMatcher(None, one[0], other[0]).ratio() >= SAME_NAME
    return bool(full) or alike


def rows(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)

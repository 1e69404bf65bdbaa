"""List who held which office at two dates: the questions of the experiment and their answers.

Knows two sources: the tables that `ragcore-world` ships for its older editions, and a folder of
snapshots (`EDITION/leaders.jsonl.gz`, and `hotswap/A_B.changed.jsonl.gz` if there is a list of the
offices that changed).
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
"""The least ratio (by difflib) of two spellings of one name: Azail and Azali Assoumani."""


@dataclass(frozen=True, slots=True)
class Office:
    """An office, with one question for both dates.

    Attributes:
        question: as the paper asks: "Who is {position}?"
        answers: by date, the ways to write the holder's name, the full one first.
        changed: whether the two dates have different holders.
    """

    question: str
    answers: dict[str, tuple[str, ...]]
    changed: bool


def matches(answer: str, golds: Sequence[str]) -> bool:
    """Return whether an answer equals a gold answer after SQuAD's normalisation."""
    return normalised(answer) in {normalised(gold) for gold in golds}


def normalised(text: str) -> str:
    """Normalise a text: lower case, no punctuation, no articles, single spaces."""
    text = "".join(char for char in text.lower() if char not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def of_editions(dates: tuple[str, str], countries: Sequence[str] | None = None) -> list[Office]:
    """Return the offices in the tables of `ragcore-world`, for two of its older editions."""
    from ragcore_world.editions import leaders

    tables: list[dict[str, tuple[str, ...]]] = []
    for date in dates:
        seats: dict[str, tuple[str, ...]] = {}
        for code, group in leaders(date).items():
            for holder in group:
                if countries is None or code in countries or holder.country in countries:
                    question = f"Who is the {holder.office or holder.role} of {holder.country}?"
                    # If several people share an office, each of them is a right answer.
                    seats[question] = (*seats.get(question, ()), holder.holder)
        tables.append(seats)
    old, new = tables
    return [
        office(question, dates, old[question], new[question]) for question in old if question in new
    ]


def of_snapshots(folder: Path, dates: tuple[str, str]) -> list[Office]:
    """Return the offices of a folder of snapshots, from its lists or else from its two tables."""
    lists = [folder / "hotswap" / f"{'_'.join(dates)}.{kind}.jsonl.gz" for kind in KINDS]
    if all(path.exists() for path in lists):
        return [
            Office(row["question"], {date: tuple(row[date]["answers"]) for date in dates}, changed)
            for path, changed in zip(lists, KINDS.values(), strict=True)
            for row in rows(path)
        ]
    return derived(*(list(rows(folder / date / "leaders.jsonl.gz")) for date in dates), dates)


KINDS = {"changed": True, "unchanged": False}


def derived(
    old: list[dict[str, Any]], new: list[dict[str, Any]], dates: Sequence[str]
) -> list[Office]:
    """Return the offices in both tables, except those whose holder is in another country.

    If an office has different names at the two dates (King, Queen), the question uses its role.
    """
    later = {row["id"]: row for row in new}
    offices = []
    for row in old:
        other = later.get(row["id"])
        is_abroad = row["dependency"] and row["role"] != "head of government"
        if other is None or is_abroad:
            continue
        same_question = row["question"] == other["question"]
        offices.append(
            office(
                row["question"] if same_question else row["question_generic"],
                (dates[0], dates[1]),
                tuple(row["answers"]),
                tuple(other["answers"]),
            )
        )
    return offices


def office(
    question: str, dates: tuple[str, str], old: tuple[str, ...], new: tuple[str, ...]
) -> Office:
    return Office(question, dict(zip(dates, (old, new), strict=True)), not same_holder(old, new))


def same_holder(old: Sequence[str], new: Sequence[str]) -> bool:
    """Return whether two lists of spellings, the full name first, are of one person."""
    old_names, new_names = ([normalised(name) for name in names] for names in (old, new))
    # A family name alone is not enough: two Prime Ministers of Eswatini were called Dlamini.
    shared = {name for name in old_names if " " in name} & {
        name for name in new_names if " " in name
    }
    similar = difflib.SequenceMatcher(None, old_names[0], new_names[0]).ratio() >= SAME_NAME
    return bool(shared) or similar


def rows(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)

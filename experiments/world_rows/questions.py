"""Make the questions of each row, from development data and from the wordings of this package.

Countries that no training saw are those that `is_held_out` names. Knows files of questions; knows
nothing of pipelines.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml
from data import is_held_out

from world_rows.figures import Asked
from world_rows.memories import rows
from world_rows.phrasing import adjective_of, in_a_sentence, mistyped, office_word
from world_rows.wordings import ADJECTIVE, CONVERSATIONAL, EITHER, INDIRECT, REWORDED

__all__ = [
    "FactbookQuestions",
    "changed_offices",
    "is_test_article",
    "natural_questions",
    "nq_questions",
    "squad_questions",
    "year_questions",
]

HERE: Final = Path(__file__).resolve().parent
WORDINGS_EACH: Final = 3
"""How many of the wordings each held-out leader is asked for by."""
LEADING: Final = ("chief of state", "head of government")
_YEAR: Final = re.compile(r"\b(1[89]\d\d|20\d\d)\b")


def is_test_article(title: str) -> bool:
    """Return whether an article of SQuAD is for evaluation only; others may be trained on.

    By the rule of examples/world/items.py.
    """
    return int(hashlib.sha256(title.encode()).hexdigest(), 16) % 2 == 1


class FactbookQuestions:
    """Questions on the held-out countries of one edition, in the wordings of each row."""

    def __init__(self, data: Path, edition: str) -> None:
        folder = data / "factbook" / edition
        self._edition = edition
        self._leaders = [r for r in rows(folder / "leaders.jsonl.gz") if is_held_out(r["code"])]
        self._facts = [r for r in rows(folder / "facts.jsonl.gz") if is_held_out(r["code"])]

    def leaders(self) -> list[Asked]:
        """Ask for office holders by the office's title."""
        return [_asked(row, row["question"], row["role"]) for row in self._leaders]

    def facts(self) -> list[Asked]:
        """Ask for facts in the wordings of the development data."""
        return [_asked(row, row["question"], row["kind"]) for row in self._facts]

    def conversational(self) -> list[Asked]:
        """Ask for office holders as in a conversation."""
        titled = [row for row in self._leaders if row["office"]]
        return list(self._worded(titled, lambda row: CONVERSATIONAL, "office"))

    def reworded(self) -> list[Asked]:
        """Ask for office holders by what they do, and for leaders, whose role may be either."""
        by_role = list(self._worded(self._leaders, lambda row: REWORDED[row["role"]], "role"))
        leading = [row for row in self._leaders if row["role"] in LEADING]
        first = {row["code"]: row for row in reversed(leading)}
        for code, row in first.items():
            alike = [a for other in leading if other["code"] == code for a in other["answers"]]
            by_role += self._in_words(row, REWORDED[EITHER], alike, EITHER)
        return sorted(by_role, key=lambda asked: asked.group)

    def adjective(self) -> list[Asked]:
        """Ask for office holders by the country's adjective."""
        titled = [row for row in self._leaders if row["office"] and self._adjective(row)]
        return list(self._worded(titled, lambda row: ADJECTIVE, "office"))

    def indirect(self) -> list[Asked]:
        """Ask for facts without the Factbook's words for them."""
        return [
            _asked(row, self._fill(wordings[_number(row["id"]) % len(wordings)], row), row["kind"])
            for row in self._facts
            if (wordings := INDIRECT.get(row["kind"]))
        ]

    def mistyped_country(self) -> list[Asked]:
        """Ask for office holders and some facts with a typing error in the country's name."""
        asked = [*self._leaders, *self._facts[::8]]
        return list(self._mistyped(asked, lambda row: row["country"]))

    def mistyped_office(self) -> list[Asked]:
        """Ask for office holders with a typing error in the office's title."""
        return list(self._mistyped(self._leaders, lambda row: row["office"]))

    def before_their_time(self) -> list[Asked]:
        """Ask for office holders of a year that is eight to forty years before they came.

        Another holder is hardly ever named in the Factbook, so that no answer is right.
        """
        return [
            Asked(
                f"Who was the {row['office']} of {_of(row)} in {year}?",
                (),
                row["code"],
                "before",
            )
            for row in self._leaders
            if row["office"] and (since := _YEAR.search(row["since"]))
            for year in [int(since[1]) - 8 - _number(row["id"]) % 33]
            if year >= 1900
        ]

    def in_their_time(self) -> list[Asked]:
        """Ask for office holders of the edition's year."""
        year = self._edition.split("-")[0]
        return [
            _asked(row, f"Who was the {row['office']} of {_of(row)} in {year}?", "covered")
            for row in self._leaders
            if row["office"] and (since := _YEAR.search(row["since"])) and since[1] < year
        ]

    def _worded(
        self, asked: Sequence[dict[str, Any]], wordings: Callable[[dict[str, Any]], Any], same: str
    ) -> Iterator[Asked]:
        """Word each row a few times; what several rows' holders share is right for each of them."""
        for row in asked:
            alike = [
                answer
                for other in self._leaders
                if other["code"] == row["code"] and other[same] == row[same]
                for answer in other["answers"]
            ]
            yield from self._in_words(row, wordings(row), alike, row["role"])

    def _in_words(
        self, row: dict[str, Any], wordings: Sequence[str], answers: Sequence[str], kind: str
    ) -> Iterator[Asked]:
        first = _number(row["id"])
        for step in range(min(WORDINGS_EACH, len(wordings))):
            text = self._fill(wordings[(first + 5 * step) % len(wordings)], row)
            yield Asked(text, tuple(answers), row["code"], kind, _gold(row))

    def _fill(self, wording: str, row: dict[str, Any]) -> str:
        text = wording.format(
            office=office_word(row.get("office", "")),
            of=_of(row),
            country=row["country"],
            adjective=self._adjective(row),
        )
        return text[0].upper() + text[1:] if wording[0].isupper() else text

    def _adjective(self, row: dict[str, Any]) -> str:
        demonyms = self._demonyms().get(row["code"], ())
        return adjective_of(row["country"], demonyms)

    @cache  # noqa: B019 - one object an edition, for the whole run
    def _demonyms(self) -> dict[str, list[str]]:
        return {row["code"]: row["answers"] for row in self._facts if row["kind"] == "demonym"}

    def _mistyped(
        self, asked: Iterable[dict[str, Any]], phrase: Callable[[dict[str, Any]], str]
    ) -> Iterator[Asked]:
        for row in asked:
            wrong = mistyped(row["question"], phrase(row), row["id"])
            if wrong is not None:
                yield _asked(row, wrong, row.get("kind", row.get("role", "")))


def changed_offices(data: Path, old: str, new: str) -> list[tuple[Asked, Asked, bool]]:
    """Return the offices whose holder changed: by the old edition, by the new; whether held out."""
    pairs = []
    for row in rows(data / "factbook" / "hotswap" / f"{old}_{new}.changed.jsonl.gz"):
        by_edition = [
            Asked(row["question"], tuple(row[edition]["answers"]), row["code"], row["role"])
            for edition in (old, new)
        ]
        pairs.append((by_edition[0], by_edition[1], is_held_out(row["code"])))
    return pairs


def squad_questions(data: Path, *, answerable: bool) -> list[Asked]:
    """Return the questions on SQuAD's development paragraphs, with or without an answer."""
    if not answerable:
        source: Iterable[dict[str, Any]] = rows(data / "squad" / "unanswerable_v2_dev.jsonl.gz")
    else:
        every = rows(data / "squad" / "questions.jsonl.gz")
        source = (row for row in every if row["split"] == "dev")
    return [
        Asked(
            row["question"],
            tuple(row["answers"]),
            row["title"],
            "test" if is_test_article(row["title"]) else "other",
            row["passage_ids"][0],
        )
        for row in source
    ]


def nq_questions(data: Path) -> list[Asked]:
    """Return the questions of Natural Questions; each is a group of its own."""
    return [
        Asked(row["question"], tuple(row["answers"]), row["id"], "", row["gold_id"])
        for row in rows(data / "openqa" / "nq_gold.jsonl.gz")
    ]


def natural_questions() -> list[tuple[Asked, str]]:
    """Return questions as people ask them, each with the country whose passages answer it."""
    listed = yaml.safe_load((HERE / "natural.yaml").read_text(encoding="utf-8"))
    return [
        (
            Asked(row["question"], tuple(row["answers"]), str(number), "natural", regex=True),
            row.get("country", ""),
        )
        for number, row in enumerate(listed)
    ]


def year_questions() -> list[tuple[Asked, str]]:
    """Return questions that name a year, each with a pattern of what was right then, if known."""
    listed = yaml.safe_load((HERE / "years.yaml").read_text(encoding="utf-8"))
    return [
        (
            Asked(row["question"], tuple(row.get("answers", ())), str(number), "year", regex=True),
            row.get("then", ""),
        )
        for number, row in enumerate(listed)
    ]


def _asked(row: dict[str, Any], question: str, kind: str) -> Asked:
    return Asked(question, tuple(row["answers"]), row["code"], kind, _gold(row))


def _gold(row: dict[str, Any]) -> str:
    return str(row["passage_ids"][0]) if row["passage_ids"] else ""


def _of(row: dict[str, Any]) -> str:
    return in_a_sentence(row["country"], row["question"])


def _number(text: str) -> int:
    """Return the same number for a text in every run."""
    return int(hashlib.md5(text.encode()).hexdigest(), 16)

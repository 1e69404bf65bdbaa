"""Draw training examples without end from all sources, answerable and not.

Knows each source's share and how a draw varies an item: its wording, a window of the passage, a
date, a title, exchanged names and numbers, so that the reader learns to read, not to remember.
What makes a question unanswerable is of four kinds: a passage from elsewhere, one that a retriever
takes for the right one, the right one without its answer, and a question that is altered.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from altering import altered_question
from countries import snapshot_items, titled_items
from items import Example, Item, crop, find_near, occurs, without_answer
from readings import open_questions, readings, unanswerable

from ragcore.answering.spelling import find_span

__all__ = ["Mix", "Source", "load_mix"]

MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
_NAME = re.compile(r"\b[A-Z][\w'-]+(?: [A-Z][\w'-]+)+\b")


@dataclass(slots=True)
class Source:
    """Items of one kind.

    Attributes:
        share: of all examples.
        items: drawn with equal probability.
        unknown: the share of the draws that have no answer.
        altered: the share of these whose question is altered, instead of the passage.
        names: to exchange a name in a question with.
    """

    share: float
    items: list[Item]
    unknown: float = 0.0
    altered: float = 0.0
    names: list[str] | None = None


@dataclass(slots=True)
class Mix:
    """Sources, and names of people to exchange with each other."""

    sources: dict[str, Source]
    people: list[str]

    def examples(self, rng: random.Random) -> Iterator[Example]:
        """Draw examples without end."""
        kinds = list(self.sources.values())
        weights = [source.share for source in kinds]
        while True:
            (source,) = rng.choices(kinds, weights)
            example = self._draw(source, rng.choice(source.items), rng)
            if example is not None:
                yield example

    def _draw(self, source: Source, item: Item, rng: random.Random) -> Example | None:
        question = item.ask(rng)
        if not item.answers:
            if not item.gold:
                item.gold = item.near
            title, text = rng.choice(item.gold)
            text = crop(text, None, rng) if rng.random() < 0.2 else text
            return Example(question, title, text, ())
        if not item.gold or rng.random() < source.unknown:
            return self._unanswered(source, item, question, rng)
        return self._answered(item, question, rng)

    def _answered(self, item: Item, question: str, rng: random.Random) -> Example | None:
        title, text = rng.choice(item.gold)
        answers = [answer for answer in item.answers if occurs(answer, text)][:1]
        if item.is_name or len(item.answers) > 3:
            answers = answers or [item.answers[0]]
        else:
            answers = [answer for answer in item.answers if occurs(answer, text)]
        if not answers:
            return None
        if rng.random() < 0.3:
            text, answers = self._scrambled(text, answers, item.is_name, rng)
        if rng.random() < 0.5:
            text = crop(text, answers[0], rng)
        if item.now is not None:
            title = retitled(title, rng)
            if item.since is not None and item.since < item.now and rng.random() < 0.12:
                year = item.now if rng.random() < 0.5 else rng.randint(item.since + 1, item.now)
                question = in_year(question, year, rng)
                text = dated(text, item.now, rng)
            elif rng.random() < 0.3:
                text = dated(text, item.now, rng)
        answers = [answer for answer in answers if occurs(answer, text)]
        return Example(question, title, text, tuple(answers)) if answers else None

    def _unanswered(
        self, source: Source, item: Item, question: str, rng: random.Random
    ) -> Example | None:
        draw = rng.random()
        if item.gold and item.since is not None and item.now is not None and draw < 0.12:
            # The holder came later than the year that is asked, or the year is yet to come.
            title, text = rng.choice(item.gold)
            is_past = rng.random() < 0.75
            past = rng.randint(1900, max(1901, item.since - 1))
            year = past if is_past else item.now + rng.randint(1, 9)
            if str(year) in text:
                return None
            text = dated(text, item.now, rng) if not is_past or rng.random() < 0.7 else text
            return Example(in_year(question, year, rng), retitled(title, rng), text, ())
        if item.gold and item.now is not None and item.since is None and draw < 0.06:
            title, text = rng.choice(item.gold)
            year = rng.randint(1900, item.now - 8)
            if str(year) in text:
                return None
            return Example(in_year(question, year, rng), retitled(title, rng), text, ())
        if item.gold and rng.random() < source.altered:
            title, text = rng.choice(item.gold)
            names = source.names or _NAME.findall(text)
            altered = altered_question(question, text, names, rng)
            return Example(altered, title, text, ()) if altered else None
        if item.gold and rng.random() < 0.3:
            title, text = rng.choice(item.gold)
            shorter = without_answer(text, item.answers)
            return Example(question, title, shorter, ()) if shorter else None
        pool = item.near if item.near and (not item.wrong or rng.random() < 0.65) else item.wrong
        if not pool:
            return None
        title, text = rng.choice(pool)
        text = crop(text, None, rng) if rng.random() < 0.3 else text
        if item.now is not None and rng.random() < 0.2:
            title, text = retitled(title, rng), dated(text, item.now, rng)
        return Example(question, title, text, ())

    def _scrambled(
        self, text: str, answers: list[str], is_name: bool, rng: random.Random
    ) -> tuple[str, list[str]]:
        """Exchange the person or the numbers in text and answer."""
        span = find_span(answers[0], text)
        if span is None:
            return text, answers
        spelled = text[span[0] : span[1]]
        if is_name:
            people = self.people
            other = rng.choice(people) if rng.random() < 0.5 else made_up_name(people, rng)
        elif any(character.isdigit() for character in spelled):
            other = re.sub(r"\d", lambda digit: str(rng.randint(1, 9)), spelled)
        else:
            return text, answers
        return text.replace(spelled, other), [other]


def made_up_name(people: list[str], rng: random.Random) -> str:
    """Make up a name from halves of the words of real names."""
    words = [word for name in rng.sample(people, 3) for word in name.split()]
    parts = []
    for _ in range(rng.randint(2, 4)):
        head, tail = rng.choice(words), rng.choice(words)
        parts.append((head[: rng.randint(2, 5)] + tail[-rng.randint(1, 4) :]).capitalize())
    if len(parts) > 2 and rng.random() < 0.2:
        parts.insert(
            rng.randint(1, len(parts) - 1), rng.choice(("bin", "al-", "de", "and", "-", "van"))
        )
    return " ".join(parts)


def retitled(title: str, rng: random.Random) -> str:
    """Write a title in one of several forms: "Chad, Area", "Chad", "Area of Chad"."""
    country, comma, name = title.rpartition(", ")
    if not comma or rng.random() < 0.8:
        return title
    forms = ("{c}", "{f} of {c}", "{c} - {f}", "{f}, {c}", "{c}: {f}", "{c} ({f})")
    return rng.choice(forms).format(c=country, f=name)


def dated(text: str, year: int, rng: random.Random) -> str:
    """Put the date of the edition in front of a passage, in one of several forms."""
    month = rng.choice(MONTHS)
    forms = (
        "As of {m} {y}: {t}",
        "As of {m} {y}, {t}",
        "In {m} {y}: {t}",
        "({m} {y}) {t}",
        "{m} {y}. {t}",
        "Edition of {m} {y}. {t}",
        "{y}: {t}",
    )
    return rng.choice(forms).format(m=month, y=year, t=text)


def in_year(question: str, year: int, rng: random.Random) -> str:
    """Ask for another year: "Who was the king of Norway in 1950?"."""
    mark = "?" if question.endswith("?") else ""
    body = question.rstrip("?.! ")
    if rng.random() < 0.6:
        for present, past in ((" is ", " was "), ("'s the ", " was the "), (" does ", " did ")):
            if present in body:
                body = body.replace(present, past, 1)
                break
    forms = ("{q} in {y}{m}", "{q} in {y}{m}", "in {y}, {q}{m}", "{q} {y}{m}", "{q} back in {y}{m}")
    return rng.choice(forms).format(q=body, y=year, m=mark)


def load_mix(data: Path) -> Mix:
    """Load all sources."""
    names: set[str] = set()
    snapshots, titled = [], []
    for edition in ("2016-11", "2018-12", "2026-02"):
        items = snapshot_items(data / "factbook" / edition, names)
        # The demo reads the newest edition: train on its wording, but on a third of it only.
        snapshots.extend(items if edition != "2026-02" else items[::3])
    for edition, source in (("2016-11", "2016-11"), ("2018-12", "2018-12"), ("2026-01", "2026-02")):
        titled.extend(titled_items(edition, data / "factbook" / source, names))
    squad, qamr = readings(data)
    lacking, answerable = unanswerable(data)
    open_domain = open_questions(data)
    open_domain = [item for i, item in enumerate(open_domain) if item.gold or i % 3 == 0]
    topics = sorted({name for item in squad for name in _NAME.findall(item.gold[0][1])})
    absent = [item for item in titled if not item.answers]
    titled = [item for item in titled if item.answers]
    leaders = [item for item in (*snapshots, *titled) if item.is_name]
    foreign = _foreign(squad + qamr + open_domain, titled)
    sources = {
        "squad": Source(0.20, squad, unknown=0.4, altered=0.45, names=topics),
        "qamr": Source(0.08, qamr, unknown=0.3, altered=0.5, names=topics),
        "lacking": Source(0.15, lacking),
        "paragraphs": Source(0.14, answerable, unknown=0.12, altered=0.6, names=topics),
        "open": Source(0.12, open_domain, unknown=0.3),
        "snapshots": Source(0.08, snapshots, unknown=0.35),
        "titled": Source(0.13, titled, unknown=0.4),
        "leaders": Source(0.15, leaders, unknown=0.45),
        "absent": Source(0.05, absent),
        "foreign": Source(0.07, foreign),
    }
    return Mix(sources, sorted(names))


def _foreign(questions: list[Item], titled: list[Item]) -> list[Item]:
    """Ask questions from elsewhere of the Factbook's passages, those that BM25 finds for them."""
    rng = random.Random(5)
    asked = [
        Item(item.ask, item.answers, [])
        for item in rng.sample(questions, min(8000, len(questions)))
    ]
    passages = list({passage for item in titled for passage in (*item.gold, *item.wrong)})
    find_near(asked, sorted(passages), 4)
    # "Who" alone does not ask for a leader.
    on_offices = sorted(p for p in passages if p[0].endswith(", Executive branch"))
    return [
        Item(item.ask, [], [*item.near, *rng.sample(on_offices, 2)]) for item in asked if item.near
    ]

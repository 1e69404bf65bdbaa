"""What the reader is trained on: questions with a passage, and the answer that stands in it.

Streams examples from a folder of development data (`--data`: SQuAD, QAMR and the World Factbook at
several dates, as described in README.md) and from the passages that `ragcore-world` makes itself.
Knows nothing of models but the tokenizer's word pieces, with which it checks that an answer can be
copied. Every draw words its question anew, cuts its passage anew, and now and then scrambles names
and numbers, so that the reader learns to read rather than to remember.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from questions import ask_fact, ask_leader
from ragcore_bm25.retriever import Bm25
from ragcore_world.editions import edition_passages

from ragcore.answering.spelling import find_span
from ragcore.types import Passage

__all__ = ["UNKNOWN", "Example", "Mix", "is_held_out", "load_mix", "read_rows"]

UNKNOWN = "unknown"

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
}
"""The factbook's fields in which the answer to a kind of question stands."""


def is_held_out(code: str) -> bool:
    """Whether a country (by its two-letter factbook code) is kept for evaluation, every edition."""
    return int(hashlib.sha256(code.encode()).hexdigest(), 16) % 5 == 0


@dataclass(frozen=True, slots=True)
class Example:
    """What the reader sees, and what it should say."""

    question: str
    title: str
    text: str
    answer: str


@dataclass(slots=True)
class Item:
    """A question in all its wordings, the passages that answer it, and some that do not."""

    ask: Callable[[random.Random], str]
    answers: list[str]
    gold: list[tuple[str, str]]
    wrong: list[tuple[str, str]] = field(default_factory=list)
    retrieved: list[tuple[str, str]] = field(default_factory=list)
    is_name: bool = False


@dataclass(slots=True)
class Mix:
    """Items by source, with the share that each source has of the examples."""

    sources: dict[str, tuple[float, list[Item]]]
    names: list[str]
    tokenize: Callable[[str], list[str]]
    unknown: float = 0.2

    def examples(self, rng: random.Random) -> Iterator[Example]:
        """Examples without end, drawn with `rng`."""
        kinds = list(self.sources)
        weights = [self.sources[kind][0] for kind in kinds]
        while True:
            (kind,) = rng.choices(kinds, weights)
            example = self._draw(rng.choice(self.sources[kind][1]), rng)
            if example is not None:
                yield example

    def _draw(self, item: Item, rng: random.Random) -> Example | None:
        question = item.ask(rng)
        if item.wrong and rng.random() < self.unknown:
            retrieved = item.retrieved and rng.random() < 0.7
            title, text = rng.choice(item.retrieved if retrieved else item.wrong)
            if any(answer.lower() in text.lower() for answer in item.answers):
                return None
            return Example(question, title, crop(text, None, rng), UNKNOWN)
        title, text = rng.choice(item.gold)
        answer = item.answers[0]
        if rng.random() < 0.3:
            text, answer = self._scrambled(text, answer, item.is_name, rng)
        if rng.random() < 0.7:
            text = crop(text, answer, rng)
        if not self.can_copy(answer, text):
            return None
        return Example(question, title, text, answer)

    def can_copy(self, answer: str, text: str) -> bool:
        """Whether the answer's word pieces stand in the text, one after the other."""
        pieces = " ".join(self.tokenize(answer))
        return bool(pieces) and f" {pieces} " in f" {' '.join(self.tokenize(text))} "

    def _scrambled(
        self, text: str, answer: str, is_name: bool, rng: random.Random
    ) -> tuple[str, str]:
        """The same text about another person, or with other numbers; the answer follows."""
        span = find_span(answer, text)
        if span is None:
            return text, answer
        spelled = text[span[0] : span[1]]
        if is_name:
            other = rng.choice(self.names) if rng.random() < 0.5 else made_up_name(self.names, rng)
        elif any(character.isdigit() for character in spelled):
            other = re.sub(r"\d", lambda digit: str(rng.randint(1, 9)), spelled)
        else:
            return text, answer
        return text.replace(spelled, other), other


def made_up_name(names: list[str], rng: random.Random) -> str:
    """A name that nobody bears: words of real names, their halves joined crosswise."""
    words = [word for name in rng.sample(names, 3) for word in name.split()]
    made = []
    for _ in range(rng.randint(2, 4)):
        head, tail = rng.choice(words), rng.choice(words)
        made.append((head[: rng.randint(2, 5)] + tail[-rng.randint(1, 4) :]).capitalize())
    return " ".join(made)


def crop(text: str, answer: str | None, rng: random.Random) -> str:
    """A window of 25 to 90 words of the text, with the answer in it."""
    words = text.split()
    size = rng.randint(25, 90)
    if len(words) <= size:
        return text
    lowest, highest = 0, len(words) - size
    if answer:
        place = text.find(answer)
        if place < 0:
            return text
        begin = len(text[:place].split())
        lowest = max(0, begin + len(answer.split()) + 1 - size)
        highest = min(begin, highest)
    first = rng.randint(min(lowest, highest), highest)
    return " ".join(words[first : first + size])


def read_rows(path: Path) -> Iterator[dict]:
    """The rows of a gzipped JSON-lines file."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def load_mix(
    data: Path, tokenize: Callable[[str], list[str]], *, unknown: float = 0.2, hard: bool = False
) -> Mix:
    """Everything to train on: readers' questions, the factbook's, and copying for its own sake.

    `unknown` is the share of wrong passages; `hard` takes most of the factbook's from what BM25
    finds for the question.
    """
    names: set[str] = set()
    snapshots: list[Item] = []
    titled: list[Item] = []
    for edition in ("2016-11", "2018-12", "2026-02"):
        found = _factbook(data / "factbook" / edition, names, hard=hard)
        # The newest edition is what the demo reads: its wording may be seen, but sparingly.
        snapshots.extend(found if edition != "2026-02" else found[::3])
    for edition, source in (("2016-11", "2016-11"), ("2018-12", "2018-12"), ("2026-01", "2026-02")):
        titled.extend(_titled(edition, data / "factbook" / source, names, hard=hard))
    squad, qamr = _readers(data)
    leaders = [item for item in (*snapshots, *titled) if item.is_name]
    sources = {
        "squad": (0.20 if hard else 0.26, squad),
        "qamr": (0.10 if hard else 0.16, qamr),
        "factbook": (0.20, snapshots),
        "titled": (0.18 if hard else 0.16, titled),
        "leaders": (0.29 if hard else 0.18, leaders),
        "copying": (0.03 if hard else 0.04, _copying(squad + qamr + snapshots)),
    }
    return Mix(sources, sorted(names), tokenize)


def _readers(data: Path) -> tuple[list[Item], list[Item]]:
    """SQuAD's training questions and QAMR, with other paragraphs as wrong passages."""
    dev = {
        row["text"] for row in read_rows(data / "squad/passages.jsonl.gz") if row["split"] == "dev"
    }
    dev_text = " ".join(dev)
    found: dict[str, list[Item]] = {"squad1.1": [], "qamr": []}
    texts: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for row in read_rows(data / "train_mix/triples.jsonl.gz"):
        source = row["source"]
        if source not in found or not row["answers"]:
            continue
        if row["split"] == "dev" and (source == "squad1.1" or row["text"][:80] in dev_text):
            continue
        question, passage = row["question"], (row["title"], row["text"])
        texts[source + row["title"]].append(passage)
        found[source].append(Item(_as_typed(question), row["answers"], [passage]))
    rng = random.Random(0)
    for source, items in found.items():
        for item in items:
            pool = texts[source + item.gold[0][0]]
            item.wrong = [p for p in rng.sample(pool, min(4, len(pool))) if p != item.gold[0]]
    return found["squad1.1"], found["qamr"]


def _as_typed(question: str) -> Callable[[random.Random], str]:
    def ask(rng: random.Random) -> str:
        asked = question.rstrip("?") if rng.random() < 0.15 else question
        return asked.lower() if rng.random() < 0.15 else asked

    return ask


def _factbook(folder: Path, names: set[str], *, hard: bool) -> list[Item]:
    """The questions of one snapshot over its passages, titled with the country."""
    passages = {row["id"]: row for row in read_rows(folder / "passages.jsonl.gz")}
    by_country: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for row in passages.values():
        if not is_held_out(row["id"].split(":")[1]):
            by_country[row["title"]].append((row["title"], row["text"]))
    rng = random.Random(1)
    items, by_kind = [], defaultdict(list)
    for kind, row, ask in _questions(folder, names):
        gold = [(passages[i]["title"], passages[i]["text"]) for i in row["passage_ids"]]
        item = Item(ask, row["answers"], gold, is_name=kind == "leader")
        items.append((kind, item))
        by_kind[kind].append(item)
    for kind, item in items:
        own = by_country[item.gold[0][0]]
        item.wrong = rng.sample(own, min(6, len(own)))
        item.wrong += [rng.choice(other.gold) for other in rng.sample(by_kind[kind], 3)]
        item.wrong = [p for p in item.wrong if p not in item.gold]
    found = [item for _, item in items]
    if hard:
        _retrieve(found, [p for own in by_country.values() for p in own])
    return found


def _titled(edition: str, folder: Path, names: set[str], *, hard: bool) -> list[Item]:
    """The same questions over `ragcore-world`'s passages, titled with country and field."""
    fields: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    by_country: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for passage in edition_passages(edition):
        code = passage.id.split(":")[0]
        if is_held_out(code):
            continue
        name = passage.title.rsplit(", ", 1)[-1]
        fields[code, name].append((passage.title, passage.text))
        by_country[code].append((passage.title, passage.text))
    codes = sorted(by_country)
    rng = random.Random(2)
    items = []
    for kind, row, ask in _questions(folder, names):
        if edition != "2026-01" and kind != "leader":
            continue  # the older memories differ from the newest by their leaders alone
        code = row["code"]
        own = [p for name in FIELDS.get(kind, ()) for p in fields[code, name]]
        gold = [p for p in own if find_span(row["answers"][0], p[1])]
        if not gold:
            continue
        item = Item(ask, row["answers"], gold, is_name=kind == "leader")
        item.wrong = rng.sample(by_country[code], min(6, len(by_country[code])))
        item.wrong += [p for p in own if p not in gold]
        for other in rng.sample(codes, 4):
            item.wrong += fields[other, FIELDS[kind][0]][:1] if other != code else []
        items.append(item)
    if hard:
        _retrieve(items, [p for own in by_country.values() for p in own])
    return items


def _retrieve(items: list[Item], passages: list[tuple[str, str]]) -> None:
    """Give each item the passages that the demo's retriever finds for it, if they lack its answer.

    Passages of countries that are held out are not among `passages`.
    """
    bm25 = Bm25(Bm25.Config(title_weight=4, k1=0.9))
    rows = np.arange(len(passages), dtype=np.int64)
    bm25.add(rows, [Passage(str(i), *passage) for i, passage in enumerate(passages)])
    rng = random.Random(4)
    hits = bm25.search([item.ask(rng) for item in items], 7)
    for item, found in zip(items, hits.rows.tolist(), strict=True):
        texts = [passages[row] for row in found if row >= 0]
        item.retrieved = [
            p for p in texts if not any(answer.lower() in p[1].lower() for answer in item.answers)
        ]


def _questions(
    folder: Path, names: set[str]
) -> Iterator[tuple[str, dict, Callable[[random.Random], str]]]:
    """Each question of a snapshot about a country that is not held out: kind, row, wordings."""
    for row in read_rows(folder / "leaders.jsonl.gz"):
        if is_held_out(row["code"]):
            continue
        names.add(row["answers"][0])
        country = _in_a_sentence(row["country"], row["question"])

        def leader(rng: random.Random, row: dict = row, country: str = country) -> str:
            if rng.random() < 0.1:
                return row[rng.choice(["question", "question_generic"])]
            return ask_leader(row["role"], row["office"], country, rng)

        yield "leader", row, leader
    for row in read_rows(folder / "facts.jsonl.gz"):
        if is_held_out(row["code"]):
            continue
        country = _in_a_sentence(row["country"], row["question"])
        counted = re.match(r"How many (.+?) does ", row["question"])

        def fact(
            rng: random.Random,
            row: dict = row,
            country: str = country,
            division: str = counted[1] if counted else "",
        ) -> str:
            if rng.random() < 0.15:
                return row["question"]
            return ask_fact(row["kind"], country, rng, division=division)

        yield row["kind"], row, fact


def _in_a_sentence(country: str, question: str) -> str:
    """The country as the question says it, with its article."""
    return f"the {country}" if f"the {country}" in question else country


def _copying(items: list[Item]) -> list[Item]:
    """Questions that any text answers: what words follow these?"""
    rng = random.Random(3)
    made = []
    for item in rng.sample(items, min(12_000, len(items))):
        title, text = item.gold[0]
        words = text.split()
        if len(words) < 15:
            continue
        start = rng.randint(3, len(words) - 9)
        length = rng.randint(1, 6)
        before = " ".join(words[start - 3 : start])
        answer = " ".join(words[start : start + length]).strip(".,;:()")
        if answer and text.count(before) == 1:
            ask = _as_typed(f'What follows "{before}"?')
            made.append(Item(ask, [answer], [(title, text)]))
    return made

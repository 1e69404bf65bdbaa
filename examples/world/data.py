"""Stream training examples for the reader: a question, a passage, the answer in it.

Examples come from a folder of development data (`--data`: SQuAD, QAMR and the World Factbook of
several dates, as described in README.md) and from the passages that `ragcore-world` makes. Knows
nothing of models except the tokenizer's word pieces, with which it checks that an answer can be
copied. Each draw chooses a wording and a window of the passage, and sometimes exchanges names and
numbers, so that the reader learns to read instead of remembering facts.
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
"""The factbook's fields that contain the answer to each kind of question."""


def is_held_out(code: str) -> bool:
    """Return whether a country, by its two-letter code, is for evaluation only, in all editions."""
    return int(hashlib.sha256(code.encode()).hexdigest(), 16) % 5 == 0


@dataclass(frozen=True, slots=True)
class Example:
    """The reader's input and the answer it should give."""

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
    """Items by source, with each source's share of the examples."""

    sources: dict[str, tuple[float, list[Item]]]
    names: list[str]
    tokenize: Callable[[str], list[str]]
    unknown: float = 0.2

    def examples(self, rng: random.Random) -> Iterator[Example]:
        """Draw examples without end."""
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
        """Return whether the answer's word pieces are in the text, one after the other."""
        pieces = " ".join(self.tokenize(answer))
        return bool(pieces) and f" {pieces} " in f" {' '.join(self.tokenize(text))} "

    def _scrambled(
        self, text: str, answer: str, is_name: bool, rng: random.Random
    ) -> tuple[str, str]:
        """Exchange the person or the numbers in text and answer."""
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
    """Make up a name from halves of the words of real names."""
    words = [word for name in rng.sample(names, 3) for word in name.split()]
    parts = []
    for _ in range(rng.randint(2, 4)):
        head, tail = rng.choice(words), rng.choice(words)
        parts.append((head[: rng.randint(2, 5)] + tail[-rng.randint(1, 4) :]).capitalize())
    return " ".join(parts)


def crop(text: str, answer: str | None, rng: random.Random) -> str:
    """Cut a window of 25 to 90 words from the text, with the answer in it."""
    words = text.split()
    size = rng.randint(25, 90)
    if len(words) <= size:
        return text
    lowest, highest = 0, len(words) - size
    if answer:
        position = text.find(answer)
        if position < 0:
            return text
        begin = len(text[:position].split())
        lowest = max(0, begin + len(answer.split()) + 1 - size)
        highest = min(begin, highest)
    first = rng.randint(min(lowest, highest), highest)
    return " ".join(words[first : first + size])


def read_rows(path: Path) -> Iterator[dict]:
    """Yield the rows of a gzipped JSON-lines file."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def load_mix(
    data: Path, tokenize: Callable[[str], list[str]], *, unknown: float = 0.2, hard: bool = False
) -> Mix:
    """Load all sources: reading questions, the factbook's questions, and plain copying.

    `unknown` is the share of wrong passages. With `hard`, most wrong passages of the factbook are
    among those that BM25 finds for the question.
    """
    names: set[str] = set()
    snapshots: list[Item] = []
    titled: list[Item] = []
    for edition in ("2016-11", "2018-12", "2026-02"):
        items = _factbook(data / "factbook" / edition, names, hard=hard)
        # The demo reads the newest edition: train on its wording, but on a third of it only.
        snapshots.extend(items if edition != "2026-02" else items[::3])
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
    """Load SQuAD's training questions and QAMR, with other paragraphs as wrong passages."""
    dev = {
        row["text"] for row in read_rows(data / "squad/passages.jsonl.gz") if row["split"] == "dev"
    }
    dev_text = " ".join(dev)
    by_source: dict[str, list[Item]] = {"squad1.1": [], "qamr": []}
    texts: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for row in read_rows(data / "train_mix/triples.jsonl.gz"):
        source = row["source"]
        if source not in by_source or not row["answers"]:
            continue
        if row["split"] == "dev" and (source == "squad1.1" or row["text"][:80] in dev_text):
            continue
        question, passage = row["question"], (row["title"], row["text"])
        texts[source + row["title"]].append(passage)
        by_source[source].append(Item(_as_typed(question), row["answers"], [passage]))
    rng = random.Random(0)
    for source, items in by_source.items():
        for item in items:
            pool = texts[source + item.gold[0][0]]
            item.wrong = [p for p in rng.sample(pool, min(4, len(pool))) if p != item.gold[0]]
    return by_source["squad1.1"], by_source["qamr"]


def _as_typed(question: str) -> Callable[[random.Random], str]:
    def ask(rng: random.Random) -> str:
        typed = question.rstrip("?") if rng.random() < 0.15 else question
        return typed.lower() if rng.random() < 0.15 else typed

    return ask


def _factbook(folder: Path, names: set[str], *, hard: bool) -> list[Item]:
    """Load the questions of one snapshot with its passages, titled with the country."""
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
        of_country = by_country[item.gold[0][0]]
        item.wrong = rng.sample(of_country, min(6, len(of_country)))
        item.wrong += [rng.choice(other.gold) for other in rng.sample(by_kind[kind], 3)]
        item.wrong = [p for p in item.wrong if p not in item.gold]
    all_items = [item for _, item in items]
    if hard:
        _retrieve(all_items, [p for group in by_country.values() for p in group])
    return all_items


def _titled(edition: str, folder: Path, names: set[str], *, hard: bool) -> list[Item]:
    """Load the same questions with `ragcore-world`'s passages, titled with country and field."""
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
            continue  # the older memories differ from the newest only in their leaders
        code = row["code"]
        of_fields = [p for name in FIELDS.get(kind, ()) for p in fields[code, name]]
        gold = [p for p in of_fields if find_span(row["answers"][0], p[1])]
        if not gold:
            continue
        item = Item(ask, row["answers"], gold, is_name=kind == "leader")
        item.wrong = rng.sample(by_country[code], min(6, len(by_country[code])))
        item.wrong += [p for p in of_fields if p not in gold]
        for other in rng.sample(codes, 4):
            item.wrong += fields[other, FIELDS[kind][0]][:1] if other != code else []
        items.append(item)
    if hard:
        _retrieve(items, [p for group in by_country.values() for p in group])
    return items


def _retrieve(items: list[Item], passages: list[tuple[str, str]]) -> None:
    """Give each item those passages found by the demo's retriever that lack its answer.

    `passages` contains no passages of held-out countries.
    """
    bm25 = Bm25(Bm25.Config(title_weight=4, k1=0.9))
    rows = np.arange(len(passages), dtype=np.int64)
    bm25.add(rows, [Passage(str(i), *passage) for i, passage in enumerate(passages)])
    rng = random.Random(4)
    hits = bm25.search([item.ask(rng) for item in items], 7)
    for item, hit_rows in zip(items, hits.rows.tolist(), strict=True):
        texts = [passages[row] for row in hit_rows if row >= 0]
        item.retrieved = [
            p for p in texts if not any(answer.lower() in p[1].lower() for answer in item.answers)
        ]


def _questions(
    folder: Path, names: set[str]
) -> Iterator[tuple[str, dict, Callable[[random.Random], str]]]:
    """Yield kind, row and wordings of each question, leaving out held-out countries."""
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
    """Return the country as the question writes it, with its article."""
    return f"the {country}" if f"the {country}" in question else country


def _copying(items: list[Item]) -> list[Item]:
    """Make questions that any text answers: which words follow these."""
    rng = random.Random(3)
    copies = []
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
            copies.append(Item(ask, [answer], [(title, text)]))
    return copies

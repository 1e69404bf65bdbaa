"""What the reader learns from: a question, a passage, and the answers that stand in it, if any.

Knows the shape of an example, and how passages are cut, without regard to where they come from.
`readings.py` and `countries.py` load the sources, `mix.py` draws from them.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ragcore_bm25.retriever import Bm25

from ragcore.types import Passage

__all__ = [
    "Example",
    "Item",
    "crop",
    "find_near",
    "is_held_out",
    "is_test_article",
    "occurs",
    "read_rows",
    "without_answer",
]

Titled = tuple[str, str]
"""A passage's title and text."""


@dataclass(frozen=True, slots=True)
class Example:
    """The reader's input, and the answers that it should copy; none where the passage has none."""

    question: str
    title: str
    text: str
    answers: tuple[str, ...]


@dataclass(slots=True)
class Item:
    """A question in all its wordings, the passages that answer it, and some that do not.

    Attributes:
        ask: draws a wording.
        answers: as they may stand in a passage; the first is the full one.
        gold: passages with the answer.
        wrong: passages without it, of any kind.
        near: passages without it that a retriever takes for the right ones.
        is_name: whether the answer is a person, whose name may be exchanged.
        since: the year from which on the answer holds, where that is known.
        now: the year of the passages.
    """

    ask: Callable[[random.Random], str]
    answers: list[str]
    gold: list[Titled]
    wrong: list[Titled] = field(default_factory=list)
    near: list[Titled] = field(default_factory=list)
    is_name: bool = False
    since: int | None = None
    now: int | None = None


def is_held_out(code: str) -> bool:
    """Return whether a country, by its two-letter code, is for evaluation only, in all editions."""
    return int(hashlib.sha256(code.encode()).hexdigest(), 16) % 5 == 0


def is_test_article(title: str) -> bool:
    """Return whether an article of SQuAD's development set is for evaluation only."""
    return int(hashlib.sha256(title.encode()).hexdigest(), 16) % 2 == 1


def read_rows(path: Path) -> Iterator[dict]:
    """Yield the rows of a gzipped JSON-lines file."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def occurs(answer: str, text: str) -> bool:
    """Return whether the answer stands in the text as whole words, in any case."""
    return re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", text, re.IGNORECASE) is not None


def crop(text: str, answer: str | None, rng: random.Random) -> str:
    """Cut a window of 25 to 90 words from the text, with the answer in it."""
    words = text.split()
    size = rng.randint(25, 90)
    if len(words) <= size:
        return text
    lowest, highest = 0, len(words) - size
    if answer:
        position = text.lower().find(answer.lower())
        if position < 0:
            return text
        begin = len(text[:position].split())
        lowest = max(0, begin + len(answer.split()) + 1 - size)
        highest = min(begin, highest)
    first = rng.randint(min(lowest, highest), highest)
    return " ".join(words[first : first + size])


def without_answer(text: str, answers: Sequence[str]) -> str | None:
    """Remove the sentences or clauses with an answer; None where little is left."""
    pieces = re.split(r"(?<=[.;!?])\s+", text)
    rest = [piece for piece in pieces if not any(occurs(answer, piece) for answer in answers)]
    shorter = " ".join(rest)
    return shorter if len(rest) < len(pieces) and len(shorter.split()) >= 6 else None


def find_near(items: Sequence[Item], passages: Sequence[Titled], depth: int = 7) -> None:
    """Give each item those passages that BM25 finds for it and that lack its answers."""
    bm25 = Bm25(Bm25.Config(title_weight=4, k1=0.9))
    rows = np.arange(len(passages), dtype=np.int64)
    bm25.add(rows, [Passage(str(i), *passage) for i, passage in enumerate(passages)])
    rng = random.Random(4)
    hits = bm25.search([item.ask(rng) for item in items], depth)
    for item, hit_rows in zip(items, hits.rows.tolist(), strict=True):
        texts = [passages[row] for row in hit_rows if row >= 0]
        item.near = [
            titled
            for titled in texts
            if titled not in item.gold
            and not any(occurs(answer, titled[1]) for answer in item.answers)
        ]

"""Load questions about ordinary text: SQuAD, QAMR, WebQuestions and CuratedTREC.

Knows the files of the development data (see README.md) and which of their rows are for evaluation
only. An item has passages without its answer from the same article and from what BM25 finds.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from items import Item, find_near, is_test_article, occurs, read_rows

__all__ = ["open_questions", "readings", "unanswerable"]


def readings(data: Path) -> tuple[list[Item], list[Item]]:
    """Load SQuAD's training questions and QAMR."""
    dev_text = " ".join(
        row["text"] for row in read_rows(data / "squad/passages.jsonl.gz") if row["split"] == "dev"
    )
    sources: dict[str, list[Item]] = {"squad1.1": [], "qamr": []}
    texts: dict[str, dict[tuple[str, str], None]] = {"squad1.1": {}, "qamr": {}}
    by_title: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for row in read_rows(data / "train_mix/triples.jsonl.gz"):
        source = row["source"]
        if source not in sources or not row["answers"]:
            continue
        if row["split"] == "dev" and (source == "squad1.1" or row["text"][:80] in dev_text):
            continue
        passage = (row["title"], row["text"])
        if passage not in texts[source]:
            texts[source][passage] = None
            by_title[row["title"]].append(passage)
        sources[source].append(Item(as_typed(row["question"]), _bare(row["answers"]), [passage]))
    rng = random.Random(0)
    for source, items in sources.items():
        for item in items:
            pool = by_title[item.gold[0][0]]
            others = rng.sample(pool, min(4, len(pool)))
            item.wrong = [p for p in others if not any(occurs(a, p[1]) for a in item.answers)]
        find_near(items, list(texts[source]), 4)
    return sources["squad1.1"], sources["qamr"]


def unanswerable(data: Path) -> tuple[list[Item], list[Item]]:
    """Load SQuAD 2.0's unanswerable questions and the answerable ones of the same articles.

    Only articles that are not for evaluation (`items.is_test_article`). The first list has items
    without answers, whose `gold` is the paragraph that seems to answer.
    """
    passages = {row["id"]: row for row in read_rows(data / "squad/passages.jsonl.gz")}
    lacking, answerable = [], []
    for row in read_rows(data / "squad/unanswerable_v2_dev.jsonl.gz"):
        if not is_test_article(row["title"]):
            passage = passages[row["passage_ids"][0]]
            gold = [(passage["title"], passage["text"])]
            lacking.append(Item(as_typed(row["question"]), [], gold))
    for row in read_rows(data / "squad/questions.jsonl.gz"):
        if row["split"] == "dev" and not is_test_article(row["title"]):
            passage = passages[row["passage_ids"][0]]
            gold = [(passage["title"], passage["text"])]
            answerable.append(Item(as_typed(row["question"]), _bare(row["answers"]), gold))
    return lacking, answerable


def open_questions(data: Path) -> list[Item]:
    """Load WebQuestions and CuratedTREC's training questions with Wikipedia's passages.

    An answer's occurrence in a passage is taken for the answer; it is not always.
    """
    passages = {row["id"]: row for row in read_rows(data / "openqa/passages.jsonl.gz")}
    items = []
    for name in ("webquestions_train", "curatedtrec_large2470_train"):
        for row in read_rows(data / f"openqa/{name}.jsonl.gz"):
            golds = [passages[i] for i in row["positive_ids"][:2]]
            answers = row["answers"]
            if row.get("regex"):
                texts = " ".join(gold["text"] for gold in golds)
                answers = [match[0] for answer in answers for match in _matches(answer, texts)]
            answers = [answer for answer in dict.fromkeys(answers) if answer.strip()]
            if not answers:
                continue
            gold = [
                (gold["title"], gold["text"])
                for gold in golds
                if any(occurs(answer, gold["text"]) for answer in answers)
            ]
            items.append(Item(as_typed(row["question"]), answers, gold))
    find_near(items, [(row["title"], row["text"]) for row in passages.values()], 5)
    return items


def _matches(pattern: str, text: str) -> list[re.Match[str]]:
    """Search an answer of CuratedTREC, a regular expression; at most three matches."""
    return list(re.finditer(pattern, text, re.IGNORECASE))[:3]


def _bare(answers: list[str]) -> list[str]:
    """Remove marks that some annotators took along at an answer's end."""
    return list(dict.fromkeys(answer.rstrip(" .,;:") or answer for answer in answers))


def as_typed(question: str) -> Callable[[random.Random], str]:
    """Return what draws a question with or without its mark and capitals."""

    def ask(rng: random.Random) -> str:
        typed = question.rstrip("?") if rng.random() < 0.2 else question
        return typed.lower() if rng.random() < 0.25 else typed

    return ask

"""RAG-Sequence by thorough, fast and joint decoding: exact match, log p, time.

    python decoding.py [--setting openqa] [--questions nq] [--limit 80] [--beams 4]

Each way answers the same questions, alternately with the others batch by batch, so that what else
the machine does slows all of them.
"""

from __future__ import annotations

import time
from contextlib import ExitStack

from lab import WORK, options, table, trained

import ragcore
from ragcore.questions import read_questions, spread_over
from ragcore.questions.matching import is_correct

WAYS = ("thorough", "fast", "joint")
BATCH = 16


def main() -> None:
    said = options(__doc__, setting="openqa", questions="nq", limit=80, beams=4)
    asked = spread_over(read_questions(WORK / said.setting / f"{said.questions}.jsonl"), said.limit)
    folder = trained(said.setting, "learned", "sequence")
    found = {way: [] for way in WAYS}
    scored = {way: [] for way in WAYS}
    seconds = dict.fromkeys(WAYS, 0.0)
    with ExitStack() as stack:
        rags = {
            way: stack.enter_context(
                ragcore.load(
                    folder,
                    "rag.marginalize=sequence",
                    f"rag.decode={way}",
                    f"rag.beams={said.beams}",
                )
            )
            for way in WAYS
        }
        rags["joint"].answer([one.question for one in asked[:2]])
        for begin in range(0, len(asked), BATCH):
            texts = [one.question for one in asked[begin : begin + BATCH]]
            for way, rag in rags.items():
                began = time.perf_counter()
                answers = [answer.text for answer in rag.answer(texts)]
                seconds[way] += time.perf_counter() - began
                found[way] += answers
                # Fast decoding's own score leaves passages out: all are scored by the definition.
                scored[way] += rags["thorough"].log_prob(texts, answers)
        version = rags["joint"].memory.version
    rows = []
    for way in WAYS:
        right = [
            is_correct(text, one, version) for text, one in zip(found[way], asked, strict=True)
        ]
        same = sum(a == b for a, b in zip(found[way], found["thorough"], strict=True))
        rows.append(
            [
                way,
                f"{100 * sum(right) / len(asked):.1f}",
                f"{sum(scored[way]) / len(asked):.3f}",
                f"{seconds[way] / seconds['thorough']:.2f}",
                f"{same} of {len(asked)}",
            ]
        )
    print(f"{said.setting}, {said.questions}: {len(asked)} questions, {said.beams} beams, k = 5\n")
    columns = ["decoding", "exact match, %", "mean log p", "time, thorough = 1", "as thorough"]
    print(table(columns, rows))


if __name__ == "__main__":
    main()

"""Compare thorough, fast and joint decoding of RAG-Sequence: exact match, log p, time.

    python decoding.py [--setting openqa] [--questions nq] [--limit 80] [--beams 4]

The three ways of decoding answer the same questions in turn, batch by batch, so that other programs
on the machine slow all of them alike.
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
    settings = options(__doc__, setting="openqa", questions="nq", limit=80, beams=4)
    questions = spread_over(
        read_questions(WORK / settings.setting / f"{settings.questions}.jsonl"), settings.limit
    )
    folder = trained(settings.setting, "learned", "sequence")
    texts_by_way = {way: [] for way in WAYS}
    log_probs = {way: [] for way in WAYS}
    seconds = dict.fromkeys(WAYS, 0.0)
    with ExitStack() as stack:
        rags = {
            way: stack.enter_context(
                ragcore.load(
                    folder,
                    "rag.marginalize=sequence",
                    f"rag.decode={way}",
                    f"rag.beams={settings.beams}",
                )
            )
            for way in WAYS
        }
        rags["joint"].answer([question.question for question in questions[:2]])
        for begin in range(0, len(questions), BATCH):
            texts = [question.question for question in questions[begin : begin + BATCH]]
            for way, rag in rags.items():
                began = time.perf_counter()
                answers = [answer.text for answer in rag.answer(texts)]
                seconds[way] += time.perf_counter() - began
                texts_by_way[way] += answers
                # Fast decoding's own score leaves out passages: score all by the definition.
                log_probs[way] += rags["thorough"].log_prob(texts, answers)
        version = rags["joint"].memory.version
    rows = []
    for way in WAYS:
        right = [
            is_correct(text, question, version)
            for text, question in zip(texts_by_way[way], questions, strict=True)
        ]
        same = sum(a == b for a, b in zip(texts_by_way[way], texts_by_way["thorough"], strict=True))
        rows.append(
            [
                way,
                f"{100 * sum(right) / len(questions):.1f}",
                f"{sum(log_probs[way]) / len(questions):.3f}",
                f"{seconds[way] / seconds['thorough']:.2f}",
                f"{same} of {len(questions)}",
            ]
        )
    print(
        f"{settings.setting}, {settings.questions}: {len(questions)} questions, "
        f"{settings.beams} beams, k = 5\n"
    )
    columns = ["decoding", "exact match, %", "mean log p", "time, thorough = 1", "as thorough"]
    print(table(columns, rows))


if __name__ == "__main__":
    main()

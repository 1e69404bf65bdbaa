"""Repeat the hot-swap (paper, section 4.5): one trained model, memories of two dates.

    python hot_swap.py

Asks about the 123 offices whose holder changed between November 2016 and December 2018, with both
memories; one is exchanged for the other while the pipeline stays loaded.
"""

from __future__ import annotations

import json

from lab import (
    FAST,
    MODELS,
    SYSTEMS,
    VERSIONS,
    WORK,
    Model,
    System,
    built,
    options,
    pipeline,
    table,
    trained,
)
from lab import overrides as changes

import ragcore
from ragcore.questions import read_questions
from ragcore.questions.matching import is_correct

BATCH = 32


def main() -> None:
    options(__doc__)
    rows = []
    for system in SYSTEMS[1:4]:
        for model in MODELS:
            shares, held_out_shares = ask(system, model)
            rows.append([system.name, f"RAG-{model.title()}", *shares, *held_out_shares])
    dates = VERSIONS["factbook"]
    cells = [f"memory {memory}, answers {date}" for memory in dates for date in dates]
    columns = ["system", "model", *cells, "held out: matched", "mismatched"]
    print("offices whose holder changed, exact match, %\n")
    print(table(columns, rows))


def ask(system: System, model: Model) -> tuple[list[str], list[str]]:
    """Return the shares of all four cells; for held-out countries of matched and mismatched."""
    dates = VERSIONS["factbook"]
    path, overrides = pipeline("factbook"), changes("factbook", sparse=system.sparse)
    if system.trained is not None:
        path, overrides = trained("factbook", system.trained, model), []
    for date in dates:
        built("factbook", sparse=system.sparse, version=date)
    files = {date: WORK / "factbook" / f"offices-{date}.jsonl" for date in dates}
    questions = {date: read_questions(path) for date, path in files.items()}
    lines = files[dates[0]].read_text("utf-8").splitlines()
    held_out = [json.loads(line)["held_out"] for line in lines]
    shares, matched, mismatched = [], [], []
    with ragcore.load(path, *overrides, f"rag.marginalize={model}", FAST) as rag:
        for memory in dates:
            rag.swap(memory)
            texts = [question.question for question in questions[memory]]
            answers = [
                answer.text
                for begin in range(0, len(texts), BATCH)
                for answer in rag.answer(texts[begin : begin + BATCH])
            ]
            for date in dates:
                right = [
                    is_correct(answer, question, memory)
                    for answer, question in zip(answers, questions[date], strict=True)
                ]
                shares.append(f"{100 * sum(right) / len(right):.1f}")
                outcomes = [
                    outcome
                    for outcome, is_held_out in zip(right, held_out, strict=True)
                    if is_held_out
                ]
                (matched if memory == date else mismatched).extend(outcomes)
    held_out_shares = [
        f"{100 * sum(outcomes) / len(outcomes):.1f} of {len(outcomes)}"
        for outcomes in (matched, mismatched)
    ]
    return shares, held_out_shares


if __name__ == "__main__":
    main()

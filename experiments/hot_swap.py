"""The paper's hot-swap (section 4.5) with a trained model: one generator, memories of two dates.

    python hot_swap.py

The 123 offices whose holder changed between November 2016 and December 2018, each asked of both
memories, the one exchanged for the other while the pipeline is loaded.
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
            shares, apart = ask(system, model)
            rows.append([system.name, f"RAG-{model.title()}", *shares, *apart])
    dates = VERSIONS["factbook"]
    cells = [f"memory {memory}, answers {date}" for memory in dates for date in dates]
    columns = ["system", "model", *cells, "held out: matched", "mismatched"]
    print("offices whose holder changed, exact match, %\n")
    print(table(columns, rows))


def ask(system: System, model: Model) -> tuple[list[str], list[str]]:
    """Shares of all four cells; of matched and mismatched ones over held-out countries."""
    dates = VERSIONS["factbook"]
    place, said = pipeline("factbook"), changes("factbook", sparse=system.sparse)
    if system.trained is not None:
        place, said = trained("factbook", system.trained, model), []
    for date in dates:
        built("factbook", sparse=system.sparse, version=date)
    files = {date: WORK / "factbook" / f"offices-{date}.jsonl" for date in dates}
    asked = {date: read_questions(path) for date, path in files.items()}
    lines = files[dates[0]].read_text("utf-8").splitlines()
    held = [json.loads(line)["held_out"] for line in lines]
    shares, matched, mismatched = [], [], []
    with ragcore.load(place, *said, f"rag.marginalize={model}", FAST) as rag:
        for memory in dates:
            rag.swap(memory)
            texts = [one.question for one in asked[memory]]
            answers = [
                answer.text
                for begin in range(0, len(texts), BATCH)
                for answer in rag.answer(texts[begin : begin + BATCH])
            ]
            for date in dates:
                right = [
                    is_correct(answer, one, memory)
                    for answer, one in zip(answers, asked[date], strict=True)
                ]
                shares.append(f"{100 * sum(right) / len(right):.1f}")
                own = [is_it for is_it, apart in zip(right, held, strict=True) if apart]
                (matched if memory == date else mismatched).extend(own)
    apart = [f"{100 * sum(own) / len(own):.1f} of {len(own)}" for own in (matched, mismatched)]
    return shares, apart


if __name__ == "__main__":
    main()

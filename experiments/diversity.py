"""Distinct tri-grams over all tri-grams of what is written (the paper's table 5).

    python diversity.py [--limit 120]

A name is given, and a question is to be written whose answer it is: SQuAD turned round, for want of
Jeopardy. BART alone is the generator trained without passages; the reader of passages was trained
by RAG-Token's loss, and both models decode it.
"""

from __future__ import annotations

import json
from pathlib import Path

from lab import MODELS, WORK, options, run, table, trained

METRICS = ("distinct_trigrams", "bleu_1", "q_bleu_1")


def main() -> None:
    said = options(__doc__, limit=120)
    questions = WORK / "writing" / "test.jsonl"
    rows = []
    for name, training, model in [
        ("BART alone", "closed", MODELS[0]),
        *((f"RAG-{model.title()}", "reader", model) for model in MODELS),
    ]:
        folder = trained("writing", training, "token", "train.steps=100")
        said_of = [f"rag.marginalize={model}"]
        kept = run(folder, said_of, questions, said.limit, "writing", name, METRICS)
        if not rows:
            rows.append(["what people wrote", f"{100 * gold(kept.folder):.1f}", "–", "–"])
        rows.append(
            [
                name,
                f"{100 * kept['distinct_trigrams']:.1f}",
                f"{kept['bleu_1']:.1f}",
                f"{kept['q_bleu_1']:.1f}",
            ]
        )
    print(f"questions written, {said.limit}\n")
    print(table(["", "distinct tri-grams, %", "BLEU-1", "Q-BLEU-1"], rows))


def gold(folder: Path) -> float:
    """The share among the questions that people wrote, as `distinct_trigrams` counts."""
    grams = []
    for line in (folder / "predictions.jsonl").read_text("utf-8").split("\n"):
        words = json.loads(line)["right"][0].split() if line else []
        grams += [tuple(words[at : at + 3]) for at in range(len(words) - 2)]
    return len(set(grams)) / len(grams)


if __name__ == "__main__":
    main()

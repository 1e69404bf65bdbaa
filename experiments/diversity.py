"""Measure distinct tri-grams over all tri-grams of generated questions (paper, table 5).

    python diversity.py [--limit 120]

The task is to write a question whose answer is a given name: SQuAD with questions and answers
exchanged, in place of Jeopardy. BART alone is the generator trained without passages. The reader of
passages was trained with RAG-Token's loss, and both models use it.
"""

from __future__ import annotations

import json
from pathlib import Path

from lab import MODELS, WORK, options, run, table, trained

METRICS = ("distinct_trigrams", "bleu_1", "q_bleu_1")


def main() -> None:
    settings = options(__doc__, limit=120)
    questions = WORK / "writing" / "test.jsonl"
    rows = []
    for name, training, model in [
        ("BART alone", "closed", MODELS[0]),
        *((f"RAG-{model.title()}", "reader", model) for model in MODELS),
    ]:
        folder = trained("writing", training, "token", "train.steps=100")
        overrides = [f"rag.marginalize={model}"]
        result = run(folder, overrides, questions, settings.limit, "writing", name, METRICS)
        if not rows:
            rows.append(["what people wrote", f"{100 * gold(result.folder):.1f}", "–", "–"])
        rows.append(
            [
                name,
                f"{100 * result['distinct_trigrams']:.1f}",
                f"{result['bleu_1']:.1f}",
                f"{result['q_bleu_1']:.1f}",
            ]
        )
    print(f"questions written, {settings.limit}\n")
    print(table(["", "distinct tri-grams, %", "BLEU-1", "Q-BLEU-1"], rows))


def gold(folder: Path) -> float:
    """Return the share for the questions that people wrote, as `distinct_trigrams` counts it."""
    grams = []
    for line in (folder / "predictions.jsonl").read_text("utf-8").split("\n"):
        words = json.loads(line)["right"][0].split() if line else []
        grams += [tuple(words[start : start + 3]) for start in range(len(words) - 2)]
    return len(set(grams)) / len(grams)


if __name__ == "__main__":
    main()

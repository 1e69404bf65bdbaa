"""Closed book, BM25, frozen and learned retrieval, by both models (the paper's tables 1 and 6).

python systems.py [--settings factbook openqa] [--limit 200]
"""

from __future__ import annotations

from lab import MODELS, SYSTEMS, answered, options, percent, table

TESTS = {"factbook": ("test",), "openqa": ("nq", "triviaqa", "squad")}
RECALL = ("recall@1", "recall@5")
BOTH = ("factbook", "sequence")
"""Where the reader is trained, too: it takes long."""


def main() -> None:
    said = options(__doc__, settings=["factbook", "openqa"], limit=200)
    for setting in said.settings:
        tests = TESTS[setting]
        rows = []
        for system in SYSTEMS:
            for model in MODELS:
                if system.trained == "both" and (setting, model) != BOTH:
                    continue
                found = [answered(setting, system, model, test, said.limit) for test in tests]
                closed = system.trained == "closed"
                rows.append(
                    [
                        system.name,
                        "both" if closed else f"RAG-{model.title()}",
                        *map(percent, found),
                        *("–" if closed else _recall(one) for one in found),
                    ]
                )
                if closed:
                    # Without passages the two models are one.
                    break
        columns = ["system", "model", *tests, *(f"{test}, recall@1 / 5" for test in tests)]
        print(f"\n{setting}: exact match, %, {said.limit} questions at most\n", flush=True)
        print(table(columns, rows), flush=True)


def _recall(kept: object) -> str:
    return " / ".join(f"{100 * kept[metric]:.0f}" for metric in RECALL)


if __name__ == "__main__":
    main()

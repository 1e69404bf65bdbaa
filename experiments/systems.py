"""Compare closed book, BM25, frozen and learned retrieval (paper, tables 1 and 6).

python systems.py [--settings factbook openqa] [--limit 200]
"""

from __future__ import annotations

from lab import MODELS, SYSTEMS, answered, options, percent, table

TESTS = {"factbook": ("test",), "openqa": ("nq", "triviaqa", "squad")}
RECALL = ("hit@1", "hit@5")
BOTH = ("factbook", "sequence")
"""The only setting and model with which the reader is trained too, because it takes long."""


def main() -> None:
    settings = options(__doc__, settings=["factbook", "openqa"], limit=200)
    for setting in settings.settings:
        tests = TESTS[setting]
        rows = []
        for system in SYSTEMS:
            for model in MODELS:
                if system.trained == "both" and (setting, model) != BOTH:
                    continue
                results = [answered(setting, system, model, test, settings.limit) for test in tests]
                closed = system.trained == "closed"
                rows.append(
                    [
                        system.name,
                        "both" if closed else f"RAG-{model.title()}",
                        *map(percent, results),
                        *("–" if closed else _recall(result) for result in results),
                    ]
                )
                if closed:
                    # Without passages the two models are the same.
                    break
        columns = ["system", "model", *tests, *(f"{test}, hit@1 / 5" for test in tests)]
        print(f"\n{setting}: exact match, %, {settings.limit} questions at most\n", flush=True)
        print(table(columns, rows), flush=True)


def _recall(result: object) -> str:
    return " / ".join(f"{100 * result[metric]:.0f}" for metric in RECALL)


if __name__ == "__main__":
    main()

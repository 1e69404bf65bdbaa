"""Measure label accuracy on claims (the paper's FEVER), with BM25 and dense retrieval.

    python fever.py [--limit 600]

A label is one token, so RAG-Token and RAG-Sequence are the same (paper, section 3.5). The reader is
trained on one half of the claims, chosen by id; in the last row the question encoder is, too.
"""

from __future__ import annotations

from lab import WORK, options, percent, run, table, trained

WAYS = {
    "closed book": ("closed", True, "closed"),
    "BM25": ("reader", True, "bm25"),
    "dense, learned": ("both", False, "learned"),
}


def main() -> None:
    settings = options(__doc__, limit=600, sets=["2way", "3way"])
    rows = []
    for name, (training, sparse, suffix) in WAYS.items():
        cells, recall = [], "–"
        for kind in settings.sets:
            file = f"train.questions.path={WORK / 'fever' / f'{kind}-train.jsonl'}"
            changes = (file, "train.steps=200", "train.learning_rate=1.0e-4")
            folder = trained(
                "fever", training, "token", *changes, sparse=sparse, suffix=f"{kind}-{suffix}"
            )
            result = run(
                folder,
                ["rag.marginalize=token"],
                WORK / "fever" / f"{kind}-test.jsonl",
                settings.limit,
                "fever",
                f"{kind}-{suffix}",
                ("label_accuracy", "hit@1", "hit@3"),
            )
            cells.append(percent(result, "label_accuracy"))
            if kind == "2way":
                # A claim with the label NOT ENOUGH INFO has no evidence that could be found.
                shares = [f"{100 * result[metric]:.0f}" for metric in ("hit@1", "hit@3")]
                recall = "–" if sparse and training == "closed" else " / ".join(shares)
        rows.append([name, *cells, recall])
    print(f"label accuracy, %, {settings.limit} claims\n")
    print(table(["system", *settings.sets, "evidence found, hit@1 / 3"], rows))


if __name__ == "__main__":
    main()

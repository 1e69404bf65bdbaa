"""Claims to be verified (the paper's FEVER): label accuracy, BM25 beside dense retrieval.

    python fever.py [--limit 600]

A label is one token: RAG-Token and RAG-Sequence are one then (paper, section 3.5). The reader is
trained on one half of the claims, by claim id, and in the last row the question encoder with it.
"""

from __future__ import annotations

from lab import WORK, options, percent, run, table, trained

WAYS = {
    "closed book": ("closed", True, "closed"),
    "BM25": ("reader", True, "bm25"),
    "dense, learned": ("both", False, "learned"),
}


def main() -> None:
    said = options(__doc__, limit=600, sets=["2way", "3way"])
    rows = []
    for name, (training, sparse, at) in WAYS.items():
        cells, recall = [], "–"
        for kind in said.sets:
            file = f"train.questions.path={WORK / 'fever' / f'{kind}-train.jsonl'}"
            more = (file, "train.steps=200", "train.learning_rate=1.0e-4")
            folder = trained("fever", training, "token", *more, sparse=sparse, at=f"{kind}-{at}")
            found = run(
                folder,
                ["rag.marginalize=token"],
                WORK / "fever" / f"{kind}-test.jsonl",
                said.limit,
                "fever",
                f"{kind}-{at}",
                ("label_accuracy", "recall@1", "recall@3"),
            )
            cells.append(percent(found, "label_accuracy"))
            if kind == "2way":
                # A claim of which too little is known has no evidence that could be found.
                shares = [f"{100 * found[metric]:.0f}" for metric in ("recall@1", "recall@3")]
                recall = "–" if sparse and training == "closed" else " / ".join(shares)
        rows.append([name, *cells, recall])
    print(f"label accuracy, %, {said.limit} claims\n")
    print(table(["system", *said.sets, "evidence found, recall@1 / 3"], rows))


if __name__ == "__main__":
    main()

"""Exact match and recall against the number of passages (the paper's figure 3), as a plot.

    python depth.py [--setting openqa] [--questions nq] [--sets nq triviaqa squad] [--limit 80]

Exact match is of `--questions`, and so is the plot; recall needs no reader, and is told of all
questions of each of `--sets`. Needs matplotlib.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from lab import HERE, MODELS, SYSTEMS, WORK, answered, options, overrides, pipeline, table, trained

import ragcore
from ragcore.questions import read_questions
from ragcore.questions.matching import is_relevant
from ragcore.types import MISSING_ROW

READ = (1, 2, 5, 10, 20, 50)
PICTURE = HERE.parent / "docs" / "explanation" / "paper-in-miniature.svg"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#000000")


def main() -> None:
    said = options(
        __doc__,
        setting="openqa",
        questions="nq",
        sets=["nq", "triviaqa", "squad"],
        limit=80,
        picture=str(PICTURE),
    )
    learned = next(one for one in SYSTEMS if one.trained == "learned")
    read = {
        f"learned, RAG-{model.title()}": [
            answered(
                said.setting, learned, model, said.questions, said.limit, f"rag.k={k}", at=f"k{k}"
            )["exact_match"]
            for k in READ
        ]
        for model in MODELS
    }
    print(f"{said.setting}, {said.questions}: exact match, %, {said.limit} questions\n")
    print(table(["k", *map(str, READ)], [[name, *_shares(own)] for name, own in read.items()]))
    for name in said.sets:
        found = recalls(said.setting, name)
        print(f"\n{name}: recall, %\n")
        at = [[system, *_shares([own[k - 1] for k in READ])] for system, own in found.items()]
        print(table(["k", *map(str, READ)], at))
    draw(read, recalls(said.setting, said.questions), Path(said.picture))
    print(f"\ndrawn: {said.picture}")


def recalls(setting: str, questions: str) -> dict[str, list[float]]:
    """Recall at 1 to 50 of what each memory finds."""
    kept = WORK / "runs" / setting / f"recall-{questions}.json"
    if kept.exists():
        return json.loads(kept.read_text("utf-8"))
    asked = read_questions(WORK / setting / f"{questions}.jsonl")
    places: dict[str, tuple[Any, list[str]]] = {
        "BM25": (pipeline(setting), overrides(setting, sparse=True)),
        "dense, frozen": (pipeline(setting), []),
    }
    for model in MODELS:
        places[f"learned, RAG-{model.title()}"] = (trained(setting, "learned", model), [])
    found = {}
    for name, (place, said) in places.items():
        with ragcore.load(place, *said) as rag, rag.memory.reading() as memory:
            hits = memory.search([one.question for one in asked], max(READ))
            right = np.zeros(hits.rows.shape, bool)
            for at, (one, own) in enumerate(zip(asked, hits.rows, strict=True)):
                passages = memory.passages.take(own[own != MISSING_ROW].tolist())
                right[at, : len(passages)] = [
                    is_relevant(each, one, memory.version) for each in passages
                ]
        found[name] = np.maximum.accumulate(right, axis=1).mean(axis=0).tolist()
    kept.write_text(json.dumps(found), "utf-8")
    return found


def draw(read: dict[str, list[float]], found: dict[str, list[float]], path: Path) -> None:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "ragcore", "font.size": 9}):
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2, sharex=True)
        for (name, shares), colour in zip(read.items(), COLOURS, strict=False):
            left.plot(READ, 100 * np.array(shares), "o-", label=name, color=colour)
        for (name, shares), colour in zip(found.items(), COLOURS, strict=False):
            ks = np.arange(1, len(shares) + 1)
            right.plot(ks, 100 * np.array(shares), label=name, color=colour)
        for panel, title in ((left, "exact match, %"), (right, "recall@k, %")):
            panel.set_title(title, loc="left", fontweight="bold")
            panel.set_xscale("log")
            panel.set_xticks(READ, list(map(str, READ)))
            panel.minorticks_off()
            panel.set_xlabel("k, passages")
            panel.grid(color="#dddddd", linewidth=0.6)
            panel.legend(frameon=False)
        figure.savefig(path, dpi=120, metadata={"Date": None} if path.suffix == ".svg" else None)


def _shares(values: list[float]) -> list[str]:
    return [f"{100 * value:.1f}" for value in values]


if __name__ == "__main__":
    main()

"""Measure and plot exact match and recall against the number of passages (paper, figure 3).

    python depth.py [--setting openqa] [--questions nq] [--sets nq triviaqa squad] [--limit 80]

Exact match and the plot are for `--questions`. Recall needs no reader, and is printed for all
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
    settings = options(
        __doc__,
        setting="openqa",
        questions="nq",
        sets=["nq", "triviaqa", "squad"],
        limit=80,
        picture=str(PICTURE),
    )
    learned = next(system for system in SYSTEMS if system.trained == "learned")
    exact_matches = {
        f"learned, RAG-{model.title()}": [
            answered(
                settings.setting,
                learned,
                model,
                settings.questions,
                settings.limit,
                f"rag.k={k}",
                suffix=f"k{k}",
            )["exact_match"]
            for k in READ
        ]
        for model in MODELS
    }
    print(f"{settings.setting}, {settings.questions}: exact match, %, {settings.limit} questions\n")
    print(
        table(
            ["k", *map(str, READ)],
            [[name, *_shares(values)] for name, values in exact_matches.items()],
        )
    )
    for name in settings.sets:
        recalls_by_system = recalls(settings.setting, name)
        print(f"\n{name}: recall, %\n")
        rows = [
            [system, *_shares([values[k - 1] for k in READ])]
            for system, values in recalls_by_system.items()
        ]
        print(table(["k", *map(str, READ)], rows))
    draw(exact_matches, recalls(settings.setting, settings.questions), Path(settings.picture))
    print(f"\ndrawn: {settings.picture}")


def recalls(setting: str, questions: str) -> dict[str, list[float]]:
    """Return recall at 1 to 50 of each memory."""
    file = WORK / "runs" / setting / f"recall-{questions}.json"
    if file.exists():
        return json.loads(file.read_text("utf-8"))
    labelled = read_questions(WORK / setting / f"{questions}.jsonl")
    pipelines: dict[str, tuple[Any, list[str]]] = {
        "BM25": (pipeline(setting), overrides(setting, sparse=True)),
        "dense, frozen": (pipeline(setting), []),
    }
    for model in MODELS:
        pipelines[f"learned, RAG-{model.title()}"] = (trained(setting, "learned", model), [])
    shares = {}
    for name, (path, changes) in pipelines.items():
        with ragcore.load(path, *changes) as rag, rag.memory.reading() as memory:
            hits = memory.hits([question.question for question in labelled], max(READ))
            relevant = np.zeros(hits.rows.shape, bool)
            for row, (question, hit_rows) in enumerate(zip(labelled, hits.rows, strict=True)):
                passages = memory.passages.take(hit_rows[hit_rows != MISSING_ROW].tolist())
                relevant[row, : len(passages)] = [
                    is_relevant(passage, question, memory.version) for passage in passages
                ]
        shares[name] = np.maximum.accumulate(relevant, axis=1).mean(axis=0).tolist()
    file.write_text(json.dumps(shares), "utf-8")
    return shares


def draw(
    exact_matches: dict[str, list[float]], recalls_by_system: dict[str, list[float]], path: Path
) -> None:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "ragcore", "font.size": 9}):
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2, sharex=True)
        for (name, shares), colour in zip(exact_matches.items(), COLOURS, strict=False):
            left.plot(READ, 100 * np.array(shares), "o-", label=name, color=colour)
        for (name, shares), colour in zip(recalls_by_system.items(), COLOURS, strict=False):
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

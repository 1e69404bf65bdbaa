"""Compare search by words, by vectors and by both on Cranfield, Vaswani and Natural Questions.

    python retrieval.py [--collections cranfield vaswani nq] [--data DATA]

Runs the experiment `retrieval-NAME.yaml` of each collection, once with BM25 and once with MiniLM as
the baseline; the second time all runs are there already. Of the weights of the convex fusion it
marks those that are best, by nDCG@10, on the other collections, so that no collection chooses its
own. `retrieval-rerank.yaml` has a reader score BM25's passages again, on a few questions.

`ragcore experiment retrieval-NAME.yaml` prints the same figures with intervals and effects.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from data import DATA, write_retrieval
from lab import HERE, WORK, table

import ragcore
from ragcore.experiments.results import Results, SystemResult

COLLECTIONS: Final = ("cranfield", "vaswani", "nq")
BASELINES: Final = ("BM25", "MiniLM")
METRIC: Final = "nDCG@10"
"""Chooses the weights."""
WEIGHTS: Final = "memory.retriever.weights"
CHOSEN: Final = " (chosen)"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--collections", nargs="+", choices=COLLECTIONS, default=COLLECTIONS)
    arguments = parser.parse_args()
    folder = WORK / "retrieval"
    if not all((folder / name / "qrels" / "test.tsv").exists() for name in COLLECTIONS):
        if not (arguments.data / "ir").is_dir():
            print(f"skipped: no collections in {arguments.data} (development data)")
            return 0
        write_retrieval(arguments.data, folder)
    compared = {
        name: [
            ragcore.experiment(HERE / f"retrieval-{name}.yaml", baseline=baseline)
            for baseline in BASELINES
        ]
        for name in arguments.collections
    }
    chosen = chosen_weights({name: by_weights(results[0]) for name, results in compared.items()})
    for name, results in compared.items():
        print(f"\n### {name}: {heading(results[0])}\n")
        print(comparison_table(results, BASELINES, chosen.get(name)))
    reranked = ragcore.experiment(HERE / "retrieval-rerank.yaml")
    print(f"\n### reranked: {heading(reranked)}\n")
    print(comparison_table([reranked], BASELINES[:1], None))
    return 0


def by_weights(results: Results) -> dict[tuple[float, ...], float]:
    """Return the figure of each fusion with weights, by its weights."""
    figures = {}
    for row in results.systems:
        weights = row.run.system.factors.get(WEIGHTS)
        value = row.figures[METRIC].value
        if weights is not None and value is not None:
            figures[tuple(weights)] = value
    return figures


def chosen_weights(
    figures: Mapping[str, Mapping[tuple[float, ...], float]],
) -> dict[str, tuple[float, ...]]:
    """Choose for each collection the weights with the highest mean figure on the others.

    Args:
        figures: by collection, the figure of each weights. With one collection, nothing is chosen.
    """
    chosen = {}
    for name in figures:
        others = [by_weight for other, by_weight in figures.items() if other != name]
        if others:
            common = [each for each in others[0] if all(each in other for other in others)]
            chosen[name] = max(common, key=lambda weights: sum(other[weights] for other in others))
    return chosen


def heading(results: Results) -> str:
    """Say how many questions were asked."""
    return f"{len(results.systems[0].run.report.predictions):,} questions"


def comparison_table(
    results: Sequence[Results], baselines: Sequence[str], chosen: tuple[float, ...] | None
) -> str:
    """Format figures, corrected p against each baseline, and cost as a table in Markdown.

    Args:
        results: of the same systems, one with each baseline.
        baselines: what to call them.
        chosen: the weights to mark; None marks none.
    """
    head = ["system"]
    for metric in results[0].metrics:
        head += [metric, *(f"p, {baseline}" for baseline in baselines)]
    head += ["CPU, ms a question", "peak memory, MB"]
    rows = []
    for same in zip(*(each.systems for each in results), strict=True):
        row = same[0]
        weights = row.run.system.factors.get(WEIGHTS)
        is_chosen = chosen is not None and weights is not None and tuple(weights) == chosen
        line = [row.run.system.name + (CHOSEN if is_chosen else "")]
        for metric in results[0].metrics:
            line += [_number(row.figures[metric].value), *(_p(each, metric) for each in same)]
        rows.append([*line, *_cost(row)])
    return table(head, rows)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _p(row: SystemResult, metric: str) -> str:
    """Format a corrected p, with a mark where it is significant: ▲ for better, ▼ for worse."""
    comparison = row.comparisons.get(metric)
    if comparison is None or comparison.p_holm is None:
        return "–"
    text = "< 0.001" if comparison.p_holm < 0.001 else f"{comparison.p_holm:.3f}"
    if not comparison.significant:
        return text
    return f"{text} {'▲' if comparison.difference > 0 else '▼'}"


def _cost(row: SystemResult) -> tuple[str, str]:
    cost = row.run.cost
    if cost is None:
        return "–", "–"
    peak = "–" if cost.peak_bytes is None else f"{cost.peak_bytes / 1e6:,.0f}"
    return f"{1000 * cost.cpu_seconds:.1f}", peak


if __name__ == "__main__":
    raise SystemExit(main())

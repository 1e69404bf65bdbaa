"""Results of an experiment, by hand: systems with figures, comparisons and judged answers."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ragcore.evaluation.figures import Figure
from ragcore.evaluation.prediction import Prediction
from ragcore.evaluation.report import QuestionSource, Report
from ragcore.experiments.results import (
    Abstaining,
    Comparison,
    Cost,
    Counters,
    FactorLevel,
    Results,
    SystemResult,
    SystemRun,
)
from ragcore.experiments.systems import Experiment, System

__all__ = ["make_results"]


def make_results(
    names: Sequence[str] = ("bm25", "dense", "hybrid"),
    *,
    questions: int = 40,
    metrics: Mapping[str, str] | None = None,
    factors: Sequence[Mapping[str, Any]] = (),
    question: str = "What is the capital of country {}?",
    answer: str | None = "City {}",
    costs: bool = True,
    abstaining: bool = True,
    levels: Sequence[FactorLevel] = (),
    warnings: Sequence[str] = (),
    whole: bool = True,
    seed: int = 0,
) -> Results:
    """Make results whose numbers follow from the scores of the questions.

    Args:
        names: of the systems; the first is the baseline.
        questions: how many.
        metrics: which values are better, by name; exact match and nDCG@10 where None.
        factors: of each system; none where empty.
        question: text of a question, with its number for {}.
        answer: text of an answer, with its number for {}; None measures retrieval alone.
        costs: whether they were measured.
        abstaining: whether a threshold was chosen.
        levels: of the factors.
        warnings: reasons to doubt the figures.
        whole: whether a score is 0 or 1, or else any number between.
        seed: of the scores.
    """
    metrics = metrics or {"exact_match": "higher", "nDCG@10": "higher"}
    rng = random.Random(seed)
    systems = tuple(
        System(name, Path(f"/p/{index}.yaml"), factors=dict(factors[index]) if factors else {})
        for index, name in enumerate(names)
    )
    experiment = Experiment(
        "capitals", systems, QuestionSource("test.jsonl"), None, names[0], Path("/out")
    )
    table: list[dict[str, list[float]]] = [
        {metric: [_score(rng, index, whole) for _ in range(questions)] for metric in metrics}
        for index in range(len(names))
    ]
    rows = []
    for index, system in enumerate(systems):
        scores = table[index]
        figures = {name: _figure(name, values) for name, values in scores.items()}
        predictions = tuple(
            _prediction(number, question, answer, rng) for number in range(questions)
        )
        report = Report(predictions, tuple(figures.values()), f"2018-{index}")
        cost = Cost(20, 0.01 * (index + 1) ** 2, 0.02 * (index + 1), 10**9 + index)
        run = SystemRun(system, Path(f"/out/{index}"), report, cost if costs else None)
        comparisons = {
            name: _comparison(table[0][name], values, metrics[name])
            for name, values in scores.items()
            if index
        }
        chosen = Abstaining(0.1, 0.625 + index / 1000, 0.0875, 0.75, 0.1125, 0.7)
        rows.append(SystemResult(run, figures, comparisons, chosen if abstaining else None))
    return Results(
        experiment,
        tuple(rows),
        tuple(metrics),
        dict(metrics),  # type: ignore[arg-type]
        tuple(levels),
        Counters(120, 80, 600, 25, 0, 0, 7),
        tuple(warnings),
    )


def _score(rng: random.Random, system: int, whole: bool) -> float:
    value = min(1.0, max(0.0, rng.betavariate(2 + system % 5, 3)))
    return float(value > 0.5) if whole else value


def _figure(name: str, scores: list[float]) -> Figure:
    value = sum(scores) / len(scores)
    by_question = tuple((score, 1.0) for score in scores)
    return Figure(name, value, value - 0.05, value + 0.05, len(scores), None, by_question)


def _comparison(base: list[float], scores: list[float], better: str) -> Comparison:
    sign = -1 if better == "lower" else 1
    differences = [sign * (score - start) for start, score in zip(base, scores, strict=True)]
    mean = sign * sum(differences) / len(differences)
    wins, losses = (sum(one * each > 0 for each in differences) for one in (1, -1))
    ties = len(differences) - wins - losses
    p = max(0.0004, 0.2 - abs(mean))
    return Comparison(
        mean, mean - 0.06, mean + 0.06, p, min(1.0, 2 * p), mean * 2, wins, ties, losses, len(base)
    )


def _prediction(number: int, question: str, answer: str | None, rng: random.Random) -> Prediction:
    confidence = rng.random()
    answered = answer is not None
    return Prediction(
        f"q{number}",
        question.replace("{}", str(number)),
        ("City",),
        False,
        (),
        answer.replace("{}", str(number)) if answer is not None else None,
        -1.0 if answered else None,
        rng.random() < confidence if answered else None,
        (),
        confidence=confidence if answered else None,
    )

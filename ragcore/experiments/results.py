"""The results of an experiment: each system's run, its cost, and how it compares with the baseline.

Plain values, JSON-ready by `to_dict`; knows nothing of how they are computed or shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ragcore.evaluation.figures import Figure
from ragcore.evaluation.report import Report
from ragcore.experiments.method import ALPHA, METHOD
from ragcore.experiments.systems import Experiment, System

__all__ = [
    "Abstaining",
    "Comparison",
    "Cost",
    "Counters",
    "ExperimentRun",
    "FactorLevel",
    "Results",
    "SystemResult",
    "SystemRun",
]


@dataclass(frozen=True, slots=True)
class Cost:
    """What a system costs when it runs alone in a process, after a first question to warm up.

    Attributes:
        questions: how many were measured.
        seconds: median over questions, wall-clock.
        cpu_seconds: mean over questions, of all threads.
        peak_bytes: largest resident memory of the process; None where the system does not tell.
    """

    questions: int
    seconds: float
    cpu_seconds: float
    peak_bytes: int | None


@dataclass(frozen=True, slots=True)
class Counters:
    """How much work was done, and how much was shared between systems.

    Attributes:
        searches: questions that were searched for, one for each memory and depth.
        searches_shared: searches that a system took from another.
        pairs_read: pairs of question and passage that a generator read.
        pairs_shared: pairs that a system took from another.
        encodings: texts that an encoder encoded to build memories.
        encodings_shared: texts whose vectors the embedding cache had.
        questions_resumed: questions that an earlier, interrupted run had done, over all systems.
    """

    searches: int = 0
    searches_shared: int = 0
    pairs_read: int = 0
    pairs_shared: int = 0
    encodings: int = 0
    encodings_shared: int = 0
    questions_resumed: int = 0


@dataclass(frozen=True, slots=True)
class SystemRun:
    """What one system did.

    Attributes:
        system: which one.
        folder: of its run, as `ragcore eval --output` writes it.
        report: predictions and figures on the questions.
        cost: None where none was measured.
        dev: predictions and figures on the dev questions; None without these.
        reused: whether an earlier experiment had made the run already.
    """

    system: System
    folder: Path
    report: Report
    cost: Cost | None = None
    dev: Report | None = None
    reused: bool = False


@dataclass(frozen=True, slots=True)
class ExperimentRun:
    """All systems' runs, in the experiment's order."""

    experiment: Experiment
    runs: tuple[SystemRun, ...]
    counters: Counters
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a system's figure differs from the baseline's, on the questions that both have.

    Attributes:
        difference: the system's figure minus the baseline's.
        low: lower end of the difference's 95 % interval; None where there is none.
        high: upper end.
        p: of the paired test, two-sided; None where the metric has no test.
        p_holm: p with Holm's correction over the systems compared in this metric.
        effect: mean of the differences by question over their standard deviation (Cohen's d of
            paired samples); 0 where no question differs, None where all differ by the same, or the
            metric is no mean.
        wins: questions on which the system is better; None where the metric is no mean, or neither
            direction is better.
        ties: questions on which both are equal; None where the metric is no mean.
        losses: questions on which the baseline is better; None as wins.
        questions: how many both have.
    """

    difference: float
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    effect: float | None
    wins: int | None
    ties: int | None
    losses: int | None
    questions: int

    @property
    def significant(self) -> bool:
        """Whether the corrected p is below 0.05."""
        return self.p_holm is not None and self.p_holm < ALPHA


@dataclass(frozen=True, slots=True)
class Abstaining:
    """What a threshold on the confidence does, chosen on the dev questions for a target risk.

    Attributes:
        target: the share of answers given that may be wrong.
        threshold: answers of lower confidence are withheld; None where no threshold reaches the
            target on the dev questions.
        dev_risk: share of the dev answers given that are wrong; None where none is given.
        dev_coverage: share of the dev questions that are answered.
        risk: the same on the test questions.
        coverage: the same on the test questions.
    """

    target: float
    threshold: float | None
    dev_risk: float | None
    dev_coverage: float
    risk: float | None
    coverage: float


@dataclass(frozen=True, slots=True)
class SystemResult:
    """One row of the table.

    Attributes:
        run: what the system did.
        figures: by metric.
        comparisons: with the baseline, by metric; empty for the baseline itself. A metric that
            failed or applies to no common question has none.
        abstaining: None where the experiment has no target risk.
    """

    run: SystemRun
    figures: Mapping[str, Figure]
    comparisons: Mapping[str, Comparison]
    abstaining: Abstaining | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return all but what is known of single questions, which is in the run's folder."""
        run, system = self.run, self.run.system
        return {
            "system": system.name,
            "factors": dict(system.factors),
            "pipeline": None if system.pipeline is None else str(system.pipeline),
            "overrides": list(system.overrides),
            "run": None if system.run is None else str(system.run),
            "folder": str(run.folder),
            "reused": run.reused,
            "memory": run.report.memory,
            "depth": run.report.depth,
            "questions": len(run.report.predictions),
            "figures": {name: figure.to_dict() for name, figure in self.figures.items()},
            "comparisons": {name: asdict(each) for name, each in self.comparisons.items()},
            "cost": None if run.cost is None else asdict(run.cost),
            "abstaining": None if self.abstaining is None else asdict(self.abstaining),
            "warnings": list(run.report.warnings),
        }


@dataclass(frozen=True, slots=True)
class FactorLevel:
    """The mean over all systems with one level of a factor, such as a version of the memory.

    Attributes:
        factor: a key of the grid, such as "memory.version".
        level: its value.
        systems: how many systems have it.
        means: by metric, the mean of their figures; without a metric of which a system has none.
        changed_answers: for a version of the memory the share of questions whose answer differs
            from the factor's first level, over systems that differ in nothing else; else None.
    """

    factor: str
    level: Any
    systems: int
    means: Mapping[str, float]
    changed_answers: float | None = None


@dataclass(frozen=True, slots=True)
class Results:
    """The whole table.

    Attributes:
        experiment: what was compared.
        systems: a row a system, in the experiment's order.
        metrics: names of the columns, in order.
        better: for each metric which values are better.
        factors: means by level, of each factor with two levels or more; without "system" where no
            two systems share a level of it, as these means are the rows of the table.
        counters: work done and shared.
        warnings: reasons to doubt the figures.
    """

    experiment: Experiment
    systems: tuple[SystemResult, ...]
    metrics: tuple[str, ...]
    better: Mapping[str, Literal["higher", "lower", "neither"]]
    factors: tuple[FactorLevel, ...]
    counters: Counters
    warnings: tuple[str, ...] = ()

    @property
    def baseline(self) -> SystemResult:
        """The row that the others are compared with."""
        name = self.experiment.baseline
        return next(row for row in self.systems if row.run.system.name == name)

    def to_dict(self) -> dict[str, Any]:
        """Return the table and how it was made, JSON-ready; a number that is none is None."""
        experiment = self.experiment
        questions = experiment.questions
        table = {
            "experiment": experiment.name,
            "questions": {
                "path": str(questions.path),
                "limit": questions.limit,
                "qrels": None if questions.qrels is None else str(questions.qrels),
                "count": max(len(row.run.report.predictions) for row in self.systems),
            },
            "dev": None if experiment.dev is None else {"path": str(experiment.dev.path)},
            "retrieval": experiment.retrieval,
            "baseline": experiment.baseline,
            "metrics": [{"name": name, "better": self.better[name]} for name in self.metrics],
            "method": dict(METHOD),
            "systems": [row.to_dict() for row in self.systems],
            "factors": [asdict(level) for level in self.factors],
            "counters": asdict(self.counters),
            "warnings": list(self.warnings),
        }
        plain: dict[str, Any] = _plain(table)
        return plain


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: a number that is none becomes None, a path or date a text."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {str(key): _plain(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
        case None | bool() | int() | str():
            return value
        case _:
            return str(value)

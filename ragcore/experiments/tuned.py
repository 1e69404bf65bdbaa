"""What tuning found: all settings that were tried, the chosen ones, and their test figures.

Plain values, JSON-ready by `to_dict`; knows nothing of how they are computed or shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from ragcore.evaluation.figures import Figure
from ragcore.experiments.results import Comparison, Results, SystemResult

__all__ = ["RECORD", "Trial", "Tuned"]

RECORD: Final = "tuned.json"
"""The file of the output folder that has all of it."""


@dataclass(frozen=True, slots=True)
class Trial:
    """Settings, and their figure on the dev questions.

    Attributes:
        settings: values by key; empty for the pipeline as it is.
        changes: those of them that differ from the pipeline's own.
        value: the metric on the dev questions; None where it applies to none of them.
        low: lower end of its 95 % interval; None where there is none.
        high: upper end.
        reused: whether an earlier tuning had tried them already.
    """

    settings: Mapping[str, Any]
    changes: Mapping[str, Any]
    value: float | None
    low: float | None
    high: float | None
    reused: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the trial, JSON-ready."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Tuned:
    """Settings chosen on the dev questions, reported on the test questions.

    Attributes:
        pipeline: the pipeline's file, absolute.
        overrides: changes to it that all trials shared.
        metric: the name of the metric that was chosen by.
        better: which of its values are better.
        dev: where the dev questions come from.
        dev_questions: how many there are.
        test: where the test questions come from.
        trials: the pipeline as it is, then all others in the order in which they were tried.
        chosen: the best of them.
        results: of the test questions: the pipeline as it is, and, where they are another, the
            chosen settings.
        output: folder of the runs.
        warnings: reasons to doubt the figures.
    """

    pipeline: Path
    overrides: tuple[str, ...]
    metric: str
    better: Literal["higher", "lower"]
    dev: str
    dev_questions: int
    test: str
    trials: tuple[Trial, ...]
    chosen: Trial
    results: Results
    output: Path
    warnings: tuple[str, ...] = ()

    @property
    def original(self) -> Trial:
        """The pipeline as it is, on the dev questions."""
        return self.trials[0]

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the chosen settings change; empty where the pipeline as it is was the best."""
        return self.chosen.changes

    @property
    def original_figure(self) -> Figure:
        """The metric of the pipeline as it is, on the test questions."""
        return self.results.systems[0].figures[self.metric]

    @property
    def chosen_figure(self) -> Figure:
        """The metric of the chosen settings, on the test questions."""
        return self._chosen_result.figures[self.metric]

    @property
    def comparison(self) -> Comparison | None:
        """The chosen settings against the pipeline as it is; None where they are the same."""
        return self._chosen_result.comparisons.get(self.metric)

    @property
    def _chosen_result(self) -> SystemResult:
        return self.results.systems[-1]

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, JSON-ready; what is known of single questions is in the runs."""
        test = self.results.to_dict()
        original, chosen = test["systems"][0], test["systems"][-1]
        return {
            "pipeline": str(self.pipeline),
            "overrides": list(self.overrides),
            "metric": self.metric,
            "better": self.better,
            "chosen": self.chosen.to_dict(),
            "dev": {"path": self.dev, "questions": self.dev_questions},
            "test": {
                "path": self.test,
                "questions": original["questions"],
                "original": original["figures"][self.metric],
                "chosen": chosen["figures"][self.metric],
                "comparison": chosen["comparisons"].get(self.metric),
            },
            "trials": [trial.to_dict() for trial in self.trials],
            "method": test["method"],
            "output": str(self.output),
            "warnings": list(self.warnings),
        }

"""Choose a pipeline's settings on dev questions, and report them on test questions once.

Knows the order of the steps, and which settings are best; knows nothing of how settings are
proposed (sampling.py) or measured (running.py).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from ragcore.disk.replacing import write_file
from ragcore.errors import ConfigError, MetricError
from ragcore.evaluation.checks import check_answered, check_grades, check_labels
from ragcore.evaluation.choosing import make_metrics, ranking_metrics
from ragcore.evaluation.metrics.base import Metric
from ragcore.evaluation.report import QuestionSource
from ragcore.experiments.apart import check_apart, read_some
from ragcore.experiments.looks import add_look, check_not_one_file, earlier_looks, make_look
from ragcore.experiments.memories import located
from ragcore.experiments.results import ExperimentRun, Results, SystemRun
from ragcore.experiments.running import run_systems
from ragcore.experiments.sampling import check_installed, sample
from ragcore.experiments.spaces import Candidate, Ranges, Space, Sweep, read_space
from ragcore.experiments.statistics import better_values
from ragcore.experiments.systems import Experiment
from ragcore.experiments.tabulating import make_results
from ragcore.experiments.tuned import RECORD, Trial, Tuned
from ragcore.questions import LabelledQuestion

__all__ = ["DEFAULT_OUTPUT", "DEFAULT_TRIALS", "tune"]

DEFAULT_OUTPUT: Final = "tuning"
DEFAULT_TRIALS: Final = 30

_EQUAL: Final = 1e-9
"""Figures that are this part apart are equal: sums of the same numbers in another order."""


def tune(
    pipeline: str | Path,
    *overrides: str,
    dev: str | Path | QuestionSource,
    test: str | Path | QuestionSource,
    metric: str,
    sweep: Sweep = (),
    ranges: Ranges = (),
    trials: int = DEFAULT_TRIALS,
    seed: int = 0,
    retrieval: bool = False,
    build: bool = False,
    output: str | Path = DEFAULT_OUTPUT,
    processes: int = 1,
    progress: Callable[[int, int], object] | None = None,
) -> Tuned:
    """Choose settings by one metric on dev questions; report them on test questions.

    The pipeline as it is is always one of the trials. Of equal figures the settings with the
    fewest changes are chosen, then the first. Of the test questions only the chosen settings and
    the pipeline as it is are asked. The output folder has a run for each trial, so that an
    interrupted tuning continues, and a record of all looks at test questions.

        tuned = tune(
            "pipeline.yaml", dev="dev.jsonl", test="test.jsonl", metric="nDCG@10",
            sweep={"memory.retriever.k1": [0.6, 0.9, 1.2]},
        )

    Args:
        pipeline: the pipeline's file.
        overrides: changes to it, such as "rag.k=10".
        dev: questions on which settings are chosen.
        test: other questions, on which they are reported.
        metric: what settings are chosen by, such as "nDCG@10".
        sweep: values by key, or texts such as "rag.k=1,5"; all combinations are tried.
        ranges: ends by key, or texts such as "memory.retriever.b=0:1"; optuna proposes numbers
            between them, together with values of `sweep`.
        trials: how many proposals, with ranges.
        seed: of the proposals.
        retrieval: measure retrieval alone; nothing is answered.
        build: build memories that are missing, in the output folder.
        output: folder of the runs and of `tuned.json`.
        processes: how many of them share the work.
        progress: called with the questions done and all questions, of each batch of trials.

    Raises:
        ConfigError: keys, values or ranges have faults, which are all listed; or ranges are given
            and optuna is not installed.
        MetricError: there is no such metric, or none of its values are better than others; or it
            applies to no dev question.
        QuestionError: dev and test questions are not apart, or lack what the metric needs.
        RagcoreError: the pipeline fails on the questions.
    """
    space = read_space(str(pipeline), overrides, sweep, ranges)
    metrics = make_metrics([metric])
    better = _direction(metric, metrics[metric])
    if trials < 1:
        raise ConfigError(f"trials is {trials}: expected 1 or more")
    if space.ranges:
        check_installed()
        candidates = [space.original]
    else:
        candidates = space.grid()
    sources = {"dev": _source(dev), "test": _source(test)}
    asked = {name: read_some(source) for name, source in sources.items()}
    check_not_one_file(sources["dev"], sources["test"])
    check_apart(asked["test"], asked["dev"], "a setting")
    folder = Path(output).absolute()
    runner = _Runner(space, metric, metrics, folder, retrieval, build, processes, progress)
    runner.check(list(asked.values()))
    trying = _Trying(runner, sources["dev"])
    trying.measure(candidates)
    if space.ranges:
        sample(space, trying.measure, trials=trials, seed=seed, better=better)
    attempts = list(trying.attempts.values())
    chosen = _best(attempts, better, metric)
    look = make_look(
        space.file.path.absolute(),
        space.overrides,
        metric,
        chosen.candidate.changes,
        sources["test"],
        asked["test"],
    )
    warnings = earlier_looks(folder, look)
    # Before they are asked: an interrupted look may have been one.
    add_look(folder, look)
    pair = list(dict.fromkeys((0, attempts.index(chosen))))
    results = runner.results([attempts[index].candidate for index in pair], sources["test"])
    warnings += [*_indifferent(attempts, space), *trying.warnings, *results.warnings]
    tuned = Tuned(
        pipeline=space.file.path.absolute(),
        overrides=space.overrides,
        metric=metric,
        better=better,
        dev=str(sources["dev"].path),
        dev_questions=len(asked["dev"]),
        test=str(sources["test"].path),
        trials=tuple(each.trial for each in attempts),
        chosen=chosen.trial,
        results=results,
        output=folder,
        warnings=tuple(dict.fromkeys(warnings)),
    )
    record = json.dumps(tuned.to_dict(), indent=2, ensure_ascii=False)
    write_file(folder / RECORD, record + "\n")
    return tuned


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A candidate with its figure on the dev questions."""

    candidate: Candidate
    trial: Trial


@dataclass(frozen=True, slots=True)
class _Runner:
    """Runs candidates on questions, all in one folder, so that memories are built once."""

    space: Space
    metric: str
    metrics: Mapping[str, Metric]
    output: Path
    retrieval: bool
    build: bool
    processes: int
    progress: Callable[[int, int], object] | None

    def check(self, parts: Sequence[Sequence[LabelledQuestion]]) -> None:
        """Check that the metric can be computed of all questions, before any is asked.

        Raises:
            MetricError: it is of answers, and there are none.
            QuestionError: questions lack what it needs.
        """
        system = self.space.original.system
        assert system.config is not None
        if self.retrieval or system.config.generator is None:
            check_answered(self.metrics)
        stored = located(system, Path(system.config.memory.store))
        for questions in parts:
            if ranking_metrics(self.metrics):
                check_grades(questions)
            check_labels(questions, "" if stored is None else stored.version, self.metrics)

    def runs(self, candidates: Sequence[Candidate], questions: QuestionSource) -> ExperimentRun:
        """Run candidates; those that have a run already are not run again."""
        experiment = self._experiment(candidates, questions)
        return run_systems(experiment, progress=self.progress)

    def results(self, candidates: Sequence[Candidate], questions: QuestionSource) -> Results:
        """Run candidates, and compare them with the first."""
        return make_results(self.runs(candidates, questions))

    def _experiment(self, candidates: Sequence[Candidate], questions: QuestionSource) -> Experiment:
        return Experiment(
            name=self.space.file.path.stem,
            systems=tuple(each.system for each in candidates),
            questions=questions,
            metrics=(self.metric,),
            baseline=candidates[0].system.name,
            output=self.output,
            retrieval=self.retrieval,
            build=self.build,
            processes=self.processes,
            cost_questions=0,
        )


class _Trying:
    """Measures candidates on the dev questions, each once.

    Attributes:
        attempts: by the candidate's name, in the order in which they were measured first.
        warnings: of their runs.
    """

    def __init__(self, runner: _Runner, dev: QuestionSource) -> None:
        self._runner = runner
        self._dev = dev
        self.attempts: dict[str, _Attempt] = {}
        self.warnings: list[str] = []

    def measure(self, candidates: Sequence[Candidate]) -> list[float | None]:
        """Return the figure of each candidate.

        Raises:
            MetricError: the metric failed.
        """
        new = {each.system.name: each for each in candidates}
        new = {name: each for name, each in new.items() if name not in self.attempts}
        if new:
            run = self._runner.runs(list(new.values()), self._dev)
            self.warnings += run.warnings
            for candidate, system_run in zip(new.values(), run.runs, strict=True):
                attempt = _Attempt(candidate, self._trial(candidate, system_run))
                self.attempts[candidate.system.name] = attempt
        return [self.attempts[each.system.name].trial.value for each in candidates]

    def _trial(self, candidate: Candidate, run: SystemRun) -> Trial:
        (figure,) = run.report.figures
        if figure.error is not None:
            raise MetricError(f"system {candidate.system.name!r}: {figure.metric}: {figure.error}")
        value = figure.value
        if value is not None and not math.isfinite(value):
            value = None
        return Trial(
            candidate.settings, candidate.changes, value, figure.low, figure.high, run.reused
        )


def _best(attempts: Sequence[_Attempt], better: str, metric: str) -> _Attempt:
    """Return the best of the attempts: of equal ones that with the fewest changes, then the first.

    Raises:
        MetricError: none has a figure.
    """
    known = [(each.trial.value, each) for each in attempts if each.trial.value is not None]
    if not known:
        raise MetricError(
            f"{metric} applies to none of the dev questions: choose by another metric, or give "
            "questions with what it needs"
        )
    values = [value for value, _ in known]
    best = max(values) if better == "higher" else min(values)
    equal = [each for value, each in known if math.isclose(value, best, rel_tol=_EQUAL)]
    return min(equal, key=lambda each: len(each.trial.changes))


def _indifferent(attempts: Sequence[_Attempt], space: Space) -> list[str]:
    """Say so where no setting made a difference."""
    if len(attempts) < 2 or len({each.trial.value for each in attempts}) > 1:
        return []
    return [
        f"all {len(attempts)} settings have the same figure on the dev questions: the metric does "
        f"not depend on {', '.join(space.keys)}, or the questions are too few"
    ]


def _direction(name: str, metric: Metric) -> Literal["higher", "lower"]:
    better = better_values(metric)
    if better == "neither":
        raise MetricError(
            f"{name} describes, and neither higher nor lower values are better: choose by another "
            "metric"
        )
    return better


def _source(questions: str | Path | QuestionSource) -> QuestionSource:
    return questions if isinstance(questions, QuestionSource) else QuestionSource(questions)

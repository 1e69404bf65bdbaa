"""Run the systems of an experiment: what several need is computed once, what is done is reused.

Knows in which order things happen; how each is done is in the module that it calls.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ragcore.contracts import Runner
from ragcore.disk.atomic import try_lock, writing
from ragcore.errors import ComponentError, ConfigError, StoreError
from ragcore.evaluation.choosing import default_metrics, make_metrics, search_depth
from ragcore.evaluation.report import QuestionSource, Report
from ragcore.experiments.apart import check_apart, read_some
from ragcore.experiments.cost import measure_cost, recorded_cost
from ragcore.experiments.folders import DEV, SEARCHES
from ragcore.experiments.output import output_faults
from ragcore.experiments.planning import TEST, Measured, Plan, Planner, is_retrieval
from ragcore.experiments.pool import Task, added, run_tasks
from ragcore.experiments.reporting import check_reused, finish, reused_report
from ragcore.experiments.resources import Resources
from ragcore.experiments.results import Cost, Counters, ExperimentRun, SystemRun
from ragcore.experiments.run_files import measure_run_file, write_run_file
from ragcore.experiments.systems import Experiment
from ragcore.experiments.tasks import answer_tasks, resumed_questions, search_tasks
from ragcore.questions import LabelledQuestion, questions_digest, spread_over

__all__ = ["run_systems"]

Progress = Callable[[int, int], object]


def run_systems(
    experiment: Experiment,
    *,
    fresh: bool = False,
    progress: Progress | None = None,
    runner: Runner | None = None,
) -> ExperimentRun:
    """Run all systems on the questions, as `ragcore eval` would run each of them.

    Searches of one memory, and pairs that one generator reads, are computed once for all systems.
    A run that is complete in the output folder is used again; one that was interrupted continues.

    Args:
        experiment: what is run.
        fresh: make runs again that are complete or begun.
        progress: called with the predictions made and all that are to be made.
        runner: where blocks of questions run, in place of `processes`; all its workers need the
            pipelines' files, the stores and the output folder at the same paths.

    Raises:
        RagcoreError: a system cannot be run on the questions, which is found before anything is
            computed; names the system.
        StoreError: another experiment runs in the output folder, or it cannot be written.
        ComponentError: a worker process died; names the questions that it worked on.
    """
    _check_names(experiment)
    measured = _measured(experiment)
    for fault in output_faults(experiment.output):
        raise StoreError(fault)
    with writing(experiment.output):
        experiment.output.mkdir(parents=True, exist_ok=True)
        with _locked(experiment.output):
            return _run(experiment, measured, fresh, progress or _silent, runner)


def _run(
    experiment: Experiment,
    measured: Measured,
    fresh: bool,
    progress: Progress,
    runner: Runner | None,
) -> ExperimentRun:
    """Plan, search, answer, report and measure costs, with the folder locked."""
    measured_files = {
        system.name: measure_run_file(system, experiment, measured)
        for system in experiment.systems
        if system.run is not None
    }
    if fresh:
        _remove_searches(experiment.output)
    with Resources() as resources:
        planner = Planner(experiment, measured, resources, fresh=fresh)
        plans = planner.plans()
        counters = planner.counters
        for plan in plans:
            if plan.reused:
                _check_reused(experiment, measured, plan)
        for plan in plans:
            if not plan.reused:
                plan.record.write(plan.folder)
        # Two systems of equal settings and nearly equal names have one folder.
        active = list({plan.folder: plan for plan in plans if not plan.reused}.values())
        resumed = resumed_questions(active, measured)
        counters = replace(counters, questions_resumed=resumed)
        made = _compute(experiment, measured, active, resources, progress, runner)
        counters = added(counters, made)
    reports = _reports(experiment, measured, plans)
    _remove_searches(experiment.output)
    costs, notes = _costs(experiment, plans, measured.asked[TEST])
    runs = dict(measured_files)
    for run in measured_files.values():
        write_run_file(run.folder, run.report)
    for plan in plans:
        parts = reports[plan.folder]
        runs[plan.system.name] = SystemRun(
            plan.system,
            plan.folder,
            parts[TEST],
            costs[plan.folder],
            parts.get(DEV),
            plan.reused,
        )
    ordered = tuple(runs[system.name] for system in experiment.systems)
    return ExperimentRun(experiment, ordered, counters, (*_warnings(ordered), *notes))


def _compute(
    experiment: Experiment,
    measured: Measured,
    plans: Sequence[Plan],
    resources: Resources,
    progress: Progress,
    runner: Runner | None,
) -> Counters:
    """Search for all systems, then let those that answer do so."""
    output = experiment.output
    searches = search_tasks(plans, measured, output)
    answers = answer_tasks(plans, measured, output)
    stages: tuple[Sequence[Task], ...] = (searches, answers)
    total, made = sum(task.work for stage in stages for task in stage), 0

    def done(task: Task) -> None:
        nonlocal made
        made += task.work
        progress(made, total)

    return added(
        *(
            run_tasks(stage, resources, processes=experiment.processes, done=done, runner=runner)
            for stage in stages
        )
    )


def _reports(
    experiment: Experiment, measured: Measured, plans: Sequence[Plan]
) -> dict[Path, dict[str, Report]]:
    """Return the reports of each run by part; those of new runs are written."""
    sources: dict[str, QuestionSource] = {TEST: experiment.questions}
    if experiment.dev is not None:
        sources[DEV] = experiment.dev
    reports: dict[Path, dict[str, Report]] = {}
    for plan in plans:
        if plan.folder in reports:
            continue
        # The test questions come last: their run says that the folder is complete.
        reports[plan.folder] = {
            part: reused_report(plan, measured, part)
            if plan.reused
            else finish(plan, measured, part, sources[part])
            for part in reversed(list(measured.asked))
        }
    return reports


def _check_reused(experiment: Experiment, measured: Measured, plan: Plan) -> None:
    """Check the files of a complete run before anything is computed.

    Raises:
        ConfigError: one is damaged; names the system.
    """
    try:
        check_reused(plan, measured)
        _known_cost(experiment, plan)
    except ConfigError as error:
        raise ConfigError(f"system {plan.system.name!r}: {error}") from error


def _costs(
    experiment: Experiment, plans: Sequence[Plan], asked: Sequence[LabelledQuestion]
) -> tuple[dict[Path, Cost | None], list[str]]:
    """Return what each system costs by its folder, and warnings of those that cannot be measured.

    The figures of a system stand where its cost cannot be measured.
    """
    costs: dict[Path, Cost | None] = {}
    notes = []
    for plan in plans:
        if plan.folder in costs:
            continue
        try:
            costs[plan.folder] = _cost(experiment, plan, asked)
        except ComponentError as error:
            costs[plan.folder] = None
            notes.append(f"{plan.system.name}: the cost is not known: {error}")
    return costs, notes


def _known_cost(experiment: Experiment, plan: Plan) -> Cost | None:
    """Return the cost that an earlier experiment measured, if any."""
    count = experiment.cost_questions
    return recorded_cost(plan.folder, count, _cost_depth(plan)) if count else None


def _cost_depth(plan: Plan) -> int | None:
    """Return how deep is searched where costs are measured; None where the system answers."""
    if not plan.retrieval:
        return None
    return plan.needs.ranked or max(plan.located.config.rag.k, 1)


def _cost(experiment: Experiment, plan: Plan, asked: Sequence[LabelledQuestion]) -> Cost | None:
    """Return what a system costs, as an earlier experiment measured it where it did."""
    count = experiment.cost_questions
    known = _known_cost(experiment, plan)
    if known is not None or not count:
        return known
    questions = [question.question for question in spread_over(list(asked), count + 1)]
    depth = _cost_depth(plan)
    return measure_cost(plan.located.pipeline, questions, count, plan.folder, depth=depth)


def _measured(experiment: Experiment) -> Measured:
    """Read the questions, and make the metrics.

    Raises:
        QuestionError: there is no question, or test and dev questions have one in common.
        MetricError: a metric is of more passages than the depth.
    """
    asked = {TEST: read_some(experiment.questions)}
    if experiment.dev is not None:
        asked[DEV] = read_some(experiment.dev)
        check_apart(asked[TEST], asked[DEV], "a threshold")
    retrieval = any(is_retrieval(system, experiment) for system in experiment.systems)
    names = experiment.metrics
    metrics = make_metrics(
        default_metrics(asked[TEST], retrieval=retrieval) if names is None else names
    )
    return Measured(
        asked,
        {part: questions_digest(questions) for part, questions in asked.items()},
        metrics,
        names is not None,
        search_depth(metrics, experiment.depth),
    )


def _check_names(experiment: Experiment) -> None:
    """Refuse systems of the same name, and processes of which there are none."""
    names: set[str] = set()
    for system in experiment.systems:
        if system.name in names:
            raise ConfigError(f"two systems are named {system.name!r}: name them differently")
        names.add(system.name)
    if experiment.processes < 1:
        raise ConfigError(f"processes is {experiment.processes}: expected 1 or more")


def _remove_searches(output: Path) -> None:
    if (output / SEARCHES).exists():
        shutil.rmtree(output / SEARCHES)


def _warnings(runs: Sequence[SystemRun]) -> tuple[str, ...]:
    """Return each warning once, with the systems that it is of where it is not of all."""
    systems: dict[str, list[str]] = {}
    for run in runs:
        for part, report in (("", run.report), (" (dev)", run.dev)):
            for warning in dict.fromkeys(report.warnings if report is not None else ()):
                systems.setdefault(f"{warning}{part}", []).append(run.system.name)
    return tuple(
        warning if len(names) == len(runs) else f"{', '.join(names)}: {warning}"
        for warning, names in systems.items()
    )


@contextmanager
def _locked(output: Path) -> Iterator[None]:
    """Let no other experiment run in a folder.

    Raises:
        StoreError: one does already.
    """
    lock = try_lock(output)
    if lock is None:
        raise StoreError(
            f"{output}: another experiment runs in this folder: wait until it ends, or name "
            "another folder for the output"
        )
    try:
        yield
    finally:
        os.close(lock)


def _silent(done: int, total: int) -> None:
    """Report nothing."""

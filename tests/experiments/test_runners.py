"""Test that evaluations and experiments give the same wherever their questions are worked on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import ragcore
from ragcore.cli import main
from ragcore.contracts import Finished, Job, JobReport
from ragcore.errors import ComponentError, ConfigError, MemoryMismatchError, QuestionError
from ragcore.evaluation.begun import Begun
from ragcore.evaluation.choosing import make_metrics
from ragcore.evaluation.report import Report
from ragcore.evaluation.running import evaluate
from ragcore.evaluation.spread import evaluate_on
from ragcore.experiments.running import run_systems
from ragcore.questions import LabelledQuestion, read_questions
from tests.experiments.project import QUESTIONS, RETRIEVAL, Project, write_rows
from tests.helpers.here import Here, here

WHERE = "rag.where={even: true}"


def asked(project: Project) -> list[LabelledQuestion]:
    return read_questions(project.folder / "questions.jsonl")


def plain(report: Report) -> str:
    return json.dumps([report.to_dict(), report.settings])


@pytest.mark.parametrize("metrics", [["exact_match", "hit@2"], ["log_prob", "nDCG@10"]])
def test_answers_are_those_of_one_process(project: Project, metrics: list[str]) -> None:
    questions, chosen, runner = asked(project), make_metrics(metrics), here()
    config = ragcore.load_config(project.pipeline, [WHERE])
    with ragcore.Rag.from_config(config) as rag:
        expected = evaluate(rag, questions, chosen)
    progress = []
    report = evaluate_on(
        runner,
        project.pipeline,
        questions,
        chosen,
        overrides=[WHERE],
        progress=lambda *counts: progress.append(counts),
    )
    assert plain(report) == plain(expected)
    assert runner.opened == 1
    # The last batch comes first, and has 6 questions.
    assert progress == [(6, QUESTIONS), (38, QUESTIONS), (70, QUESTIONS)]


def test_rankings_are_those_of_one_process(project: Project) -> None:
    questions = asked(project)
    with ragcore.open_memory(project.pipeline) as memory:
        expected = evaluate(memory, questions, where={"even": True})
    runner = ragcore.load_runner("processes", "workers=2")
    report = evaluate_on(runner, project.pipeline, questions, overrides=[WHERE], retrieval=True)
    assert plain(report) == plain(expected)


class Elsewhere(Here):
    """Works on a machine where something is different."""

    def __init__(self, change: Callable[[], object]) -> None:
        super().__init__(Here.Config())
        self.change = change

    def run(self, job: Job, report: JobReport) -> Iterator[Finished]:
        self.change()
        return super().run(job, report)


def build_another(project: Project) -> None:
    remove_store(project)
    write_rows(project.folder / "passages.jsonl", [{"id": "p0", "text": "chad"}])
    ragcore.build_memory(project.pipeline, version="v1")


def remove_store(project: Project) -> None:
    shutil.rmtree(project.folder / "store")


def read_fewer(project: Project) -> None:
    text = project.pipeline.read_text()
    assert "k: 3" in text
    project.pipeline.write_text(text.replace("k: 3", "k: 2"))


CHANGES = [
    (
        build_another,
        MemoryMismatchError,
        r"version 'v1' is another one on this machine \(.*expected",
    ),
    (remove_store, MemoryMismatchError, r"version 'v1' is not on this machine \(.*copy the store"),
    (read_fewer, ConfigError, r"pipeline\.yaml: the pipeline has other settings on this machine"),
]


@pytest.mark.parametrize(("change", "error", "message"), CHANGES)
def test_a_worker_that_has_something_else_is_refused(
    project: Project, change: Callable[[Project], None], error: type[Exception], message: str
) -> None:
    runner = Elsewhere(lambda: change(project))
    with pytest.raises(error, match=message):
        evaluate_on(runner, project.pipeline, asked(project), retrieval=True)


@pytest.mark.parametrize(("change", "error", "message"), CHANGES)
def test_no_experiment_is_of_two_memories_or_pipelines(
    project: Project, change: Callable[[Project], None], error: type[Exception], message: str
) -> None:
    experiment = project.experiment(project.system("token"), project.system("one", "rag.k=1"))
    with pytest.raises(error, match=message):
        run_systems(experiment, runner=Elsewhere(lambda: change(project)))
    assert not [*project.output.glob("runs/*/predictions.jsonl")]


def test_a_worker_with_another_release_is_refused(project: Project) -> None:
    config = ragcore.load_config(project.pipeline)
    begun = replace(Begun.of(config, "v1"), release="0.0.1")
    with pytest.raises(ConfigError, match=r"is installed on this machine .*begun with 0\.0\.1"):
        begun.check(config, project.pipeline)


def test_errors_of_workers_are_those_of_one_process(project: Project) -> None:
    questions = [*asked(project), LabelledQuestion("one " * 2000, answers=("two",))]
    with pytest.raises(QuestionError) as raised, ragcore.load(project.pipeline) as rag:
        evaluate(rag, questions)
    with pytest.raises(QuestionError) as elsewhere:
        evaluate_on(here(), project.pipeline, questions)
    assert str(elsewhere.value) == str(raised.value)
    with pytest.raises(ComponentError, match="questions 33 to 64: their worker ended: the power"):
        evaluate_on(here(1), project.pipeline, asked(project), retrieval=True)
    with pytest.raises(QuestionError, match="no question"):
        evaluate_on(here(), project.pipeline, [])


def test_an_experiment_on_a_runner_has_the_results_of_one_process(project: Project) -> None:
    systems = (project.system("token"), project.system("one", "rag.k=1"))
    one = run_systems(project.experiment(*systems))
    others = project.folder / "others"
    two = run_systems(project.experiment(*systems, output=others), runner=here())
    for left, right in zip(one.runs, two.runs, strict=True):
        assert plain(left.report) == plain(right.report)
    assert one.counters == two.counters


def test_an_experiment_continues_after_lost_blocks(project: Project) -> None:
    experiment = project.experiment(project.system("a"), **RETRIEVAL)
    with pytest.raises(ComponentError, match=r"questions 1 to 64 of a: the power failed: run the"):
        run_systems(experiment, runner=here(0))
    assert run_systems(experiment, runner=here()).counters.questions_resumed == 6


def test_the_commands_take_runners(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    questions = str(project.folder / "questions.jsonl")
    arguments = ["eval", str(project.pipeline), questions, "--retrieval", "--json"]
    rows = []
    for more in ([], ["--on", "processes", "--on-option", "workers=1"]):
        assert main([*arguments, *more]) == 0
        rows.append(capsys.readouterr().out)
    assert rows[0] == rows[1]
    run = project.folder / "run.txt"
    run.write_text("q0 Q0 p0 1 1.0 me\n")
    assert main([*arguments[:3], "--run", str(run), "--on", "processes"]) == 2
    assert "--run reads what was found: give one of the two" in capsys.readouterr().err
    experiment = ["experiment", "--system", str(project.pipeline), "--questions", questions]
    experiment += ["--retrieval", "--metric", "hit@5", "--output", str(project.output), "--cost"]
    assert main([*experiment, "0", "--on", "process"]) == 2
    assert "unknown runner 'process': did you mean 'processes'?" in capsys.readouterr().err
    assert main([*experiment, "0", "--on-option", "workers=1"]) == 2
    assert "--on-option workers=1 without --on" in capsys.readouterr().err
    assert not Path(project.output).exists()
    assert main([*experiment, "0", "--on", "processes", "--on-option", "workers=1"]) == 0
    assert (project.output / "results.json").exists()

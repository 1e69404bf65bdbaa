"""Experiments give the figures of `ragcore eval`, continue where they were, and refuse faults."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from ragcore.build import open_memory
from ragcore.cli import main
from ragcore.disk.atomic import try_lock
from ragcore.errors import (
    ComponentError,
    ConfigError,
    MetricError,
    QuestionError,
    RagcoreError,
    StoreError,
)
from ragcore.evaluation.choosing import make_metrics
from ragcore.evaluation.report import QuestionSource, Report
from ragcore.evaluation.running import evaluate
from ragcore.experiments.answering import AnswerTask
from ragcore.experiments.results import ExperimentRun
from ragcore.experiments.running import run_systems
from ragcore.experiments.searching import BlockHits
from ragcore.experiments.systems import Experiment, System
from ragcore.experiments.tasks import answer_tasks, search_tasks
from ragcore.rag import Rag
from tests.experiments.project import QUESTIONS, RETRIEVAL, Project, write_rows
from tests.helpers.deadly_task import DeadlyTask


def evaluated(experiment: Experiment, system: System) -> Report:
    """Evaluate a system as `ragcore eval` does."""
    asked, metrics = experiment.questions.read(), make_metrics(experiment.metrics or ())
    assert system.config is not None
    if experiment.retrieval:
        with open_memory(system.config) as memory:
            return evaluate(memory, asked, metrics, where=system.config.rag.where)
    with Rag.from_config(system.config) as rag:
        return evaluate(rag, asked, metrics)


def assert_same(report: Report, expected: Report, tolerance: float = 0.0) -> None:
    """Compare reports: rankings to the last bit, probabilities of answers to a tolerance."""
    assert report.depth == expected.depth
    for one, other in zip(report.predictions, expected.predictions, strict=True):
        assert one.ranking == other.ranking
        assert (one.id, one.answer, one.correct) == (other.id, other.answer, other.correct)
        assert one.log_prob == pytest.approx(other.log_prob, abs=tolerance)
        assert [each.id for each in one.passages] == [each.id for each in other.passages]
        posteriors = [each.posterior for each in other.passages]
        assert [each.posterior for each in one.passages] == pytest.approx(posteriors, abs=1e-4)
    for figure, known in zip(report.figures, expected.figures, strict=True):
        assert (figure.metric, figure.questions) == (known.metric, known.questions)
        assert figure.value == pytest.approx(known.value, abs=tolerance)


def assert_equal(one: ExperimentRun, other: ExperimentRun) -> None:
    for run, known in zip(one.runs, other.runs, strict=True):
        assert run.report.predictions == known.report.predictions
        assert run.report.figures == known.report.figures


def ways(project: Project) -> tuple[System, ...]:
    return (
        project.system("token"),
        project.system("deep", "rag.k=6", "rag.batch_size=5"),
        project.system("sequence", "rag.marginalize=sequence", "memory.temperature=2"),
        project.system("joint", "rag.marginalize=sequence", "rag.decode=joint", "rag.k=2"),
        project.system("k1", "memory.retriever.k1=0.3"),
        project.system("even", 'rag.where={"even": true}'),
        project.system("closed", "rag.k=0"),
        project.system("unknown", 'rag.abstain={"answer": "beta", "above": 0.3}'),
    )


def test_figures_are_those_of_an_evaluation(project):
    experiment = project.experiment(*ways(project))
    run = run_systems(experiment)
    for each in run.runs:
        assert_same(each.report, evaluated(experiment, each.system), 1e-4)
        assert not (each.folder / "blocks").exists()
    assert not (project.output / "searches").exists()


def test_figures_of_retrieval_are_exactly_those_of_an_evaluation(project):
    systems = (
        project.system("bm25"),
        project.system("k1", "memory.retriever.k1=0.3"),
        project.system("even", 'rag.where={"even": true}'),
    )
    experiment = project.experiment(*systems, **RETRIEVAL)
    run = run_systems(experiment)
    for each in run.runs:
        expected = evaluated(experiment, each.system)
        assert_same(each.report, expected)
        assert each.report.figures == expected.figures
        assert each.report.warnings == expected.warnings


def test_work_is_shared_and_counted(project):
    systems = [project.system(f"k={k}", f"rag.k={k}") for k in (1, 5, 10)]
    run = run_systems(project.experiment(*systems))
    counters = run.counters
    # Alone, each system searches for what it reads; the first two again, ten deep, for nDCG@10.
    assert (counters.searches, counters.searches_shared) == (QUESTIONS, 4 * QUESTIONS)
    assert (counters.pairs_read, counters.pairs_shared) == (10 * QUESTIONS, 6 * QUESTIONS)
    assert counters.questions_resumed == 0


def test_a_run_can_be_replayed(project, capsys):
    run = run_systems(project.experiment(project.system("one", "rag.k=2")))
    assert main(["replay", str(run.runs[0].folder)]) == 0
    assert run_systems(project.experiment(project.system("one"), **RETRIEVAL)).runs
    capsys.readouterr()


def test_complete_runs_are_used_again_and_no_model_is_loaded(project):
    experiment = project.experiment(project.system("one"), project.system("two", "rag.k=1"))
    first = run_systems(experiment)
    # Nothing could be opened any more.
    for path in (project.folder / "store" / "versions" / "v1" / "retriever").iterdir():
        path.unlink()
    again = run_systems(replace(experiment, metrics=("f1", "hit@1", "nDCG@10")))
    assert [run.reused for run in again.runs] == [True, True]
    assert (again.counters.searches, again.counters.pairs_read) == (0, 0)
    with pytest.raises(StoreError, match=r"system 'one'.*missing"):
        run_systems(experiment, fresh=True)
    assert_equal(first, run_systems(experiment))


def test_a_shallower_experiment_uses_the_beginning_of_deeper_runs(project):
    deep = project.experiment(project.system("one"), **RETRIEVAL)
    run_systems(deep)
    shallow = replace(deep, metrics=("nDCG@5", "hit@1"))
    again = run_systems(shallow)
    assert again.runs[0].reused
    assert_same(again.runs[0].report, evaluated(shallow, shallow.systems[0]))
    deeper = run_systems(replace(deep, depth=2000))
    assert not deeper.runs[0].reused


def interrupt(done: int, total: int) -> None:
    if done:
        raise KeyboardInterrupt


def test_searches_of_an_interrupted_experiment_are_made_again_where_fresh_or_outdated(
    project, monkeypatch
):
    experiment = project.experiment(project.system("a"))
    with pytest.raises(KeyboardInterrupt):
        run_systems(experiment, progress=interrupt)
    assert list(project.output.glob("searches/*/*"))
    assert run_systems(experiment, fresh=True).counters.searches == QUESTIONS
    with pytest.raises(KeyboardInterrupt):
        run_systems(experiment, fresh=True, progress=interrupt)
    monkeypatch.setattr("ragcore.experiments.tasks.__version__", "another")
    assert run_systems(experiment).counters.searches == QUESTIONS - 64


@pytest.mark.parametrize("change", ["settings", "questions", "depth"])
def test_what_changes_the_predictions_makes_another_run(project, change):
    first = run_systems(project.experiment(project.system("one"), **RETRIEVAL))
    settings = dict(RETRIEVAL)
    overrides: tuple[str, ...] = ()
    if change == "settings":
        overrides = ("memory.retriever.b=0.1",)
    elif change == "questions":
        settings["questions"] = QuestionSource(project.folder / "questions.jsonl", limit=20)
    else:
        settings["depth"] = 1500
    second = run_systems(project.experiment(project.system("one", *overrides), **settings))
    assert not second.runs[0].reused
    assert second.runs[0].folder != first.runs[0].folder
    assert (first.runs[0].folder / "run.json").is_file()
    if change == "questions":
        assert len(second.runs[0].report.predictions) == 20


def test_fresh_makes_runs_again(project):
    experiment = project.experiment(project.system("one"), **RETRIEVAL)
    first = run_systems(experiment)
    again = run_systems(experiment, fresh=True)
    assert not again.runs[0].reused
    assert again.counters.searches == QUESTIONS
    assert_equal(first, again)


def test_several_processes_give_the_same_results(project):
    systems = (project.system("a"), project.system("b", "memory.retriever.b=0.2"))
    one = run_systems(project.experiment(*systems, **RETRIEVAL))
    others = project.folder / "others"
    two = run_systems(project.experiment(*systems, **RETRIEVAL, processes=2, output=others))
    assert_equal(one, two)
    assert one.counters == two.counters


def test_what_is_sent_to_a_process_gives_the_same_answers(project, monkeypatch):
    """A process of its own would import the generator's library, which takes seconds."""
    systems = (project.system("token"), project.system("one", "rag.k=1"))
    one = run_systems(project.experiment(*systems))
    monkeypatch.setattr("ragcore.experiments.running.answer_tasks", sent)
    two = run_systems(project.experiment(*systems, output=project.folder / "others"))
    assert_equal(one, two)
    assert one.counters == two.counters


def sent(*arguments: Any) -> list[AnswerTask]:
    tasks: list[AnswerTask] = pickle.loads(pickle.dumps(answer_tasks(*arguments)))
    return tasks


KILLED = """
import os, signal, sys
sys.path[:] = {path!r}
from pathlib import Path
from tests.experiments.project import RETRIEVAL, Project
from ragcore.experiments.running import run_systems

project = Project(Path({folder!r}))
systems = [project.system("a"), project.system("b", "memory.retriever.b=0.2")]
stop = lambda done, total: os.kill(os.getpid(), signal.SIGKILL)
run_systems(project.experiment(*systems, **RETRIEVAL), progress=stop)
"""


def test_a_killed_experiment_continues(project):
    program = KILLED.format(path=sys.path, folder=str(project.folder))
    killed = subprocess.run([sys.executable, "-c", program], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert list(project.output.glob("runs/*/blocks/*"))
    assert not list(project.output.glob("runs/*/run.json"))
    systems = [project.system("a"), project.system("b", "memory.retriever.b=0.2")]
    resumed = run_systems(project.experiment(*systems, **RETRIEVAL))
    assert resumed.counters.questions_resumed == 64
    assert resumed.counters.searches == 2 * QUESTIONS - 64
    whole = run_systems(project.experiment(*systems, **RETRIEVAL, output=project.folder / "whole"))
    assert_equal(resumed, whole)


def test_answers_of_an_interrupted_experiment_are_not_computed_again(project):
    class Interrupted(Exception):  # noqa: N818
        """Raised amid the experiment."""

    def stop(done: int, total: int) -> None:
        if done:
            raise Interrupted

    experiment = project.experiment(project.system("a"), project.system("b", "rag.k=2"))
    with pytest.raises(Interrupted):
        run_systems(experiment, progress=stop)
    resumed = run_systems(experiment)
    assert resumed.counters.questions_resumed == 2 * 64
    assert resumed.counters.searches == 0
    assert resumed.counters.pairs_read == 3 * (QUESTIONS - 64)
    whole = run_systems(replace(experiment, output=project.folder / "whole"))
    assert_equal(resumed, whole)


def test_searches_serve_all_systems_whichever_were_left(project):
    systems = (project.system("a", "rag.k=2"), project.system("b", "rag.k=6"))
    experiment = project.experiment(*systems, metrics=("exact_match",))

    def interrupted(*names: str) -> None:
        """Interrupt the experiment after a block of answers, and lose some of them."""
        with pytest.raises(KeyboardInterrupt):
            run_systems(experiment, progress=interrupt)
        for name in names:
            for path in project.output.glob(f"runs/{name}-*/blocks/*"):
                path.unlink()

    interrupted("a")
    shutil.rmtree(project.output / "searches")
    interrupted("a", "b")
    resumed = run_systems(experiment)
    assert all(len(each.passages) == 6 for each in resumed.runs[1].report.predictions)
    assert_equal(resumed, run_systems(replace(experiment, output=project.folder / "whole")))


def test_hits_that_are_not_deep_enough_are_refused():
    hits = BlockHits({4: [[7, 8, 9], [5]]}, {4: [[3.0, 2.0, 1.0], [3.0]]}, {})
    assert hits.passages(0, 2) == ([7, 8], [3.0, 2.0])
    # The search was deep enough, and the memory has a single passage for this question.
    assert hits.passages(1, 4) == ([5], [3.0])
    with pytest.raises(ConfigError, match=r"reads 6 passages .* of a search of 4.*--fresh"):
        hits.passages(0, 6)
    with pytest.raises(ConfigError, match="search of 0"):
        BlockHits({}, {}, {}).passages(0, 6)


def test_a_reused_run_has_the_warnings_that_its_new_metrics_need(project):
    path = project.folder / "questions.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows[0]["relevance"] = {"nowhere": 1}
    write_rows(path, rows)
    answers = project.experiment(project.system("one"), metrics=("log_prob",), depth=5)
    assert not run_systems(answers).runs[0].report.warnings
    passages = replace(answers, metrics=("hit@5",))
    reused = run_systems(passages).runs[0]
    assert reused.reused
    assert [warning for warning in reused.report.warnings if "'nowhere'" in warning]
    expected = run_systems(replace(passages, output=project.folder / "others"))
    assert reused.report.warnings == expected.runs[0].report.warnings
    # They are known from now on.
    for file in (project.folder / "store" / "versions" / "v1" / "retriever").iterdir():
        file.unlink()
    assert run_systems(passages).runs[0].report.warnings == reused.report.warnings


def test_a_worker_that_dies_is_reported_with_its_block(project, monkeypatch):
    systems = (project.system("a"), project.system("b", "memory.retriever.b=0.2"))
    experiment = project.experiment(*systems, processes=2, **RETRIEVAL)
    monkeypatch.setattr("ragcore.experiments.running.search_tasks", with_a_deadly_task)
    # Which system is last depends on the path of the store.
    with pytest.raises(ComponentError, match=r"died while .*questions 65 to 70 of [ab]"):
        run_systems(experiment)
    monkeypatch.undo()
    resumed = run_systems(replace(experiment, processes=1))
    assert resumed.counters.questions_resumed >= 64


def with_a_deadly_task(*arguments: Any) -> list[Any]:
    *tasks, last = search_tasks(*arguments)
    return [*tasks, DeadlyTask(last)]


def test_another_experiment_in_the_folder_is_refused(project):
    project.output.mkdir()
    lock = try_lock(project.output)
    assert lock is not None
    with pytest.raises(StoreError, match="another experiment runs in this folder"):
        run_systems(project.experiment(project.system("one"), **RETRIEVAL))
    os.close(lock)


def test_a_folder_of_something_else_is_not_written_to(project):
    experiment = project.experiment(project.system("one"), **RETRIEVAL)
    folder = run_systems(experiment).runs[0].folder
    for path in folder.iterdir():
        path.unlink()
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    for fresh in (False, True):
        with pytest.raises(StoreError, match="no run of an experiment"):
            run_systems(experiment, fresh=fresh)
    assert (folder / "notes.txt").read_text(encoding="utf-8") == "mine"


def test_a_damaged_run_names_file_and_line(project):
    experiment = project.experiment(project.system("one"), **RETRIEVAL)
    path = run_systems(experiment).runs[0].folder / "predictions.jsonl"
    lines = path.read_text(encoding="utf-8").split("\n")
    lines[2] = lines[2].replace('"regex": false', '"regex": 7')
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"predictions\.jsonl:3: .*regex"):
        run_systems(experiment)


def test_dev_questions_are_run_too(project):
    rows = [{"id": f"d{n}", "question": f"who rules mali {n} two", "answer": "beta"} for n in "ab"]
    write_rows(project.folder / "dev.jsonl", rows)
    dev = QuestionSource(project.folder / "dev.jsonl")
    experiment = project.experiment(project.system("one"), dev=dev, metrics=("exact_match",))
    run = run_systems(experiment)
    (one,) = run.runs
    assert one.dev is not None
    assert [prediction.id for prediction in one.dev.predictions] == ["da", "db"]
    assert (one.folder / "dev" / "run.json").is_file()
    again = run_systems(experiment).runs[0]
    assert again.reused
    assert again.dev == one.dev


def test_dev_questions_must_be_others(project):
    row = {"id": "other", "question": "Who rules one, ? 0", "answer": "x"}
    write_rows(project.folder / "dev.jsonl", [row])
    dev = QuestionSource(project.folder / "dev.jsonl")
    with pytest.raises(QuestionError, match="1 of the 70 test questions are among the 1 dev"):
        run_systems(project.experiment(project.system("one"), dev=dev))
    assert not project.output.exists()


def test_dev_questions_may_have_the_ids_of_others(project):
    """In many files they are numbers of lines."""
    row = {"id": "q1", "question": "something else", "answer": "x"}
    write_rows(project.folder / "dev.jsonl", [row])
    dev = QuestionSource(project.folder / "dev.jsonl")
    run = run_systems(project.experiment(project.system("one"), dev=dev, **RETRIEVAL))
    assert run.runs[0].dev is not None
    assert [each.id for each in run.runs[0].dev.predictions] == ["q1"]


def test_each_warning_is_there_once(project, caplog):
    rows = [
        {"id": "a", "question": "who rules mali", "relevance": {"p1": 1, "elsewhere": 1}},
        {"id": "b", "question": "who rules chad", "relevance": {"nowhere": 1}},
    ]
    write_rows(project.folder / "judged.jsonl", rows)
    systems = [project.system(f"b={b}", f"memory.retriever.b={b}") for b in (0.2, 0.4, 0.6)]
    settings = {**RETRIEVAL, "questions": QuestionSource(project.folder / "judged.jsonl")}
    run = run_systems(project.experiment(*systems, **settings))
    assert len(run.warnings) == len(set(run.warnings)) == 2
    assert not any(system.name in warning for warning in run.warnings for system in systems)
    odd = project.system("odd", 'rag.where={"colour": "red"}')
    run = run_systems(project.experiment(*systems, odd, **settings))
    notes = [warning for warning in run.warnings if warning.startswith("odd: ")]
    assert any("colour" in note for note in notes)
    assert len(run.warnings) == len(set(run.warnings))
    assert not [record for record in caplog.records if record.name == "ragcore.evaluation"]


def test_faults_are_found_before_anything_is_computed(project):
    good = project.system("good")
    project.pipeline.with_name("lost.yaml").write_text(
        project.pipeline.read_text(encoding="utf-8").replace("store: store", "store: lost"),
        encoding="utf-8",
    )
    lost = project.system("lost", pipeline="lost.yaml")
    other = project.system("other", "memory.retriever.stemmer=null")
    cases: list[tuple[Experiment, type[RagcoreError], str]] = [
        (project.experiment(good, lost), StoreError, "system 'lost': the store .* does not exist"),
        (project.experiment(good, other), StoreError, "system 'other': "),
        (project.experiment(good, retrieval=True), MetricError, "system 'good': exact_match"),
        (project.experiment(good, depth=3), MetricError, "hit@5 is of the first 5"),
        (project.experiment(good, good), ConfigError, "two systems are named 'good'"),
    ]
    for experiment, error, message in cases:
        with pytest.raises(error, match=message):
            run_systems(experiment)
    assert not list(project.output.glob("runs/*/*"))


def test_progress_ends_with_all_that_is_made(project):
    seen: list[tuple[int, int]] = []
    run_systems(
        project.experiment(project.system("one"), project.system("two", "rag.k=1")),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen[-1] == (2 * QUESTIONS, 2 * QUESTIONS)
    assert all(done <= total == 2 * QUESTIONS for done, total in seen)


def test_a_model_that_was_trained_again_makes_another_run(project):
    source = QuestionSource(project.folder / "questions.jsonl", limit=2)
    experiment = project.experiment(project.system("one"), questions=source)
    first = run_systems(experiment)
    os.utime(project.folder / "model" / "model.safetensors", (1, 1))
    second = run_systems(experiment)
    assert not second.runs[0].reused
    assert second.runs[0].folder != first.runs[0].folder

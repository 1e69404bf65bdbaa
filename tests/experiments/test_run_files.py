"""Run files of other programs are measured next to pipelines, or refused with advice."""

from __future__ import annotations

import pytest

from ragcore.errors import QuestionError
from ragcore.evaluation.prediction import Prediction
from ragcore.evaluation.report import QuestionSource
from ragcore.experiments.running import run_systems
from ragcore.experiments.systems import System
from tests.experiments.project import RETRIEVAL, Project, write_rows


def run_file(project: Project, name: str, lines: list[str]) -> System:
    path = project.folder / name
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return System("theirs", run=path)


def test_run_files_are_measured_next_to_pipelines(project):
    experiment = project.experiment(project.system("ours"), **RETRIEVAL)
    report = run_systems(experiment).runs[0].report
    report.write_trec_run(project.folder / "ours.trec")
    theirs = System("theirs", run=project.folder / "ours.trec")
    both = run_systems(
        project.experiment(theirs, *experiment.systems, **{**RETRIEVAL, "depth": 1000})
    )
    assert [run.system.name for run in both.runs] == ["theirs", "ours"]
    values = [[figure.value for figure in run.report.figures] for run in both.runs]
    assert values[0] == pytest.approx(values[1])
    line = (both.runs[0].folder / "predictions.jsonl").read_text(encoding="utf-8").split("\n")[0]
    assert Prediction.from_json(line) == both.runs[0].report.predictions[0]


@pytest.mark.parametrize("passages", [3, 1200])
def test_measures_without_a_cutoff_see_as_many_passages_as_those_of_pipelines(project, passages):
    write_rows(
        project.folder / "one.jsonl", [{"id": "q", "question": "who", "relevance": {"p1": 1}}]
    )
    lines = [f"q Q0 p{number} {number} {2000 - number} x" for number in range(1, passages + 1)]
    theirs = run_file(project, "theirs.trec", lines)
    source = QuestionSource(project.folder / "one.jsonl")
    settings = {"retrieval": True, "metrics": ("AP",), "questions": source}
    report = run_systems(project.experiment(theirs, **settings)).runs[0].report
    assert report.depth == min(passages, 1000)
    warned = [each for each in report.warnings if "of the first 3 passages" in each]
    assert len(warned) == (passages == 3)
    known = run_systems(project.experiment(theirs, **settings, depth=1000)).runs[0].report
    assert not [each for each in known.warnings if "of the first" in each]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["q0 Q0 p1 1 2.0 x"], "lacks 69 of 70 questions"),
        (["q0 Q0 p1 1 nan x"], "trec:1"),
        (["q0 Q0 p1 1 2.0 x", "q0 Q0 p1 2 1.0 x"], "trec:2"),
    ],
)
def test_faulty_run_files_are_refused_before_anything_is_computed(project, lines, message):
    theirs = run_file(project, "theirs.trec", lines)
    with pytest.raises(QuestionError, match=message):
        run_systems(project.experiment(project.system("ours"), theirs, **RETRIEVAL))
    assert not list(project.output.glob("runs/*"))


def test_run_files_need_judgments_by_ids(project):
    write_rows(project.folder / "answers.jsonl", [{"question": "who rules mali", "answer": "x"}])
    source = QuestionSource(project.folder / "answers.jsonl")
    theirs = run_file(project, "theirs.trec", ["1 Q0 p1 1 2.0 x"])
    with pytest.raises(QuestionError, match=r"system 'theirs'.*no question has ids"):
        run_systems(project.experiment(theirs, retrieval=True, metrics=None, questions=source))

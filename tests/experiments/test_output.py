"""What is in the way of results, or is of others, is found before anything is computed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ragcore.errors import ConfigError, StoreError
from ragcore.evaluation.report import QuestionSource
from ragcore.experiments.api import experiment as compare
from ragcore.experiments.loading import load_experiment
from ragcore.experiments.output import output_faults
from ragcore.experiments.running import run_systems
from tests.experiments.project import RETRIEVAL, Project

EXPERIMENT = """\
experiment: 1
questions: questions.jsonl
systems: {plain: pipeline.yaml}
retrieval: true
metrics: [hit@1]
cost: 0
"""


def link(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


def write(path: Path) -> None:
    path.write_text("mine", encoding="utf-8")


FAULTS = {
    "report.html": [(Path.mkdir, "is a folder, and a file"), (link("x"), "is a symbolic link")],
    "results.json": [(Path.mkdir, "is a folder, and a file"), (link("x"), "is a symbolic link")],
    "results.csv": [(Path.mkdir, "is a folder, and a file")],
    "results.tex": [(link("."), "is a symbolic link, and a file")],
    "runs": [(write, "is a file, and a folder"), (link("nothing"), "is a link to nothing")],
    "searches": [(write, "is a file, and a folder"), (link("."), "is a symbolic link")],
    "memories": [(write, "is a file, and a folder"), (link("nothing"), "is a link to nothing")],
}
CASES = [(name, make, fault) for name, cases in FAULTS.items() for make, fault in cases]


@pytest.mark.parametrize(("name", "make", "fault"), CASES)
def test_what_is_in_the_way_is_named_with_what_to_do(tmp_path, name, make, fault):
    make(tmp_path / name)
    (message,) = output_faults(tmp_path)
    assert message.startswith(f"{tmp_path / name} {fault}")
    assert message.endswith("move it away, or name another folder for the output")


def test_a_folder_that_is_missing_or_has_other_things_is_accepted(tmp_path):
    assert not list(output_faults(tmp_path / "new" / "results"))
    (tmp_path / "real").mkdir()
    (tmp_path / "runs").symlink_to("real")
    write(tmp_path / "notes.txt")
    assert not list(output_faults(tmp_path))


def test_an_output_below_a_file_or_at_a_link_to_nothing_is_refused(tmp_path):
    write(tmp_path / "file")
    (fault,) = output_faults(tmp_path / "file" / "results")
    assert fault.startswith(f"{tmp_path / 'file'} is a file, and {tmp_path / 'file' / 'results'}")
    (tmp_path / "dang").symlink_to("nothing")
    (fault,) = output_faults(tmp_path / "dang")
    assert fault.startswith(f"{tmp_path / 'dang'} is a link to nothing: ")


def test_all_are_faults_of_the_file_and_of_the_api(project: Project):
    (project.folder / "exp.yaml").write_text(EXPERIMENT, encoding="utf-8")
    loaded = load_experiment(project.folder / "exp.yaml")
    project.output.mkdir()
    (project.output / "report.html").mkdir()
    write(project.output / "runs")
    with pytest.raises(ConfigError) as raised:
        load_experiment(project.folder / "exp.yaml")
    assert str(raised.value).count("output: ") == 2
    with pytest.raises(StoreError, match=r"report\.html is a folder"):
        compare(loaded)


def test_systems_are_not_run_where_a_folder_is_in_the_way(project: Project):
    project.output.mkdir()
    (project.output / "searches").symlink_to(project.folder)
    with pytest.raises(StoreError, match=r"searches is a symbolic link"):
        run_systems(project.experiment(project.system("one"), **RETRIEVAL))
    assert [path.name for path in project.output.iterdir()] == ["searches"]


@pytest.fixture
def experiment(project: Project):
    return project.experiment(project.system("one"), **RETRIEVAL)


@pytest.mark.parametrize("name", ["results.json", "results.csv", "results.tex", "report.html"])
@pytest.mark.parametrize("text", ["mine", '{"experiment": "test", "questions": "x"}', "[]"])
def test_files_of_another_program_are_never_replaced(experiment, name, text):
    experiment.output.mkdir()
    (experiment.output / name).write_text(text, encoding="utf-8")
    for fresh in (False, True):
        with pytest.raises(StoreError, match=f"has {name}, and no results.json of an experiment"):
            compare(experiment, fresh=fresh)
    assert [path.name for path in experiment.output.iterdir()] == [name]
    assert (experiment.output / name).read_text("utf-8") == text


def test_results_of_the_same_experiment_are_replaced(experiment):
    compare(experiment)
    compare(replace(experiment, metrics=("hit@1",)))
    table = json.loads((experiment.output / "results.json").read_text("utf-8"))
    assert [metric["name"] for metric in table["metrics"]] == ["hit@1"]


def test_results_of_another_experiment_are_replaced_only_afresh(project, experiment):
    compare(experiment)
    before = (experiment.output / "results.json").read_bytes()
    lines = (project.folder / "questions.jsonl").read_text("utf-8").splitlines()
    (project.folder / "sub").mkdir()
    source = project.folder / "sub" / "questions.jsonl"
    source.write_text("\n".join(lines[:3]), encoding="utf-8")
    renamed = replace(experiment, name="other")
    elsewhere = replace(experiment, questions=QuestionSource(source))
    for other in (renamed, elsewhere):
        with pytest.raises(StoreError, match=r"results of another experiment .*--fresh$"):
            compare(other)
    assert (experiment.output / "results.json").read_bytes() == before
    compare(elsewhere, fresh=True)
    assert (experiment.output / "results.json").read_bytes() != before


def test_a_project_that_was_moved_has_the_same_experiment(project, experiment):
    compare(experiment)
    moved = Project(project.folder.rename(project.folder.with_name("moved")))
    results = compare(moved.experiment(moved.system("one"), **RETRIEVAL))
    assert results.systems[0].run.reused

"""Settings are chosen on the dev questions alone, and the test questions are asked once."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from ragcore.errors import ConfigError, MetricError, QuestionError, UnknownComponentError
from ragcore.evaluation.report import QuestionSource
from ragcore.experiments.sampling import sample
from ragcore.experiments.spaces import Candidate, Range, read_space
from ragcore.experiments.tuned import Tuned
from ragcore.experiments.tuning import tune
from tests.experiments.project import QUESTIONS, Project, write_rows
from tests.helpers.tuning_project import COUNTRIES, make_tuning_project, question

K1, B = "memory.retriever.k1", "memory.retriever.b"


@pytest.fixture(scope="module")
def made_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tuning")
    make_tuning_project(folder)
    return folder


@pytest.fixture
def folder(made_folder: Path, tmp_path: Path) -> Path:
    shutil.copytree(made_folder, tmp_path / "work")
    return tmp_path / "work"


def tuned_in(folder: Path, **options: object) -> Tuned:
    values = {
        "dev": folder / "dev.jsonl",
        "test": folder / "test.jsonl",
        "metric": "mrr@2",
        "output": folder / "tuning",
        **options,
    }
    return tune(folder / "pipeline.yaml", **values)  # type: ignore[arg-type]


def asked_of(folder: Path) -> dict[str, list[str]]:
    """Return the questions of each run, by its system."""
    asked: dict[str, list[str]] = {}
    for path in (folder / "tuning" / "runs").iterdir():
        name = json.loads((path / "experiment.json").read_text(encoding="utf-8"))["system"]
        lines = (path / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
        asked.setdefault(name, []).extend(json.loads(line)["question"] for line in lines)
    return asked


def test_the_best_settings_on_the_dev_questions_are_chosen_and_tested(folder):
    tuned = tuned_in(folder, sweep={K1: [16, 0.5]})
    assert tuned.settings == {K1: 0.5}
    values = [(dict(trial.settings), trial.value) for trial in tuned.trials]
    assert values == [({}, 0.5), ({K1: 16}, 0.5), ({K1: 0.5}, 1.0)]
    assert (tuned.original_figure.value, tuned.chosen_figure.value) == (0.5, 1.0)
    assert tuned.comparison is not None
    assert tuned.comparison.difference == 0.5
    # All of 8 questions are won: 2 of the 2^8 exchanges of signs are as extreme.
    assert tuned.comparison.p == pytest.approx(2 / 2**8)
    assert tuned.warnings == ()
    written = json.loads((folder / "tuning" / "tuned.json").read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(tuned.to_dict()))
    assert written["test"]["comparison"]["difference"] == 0.5


def test_the_test_questions_choose_nothing_and_are_asked_of_two_systems(folder):
    # On these, high k1 is right: tuning on them would choose otherwise.
    songs = [question(country) | {"passage_ids": [f"{country}-song"]} for country in COUNTRIES[8:]]
    write_rows(folder / "test.jsonl", songs)
    tuned = tuned_in(folder, sweep=[f"{K1}=0.5,16,0.7"])
    assert tuned.settings == {K1: 0.5}
    assert (tuned.original_figure.value, tuned.chosen_figure.value) == (1.0, 0.5)
    asked = asked_of(folder)
    assert len(asked) == 4
    tested = {name for name, texts in asked.items() if songs[0]["question"] in texts}
    assert tested == {"pipeline", f"pipeline, {K1}=0.5"}


def test_of_equal_settings_that_with_the_fewest_changes_is_chosen_then_the_first(folder):
    # k1 alone decides; b of 0.75 is the pipeline's own.
    tuned = tuned_in(folder, sweep={B: [0.5, 0.75], K1: [16, 0.6, 0.5]})
    assert tuned.chosen.settings == {B: 0.75, K1: 0.6}
    assert tuned.settings == {K1: 0.6}


def test_the_pipeline_as_it_is_stays_where_nothing_is_better(folder):
    tuned = tuned_in(folder, sweep={K1: [8.0, 16]})
    assert tuned.settings == {}
    assert tuned.chosen is tuned.original
    # Its own value is no further trial.
    assert [dict(trial.settings) for trial in tuned.trials] == [{}, {K1: 16}]
    assert tuned.comparison is None
    assert len(tuned.results.systems) == 1
    (warning,) = tuned.warnings
    assert f"does not depend on {K1}" in warning


def test_overrides_are_part_of_the_pipeline_as_it_is(folder):
    tuned = tune(
        folder / "pipeline.yaml",
        f"{K1}=0.5",
        dev=folder / "dev.jsonl",
        test=folder / "test.jsonl",
        metric="mrr@2",
        output=folder / "tuning",
        sweep={B: [0.5]},
    )
    assert (tuned.original.value, tuned.settings) == (1.0, {})


def test_lower_is_better_where_the_metric_says_so(project: Project):
    rows = (project.folder / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(rows) == QUESTIONS
    for name, part in (("dev", rows[:6]), ("test", rows[6:10])):
        (project.folder / f"{name}.jsonl").write_text("\n".join(part), encoding="utf-8")
    tuned = tune(
        project.pipeline,
        dev=project.folder / "dev.jsonl",
        test=project.folder / "test.jsonl",
        metric="brier",
        sweep={"rag.k": [1, 6]},
        output=project.output,
    )
    values = [trial.value for trial in tuned.trials]
    assert len({*values}) == 3
    assert tuned.better == "lower"
    assert tuned.chosen.value == min(value for value in values if value is not None)


def test_a_second_look_at_test_questions_is_a_warning_and_the_same_look_is_none(folder):
    first = tuned_in(folder, sweep={K1: [0.5]})
    again = tuned_in(folder, sweep={K1: [0.5]})
    assert first.warnings == again.warnings == ()
    assert [trial.reused for trial in again.trials] == [True, True]
    assert again.to_dict()["test"] == first.to_dict()["test"]
    # Some of the questions are the same ones, in another file.
    write_rows(folder / "more.jsonl", [question(each) for each in COUNTRIES[10:]])
    other = tuned_in(folder, sweep={K1: [0.6]}, test=folder / "more.jsonl")
    (warning,) = other.warnings
    assert f"6 of the 6 test questions were looked at before, with {K1}=0.5 by mrr@2" in warning
    looks = (folder / "tuning" / "looks.jsonl").read_text(encoding="utf-8")
    assert looks.count("\n") == 2


def test_a_damaged_record_of_looks_is_an_error(folder):
    (folder / "tuning").mkdir()
    (folder / "tuning" / "looks.jsonl").write_text("{}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"looks.jsonl:1: not a look"):
        tuned_in(folder, sweep={K1: [0.5]})


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("dev.jsonl", None, "are one file"),
        (
            "test.jsonl",
            # Another way of writing a question does not make it another one.
            [question("Togo!") | {"id": "other"}, question("Chad"), question("Angola")],
            r"2 of the 3 test questions .* such as 'capital of Togo!' \(id 'other'\)",
        ),
        ("test.jsonl", [], "no question"),
        ("test.jsonl", [{"question": "Who?", "answers": {"v2": ["I"]}}], "v1"),
    ],
)
def test_test_questions_that_are_not_apart_or_not_usable_are_refused(folder, name, rows, message):
    if rows is not None:
        write_rows(folder / name, rows)
    with pytest.raises(QuestionError, match=message):
        tuned_in(folder, test=folder / name, sweep={K1: [0.5]})
    assert not (folder / "tuning").exists()


def test_a_copy_of_the_dev_file_is_refused(folder):
    shutil.copy(folder / "dev.jsonl", folder / "copy.jsonl")
    with pytest.raises(QuestionError, match="8 of the 8 test questions"):
        tuned_in(folder, test=folder / "copy.jsonl", sweep={K1: [0.5]})


@pytest.mark.parametrize(
    ("options", "messages"),
    [
        ({}, ["nothing to choose from"]),
        (
            {"sweep": ["memory.retriever.k2=1,2", "rag.k=0.5,3", "rag.beams", f"{B}=0,0"]},
            ["unknown key 'k2'", "expected an integer", "not a sweep", "0 is there twice"],
        ),
        (
            {"ranges": [f"{K1}=2:1", f"{B}=low:1", "rag.k=1:2.5", "rag.marginalize=1:2", "rag=1"]},
            [
                "2 is not less than 1",
                "not a range of numbers",
                "expected an integer",
                "rag.marginalize=1",
                "rag=1: not a range",
            ],
        ),
        ({"ranges": [f"{B}=0:inf"]}, ["not a range of numbers"]),
        ({"ranges": [f"{K1}=0:2"], "sweep": {K1: [1]}}, ["varied twice"]),
        ({"ranges": [f"{B}=0:1"], "trials": 0}, ["trials is 0"]),
    ],
)
def test_faults_of_the_space_are_listed_before_anything_is_computed(folder, options, messages):
    with pytest.raises(ConfigError) as raised:
        tuned_in(folder, **options)
    for message in messages:
        assert message in str(raised.value)
    assert not (folder / "tuning").exists()


@pytest.mark.parametrize(
    ("metric", "error", "message"),
    [
        ("NumRet", MetricError, "neither higher nor lower"),
        # There is no generator.
        ("exact_match", MetricError, "exact_match"),
        ("mmr@2", UnknownComponentError, "mmr"),
    ],
)
def test_metrics_that_choose_nothing_are_refused(folder, metric, error, message):
    with pytest.raises(error, match=message):
        tuned_in(folder, metric=metric, sweep={K1: [0.5]})
    assert not (folder / "tuning").exists()


def test_numbers_of_a_range_are_proposed_and_reused(folder):
    options = {"ranges": {K1: (0, 6), B: (0.0, 1.0)}, "trials": 12, "seed": 1}
    tuned = tuned_in(folder, **options)
    assert tuned.chosen.value == 1.0
    assert len(tuned.trials) == 13
    for trial in tuned.trials[1:]:
        assert 0 <= trial.settings[K1] <= 6
        assert 0 <= trial.settings[B] <= 1
    again = tuned_in(folder, **options)
    assert [trial.settings for trial in again.trials] == [trial.settings for trial in tuned.trials]
    assert all(trial.reused for trial in again.trials)
    other = tuned_in(folder, **options | {"seed": 2})
    assert other.trials[1].settings != tuned.trials[1].settings


def test_keys_of_whole_numbers_get_whole_numbers(folder):
    path = str(folder / "pipeline.yaml")
    space = read_space(path, [], ranges=["rag.k=1:4", f"{K1}=0:2", "memory.temperature=0.5:2.5"])
    assert space.ranges == (
        Range("rag.k", 1, 4),
        Range(K1, 0.0, 2.0),
        Range("memory.temperature", 0.5, 2.5),
    )
    assert [type(each.low) for each in space.ranges] == [int, float, float]


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_proposals_come_closer_to_the_best_number(folder, better):
    space = read_space(str(folder / "pipeline.yaml"), [], {"rag.k": [1, 2]}, [f"{K1}=0:10"])
    proposed: list[tuple[float, int]] = []
    sign = -1 if better == "higher" else 1

    def measure(candidates: list[Candidate]) -> list[float]:
        pairs = [(each.settings[K1], each.settings["rag.k"]) for each in candidates]
        proposed.extend(pairs)
        return [sign * (abs(k1 - 7) + (k == 1)) for k1, k in pairs]

    sample(space, measure, trials=40, seed=0, better=better)
    assert len(proposed) == 40
    first = [abs(k1 - 7) for k1, _ in proposed[:10]]
    last = [abs(k1 - 7) for k1, _ in proposed[-10:]]
    assert sum(last) < sum(first) / 2
    assert sum(k == 2 for _, k in proposed[-10:]) > 5


def test_ranges_without_optuna_say_how_to_install_it(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"optuna.*pip install '\.\[tune\]'"):
        tuned_in(folder, ranges=[f"{B}=0:1"])
    assert tuned_in(folder, sweep={K1: [0.5]}).settings == {K1: 0.5}


def test_a_source_of_questions_is_read_as_it_says(folder):
    dev = QuestionSource(folder / "dev.jsonl", limit=3)
    assert tuned_in(folder, dev=dev, sweep={K1: [0.5]}).dev_questions == 3

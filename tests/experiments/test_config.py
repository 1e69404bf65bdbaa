"""Test the experiment file: what it says, how options change it, and every fault by position."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from ragcore.build import build_memory
from ragcore.errors import ConfigError
from ragcore.experiments.config import experiment_schema
from ragcore.experiments.loading import load_experiment
from ragcore.experiments.systems import Experiment

PIPELINE = """\
ragcore: 1
memory:
  store: store
  corpus: {use: jsonl, path: passages.jsonl}
  retriever: {use: bm25}
"""
EXPERIMENT = """\
experiment: 1
questions: test.jsonl
systems:
  plain: bm25.yaml
  heavy: {pipeline: bm25.yaml, set: {memory.retriever.k1: 2.0}}
metrics: [nDCG@5]
"""
RUN = "1 Q0 td 1 2.0 other\n2 Q0 et 1 2.0 other\n"


def write_questions(path: Path, *countries: str) -> None:
    rows = [
        {
            "question": f"What is the capital of {country}?",
            "answer": "a city",
            "relevance": {id_: 1},
        }
        for country, id_ in (country.split(":") for country in countries)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bm25.yaml").write_text(PIPELINE, encoding="utf-8")
    rows = [
        {"id": "td", "title": "Chad", "text": "N'Djamena is the capital"},
        {"id": "et", "title": "Ethiopia", "text": "Addis Ababa is the capital"},
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "passages.jsonl").write_text(text, encoding="utf-8")
    build_memory(tmp_path / "bm25.yaml", version="first")
    write_questions(tmp_path / "test.jsonl", "Chad:td", "Ethiopia:et")
    write_questions(tmp_path / "dev.jsonl", "Mali:td")
    (tmp_path / "other.trec").write_text(RUN, encoding="utf-8")
    return tmp_path


def load(folder: Path, text: str = EXPERIMENT, **options: Any) -> Experiment:
    (folder / "exp.yaml").write_text(text, encoding="utf-8")
    return load_experiment(folder / "exp.yaml", **options)


def refusal(folder: Path, text: str = EXPERIMENT, **options: Any) -> str:
    with pytest.raises(ConfigError) as raised:
        load(folder, text, **options)
    return str(raised.value).replace(f"{folder}/", "")


def test_paths_start_from_the_folder_of_the_file(folder: Path) -> None:
    experiment = load(folder)
    assert experiment.name == "exp"
    assert experiment.output == folder / "results"
    assert experiment.questions.path == str(folder / "test.jsonl")
    assert [system.pipeline for system in experiment.systems] == [folder / "bm25.yaml"] * 2
    assert len(experiment.questions.read()) == 2


def test_defaults_are_those_of_the_design(folder: Path) -> None:
    experiment = load(folder, EXPERIMENT.replace("metrics: [nDCG@5]\n", ""))
    assert experiment.metrics is None
    assert experiment.baseline == "plain"
    assert (experiment.processes, experiment.cost_questions) == (1, 20)
    assert (experiment.dev, experiment.risk, experiment.depth) == (None, None, None)
    assert not experiment.build


def test_without_any_generator_retrieval_alone_is_measured(folder: Path) -> None:
    assert load(folder).retrieval


def test_a_data_set_of_the_catalogue_is_no_path(folder: Path) -> None:
    text = EXPERIMENT.replace("test.jsonl", "{path: 'ir_datasets:no/such', limit: 3}")
    message = refusal(folder, text)
    assert message.startswith("exp.yaml:2:12: ")
    assert "/ir_datasets:" not in message


def test_options_override_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "here").mkdir()
    monkeypatch.chdir(folder / "here")
    experiment = load(
        folder,
        systems=["../bm25.yaml"],
        runs=["theirs=../other.trec"],
        sweep=["memory.retriever.b=0.1,0.2"],
        metrics=["R@5", "nDCG@5"],
        baseline="theirs",
        output="out",
        limit=1,
        cost=0,
        build=True,
    )
    names = [system.name for system in experiment.systems]
    assert names == ["bm25, b=0.1", "bm25, b=0.2", "theirs"]
    assert experiment.systems[2].run is not None
    assert experiment.systems[2].run.samefile(folder / "other.trec")
    assert experiment.metrics == ("R@5", "nDCG@5")
    assert experiment.baseline == "theirs"
    assert experiment.output == folder / "here" / "out"
    assert experiment.questions.limit == 1
    assert (experiment.cost_questions, experiment.build) == (0, True)


def test_options_are_enough_without_a_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    experiment = load_experiment(
        systems={"plain": "bm25.yaml"},
        questions="test.jsonl",
        sweep={"memory.retriever.k1": [0.9, 1.2]},
    )
    assert experiment.name == "experiment"
    assert [system.name for system in experiment.systems] == ["plain, k1=0.9", "plain, k1=1.2"]
    assert experiment.systems[1].overrides == ("memory.retriever.k1=1.2",)
    assert experiment.output == folder / "results"


def test_options_that_name_nothing_are_listed_together(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(ConfigError) as raised:
        load_experiment(
            systems=["bm25.yaml", "bm25.yaml", "x=none.yaml"],
            limit=3,
            sweep=["rag.k", "rag.k=1", "rag.k=2"],
            metrics=["nDCGG@5"],
        )
    lines = [line.split("': ")[0] for line in str(raised.value).splitlines()]
    assert lines == [
        "the options: missing key 'questions' in the experiment: what the figures are of: a path, "
        "or a mapping",
        "option 'system bm25.yaml",
        "option 'system x=none.yaml",
        "option 'limit 3",
        "option 'sweep rag.k",
        "option 'sweep rag.k=2",
        "option 'metric nDCGG@5",
    ]


def test_an_unknown_option_is_a_fault_of_the_program(folder: Path) -> None:
    with pytest.raises(TypeError, match="unknown options metric: expected systems"):
        load(folder, metric=["f1"])


FAULTS = {
    "an unknown key, with the nearest": (
        "metrics:",
        "metrcis:",
        "exp.yaml:6:1: unknown key 'metrcis' in the experiment: did you mean 'metrics'?",
    ),
    "an unknown metric": ("nDCG@5", "nDCGG@5", "exp.yaml:6:11: unknown metric 'nDCGG'"),
    "no questions": (
        "questions: test.jsonl\n",
        "",
        "exp.yaml:1:1: missing key 'questions' in the experiment",
    ),
    "a file of questions that is missing": (
        "test.jsonl",
        "tset.jsonl",
        "exp.yaml:2:12: tset.jsonl: ",
    ),
    "a pipeline that is missing": (
        "plain: bm25.yaml",
        "plain: none.yaml",
        "exp.yaml:4:3: system 'plain': none.yaml: no such file",
    ),
    "an unknown baseline, with the nearest": (
        "metrics:",
        "baseline: plian\nmetrics:",
        "exp.yaml:6:11: baseline: no system 'plian': did you mean 'plain'?",
    ),
    "risk without other questions": (
        "metrics:",
        "risk: 0.1\nmetrics:",
        "exp.yaml:6:7: risk: the threshold is chosen on other questions",
    ),
    "other questions without risk": (
        "metrics:",
        "dev: dev.jsonl\nmetrics:",
        "exp.yaml:6:6: dev: these questions choose the threshold",
    ),
    "dev questions that are those of the test": (
        "metrics:",
        "dev: test.jsonl\nrisk: 0.1\nmetrics:",
        "exp.yaml:6:6: dev: 2 of the 2 test questions are among the 2 dev questions, such as "
        "'What is the capital of Chad?'",
    ),
    "risk where nothing is answered": (
        "metrics: [nDCG@5]",
        "dev: dev.jsonl\nrisk: 0.1",
        "exp.yaml:4:3: system 'plain' has no generator, and 'risk' is of answers",
    ),
    "metrics of answers without a generator": (
        "nDCG@5",
        "f1",
        "exp.yaml:4:3: system 'plain' has no generator, and f1: of answers",
    ),
    "metrics of answers where retrieval is measured": (
        "metrics: [nDCG@5]",
        "metrics: [f1]\nretrieval: true",
        "exp.yaml:6:10: f1: of answers, and 'retrieval' measures none",
    ),
    "a metric below the depth": (
        "metrics:",
        "depth: 3\nmetrics:",
        "exp.yaml:6:8: nDCG@5 is of the first 5 passages, and the depth is 3",
    ),
    "a run file with settings": (
        "plain: bm25.yaml",
        "plain: {run: other.trec, set: {rag.k: 1}}",
        "exp.yaml:4:33: set changes a pipeline, and this system is a run file",
    ),
    "a run file with a grid": (
        "plain: bm25.yaml",
        "plain: {run: other.trec, grid: {rag.k: [1]}}",
        "exp.yaml:4:34: grid changes a pipeline, and this system is a run file",
    ),
    "a run file that is none": (
        "plain: bm25.yaml",
        "plain: {run: test.jsonl}",
        "exp.yaml:4:3: system 'plain': test.jsonl:1: ",
    ),
    "a system that is neither": (
        "plain: bm25.yaml",
        "plain: {set: {}}",
        "exp.yaml:4:10: expected a pipeline (pipeline: FILE) or a run file (run: FILE)",
    ),
    "the same system twice": (
        "k1: 2.0",
        "k1: 1.2",
        "exp.yaml:5:3: the systems 'plain' and 'heavy' are the same",
    ),
    "settings that change no answer": (
        "memory.retriever.k1: 2.0",
        "memory.verify: full, memory.corpus.path: x",
        "exp.yaml:5:3: the systems 'plain' and 'heavy' are the same",
    ),
    "a version that the store lacks": (
        "memory.retriever.k1: 2.0",
        "memory.version: fisrt",
        "exp.yaml:5:38: system 'heavy': memory.version is 'fisrt', which the store store does not "
        "have: did you mean 'first'? versions: first",
    ),
    "a store without versions": (
        "memory.retriever.k1: 2.0",
        "memory.store: empty",
        "exp.yaml:5:3: system 'heavy': the store empty has no version: build one",
    ),
    "an output that is a file": (
        "metrics:",
        "output: bm25.yaml\nmetrics:",
        "exp.yaml:6:9: output: bm25.yaml is a file",
    ),
    "an empty grid": (
        "metrics:",
        "grid: {memory.retriever.k1: []}\nmetrics:",
        "exp.yaml:6:29: memory.retriever.k1: must have at least 1 item, found 0 items",
    ),
    "a name that a terminal would obey": (
        "plain: bm25.yaml",
        '"pl\\e[31main": bm25.yaml',
        "exp.yaml:4:3: the name 'pl\\x1b[31main' of a system",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_reported_at_its_position(folder: Path, fault: str) -> None:
    old, new, expected = FAULTS[fault]
    assert old in EXPERIMENT
    message = refusal(folder, EXPERIMENT.replace(old, new))
    assert message.startswith(expected), message
    assert message.splitlines()[-1].strip() == "^"


def test_all_faults_come_together(folder: Path) -> None:
    text = """\
experiment: 1
questions: none.jsonl
systems:
  plain: {pipeline: bm25.yaml, grid: {memory.retriever.kk: [1]}}
  other: {run: other.trec, set: {rag.k: 1}}
metrics: [nDCGG@5]
oputput: x
"""
    message = refusal(folder, text)
    positions = [line.split(" ")[0] for line in message.splitlines() if line.startswith("exp.yaml")]
    assert positions == [f"exp.yaml:{where}:" for where in ("2:12", "4:39", "5:33", "6:11", "7:1")]


def test_without_labels_nothing_is_computed(folder: Path) -> None:
    (folder / "test.jsonl").write_text('{"question": "Who?"}\n', encoding="utf-8")
    message = refusal(folder)
    assert message.startswith("exp.yaml:2:12: no question has a known passage or answer (of 1)")


def test_an_empty_file_says_how_one_begins(folder: Path) -> None:
    assert "an experiment begins with 'experiment: 1'" in refusal(folder, "")
    assert refusal(folder, "[1]").startswith("exp.yaml:1:1: the experiment must be a mapping of")


def test_the_schema_accepts_what_is_loaded_and_refuses_unknown_keys(folder: Path) -> None:
    validator = jsonschema.Draft202012Validator(experiment_schema())
    jsonschema.Draft202012Validator.check_schema(experiment_schema())
    load(folder)
    plain = yaml.safe_load(EXPERIMENT)
    assert validator.is_valid(plain)
    assert not validator.is_valid(plain | {"metrcis": []})
    assert not validator.is_valid(plain | {"systems": {"plain": {"pipline": "x"}}})

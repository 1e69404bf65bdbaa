"""Test the grid: which systems it makes, their names, and the faults of its keys and values."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragcore.build import build_memory
from ragcore.config import load_config
from ragcore.config.source import Source, dump_line, written_value
from ragcore.errors import ConfigError
from ragcore.experiments.grid import MOST_SYSTEMS
from ragcore.experiments.loading import load_experiment
from ragcore.experiments.systems import Experiment

HEADER = "experiment: 1\nquestions: test.jsonl\nmetrics: [hit@1]\nsystems:\n"
QUESTION = '{"question": "Where?", "answer": "Chad"}\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, k in (("a", 1), ("b", 2)):
        text = (
            "ragcore: 1\n"
            "memory:\n"
            "  store: store\n"
            "  corpus: {use: jsonl, path: passages.jsonl}\n"
            "  retriever: {use: bm25}\n"
            "generator: {use: bart, model: none}\n"
            f"rag: {{k: {k}}}\n"
        )
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "passages.jsonl").write_text('{"id": "td", "text": "Chad"}\n', encoding="utf-8")
    for version in ("2016-11", "2018-12"):
        build_memory(tmp_path / "a.yaml", version=version)
    (tmp_path / "test.jsonl").write_text(QUESTION, encoding="utf-8")
    return tmp_path


def load(folder: Path, text: str, **options: Any) -> Experiment:
    (folder / "exp.yaml").write_text(HEADER + text, encoding="utf-8")
    return load_experiment(folder / "exp.yaml", **options)


def names(folder: Path, text: str) -> list[str]:
    return [system.name for system in load(folder, text).systems]


def refusal(folder: Path, text: str, **options: Any) -> list[str]:
    """Return the faults, without the lines that they are shown with."""
    with pytest.raises(ConfigError) as raised:
        load(folder, text, **options)
    message = str(raised.value).replace(f"{folder}/", "")
    return [line for line in message.splitlines() if not line.startswith("    ")]


def test_a_grid_is_the_cross_product_over_all_pipelines(folder: Path) -> None:
    text = """\
  a: a.yaml
  b: {pipeline: b.yaml, grid: {memory.temperature: [1, 2]}}
grid:
  memory.retriever.k1: [0.9, 1.2]
  memory.version: [2016-11, 2018-12]
"""
    experiment = load(folder, text)
    levels = itertools.product(("0.9", "1.2"), ("2016-11", "2018-12"))
    own = [(k1, version, t) for k1, version in levels for t in "12"]
    assert [system.name for system in experiment.systems] == [
        *[f"a, k1={k1}, version={version}" for k1, version, t in own if t == "1"],
        *[f"b, k1={k1}, version={version}, temperature={t}" for k1, version, t in own],
    ]
    last = experiment.systems[-1]
    assert last.factors == {
        "system": "b",
        "memory.retriever.k1": 1.2,
        "memory.version": "2018-12",
        "memory.temperature": 2,
    }


def test_the_config_of_a_system_is_what_its_overrides_say(folder: Path) -> None:
    text = "  a: {pipeline: a.yaml, set: {rag.k: 7}, grid: {rag.beams: [1, 4]}}\n"
    systems = load(folder, text).systems
    assert [system.overrides for system in systems] == [
        ("rag.k=7", "rag.beams=1"),
        ("rag.k=7", "rag.beams=4"),
    ]
    for system in systems:
        assert system.pipeline is not None
        assert system.config == load_config(system.pipeline, system.overrides)
        assert system.config.rag.k == 7


def test_a_grid_of_a_system_replaces_the_same_key_for_all(folder: Path) -> None:
    text = """\
  a: a.yaml
  b: {pipeline: b.yaml, grid: {rag.beams: [8]}}
grid: {rag.beams: [1, 2]}
"""
    assert names(folder, text) == ["a, beams=1", "a, beams=2", "b, beams=8"]


def test_a_key_is_named_by_as_few_parts_as_tell_it_apart(folder: Path) -> None:
    text = """\
  a: a.yaml
grid:
  rag.abstain.above: [0.5]
  memory.retriever.k1: [1]
  memory.temperature: [2]
  rag.max_new_tokens: [4]
  rag.where: [{a: {eq: 1}}]
"""
    (name,) = names(folder, text)
    assert name == "a, above=0.5, k1=1, temperature=2, max_new_tokens=4, where={a: {eq: 1}}"
    clashing = "  a: a.yaml\ngrid:\n  memory.cache.folder: [x]\n  memory.store.folder: [y]\n"
    (fault,) = refusal(folder, clashing)
    assert "system 'a': 'memory.store' has no keys" in fault


def test_values_stay_of_their_type(folder: Path) -> None:
    text = "  a: a.yaml\ngrid: {memory.version: ['2016-11', 2018-12]}\n"
    systems = load(folder, text).systems
    assert [system.factors["memory.version"] for system in systems] == ["2016-11", "2018-12"]
    (fault,) = refusal(folder, "  a: a.yaml\ngrid: {memory.version: [2016, 2018-12]}\n")
    assert fault.startswith("exp.yaml:6:25: system 'a': version: expected a string, found the")


def test_settings_of_answers_make_no_systems_of_retrieval(folder: Path) -> None:
    text = "  a: a.yaml\ngrid: {rag.beams: [1, 2]}\nretrieval: true\n"
    (fault,) = refusal(folder, text)
    assert fault == (
        "exp.yaml:5:3: the systems 'a, beams=1' and 'a, beams=2' are the same: no setting differs "
        "that retrieval depends on; remove one"
    )


def test_a_baseline_is_a_full_name_or_the_first_of_a_system(folder: Path) -> None:
    text = "  a: a.yaml\n  b: b.yaml\ngrid: {memory.retriever.k1: [1, 2]}\nbaseline: "
    assert load(folder, text + "b").baseline == "b, k1=1"
    assert load(folder, text + "'b, k1=2'").baseline == "b, k1=2"
    assert load(folder, text + "null").baseline == "a, k1=1"


def test_an_unknown_key_is_a_fault_at_the_key_for_all_systems_together(folder: Path) -> None:
    text = "  a: a.yaml\n  b: b.yaml\ngrid:\n  memory.retriever.q9: [1, 2]\n"
    (fault,) = refusal(folder, text)
    expected = "exp.yaml:8:3: systems 'a', 'b': unknown key 'q9' in retriever 'bm25': allowed: use,"
    assert fault.startswith(expected)
    assert "vary it only" not in fault


@pytest.mark.parametrize("way", ["grid", "sweep", "levels", "own grid"])
def test_a_key_that_only_some_systems_have_is_for_their_own_grid(folder: Path, way: str) -> None:
    text = (
        (folder / "b.yaml")
        .read_text("utf-8")
        .replace(
            "{use: bm25}", "{use: dense, encoder: {use: static, model: x}, index: {use: exact}}"
        )
    )
    (folder / "b.yaml").write_text(text, encoding="utf-8")
    systems = "  a: a.yaml\n  b: b.yaml\n"
    options: dict[str, Any] = {}
    if way == "sweep":
        options = {"sweep": ["memory.retriever.k1=1,2"]}
    elif way == "levels":
        options = {"sweep": {"memory.retriever.k1": [1, 2]}}
    else:
        if way == "own grid":
            systems = systems.replace(
                "a: a.yaml", "a: {pipeline: a.yaml, grid: {memory.retriever.k1: [3]}}"
            )
        systems += "grid:\n  memory.retriever.k1: [1, 2]\n"
    (fault,) = refusal(folder, systems, **options)
    assert "system 'b': unknown key 'k1' in retriever 'dense': allowed: use," in fault
    assert fault.startswith("exp.yaml:8:3: ") == (not options)
    assert fault.endswith("vary it only in the systems that have it, in a 'grid' of theirs")


def test_a_wrong_value_is_a_fault_at_the_value(folder: Path) -> None:
    text = "  a: a.yaml\ngrid:\n  rag.k: [1, x, 3]\n  rag.beams: [1, 0]\n"
    assert refusal(folder, text) == [
        "exp.yaml:7:14: system 'a': k: expected an integer, found the string 'x'",
        "exp.yaml:8:18: system 'a': beams: must be at least 1, found 0",
    ]


def test_settings_that_only_together_are_wrong_name_the_system(folder: Path) -> None:
    text = "  a: a.yaml\ngrid:\n  rag.max_new_tokens: [4, 8]\n  rag.min_new_tokens: [2, 6]\n"
    (fault,) = refusal(folder, text)
    assert "min_new_tokens (6) must not exceed max_new_tokens (4)" in fault
    assert re.match(r"exp\.yaml:\d+:\d+: system 'a", fault)


def test_a_faulty_pipeline_is_reported_once_with_its_own_positions(folder: Path) -> None:
    (folder / "a.yaml").write_text("ragcore: 1\nmemroy: {}\n", encoding="utf-8")
    text = "  a: a.yaml\n  b: b.yaml\ngrid: {rag.k: [1, 2, 3], rag.beam: [1]}\n"
    faults = refusal(folder, text)
    assert sum("unknown key 'memroy'" in fault for fault in faults) == 1
    assert sum(fault.startswith("a.yaml:2:1: ") for fault in faults) == 1
    assert sum("unknown key 'beam'" in fault for fault in faults) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  a: a.yaml\ngrid: {rag.k: [1, 2, 1]}\n", "exp.yaml:6:22: rag.k: 1 is there twice"),
        (
            "  a: a.yaml\ngrid: {memory.version: [2018-12, null]}\n",
            "exp.yaml:5:3: the systems 'a, version=2018-12' and 'a, version=null' are the same",
        ),
        (
            "  a: {pipeline: a.yaml, set: {rag.k: 3}}\ngrid: {rag.k: [1, 2]}\n",
            "exp.yaml:5:31: system 'a': rag.k is set, and is varied by a grid: remove it from this "
            "system's 'set', or vary it only in the other systems, in a 'grid' of theirs in place "
            "of the common grid or --sweep",
        ),
        (
            "  a: {pipeline: a.yaml, set: {rag.k: 3}, grid: {rag.k: [1, 2]}}\n",
            "exp.yaml:5:31: system 'a': rag.k is set, and is varied by a grid: remove it from this "
            "system's 'set', or from its 'grid'",
        ),
        (
            "  a: {pipeline: a.yaml, grid: {rag.k: [1]}}\n  'a, k=1': b.yaml\n",
            "exp.yaml:6:3: a second system 'a, k=1'",
        ),
        ("  a: a.yaml\ngrid: {'rag..k': [1]}\n", "exp.yaml:6:8: 'rag..k' is no key of a pipeline"),
        ("  a: a.yaml\ngrid: {'rag.k=1': [1]}\n", "exp.yaml:6:8: 'rag.k=1' is no key"),
        ("  a: a.yaml\ngrid: {train.lr: [1, 2]}\n", "exp.yaml:6:8: system 'a': "),
    ],
)
def test_systems_that_cannot_be_told_apart_are_faults(
    folder: Path, text: str, expected: str
) -> None:
    assert refusal(folder, text)[0].startswith(expected)


def test_a_grid_without_end_is_refused_before_it_is_made(folder: Path) -> None:
    values = ", ".join(map(str, range(1, 102)))
    text = f"  a: a.yaml\ngrid: {{rag.k: [{values}], rag.beams: [{values}]}}\n"
    (fault,) = refusal(folder, text)
    assert fault.startswith("exp.yaml:6:1: the grid makes 10,201 systems of 1, and 10,000 are")
    assert MOST_SYSTEMS < 101 * 101


def test_secrets_are_not_written_into_overrides(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUBJECT", "hidden")
    (system,) = load(
        folder, "  a: a.yaml\ngrid: {memory.corpus.title: ['${env:SUBJECT}']}\n"
    ).systems
    assert "hidden" not in repr((system.name, system.overrides, system.factors))


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**6), 10**6)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("abc{}:,'# ", min_size=1, max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(VALUES)
def test_any_value_is_read_from_an_override_as_it_was_written(value: Any) -> None:
    text = dump_line(value)
    assert "\n" not in text
    source = Source("", "x", [f"a={text}"])
    node = source.override_value(text.strip(), 1)
    assert source.faults == []
    assert node is not None
    assert written_value(node) == value
    assert type(written_value(node)) is type(value)

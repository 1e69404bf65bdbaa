"""What ragcore 479b1a3 left on disk opens, finds, answers and updates as it did then.

README.md says what is in the fixture; expected.json was written by the old code.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ragcore
from ragcore.cli import main
from ragcore.registry.discovery import registry
from tests.compat import observing

HERE = Path(__file__).parent
EXPECTED: dict[str, Any] = json.loads((HERE / "expected.json").read_text(encoding="utf-8"))
YAML_FILES = sorted(path.name for path in (HERE / "fixture").glob("*.yaml"))

# Components whose name in YAML has changed; the old name must still be read.
RENAMED = {"likelihood": "query-likelihood"}

# Defaults that have changed on purpose, by the end of their path: large files are read by samples.
CHANGED_DEFAULTS = {"memory: verify": (True, "sampled")}


def parameter(name: str) -> Any:
    package = observing.NEEDS.get(name)
    missing = package is not None and importlib.util.find_spec(package) is None
    reason = f"{package} is not installed"
    return pytest.param(name, marks=pytest.mark.skipif(missing, reason=reason))


each_pipeline = pytest.mark.parametrize("name", [parameter(name) for name in observing.PIPELINES])


@pytest.fixture(autouse=True)
def plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The fixture's plugin is installed beside those of this environment."""
    monkeypatch.syspath_prepend(HERE / "plugin")
    registry.cache_clear()
    yield
    registry.cache_clear()


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the fixture, from which paths start."""
    folder = tmp_path / "old"
    shutil.copytree(HERE / "fixture", folder)
    monkeypatch.chdir(folder)
    return folder


def close_to(value: Any) -> Any:
    """The same, with numbers that may differ by rounding."""
    match value:
        case dict():
            return {key: close_to(each) for key, each in value.items()}
        case list():
            return [close_to(each) for each in value]
        case float():
            return pytest.approx(value, rel=1e-5, abs=1e-6)
        case _:
            return value


@each_pipeline
def test_a_store_is_listed_and_searched_and_answers_as_it_did(old: Path, name: str) -> None:
    facts = observing.pipeline_facts(name)
    for kind, expected in EXPECTED["pipelines"][name].items():
        assert facts[kind] == close_to(expected), kind


@each_pipeline
def test_an_old_version_is_updated_as_it_was(old: Path, name: str) -> None:
    assert observing.updated_facts(name) == close_to(EXPECTED["updates"][name])
    # The versions it was derived from answer as before.
    with ragcore.load(f"{name}.yaml") as rag:
        expected = EXPECTED["pipelines"][name]["searches"]
        found = {version: observing.searched(rag, version) for version in expected}
    assert found == close_to(expected)


@each_pipeline
def test_a_running_pipeline_swaps_between_old_versions(old: Path, name: str) -> None:
    current = EXPECTED["pipelines"][name]["answers"]
    with ragcore.load(f"{name}.yaml") as rag:
        for version in (*observing.VERSIONS[name], current[0]["memory"]):
            rag.swap(version)
            assert {answer.memory for answer in rag.answer(observing.QUESTIONS[:2])} == {version}
        texts = [answer.text for answer in rag.answer(observing.QUESTIONS[:3])]
    assert texts == [answer["text"] for answer in current]


@each_pipeline
def test_every_file_is_verified(old: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for version in observing.VERSIONS[name]:
        folder = old / "stores" / name / "versions" / version
        observing.run("memory", "verify", f"stores/{name}", version)
        for path in sorted(folder.rglob("*.*")):
            content = path.read_bytes()
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
            assert main(["memory", "verify", f"stores/{name}", version]) == 2, path
            assert path.name in capsys.readouterr().err
            path.write_bytes(content)
        observing.run("memory", "verify", f"stores/{name}", version)


@each_pipeline
def test_the_history_is_followed_back(old: Path, name: str) -> None:
    assert observing.rollback_facts(name) == EXPECTED["rollbacks"][name]


@each_pipeline
def test_a_dry_gc_names_the_same_versions(old: Path, name: str) -> None:
    assert observing.collectable(name) == EXPECTED["collectable"][name]
    observing.run("memory", "verify", f"stores/{name}", "2016")


@each_pipeline
def test_versions_differ_in_the_same_passages(old: Path, name: str) -> None:
    assert observing.differences(name) == EXPECTED["differences"]


def test_a_corpus_updates_an_old_store(old: Path) -> None:
    made = ragcore.update_memory("bm25.yaml", version="back")
    assert made.passages == 10
    assert observing.lines("memory", "diff", "stores/bm25", "2016", "back", "--json") == []


def test_an_archive_is_imported_and_exported_again(old: Path) -> None:
    archive = old / "simple-2016.tar"
    observing.run("memory", "import", "stores/new", archive, "--activate")
    with ragcore.load("simple.yaml", "memory.store=stores/new") as rag:
        found = observing.searched(rag, "2016")
    assert found == close_to(EXPECTED["pipelines"]["simple"]["searches"]["2016"])
    observing.run("memory", "export", "stores/new", "again.tar")
    assert (old / "again.tar").read_bytes() == archive.read_bytes()


def test_an_archive_with_passages_that_moved_is_imported_and_exported_again(old: Path) -> None:
    archive = HERE / "moved" / "2018.tar"
    expected = json.loads((HERE / "moved" / "expected.json").read_text(encoding="utf-8"))
    observing.run("memory", "import", "stores/new", archive, "--activate")
    setting = "memory.store=stores/new"
    rows = observing.lines("memory", "search", "simple.yaml", "lake country", setting, "--json")
    assert {each["text"]: each["metadata"] for each in rows} == expected
    observing.run("memory", "export", "stores/new", "again.tar")
    assert (old / "again.tar").read_bytes() == archive.read_bytes()


@pytest.mark.parametrize("name", YAML_FILES)
def test_a_pipeline_file_says_what_it_said(old: Path, name: str) -> None:
    assert_contains(observing.filled(name), EXPECTED["filled"][name.removesuffix(".yaml")], name)
    assert ragcore.load_config(name).ragcore == 1
    observing.run("check", name)


def assert_contains(new: Any, expected: Any, where: str) -> None:
    """Every key that was there has its value; there may be new ones, with their defaults."""
    if isinstance(expected, dict):
        assert expected.keys() <= new.keys(), where
        for key, value in expected.items():
            assert_contains(new[key], value, f"{where}: {key}")
    elif isinstance(expected, list):
        assert len(new) == len(expected), where
        for at, (one, value) in enumerate(zip(new, expected, strict=True)):
            assert_contains(one, value, f"{where}[{at}]")
    elif where.endswith(": use"):
        assert new in (expected, RENAMED.get(expected)), where
    elif any(where.endswith(key) for key in CHANGED_DEFAULTS) and new != expected:
        assert (expected, new) in CHANGED_DEFAULTS.values(), where
    else:
        assert new == expected, where


def test_a_pipeline_with_every_key_answers_as_it_did(old: Path) -> None:
    assert observing.answered("everything.yaml") == close_to(EXPECTED["everything"])


def test_what_training_left_answers_as_it_did(old: Path) -> None:
    assert observing.answered("trained") == close_to(EXPECTED["trained"])
    untrained = observing.answered("trained", "generator.weights=null")
    assert untrained != close_to(EXPECTED["trained"])


@pytest.mark.parametrize("folder", ["trained", "evaluated"])
def test_an_old_run_is_replayed(old: Path, folder: str) -> None:
    (replayed,) = observing.lines("replay", folder, "--json")
    assert replayed["questions"] == 3
    assert replayed["changed"] == []


def test_a_run_is_compared_with_an_old_one(old: Path) -> None:
    options = ("--against", "evaluated", "--json")
    (report,) = observing.lines("eval", "exact.yaml", "questions.jsonl", *options)
    # The old run has recall@k, as hit@k was called, and mrr of all passages that were read.
    assert [(row["metric"], row["one"], row["other"]) for row in report["against"]] == [
        (row["metric"], pytest.approx(row["value"]), row["value"])
        for row in report["metrics"]
        if row["metric"] != "mrr@10"
    ]
    (report,) = observing.lines("eval", "exact.yaml", "questions.jsonl", "--metric=mrr", *options)
    (row,) = report["against"]
    assert row["one"] == pytest.approx(row["other"])

"""An error of a plugin's component is one message that names the component and its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragcore.build import build_memory
from ragcore.cli import main
from ragcore.errors import StoreError
from ragcore.registry.faults import component_fault
from ragcore.store.store import Store
from tests.conftest import Installed

PLUGIN = """\
import json
from pathlib import Path

import numpy as np
from ragcore import Hits, Passage, ComponentConfig, SimpleRetriever, hookimpl


class Terms(SimpleRetriever):
    class Config(ComponentConfig):
        fault: str = ""

    def scores(self, question):
        fault = self.config.fault
        if fault == "own":
            return [passage["text"] for passage in self.passages]
        if fault == "library":
            return [json.loads("{") for _ in self.passages]
        if fault == "file":
            return Path("/nowhere/terms.txt").read_text()
        if fault == "core":
            return Hits(None, None)
        return np.arange(len(self.passages), dtype=np.float32)

    def save(self, folder):
        if self.config.fault == "save":
            raise RuntimeError
        super().save(folder)


class Letters:
    class Config(ComponentConfig):
        fault: str = ""

    capabilities = frozenset()

    def __init__(self, config):
        self.config = config

    def __iter__(self):
        yield from (Passage(letter, "", f"text {letter}") for letter in "abc")
        if self.config.fault == "own":
            yield Passage("d", "", None + "d")
        if self.config.fault == "tuple":
            yield "d", "", "text d"


@hookimpl
def ragcore_retrievers():
    return {"terms": "letters_plugin:Terms"}


@hookimpl
def ragcore_corpora():
    return {"letters": "letters_plugin:Letters"}


@hookimpl
def ragcore_generators():
    return {"table": "tests.helpers.table_generator:TableGenerator"}
"""
PIPELINE = """\
ragcore: 1
memory:
  store: store
  corpus: {use: letters}
  retriever: {use: terms}
generator: {use: table}
rag: {k: 2}
"""
OWN = "memory.retriever.fault=own"


def line_of(text: str) -> int:
    """Return the number of the plugin's line that has a text in it."""
    return next(n for n, line in enumerate(PLUGIN.splitlines(), 1) if text in line)


@pytest.fixture
def pipeline(installed: Installed, tmp_path: Path) -> Path:
    installed.add("letters", PLUGIN)
    path = tmp_path / "pipeline.yaml"
    path.write_text(PIPELINE, encoding="utf-8")
    return path


def test_a_version_that_its_retriever_cannot_search_is_not_kept(
    pipeline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["memory", "build", str(pipeline), "--version", "one", OWN]) == 2
    message = capsys.readouterr().err
    assert "version 'one' cannot become the current one and was not kept, since" in message
    line = line_of('passage["text"]')
    assert "retriever 'terms' (letters_plugin:Terms) raised TypeError at " in message
    assert f"letters_plugin.py:{line}, in " in message
    assert "'Passage' object is not subscriptable: fix that, or keep the new one" in message
    assert message.endswith("; set RAGCORE_TRACEBACK=1 to see the whole traceback\n")
    assert "Traceback" not in message
    assert Store(pipeline.parent / "store").versions() == []
    with pytest.raises(StoreError) as caught:
        build_memory(pipeline, OWN, version="one")
    assert isinstance(caught.value.__cause__, TypeError)


def test_a_version_that_stays_in_the_store_is_not_said_to_be_gone(pipeline: Path) -> None:
    build_memory(pipeline, OWN, version="one", activate=False)
    store = Store(pipeline.parent / "store")
    with pytest.raises(StoreError, match=r"cannot become the current one, since.*'terms'.*raised"):
        store.activate("one", check=True)
    assert [version.name for version in store.versions()] == ["one"]


@pytest.mark.parametrize(
    ("fault", "error", "line"),
    [
        ("own", "TypeError", 'passage["text"]'),
        ("library", "JSONDecodeError", "json.loads"),
        ("file", "FileNotFoundError", "read_text"),
    ],
)
@pytest.mark.parametrize("command", [["ask"], ["memory", "search"]])
def test_a_search_that_fails_is_one_message(
    command: list[str],
    fault: str,
    error: str,
    line: str,
    pipeline: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    build_memory(pipeline, version="one")
    arguments = [*command, str(pipeline), "Which?", f"memory.retriever.fault={fault}"]
    assert main(arguments) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"retriever 'terms' (letters_plugin:Terms) raised {error} at ")
    assert f"letters_plugin.py:{line_of(line)}, in " in message
    assert "Traceback" not in message
    monkeypatch.setenv("RAGCORE_TRACEBACK", "1")
    assert main(arguments) == 2
    message = capsys.readouterr().err
    assert message.startswith("Traceback (most recent call last):")
    assert f"raised {error} at " in message.splitlines()[-1]


def test_a_corpus_that_fails_is_named(pipeline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["memory", "build", str(pipeline), "memory.corpus.fault=own"]) == 2
    message = capsys.readouterr().err.lstrip()
    assert message.startswith("corpus 'letters' (letters_plugin:Letters) raised TypeError at ")
    assert (
        f"letters_plugin.py:{line_of('None +')}, in Letters.__iter__: unsupported operand"
        in message
    )


def test_a_corpus_that_yields_no_passages_is_named(
    pipeline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build_memory(pipeline, version="one")
    pipeline.write_text(PIPELINE.replace("letters}", "letters, fault: tuple}"), encoding="utf-8")
    for command in ("build", "update"):
        assert main(["memory", command, str(pipeline)]) == 2
        message = capsys.readouterr().err.lstrip()
        assert message.startswith("corpus 'letters' yielded a tuple where a ragcore.Passage is")


def test_an_error_without_a_message_is_named(
    pipeline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["memory", "build", str(pipeline), "memory.retriever.fault=save"]) == 2
    assert "in Terms.save: it has no message" in capsys.readouterr().err


def test_a_fault_in_ragcore_keeps_its_traceback(pipeline: Path) -> None:
    """Also where a plugin's code called ragcore: whose fault it is, only the traceback shows."""
    build_memory(pipeline, version="one")
    with pytest.raises(AttributeError) as caught:
        main(["memory", "search", str(pipeline), "Which?", "memory.retriever.fault=core"])
    assert component_fault(caught.value) is None

"""What is logged, what is timed for plugins, and the options of the command line about both."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path

import pytest

from ragcore.build import build_memory, update_memory
from ragcore.cli import main
from ragcore.cli.logs import is_quiet
from ragcore.config import RagConfig
from ragcore.hookspecs import hookimpl
from ragcore.process.log_fields import fields_of
from ragcore.rag import Rag
from ragcore.registry.discovery import registry
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.helpers.table_generator import TableGenerator
from tests.helpers.word_encoder import dense_part

PIPELINE = """
ragcore: 1
memory:
  store: store
  corpus: {use: jsonl, path: passages.jsonl}
  retriever: {use: bm25}
rag: {k: 2}
"""


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    rows = [{"id": str(n), "title": "t", "text": f"secretword chad {n}"} for n in range(3)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "passages.jsonl").write_text(text, encoding="utf-8")
    (tmp_path / "pipeline.yaml").write_text(PIPELINE, encoding="utf-8")
    return tmp_path / "pipeline.yaml"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "table")
    for version in ("v1", "v2"):
        store.build(version, [Passage(f"{version}:p", "t", "secretword chad")], dense_part())
    return store


def make(store: Store) -> Rag:
    return Rag(
        store.open("v1", retriever=dense_part()),
        TableGenerator(TableGenerator.Config()),
        RagConfig(k=1, max_new_tokens=4),
        store=store,
        retriever=dense_part(),
    )


def logged(caplog) -> list[tuple[str, str]]:
    return [
        (record.name, fields_of(record)["event"]) for record in caplog.records if fields_of(record)
    ]


def test_changes_of_a_store_are_information(pipeline, caplog):
    caplog.set_level(logging.INFO, "ragcore")
    build_memory(pipeline, version="one")
    changes = pipeline.with_name("changes.jsonl")
    changes.write_text('{"id": "0", "delete": true}\n', encoding="utf-8")
    update_memory(pipeline, changes, version="two")
    store = Store(pipeline.with_name("store"))
    store.rollback()
    store.gc(1, dry_run=True)
    store.gc(1)
    events = ["activate", "build", "activate", "update", "activate", "gc"]
    assert logged(caplog) == [("ragcore.store", event) for event in events]
    removed = fields_of(caplog.records[-1])["removed"]
    assert removed == ["two"]
    assert json.dumps([dict(fields_of(record)) for record in caplog.records])


def test_swaps_are_information_and_requests_are_for_debugging_without_their_text(store, caplog):
    caplog.set_level(logging.DEBUG, "ragcore")
    rag = make(store)
    caplog.clear()
    rag.answer("who is the secretperson")
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("ragcore.requests", logging.DEBUG)
    values = fields_of(record)
    assert (values["version"], values["passages"]) == ("v1", ["v1:p"])
    assert values["question_characters"] == len("who is the secretperson")
    assert values["timings"]["total"] > 0
    assert "secret" not in record.getMessage() + json.dumps(dict(values))
    caplog.clear()
    rag.swap("v2")
    assert logged(caplog) == [("ragcore.memory", "open"), ("ragcore.memory", "swap")]


def test_the_library_installs_no_handler(store):
    make(store).answer("chad")
    names = [name for name in logging.root.manager.loggerDict if name.startswith("ragcore")]
    assert "ragcore.requests" in names
    assert not any(logging.getLogger(name).handlers for name in names)


class Observer:
    """A plugin that hears how long each stage took."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, int, str]] = []
        self.spans: list[tuple[int, float]] = []

    @hookimpl
    def ragcore_timed(self, stage, started, seconds, questions, memory):
        self.stages.append((stage, questions, memory))
        self.spans.append((started, seconds))


@pytest.fixture
def observer():
    observer, manager = Observer(), registry()._manager
    manager.register(observer)
    yield observer
    manager.unregister(observer)


def test_plugins_are_told_how_long_each_stage_took(store, observer):
    rag = make(store)
    rag = Rag(
        store.open("v1", retriever=dense_part()),
        rag.generator,
        RagConfig(k=1, max_new_tokens=4, batch_size=2),
        store=store,
        retriever=dense_part(),
    )
    before = time.time_ns()
    rag.answer(["chad", "mali", "peru"])
    batches = [(stage, n, "v1") for n in (2, 1) for stage in ("read", "decode")]
    assert observer.stages == [("search", 3, "v1"), *batches]
    for started, seconds in observer.spans:
        assert before <= started <= time.time_ns()
        assert 0 < seconds < 60
    for call, stages in (
        (lambda: rag.log_prob(["chad"], ["a"]), ["search", "read", "score"]),
        (lambda: list(rag.events("chad")), ["search", "read", "decode"]),
        (lambda: rag.search("chad"), ["search"]),
    ):
        observer.stages.clear()
        call()
        assert observer.stages == [(stage, 1, "v1") for stage in stages]
    observer.stages.clear()
    rag.swap("v2")
    assert observer.stages == [("open", 0, "v2")]


def run(capsys, *arguments: object) -> tuple[str, str]:
    assert main([*map(str, arguments)]) == 0
    out, err = capsys.readouterr()
    return out, err


def test_a_command_logs_as_its_options_say(pipeline, capsys):
    build = ["memory", "build", pipeline, "--version"]
    _, err = run(capsys, *build, "a")
    assert err == ""
    assert run(capsys, "-v", *build, "b")[1].startswith("ragcore.store: store ")
    _, err = run(capsys, "-v", "--log-json", *build, "c")
    rows = [json.loads(line) for line in err.splitlines()]
    assert [row["event"] for row in rows] == ["activate", "build"]
    for row in rows:
        assert (row["level"], row["logger"]) == ("info", "ragcore.store")
        assert row["version" if row["event"] == "build" else "new"] == "c"
        assert row["time"].endswith("+00:00")
        assert row["message"]
    assert logging.getLogger().level == logging.WARNING
    assert not is_quiet()


@pytest.mark.parametrize("option", ["-v", "-vv", "--quiet", "--log-json"])
def test_an_option_about_logging_behind_the_command_is_referred_before_it(option, capsys):
    assert main(["check", "pipeline.yaml", option]) == 2
    err = capsys.readouterr().err
    assert err.endswith(f"{option} stands before the command: ragcore {option} check …\n")
    assert main(["check", "pipeline.yaml", "--none"]) == 2
    assert "stands before" not in capsys.readouterr().err


def test_an_error_is_a_line_of_json_too(pipeline, capsys):
    assert main(["--log-json", "memory", "verify", str(pipeline), "nothing"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    row = json.loads(line)
    assert (row["level"], row["logger"]) == ("error", "ragcore.cli")
    assert "no such store" in row["message"]


def test_quiet_hides_warnings_and_not_errors(pipeline, capsys):
    run(capsys, "memory", "build", pipeline, "--version", "a")
    ask = ["search", pipeline, "chad", "--json", "--where", '{"nofield": 1}']
    assert "nofield" in run(capsys, "--log-json", *ask)[1]
    assert run(capsys, "--quiet", *ask)[1] == ""
    assert main(["--quiet", "memory", "verify", str(pipeline), "zz"]) == 2
    assert "no version" in capsys.readouterr().err
    assert main(["-v", "--quiet", "plugins"]) == 2
    assert "-v with --quiet" in capsys.readouterr().err


def test_information_of_other_libraries_stays_out(pipeline, capsys):
    from ragcore.cli.logs import LogOptions, logging_by

    with logging_by(LogOptions(logging.DEBUG)):
        logging.getLogger("elsewhere").info("chatter")
        logging.getLogger("elsewhere").warning("trouble")
        logging.getLogger("ragcore_sample").debug("detail")
    assert capsys.readouterr().err == "trouble\nragcore_sample: detail\n"

"""The command `ragcore serve` in a process of its own: it starts, follows, drains and ends."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import httpx
import pytest
from ragcore_serve.config import ServeConfig
from ragcore_serve.errors import UnknownPipelineError
from ragcore_serve.running import _work
from ragcore_serve.served import open_pipelines, pipeline_files

from ragcore import build_memory
from ragcore.cli import main
from ragcore.errors import ConfigError
from ragcore.store.store import Store

SECONDS = 60
QUESTION = "Who is the Prime Minister of Ethiopia?"
PIPELINE = """\
ragcore: 1
memory:
  store: store
  corpus: {use: jsonl, path: passages.jsonl}
  retriever: {use: bm25}
generator: {use: extractive, model: world-reader}
rag: {k: 1, grounded: true, beams: 1}
"""
HEADS = {"2016-11": "Hailemariam Desalegn", "2018-12": "Abiy Ahmed Ali"}

reader_needed = pytest.mark.skipif(
    not (files("ragcore_world") / "reader" / "config.json").is_file(),
    reason="this checkout has no trained reader",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A pipeline whose store has a version for each head of government, the last one current."""
    (tmp_path / "pipeline.yaml").write_text(PIPELINE, encoding="utf-8")
    for version, head in HEADS.items():
        passage = {
            "id": "et",
            "title": "Ethiopia, Executive branch",
            "text": f"head of government: Prime Minister {head}",
        }
        (tmp_path / "passages.jsonl").write_text(json.dumps(passage) + "\n", encoding="utf-8")
        build_memory(tmp_path / "pipeline.yaml", version=version)
    return tmp_path


@contextmanager
def started(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """Run the command until the block ends; it prints where it listens."""
    command = [sys.executable, "-m", "ragcore", "-v", "serve", "pipeline.yaml", "--port", "0"]
    with (folder / "log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [*command, *options],
            cwd=folder,
            text=True,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"serving pipeline \(\S+\) on (http://127\.0\.0\.1:\d+)$", line)
        assert found, line + (folder / "log").read_text(encoding="utf-8")
        with httpx.Client(base_url=found[1], timeout=SECONDS, trust_env=False) as client:
            yield process, client
    finally:
        process.kill()
        process.communicate(timeout=SECONDS)


def served(client: httpx.Client) -> tuple[str, str]:
    (answer,) = client.post("/v1/answer", json={"question": QUESTION}).json()["answers"]
    return answer["memory"], answer["text"]


@pytest.mark.engines
@reader_needed
def test_the_command_answers_switches_follows_and_ends_with_0(folder):
    with started(folder, "--interval", "0.05") as (process, client):
        assert client.get("/readyz").status_code == 200
        assert served(client) == ("2018-12", "Abiy Ahmed Ali")
        where = {"patient": {"prefix": "Jane Roe"}}
        narrowed = {"question": QUESTION, "settings": {"where": where}}
        (result,) = client.post("/v1/search", json=narrowed).json()["results"]
        assert "'patient'" in result["filter_notes"][0]
        client.post("/v1/admin/activate", json={"version": "2016-11"}).raise_for_status()
        assert served(client) == ("2016-11", "Hailemariam Desalegn")
        # Another process makes a version the current one.
        Store(folder / "store").activate("2018-12")
        deadline = time.monotonic() + SECONDS
        while served(client)[0] != "2018-12":
            assert time.monotonic() < deadline
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
    log = (folder / "log").read_text(encoding="utf-8")
    assert "POST /v1/answer: 200" in log
    # Neither what is asked nor a filter is in the log.
    assert "Prime" not in log
    assert "patient" not in log
    assert "Jane Roe" not in log
    assert "Traceback" not in log


@reader_needed
def test_pinned_pipelines_stay_with_the_version_of_the_start(folder):
    (folder / "other.yaml").write_text(PIPELINE.replace("k: 1", "k: 2"), encoding="utf-8")
    named = pipeline_files([str(folder / "pipeline.yaml"), f"two={folder / 'other.yaml'}"])
    with open_pipelines(named, ["rag.beams=2"], ServeConfig(pin=True)) as pipelines:
        assert [each.name for each in pipelines] == ["pipeline", "two"]
        assert [each.rag.config.k for each in pipelines] == [1, 2]
        assert {each.rag.config.beams for each in pipelines} == {2}
        assert pipelines.get(None) is pipelines.get("pipeline")
        with pytest.raises(ConfigError, match=r"memory\.version names one"):
            pipelines.get("pipeline").rag.activate("2016-11")
        with pytest.raises(UnknownPipelineError, match="did you mean 'two'"):
            pipelines.get("tow")
        assert pipelines.default.rag.memory.version == "2018-12"


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["--host", "0.0.0.0"], "there is no --token-file"),
        (["--token-file", "none"], "cannot read the file of tokens"),
        (["--max-questions", "300"], "max_questions 300 is more than queue 256"),
        (["--timeout", "nan"], "timeout: Input should be a finite number"),
        (["--port", "99999"], "port: Input should be less than or equal to 65535"),
        (["a/pipeline.yaml"], "two pipelines have the name 'pipeline'"),
        (["a@b=pipeline.yaml"], "'a@b' cannot be the name of a pipeline"),
        (["rag.k=none", "--port", "0"], "rag.k"),
        (["--host", "203.0.113.1", "--open"], "cannot listen on 203.0.113.1"),
    ],
)
def test_what_is_wrong_is_said_before_a_model_is_loaded(
    tmp_path, monkeypatch, capfd, options, fault
):
    monkeypatch.chdir(tmp_path)
    Path("pipeline.yaml").write_text(PIPELINE, encoding="utf-8")
    assert main(["serve", "pipeline.yaml", *options]) == 2
    assert fault in " ".join(capfd.readouterr().err.split())


def test_a_worker_writes_its_error_as_the_log_is_written(tmp_path, monkeypatch, capfd):
    (tmp_path / "pipeline.yaml").write_text(PIPELINE, encoding="utf-8")
    named = pipeline_files([str(tmp_path / "pipeline.yaml")])
    for options, wanted in ((["--log-json"], '"level": "error"'), ([], "error: ")):
        monkeypatch.setattr(sys, "argv", ["ragcore", *options, "serve", "pipeline.yaml"])
        with socket.create_server(("127.0.0.1", 0)) as listening, pytest.raises(SystemExit) as end:
            _work(listening, pytest.fail, named, (), ServeConfig())
        assert end.value.code == 2
        (line,) = capfd.readouterr().err.splitlines()
        assert wanted in line
        assert "no current version" in line


@reader_needed
def test_a_file_of_tokens_is_read_once(folder):
    tokens = folder / "tokens"
    tokens.write_text("a-token-of-more-than-sixteen-characters\n", encoding="utf-8")
    tokens.chmod(0o644)
    with started(folder, "--token-file", str(tokens)) as (_, client):
        assert client.get("/livez").status_code == 200
        log = " ".join((folder / "log").read_text(encoding="utf-8").split())
    # One that is a pipe could not be read again.
    assert log.count("chmod 600 it") == 1

"""Two real processes behind one socket: one is killed, both are asked to stop."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from importlib.resources import files
from pathlib import Path

import httpx
import pytest
from ragcore_serve.workers import configure_workers

from ragcore import build_memory

SECONDS = 60
SCRIPT = Path(__file__).with_name("supervised.py")


@contextmanager
def supervised(mode="serve", stop_seconds=SECONDS):
    """Start a supervisor of two workers; nothing of it is left at the end."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    with subprocess.Popen(
        [sys.executable, str(SCRIPT), mode, str(stop_seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


class Client:
    """A connection that a worker has accepted, and serves until it is asked to finish."""

    def __init__(self, port: int, stack: ExitStack) -> None:
        connection = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
        self._lines = stack.enter_context(stack.enter_context(connection).makefile("rw"))
        pid, *self.environment = self._lines.readline().split()
        self.pid = int(pid)

    def finish(self) -> str:
        print("finish", file=self._lines, flush=True)
        return self._lines.readline().strip()


def test_a_killed_worker_loses_its_own_requests_and_is_started_again():
    with supervised() as (process, port), ExitStack() as stack:
        assert process.stdout.readline() == "ready\n"
        killed, other = Client(port, stack), Client(port, stack)
        assert killed.pid != other.pid
        policy, threads, folder = killed.environment
        assert policy == "PASSIVE"
        assert int(threads) >= 1
        assert folder == other.environment[2]
        os.kill(killed.pid, signal.SIGKILL)
        # The other serves one client at a time: this one is a new worker's.
        new = Client(port, stack)
        assert new.pid not in (killed.pid, other.pid)
        process.send_signal(signal.SIGTERM)
        assert other.finish() == new.finish() == "done"
        assert process.wait(SECONDS) == 0
        assert not Path(folder).exists()


def test_a_worker_that_does_not_stop_in_time_is_killed():
    with supervised(stop_seconds=0.2) as (process, port), ExitStack() as stack:
        assert process.stdout.readline() == "ready\n"
        stuck = Client(port, stack)
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
        with pytest.raises(ProcessLookupError):
            os.kill(stuck.pid, 0)


@pytest.mark.parametrize(("mode", "code", "server_code"), [("broken", 2, 2), ("killed", -9, 1)])
def test_a_worker_that_cannot_begin_ends_the_server_with_its_exit_code(mode, code, server_code):
    with supervised(mode) as (process, _):
        _, errors = process.communicate(timeout=SECONDS)
        assert process.returncode == server_code
        assert f"ended before it was ready, with exit code {code}" in errors


@pytest.mark.parametrize(
    ("workers", "cpus", "before", "threads"),
    [(4, 8, {}, "2"), (3, 2, {}, "1"), (2, 8, {"OMP_NUM_THREADS": "7"}, "7")],
)
def test_workers_share_the_processors(workers, cpus, before, threads):
    environment = dict(before)
    configure_workers(workers, environment, cpus=cpus)
    assert environment == {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": threads}


PIPELINE = """\
ragcore: 1
memory:
  store: store
  corpus: {use: jsonl, path: passages.jsonl}
  retriever: {use: bm25}
generator: {use: bart, model: world-reader}
rag: {k: 1, grounded: true, beams: 1}
"""


@pytest.mark.engines
@pytest.mark.skipif(
    not (files("ragcore_world") / "reader" / "config.json").is_file(),
    reason="this checkout has no trained reader",
)
def test_the_command_serves_by_workers_that_each_name_their_version(tmp_path):
    (tmp_path / "pipeline.yaml").write_text(PIPELINE, encoding="utf-8")
    passage = {"id": "et", "title": "Ethiopia", "text": "head of government: Abiy Ahmed Ali"}
    (tmp_path / "passages.jsonl").write_text(json.dumps(passage) + "\n", encoding="utf-8")
    build_memory(tmp_path / "pipeline.yaml", version="v1")
    command = [sys.executable, "-m", "ragcore", "-v", "serve", "pipeline.yaml", "--port", "0"]
    with (
        (tmp_path / "log").open("w", encoding="utf-8") as log,
        subprocess.Popen(
            [*command, "--workers", "2"],
            cwd=tmp_path,
            text=True,
            stdout=subprocess.PIPE,
            stderr=log,
        ) as process,
    ):
        try:
            line = process.stdout.readline()
            found = re.search(r"serving pipeline on (http://\S+) by 2 workers", line)
            assert found, line + (tmp_path / "log").read_text(encoding="utf-8")
            with httpx.Client(base_url=found[1], timeout=SECONDS, trust_env=False) as client:
                question = {"question": "Who is the head of government of Ethiopia?"}
                (answer,) = client.post("/v1/answer", json=question).json()["answers"]
                assert answer["memory"] == "v1"
                shown = client.get("/metrics").text
            process.send_signal(signal.SIGTERM)
            assert process.wait(SECONDS) == 0
        finally:
            process.kill()
    serving = re.findall(
        r'ragcore_memory_info\{pid="(\d+)",pipeline="(\w+)",version="v1"\} 1', shown
    )
    assert len({pid for pid, _ in serving}) == 2
    assert 'ragcore_questions_total{outcome="answered",pipeline="pipeline"} 1.0' in shown
    # Workers log as the command line says, and stopped as they were asked to.
    assert (tmp_path / "log").read_text(encoding="utf-8").count("asked to stop") == 2

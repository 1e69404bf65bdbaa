"""Two real processes behind one socket: one is killed, both are asked to stop."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
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


QUESTION = {"question": "Who is the head of government of Ethiopia?"}
PIPELINE = """\
ragcore: 1
memory:
  store: store
  corpus: {use: jsonl, path: passages.jsonl}
  retriever: {use: bm25}
generator: {use: extractive, model: world-reader}
rag: {k: 1, grounded: true, beams: 1}
"""


engines = pytest.mark.engines
reader_needed = pytest.mark.skipif(
    not (files("ragcore_world") / "reader" / "config.json").is_file(),
    reason="this checkout has no trained reader",
)


@contextmanager
def command(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the command with two workers; yields its process and the address."""
    (folder / "pipeline.yaml").write_text(PIPELINE, encoding="utf-8")
    passage = {"id": "et", "title": "Ethiopia", "text": "head of government: Abiy Ahmed Ali"}
    (folder / "passages.jsonl").write_text(json.dumps(passage) + "\n", encoding="utf-8")
    build_memory(folder / "pipeline.yaml", version="v1")
    arguments = ["-v", "serve", "pipeline.yaml", "--port", "0", "--workers", "2", *options]
    with (
        (folder / "log").open("w", encoding="utf-8") as log,
        subprocess.Popen(
            [sys.executable, "-m", "ragcore", *arguments],
            cwd=folder,
            text=True,
            stdout=subprocess.PIPE,
            stderr=log,
        ) as process,
    ):
        try:
            line = process.stdout.readline()
            found = re.search(r"serving pipeline on (http://\S+) by 2 workers", line)
            assert found, line + (folder / "log").read_text(encoding="utf-8")
            yield process, found[1]
        finally:
            process.kill()


def pids_of(shown: str) -> set[int]:
    """Return the processes that serve, by the metrics that each of them shows of all."""
    pattern = r'ragcore_memory_info\{pid="(\d+)",pipeline="pipeline",version="v1"\} 1'
    return set(map(int, re.findall(pattern, shown)))


@engines
@reader_needed
def test_the_command_serves_by_workers_that_each_name_their_version(tmp_path):
    with command(tmp_path) as (process, address):
        with httpx.Client(base_url=address, timeout=SECONDS, trust_env=False) as client:
            (answer,) = client.post("/v1/answer", json=QUESTION).json()["answers"]
            assert answer["memory"] == "v1"
            shown = client.get("/metrics").text
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
    assert len(pids_of(shown)) == 2
    assert 'ragcore_questions_total{outcome="answered",pipeline="pipeline"} 1.0' in shown
    # Workers log as the command line says, and stopped as they were asked to.
    assert (tmp_path / "log").read_text(encoding="utf-8").count("asked to stop") == 2


def connections_of(pid: int, port: int) -> int:
    """Return how many connections of clients a process has, by the files of Linux."""
    links = [os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir() if each.is_symlink()]
    own = set(re.findall(r"socket:\[(\d+)\]", " ".join(links)))
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    # Local address, state (1: established) and inode.
    return sum(row[1].endswith(f":{port:04X}") and row[3] == "01" and row[9] in own for row in rows)


class Load:
    """Clients that ask one question after another, each by a connection of its own."""

    def __init__(self, address: str) -> None:
        self.answered = 0
        self.lost = 0
        self.stopping = False
        self._address = address

    async def ask(self) -> None:
        """Ask until told to stop; a connection that a worker took with it is made again."""
        while not self.stopping:
            try:
                async with httpx.AsyncClient(
                    base_url=self._address, timeout=SECONDS, trust_env=False
                ) as client:
                    while not self.stopping:
                        reply = await client.post("/v1/answer", json=QUESTION)
                        assert reply.status_code == 200, reply.text
                        (answer,) = reply.json()["answers"]
                        assert answer["text"] == "Abiy Ahmed Ali"
                        self.answered += 1
            except httpx.TransportError:
                self.lost += 1

    async def until(self, more: int) -> None:
        """Return when so many more questions were answered."""
        goal = self.answered + more
        async with asyncio.timeout(SECONDS):
            while self.answered < goal:
                await asyncio.sleep(0.01)


@engines
@reader_needed
@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="no files of Linux here")
def test_a_worker_that_is_killed_under_load_loses_no_request_of_another(tmp_path):
    async def run(address: str) -> tuple[Load, int, int]:
        load = Load(address)
        async with httpx.AsyncClient(base_url=address, trust_env=False) as other:
            workers = pids_of((await other.get("/metrics")).text)
        assert len(workers) == 2
        asking = [asyncio.create_task(load.ask()) for _ in range(8)]
        await load.until(24)
        port = int(address.rpartition(":")[2])
        connections = {pid: connections_of(pid, port) for pid in workers}
        assert sum(connections.values()) == len(asking)
        # That with fewer, so that some of the clients should not notice.
        killed = min(workers, key=lambda pid: connections[pid])
        assert load.lost == 0
        os.kill(killed, signal.SIGKILL)
        await load.until(48)
        load.stopping = True
        await asyncio.gather(*asking)
        return load, killed, connections[killed]

    with command(tmp_path) as (process, address):
        load, killed, connections = asyncio.run(run(address))
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
    # Each client has one request at a time, and asks again by another connection.
    assert load.lost <= connections <= 4
    log = (tmp_path / "log").read_text(encoding="utf-8")
    assert log.count(f"worker {killed} died") == 1

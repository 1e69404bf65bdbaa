"""Measure a server under load while its memory is swapped.

Usage: python benchmarks/serve_load.py [--seconds 600] [--clients 64] [--swap-every 5]
           [--workers 1] [--queue 256] [--json F]

Starts `ragcore serve` with the reader of `ragcore demo` and a small memory of two versions, each of
which names another head of government, and asks it over the loopback interface:

- throughput: questions a second of all clients, against one client before them.
- latency: the 50th and 99th percentile in milliseconds, of one client and of all.
- errors: replies by status; only 429 is allowed, whose `Retry-After` clients wait out.
- mixed: answers whose passages are not all of the version that they name, or whose text is that of
  the other version; none is allowed.
- growth: MiB a minute of the server's resident memory, all processes together, by least squares
  over the second half of the run (target: 1).
- drain: whether every request that was admitted when SIGTERM came was answered, and the exit code.

Run it for minutes to see growth; `--seconds 20` shows that it works.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx

import ragcore

COUNTRIES: Final = ("Ethiopia", "Peru", "Chad", "Kenya", "Ghana", "Bhutan", "Norway", "Chile")
PIPELINE: Final = """\
ragcore: 1
memory:
  store: store
  corpus: {use: jsonl, path: passages.jsonl}
  retriever: {use: bm25}
generator: {use: extractive, model: world-reader}
rag: {k: 2, grounded: true, beams: 1}
"""
HEADS: Final = {"then": "Hailemariam Desalegn", "now": "Abiy Ahmed Ali"}
PATIENCE: Final = 120.0
"""Seconds that a reply or the server's start may take."""
ALLOWED: Final = (200, 429)


@dataclass
class Load:
    """What clients have seen.

    Attributes:
        seconds: of each question that was answered.
        statuses: replies by status, or by the error of a connection.
        mixed: answers of more than one version.
        versions: answers by version.
    """

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    mixed: int = 0
    versions: Counter[str] = field(default_factory=Counter)

    def percentile(self, share: float) -> float:
        """Return a percentile in milliseconds."""
        ordered = sorted(self.seconds)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def build(folder: Path) -> None:
    """Write a pipeline and the two versions of its memory; the last one is current."""
    (folder / "pipeline.yaml").write_text(PIPELINE, encoding="utf-8")
    for version, head in HEADS.items():
        rows = [
            {
                "id": f"{version}:{country}",
                "title": f"{country}, Executive branch",
                "text": f"head of government: Prime Minister {head}",
            }
            for country in COUNTRIES
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "passages.jsonl").write_text(text, encoding="utf-8")
        ragcore.build_memory(folder / "pipeline.yaml", version=version)


def start(folder: Path, options: argparse.Namespace) -> tuple[subprocess.Popen[str], str]:
    """Start the server, and return its address once it replies."""
    command = [sys.executable, "-m", "ragcore", "serve", "pipeline.yaml", "--port", "0"]
    command += ["--workers", str(options.workers), "--queue", str(options.queue)]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    address = re.search(r"http://\S+", line)
    if not address:
        process.kill()
        raise SystemExit(f"the server did not start: {line!r}")
    return process, address[0]


async def ask(client: httpx.AsyncClient, number: int, load: Load) -> None:
    """Ask one question and note the reply; wait where the server says so."""
    country = COUNTRIES[number % len(COUNTRIES)]
    question = f"Who is the Prime Minister of {country}?"
    began = time.perf_counter()
    try:
        reply = await client.post("/v1/answer", json={"question": question})
    except httpx.TransportError as error:
        load.statuses[type(error).__name__] += 1
        return
    load.statuses[str(reply.status_code)] += 1
    if reply.status_code == 429:
        await asyncio.sleep(float(reply.headers["Retry-After"]))
    if reply.status_code != 200:
        return
    load.seconds.append(time.perf_counter() - began)
    (answer,) = reply.json()["answers"]
    version = answer["memory"]
    load.versions[version] += 1
    passages = {row["passage"]["id"].partition(":")[0] for row in answer["evidence"]}
    if passages != {version} or answer["text"] != HEADS[version]:
        load.mixed += 1


async def clients(address: str, count: int, seconds: float, load: Load) -> float:
    """Ask from several clients, each its next question after its answer; the seconds it took."""
    began = time.monotonic()
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(
        base_url=address, limits=limits, timeout=PATIENCE, trust_env=False
    ) as client:

        async def one(number: int) -> None:
            while time.monotonic() - began < seconds:
                await ask(client, number, load)
                number += count

        await asyncio.gather(*(one(number) for number in range(count)))
    return time.monotonic() - began


async def swaps(address: str, every: float) -> None:
    """Activate the other version again and again, through the server, until cancelled."""
    async with httpx.AsyncClient(base_url=address, timeout=PATIENCE, trust_env=False) as client:
        while True:
            for version in HEADS:
                await asyncio.sleep(every)
                reply = await client.post("/v1/admin/activate", json={"version": version})
                reply.raise_for_status()


def resident(process: int) -> float:
    """Return MiB of resident memory of a process and its children, shared pages once for each."""
    total = 0.0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "status").read_text(encoding="utf-8")
        except OSError:
            # It has ended meanwhile.
            continue
        parent = re.search(r"^PPid:\s+(\d+)", status, re.MULTILINE)
        size = re.search(r"^VmRSS:\s+(\d+)", status, re.MULTILINE)
        if size and (int(folder.name) == process or (parent and int(parent[1]) == process)):
            total += int(size[1]) / 1024
    return total


async def watch(process: int, samples: list[tuple[float, float]]) -> None:
    """Note the server's memory every second until cancelled: seconds, MiB."""
    while True:
        samples.append((time.monotonic(), resident(process)))
        await asyncio.sleep(1)


def growth(samples: list[tuple[float, float]]) -> float:
    """Return MiB a minute over the second half of the samples."""
    late = samples[len(samples) // 2 :]
    if len(late) < 2:
        return 0.0
    slope, _ = statistics.linear_regression(*zip(*late, strict=True))
    return 60 * slope


async def drain(process: subprocess.Popen[str], address: str, count: int) -> tuple[Load, int]:
    """Stop the server while it answers; each client asks once."""
    load = Load()
    async with httpx.AsyncClient(base_url=address, timeout=PATIENCE, trust_env=False) as client:
        asked = [asyncio.create_task(ask(client, number, load)) for number in range(count)]
        while not load.seconds:
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        await asyncio.gather(*asked)
    return load, await asyncio.to_thread(process.wait, PATIENCE)


async def measure(
    process: subprocess.Popen[str], address: str, options: argparse.Namespace
) -> dict[str, object]:
    """Ask from one client, from all of them, and while the server stops."""
    await clients(address, 1, 1, Load())
    alone, together = Load(), Load()
    single = await clients(address, 1, max(2.0, options.seconds / 10), alone)
    samples: list[tuple[float, float]] = []
    others = [
        asyncio.create_task(swaps(address, options.swap_every)),
        asyncio.create_task(watch(process.pid, samples)),
    ]
    seconds = await clients(address, options.clients, options.seconds, together)
    for task in others:
        if task.done():
            # A swap that failed.
            task.result()
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    last, code = await drain(process, address, min(options.clients, options.queue))
    return {
        "questions a second, one client": len(alone.seconds) / single,
        "questions a second, all": len(together.seconds) / seconds,
        "ratio": len(together.seconds) / seconds / (len(alone.seconds) / single),
        "p50 and p99 ms, one client": [alone.percentile(0.5), alone.percentile(0.99)],
        "p50 and p99 ms, all": [together.percentile(0.5), together.percentile(0.99)],
        "replies by status": dict(together.statuses),
        "answers by version": dict(together.versions),
        "mixed answers": alone.mixed + together.mixed + last.mixed,
        "MiB at the end": samples[-1][1],
        "growth, MiB a minute": growth(samples),
        "replies while draining": dict(last.statuses),
        "exit code": code,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--swap-every", type=float, default=5.0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--queue", type=int, default=256)
    parser.add_argument("--json", type=Path, help="write the figures to a file")
    options = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build(folder)
        process, address = start(folder, options)
        try:
            figures = asyncio.run(measure(process, address, options))
        finally:
            process.kill()
            process.wait()
    for title, figure in figures.items():
        if isinstance(figure, list):
            print(f"{title:34}", *(f"{each:.1f}" for each in figure))
        else:
            print(f"{title:34}", f"{figure:.2f}" if isinstance(figure, float) else figure)
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    statuses = figures["replies by status"]
    assert isinstance(statuses, dict)
    if figures["mixed answers"] or set(statuses) - {str(status) for status in ALLOWED}:
        raise SystemExit("answers were mixed, or requests failed")


if __name__ == "__main__":
    main()

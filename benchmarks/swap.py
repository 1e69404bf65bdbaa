"""Measure swapping under load: what readers notice, and what stays in memory.

Usage: python benchmarks/swap.py [--passages 50000] [--threads 8] [--swaps 200] [--memory bm25]

Eight threads ask a pipeline without pause. Its generator reads a passage in microseconds, so that
most of the time is searching and swapping. Phases without and with swaps take turns, and are
compared pair by pair:

- latency: the 99th percentile of a question's time with swaps, divided by that without (target:
  1.5), and the medians; a swap opens and checks a version while the readers go on.
- pause: the longest time without an answer during a swap, from its beginning to its end, for one
  reader, which gets an answer every few milliseconds; minus the longest time in windows of the
  same length without a swap (target: 5 ms).
- memory: resident memory before the swaps and after each round of them.
- errors: exceptions, answers that mix versions, answers that name a version they were not read
  from; none are allowed.
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
import string
import tempfile
import threading
import time
from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import torch
from passages import WORDS

from ragcore.config import RagConfig
from ragcore.contracts import Generator
from ragcore.rag import Rag
from ragcore.registry.components import spec_from_dict
from ragcore.store.store import Store
from ragcore.types import Passage

VERSIONS = ("old", "new")
END, LETTERS = 0, string.ascii_lowercase


class Spelling:
    """A generator that answers with one letter, the same for every question and passage."""

    capabilities: ClassVar[frozenset[str]] = frozenset()
    eos_token_id = END
    forced_bos_token_id = None
    device = torch.device("cpu")
    vocabulary = 1 + len(LETTERS)

    def __init__(self) -> None:
        self.first = torch.full((self.vocabulary,), -20.0)
        self.first[1] = 0.0
        self.first = torch.log_softmax(self.first, 0)
        self.then = torch.log_softmax(-20.0 * (torch.arange(self.vocabulary) != END).float(), 0)

    def read(self, questions: Sequence[str], passages: Sequence[Passage | None]) -> Any:
        return list(questions)

    def start(self, read: Any, pairs: torch.Tensor) -> Any:
        return Rows(len(pairs))

    def step(self, state: Any, tokens: torch.Tensor | None) -> torch.Tensor:
        row = self.first if tokens is None else self.then
        return row.expand(len(state), -1)

    def decode_tokens(self, token_ids: Sequence[int]) -> str:
        return "".join(LETTERS[token - 1] for token in token_ids if token)

    def encode_answers(self, answers: Sequence[str]) -> list[list[int]]:
        return [[*(LETTERS.index(char) + 1 for char in answer), END] for answer in answers]


class Rows:
    """Rows of a state that has nothing to remember."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def select(self, rows: torch.Tensor) -> None:
        self.count = len(rows)


@dataclass(slots=True)
class Phase:
    """What the readers of one phase saw; times in seconds."""

    begun: float = 0.0
    ended: float = 0.0
    answered: list[float] = field(default_factory=list)
    took: list[float] = field(default_factory=list)
    swapping: list[float] = field(default_factory=list)
    swapped: list[float] = field(default_factory=list)
    faults: list[object] = field(default_factory=list)

    def p99(self) -> float:
        return statistics.quantiles(self.took, n=100)[-1]

    def gaps(self, length: float | None = None) -> list[float]:
        """Return the longest time without an answer in each swap, or each window of a length."""
        windows = list(zip(self.swapping, self.swapped, strict=True))
        if length is not None:
            count = int((self.ended - self.begun) / length)
            starts = [self.begun + at * length for at in range(count)]
            windows = [(start, start + length) for start in starts]
        longest = []
        for start, end in windows:
            first, last = bisect(self.answered, start) - 1, bisect(self.answered, end)
            inside = self.answered[max(first, 0) : last + 1]
            longest += [max(b - a for a, b in pairwise(inside))] if len(inside) > 1 else []
        return longest


def corpus(version: str, size: int) -> Iterator[Passage]:
    rng = random.Random(version)
    for number in range(size):
        yield Passage(f"{version}:{number}", "", " ".join(rng.choices(WORDS, k=100)))


def run(rag: Rag, threads: int, seconds: float, swaps: int) -> Phase:
    """Ask for some seconds, or until some number of swaps is done."""
    phase, stop, lock = Phase(begun=time.perf_counter()), threading.Event(), threading.Lock()

    def ask(seed: int) -> None:
        rng = random.Random(seed)
        answered, took = [], []
        while not stop.is_set():
            question = " ".join(rng.choices(WORDS, k=8))
            began = time.perf_counter()
            try:
                (answer,) = rag.answer(question)
            except Exception as error:
                phase.faults.append(error)
                return
            answered.append(time.perf_counter())
            took.append(answered[-1] - began)
            if {evidence.passage.id.split(":")[0] for evidence in answer.evidence} != {
                answer.memory
            }:
                phase.faults.append(answer)
        with lock:
            phase.answered += answered
            phase.took += took

    readers = [threading.Thread(target=ask, args=(seed,)) for seed in range(threads)]
    for reader in readers:
        reader.start()
    for _ in range(swaps):
        phase.swapping.append(time.perf_counter())
        rag.swap(VERSIONS[rag.memory.version == VERSIONS[0]])
        phase.swapped.append(time.perf_counter())
    if not swaps:
        stop.wait(seconds)
    stop.set()
    for reader in readers:
        reader.join()
    phase.ended = time.perf_counter()
    phase.answered.sort()
    return phase


def resident() -> float:
    """Return the MiB of this process in memory, without the pages of mapped files."""
    gc.collect()
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    raise LookupError(
        "this system does not tell how much memory is resident: RssAnon is not in /proc/self/status"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--passages", type=int, default=50_000)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--swaps", type=int, default=200, help="in all rounds together")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", default="bm25", help="the name of a retriever")
    options = parser.parse_args()
    torch.set_num_threads(1)
    spec = spec_from_dict("retriever", {"use": options.memory})
    generator: Generator = Spelling()  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        for version in VERSIONS:
            store.build(version, corpus(version, options.passages), spec)
        config = RagConfig(k=5, max_new_tokens=4)
        rag = Rag(store.open(retriever=spec), generator, config, store=store, retriever=spec)
        with rag:
            warm = run(rag, options.threads, 1.0, 0)
            rag.swap("old")
            rag.swap("new")
            grown = [resident()]
            latencies, medians, took, pauses, longest = [], [], [], [], []
            faults, swaps, answers = [*warm.faults], 0, 0
            for turn in range(options.rounds):
                swaps_per_phase = options.swaps // options.rounds
                swapping = run(rag, options.threads, 0.0, swaps_per_phase)
                quiet = run(rag, options.threads, swapping.ended - swapping.begun, 0)
                latencies.append(swapping.p99() / quiet.p99())
                medians.append(statistics.median(swapping.took) / statistics.median(quiet.took))
                alone = run(rag, 1, 0.0, swaps_per_phase)
                length = (alone.ended - alone.begun) / swaps_per_phase
                undisturbed = run(rag, 1, alone.ended - alone.begun, 0).gaps(length)
                pauses.append(statistics.median(alone.gaps()) - statistics.median(undisturbed))
                longest.append(max(alone.gaps()) - max(undisturbed))
                pairs = zip(swapping.swapping, swapping.swapped, strict=True)
                took += [end - start for start, end in pairs]
                faults += swapping.faults + quiet.faults + alone.faults
                swaps, answers = swaps + 2 * swaps_per_phase, answers + len(swapping.took)
                grown.append(resident())
                print(
                    f"round {turn + 1}: p99 {1000 * swapping.p99():.1f} ms with swaps, "
                    f"{1000 * quiet.p99():.1f} without; pause {1000 * pauses[-1]:+.1f} ms; "
                    f"{grown[-1]:.0f} MiB resident",
                    flush=True,
                )
    print(f"{options.memory}, {options.passages:,} passages a version, {options.threads} threads")
    print(f"{swaps} swaps, {answers:,} answers under load in the meantime, errors: {len(faults)}")
    print(f"a swap under load takes {1000 * statistics.median(took):.0f} ms in all")
    print(f"p99 with swaps over without: {statistics.median(latencies):.2f} (to reach: 1.5)")
    print(f"median with swaps over without: {statistics.median(medians):.2f}")
    print(
        f"pause: {1000 * statistics.median(pauses):+.2f} ms in the usual swap, "
        f"{1000 * statistics.median(longest):+.2f} ms in the worst of a round (to reach: 5)"
    )
    print(
        f"resident: {grown[0]:.0f} MiB before, {grown[1]:.0f} after the first round, "
        f"{grown[-1]:.0f} after the last"
    )
    for fault in faults[:3]:
        print("error:", fault)
    raise SystemExit(bool(faults))


if __name__ == "__main__":
    main()

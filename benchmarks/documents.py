"""Time the corpus `documents` on a folder of mixed files, against its extractors alone.

Usage: python benchmarks/documents.py [--files 5000] [--workers N] [--rounds 3]

The folder is made of installed packages' own files (HTML, Markdown, reStructuredText and text from
site-packages and /usr/share/doc), and of DOCX, PPTX, PDF and EPUB files that the script writes of
their paragraphs. Extractors alone: the same readers on the same files in as many processes, without
a walk, digests, splitting or passages; chunks of files are shared out by loky. Corpus and
extractors take turns. The script prints files a second of both, their ratio, the largest memory of
the corpus's processes together, and what an update of a BM25 memory reads and adds after ten edits.

Ratios of CPU time, which other programs disturb less, are printed too: corpus against extractors,
and extractors against the bare libraries, which give text without structure, by type.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import statistics
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ragcore_documents.corpus import Documents
from ragcore_documents.detect import type_of
from ragcore_documents.readers.limits import Limits, UnreadableError
from ragcore_documents.reading import reader_of

from benchmarks.document_libraries import reader_shares
from ragcore.process.cpus import usable_cpus
from ragcore.registry.components import spec_from_dict
from ragcore.store.store import Store
from tests.helpers.document_files import docx, epub, pdf, pptx

PLAIN: Final = {".html": 0.35, ".md": 0.15, ".rst": 0.15, ".txt": 0.15}
"""Shares of the files that are copied."""

WRITTEN: Final = {".pdf": 0.08, ".docx": 0.05, ".pptx": 0.02, ".epub": 0.05}
"""Shares of the files that are written."""

CHUNK: Final = 16


def sources(suffix: str) -> list[Path]:
    """Return installed files of a type, of up to 500 kB."""
    roots = [sysconfig.get_paths()["purelib"], "/usr/share/doc", "/usr/share/perl"]
    paths = [path for root in roots for path in Path(root).rglob(f"*{suffix}")]
    return sorted(path for path in paths if path.is_file() and 200 < path.stat().st_size < 500_000)


def paragraphs(paths: list[Path]) -> list[str]:
    """Return paragraphs of texts, as Latin text on one line."""
    result = []
    for path in paths:
        text = path.read_text(encoding="utf-8", errors="replace")
        for part in text.split("\n\n"):
            line = " ".join(part.encode("ascii", "ignore").decode().split())
            if 80 < len(line) < 1500:
                result.append(line)
    return result


def written(suffix: str, texts: Iterator[str], rng: random.Random) -> bytes:
    """Write a document of a type."""
    take = [next(texts) for _ in range(rng.randint(4, 40))]
    titled = [(text[:40], text) for text in take]
    if suffix == ".pdf":
        lines = [text[start : start + 90] for text in take for start in range(0, len(text), 90)]
        return pdf([lines[start : start + 45] for start in range(0, len(lines), 45)])
    if suffix == ".docx":
        return docx([part for head, text in titled for part in (("Heading1", head), ("", text))])
    if suffix == ".pptx":
        return pptx(titled)
    return epub(take[0][:40], titled)


def make_folder(folder: Path, count: int) -> dict[str, int]:
    """Fill a folder; return how many files of each type it has."""
    rng = random.Random(1)
    texts = paragraphs(sources(".rst")[:400] + sources(".txt")[:400])
    rng.shuffle(texts)
    stream = cycle(texts)
    counts = {}
    for suffix, share in {**PLAIN, **WRITTEN}.items():
        number = round(count * share)
        counts[suffix] = number
        originals = cycle(sources(suffix)) if suffix in PLAIN else None
        for index in range(number):
            path = folder / f"{index % 50:02}" / f"{index:04}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            if originals is not None:
                shutil.copyfile(next(originals), path)
            else:
                path.write_bytes(written(suffix, stream, rng))
    return counts


def extract(paths: list[str]) -> tuple[int, int]:
    """Read files by their extractors alone; return how many, and their characters."""
    read = characters = 0
    for path in paths:
        data = Path(path).read_bytes()
        try:
            kind = type_of(path, data)
            if kind is not None:
                characters += len(reader_of(kind)(data, Limits()).text)
                read += 1
        except UnreadableError:
            continue
    return read, characters


def time_extractors(paths: list[str], workers: int) -> tuple[float, int]:
    """Return seconds and the number of files read."""
    from loky.process_executor import ProcessPoolExecutor

    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    started = time.perf_counter()
    with ProcessPoolExecutor(workers) as executor:
        read = sum(count for count, _ in executor.map(extract, chunks))
    return time.perf_counter() - started, read


def time_corpus(folder: Path, workers: int) -> tuple[float, Documents, int]:
    """Return seconds, the corpus, and the largest memory of all processes together in bytes."""
    corpus = Documents(Documents.Config(path=folder, workers=workers))
    with Peak() as peak:
        started = time.perf_counter()
        for _ in corpus:
            pass
        seconds = time.perf_counter() - started
    return seconds, corpus, peak.bytes


def cpu_seconds() -> float:
    """Return the CPU time of this process and of its children that have ended."""
    both = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


class Peak:
    """Watches how much memory this process and its children have, in `bytes` at most."""

    def __init__(self) -> None:
        self.bytes = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.1):
            self.bytes = max(self.bytes, sum(map(_resident, _family())))


def _family() -> list[int]:
    """Return this process and all below it (Linux)."""
    pids = [os.getpid()]
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            try:
                pids += map(int, task.read_text().split())
            except OSError:
                continue
    return pids


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def update(folder: Path, base: Path, workers: int) -> str:
    """Build a BM25 memory, edit ten files, and say what the update reads and adds."""
    data: dict[str, Any] = {"use": "documents", "path": str(folder), "workers": workers}
    spec = spec_from_dict("corpus", data)
    store = Store(base / "store")
    started = time.perf_counter()
    built = store.build(
        None, spec.build(), spec_from_dict("retriever", {"use": "bm25"}), corpus_config=spec
    )
    lines = [f"build: {built.passages:,} passages, {time.perf_counter() - started:.1f} s"]
    for path in sorted(folder.rglob("*.txt"))[:10]:
        with path.open("a", encoding="utf-8") as stream:
            stream.write("\n\nA line that was added at the end.\n")
    for edits in (10, 0):
        corpus = spec.build()
        started = time.perf_counter()
        info = store.update(None, corpus, corpus_config=spec)
        seconds = time.perf_counter() - started
        report = corpus.report
        lines.append(
            f"update after {edits} edits: {report.read.total()} files read, {report.unchanged:,} "
            f"not, {info.added + info.changed} passages added or changed, {info.removed} removed, "
            f"{seconds:.1f} s"
        )
    return "\n".join(lines)


def main() -> None:
    """Make the folder, time both, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--workers", type=int, default=usable_cpus())
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        folder = base / "folder"
        counts = make_folder(folder, arguments.files)
        paths = sorted(str(path) for path in folder.rglob("*.*") if path.is_file())
        size = sum(Path(path).stat().st_size for path in paths)
        print(f"{len(paths):,} files, {size / 1e6:.0f} MB: {counts}")
        ratios, cpu_ratios = [], []
        for number in range(arguments.rounds):
            begun = cpu_seconds()
            alone, read = time_extractors(paths, arguments.workers)
            between = cpu_seconds()
            seconds, corpus, peak = time_corpus(folder, arguments.workers)
            cpu_ratios.append((between - begun) / (cpu_seconds() - between))
            ratios.append((corpus.report.read.total() / seconds) / (read / alone))
            print(
                f"round {number + 1}: extractors {read / alone:,.0f} files/s, corpus "
                f"{corpus.report.read.total() / seconds:,.0f} files/s, ratio {ratios[-1]:.2f} "
                f"(of CPU time {cpu_ratios[-1]:.2f}); "
                f"{corpus.report.passages:,} passages; peak {peak / 1e6:,.0f} MB in "
                f"{arguments.workers + 1} processes"
            )
        print(f"ratio, median: {statistics.median(ratios):.2f} (wanted: 0.9 or more)")
        print(f"ratio of CPU time, median: {statistics.median(cpu_ratios):.2f}")
        print(
            "\n".join(
                [
                    "CPU time of the bare libraries:",
                    *reader_shares(paths[:: len(paths) // 600 or 1]),
                ]
            )
        )
        print("\n".join(corpus.summary()))
        print(update(folder, base, arguments.workers))


if __name__ == "__main__":
    main()

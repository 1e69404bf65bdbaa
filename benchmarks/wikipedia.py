"""Time reading the pages of a dump: MB and pages a second on one core, and the memory it takes.

Usage: python benchmarks/wikipedia.py [DUMP ...] [--repeats 5] [--pages 3000] [--no-memory]

Without a dump it writes one of random words. For each dump it prints the rate of turning its XML,
unpacked in memory, into pages, next to other libraries that are installed (mwxml, lxml's and the
standard library's iterparse); and the rates of reading it from files of each container. All are CPU
times of one core, the best of the repeats, taken in turns. Then it prints what processes add to the
CPU time of a multistream dump, and the peak memory of fresh processes that read a dump of random
words and one eight times as long.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import importlib.util
import io
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from ragcore_wikipedia.dumps.containers import CHUNK, chunks_of
from ragcore_wikipedia.dumps.counts import Counts
from ragcore_wikipedia.dumps.files import DumpFile
from ragcore_wikipedia.dumps.job import Job
from ragcore_wikipedia.dumps.reader import pages_in, read_pages, read_site
from ragcore_wikipedia.dumps.reading import PageReader
from ragcore_wikipedia.dumps.xml import PageParser
from ragcore_wikipedia.pages import Page

HEAD = (
    '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="en">\n'
    "<siteinfo><dbname>testwiki</dbname></siteinfo>\n"
)
TAIL = "</mediawiki>\n"
STREAM = 100
"""Pages of a stream, as in Wikimedia's dumps."""


def random_pages(count: int) -> Iterator[str]:
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghijklmnop", k=rng.randint(2, 9))) for _ in range(20_000)]
    for id_ in range(1, count + 1):
        text = " ".join(rng.choices(words, k=rng.randint(50, 1500)))
        text = escape(f"'''P''' is <b>a</b> [[page]] & {text}.\n\n== See ==\n* \"[[link]]\"\n")
        yield (
            f"<page><title>P {id_}</title><ns>0</ns><id>{id_}</id><revision><id>{id_}</id>"
            "<timestamp>2024-09-20T00:00:00Z</timestamp><contributor><username>A</username>"
            "<id>7</id></contributor><model>wikitext</model><format>text/x-wiki</format>"
            f'<text bytes="9" xml:space="preserve">{text}</text><sha1>x</sha1></revision></page>\n'
        )


def write_multistream(path: Path, head: str, pages: Iterator[str], tail: str) -> None:
    """Write a dump in streams, a few pages in memory at a time."""
    with path.open("wb") as file:
        file.write(bz2.compress(head.encode()))
        stream: list[str] = []
        for page in pages:
            stream.append(page)
            if len(stream) == STREAM:
                file.write(bz2.compress("".join(stream).encode()))
                stream.clear()
        file.write(bz2.compress("".join(stream).encode()) + bz2.compress(tail.encode()))


def expat(data: bytes) -> int:
    chunks = (data[start : start + CHUNK] for start in range(0, len(data), CHUNK))
    return sum(1 for _ in pages_in(chunks, PageParser("memory")))


def mwxml(data: bytes) -> int:
    from mwxml import Dump  # type: ignore[import-not-found, import-untyped, unused-ignore]

    pages = 0
    for page in Dump.from_file(io.BytesIO(data)):
        for revision in page:
            assert revision.id
        pages += 1
    return pages


def iterparse(module: Any, **options: Any) -> Callable[[bytes], int]:
    def read(data: bytes) -> int:
        pages = 0
        for _, element in module.iterparse(io.BytesIO(data), events=("end",), **options):
            if element.tag.endswith("}page"):
                pages += 1
                revision = element.find("{*}revision")
                for name in ("id", "timestamp", "model", "text"):
                    revision.findtext(f"{{*}}{name}")
                for name in ("title", "ns", "id"):
                    element.findtext(f"{{*}}{name}")
                element.clear()
        return pages

    return read


def parsers() -> dict[str, Callable[[bytes], int]]:
    readers = {"this reader (expat)": expat}
    if importlib.util.find_spec("mwxml"):
        readers["mwxml"] = mwxml
    if importlib.util.find_spec("lxml"):
        from lxml import etree  # type: ignore[import-not-found, import-untyped, unused-ignore]

        readers["lxml iterparse"] = iterparse(etree, huge_tree=True)
    return {**readers, "ElementTree iterparse": iterparse(ElementTree)}


def best_times(actions: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return the least CPU seconds of each, taken in turns."""
    times = dict.fromkeys(actions, float("inf"))
    for _ in range(repeats):
        for name, action in actions.items():
            began = time.process_time()
            action()
            times[name] = min(times[name], time.process_time() - began)
    return times


def pack(data: bytes, folder: Path) -> dict[str, Path]:
    """Write a dump into a file of each container."""
    from backports import zstd  # Python 3.14 has it as compression.zstd.

    packed = {"xml": data, "xml.bz2": bz2.compress(data), "xml.gz": gzip.compress(data)}
    packed["xml.zst"] = zstd.compress(data)
    paths = {}
    for end, content in packed.items():
        paths[end] = folder / f"dump.{end}"
        paths[end].write_bytes(content)
    if importlib.util.find_spec("py7zr"):
        import py7zr

        paths["xml.7z"] = folder / "dump.xml.7z"
        with py7zr.SevenZipFile(paths["xml.7z"], "w") as archive:
            archive.writestr(data, "dump.xml")
    return paths


def count_pages(path: Path) -> int:
    return sum(1 for _ in read_pages(path))


def print_rates(path: Path, repeats: int) -> None:
    data = b"".join(chunks_of(path))
    size = len(data) / 1e6
    pages = expat(data)
    print(f"\n{path.name}: {pages:,} pages, {size:.1f} MB of XML")
    times = best_times(
        {name: (lambda read=read: read(data)) for name, read in parsers().items()}, repeats
    )
    print("| XML to pages | MB a second | pages a second |\n| --- | --- | --- |")
    for name, seconds in times.items():
        print(f"| {name} | {size / seconds:.0f} | {pages / seconds:,.0f} |")
    with tempfile.TemporaryDirectory() as folder:
        paths = pack(data, Path(folder))
        actions = {end: (lambda file=file: count_pages(file)) for end, file in paths.items()}
        print("\n| file | its MB | MB of XML a second | pages a second |")
        print("| --- | --- | --- | --- |")
        for end, seconds in best_times(actions, repeats).items():
            packed = paths[end].stat().st_size / 1e6
            print(f"| {end} | {packed:.2f} | {size / seconds:.0f} | {pages / seconds:,.0f} |")


def only_id(page: Page, counts: Counts) -> int:
    return page.id


def cpu_time(action: Callable[[], object]) -> float:
    """Return CPU seconds, those of ended child processes included."""
    before = os.times()
    action()
    after = os.times()
    return sum(after[:4]) - sum(before[:4])


def print_processes(path: Path, repeats: int) -> None:
    files = [DumpFile.of(path)]
    site = read_site(path)

    def read(workers: int) -> None:
        job = Job(only_id, site)
        for _ in PageReader(files, job, workers=workers, stop_at_faults=False):
            pass

    alone = min(cpu_time(lambda: read(1)) for _ in range(repeats))
    two = min(cpu_time(lambda: read(2)) for _ in range(repeats))
    print(
        f"\nmultistream dump of {path.stat().st_size / 1e6:.1f} MB: {alone:.2f} CPU seconds in one "
        f"process, {two:.2f} in two and the one that starts them"
    )


MEMORY = """
import re, sys
from pathlib import Path
from ragcore_wikipedia.dumps.reader import read_pages

def peak():
    # A process's ru_maxrss begins with that of the one which started it.
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\\s*(\\d+)", status)[1]) / 1024

path = Path(sys.argv[1])
first = next(read_pages(path))
before = peak()
pages = sum(1 for _ in read_pages(path))
print(pages, before, peak())
"""


def print_memory(folder: Path, pages: int) -> None:
    print("\n| pages | MB of the file | peak MB at the first page | peak MB at the last |")
    print("| --- | --- | --- | --- |")
    for count in (pages, 8 * pages):
        path = folder / f"dump-{count}.xml.bz2"
        write_multistream(path, HEAD, random_pages(count), TAIL)
        command = [sys.executable, "-c", MEMORY, path]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        read, first, last = done.stdout.split()
        size = path.stat().st_size / 1e6
        print(f"| {int(read):,} | {size:.1f} | {float(first):.0f} | {float(last):.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dumps", nargs="*", type=Path, metavar="DUMP")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--pages", type=int, default=3000, help="of the dump of random words")
    parser.add_argument("--no-memory", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written = folder / "random-words.xml.bz2"
        write_multistream(written, HEAD, random_pages(arguments.pages), TAIL)
        for path in arguments.dumps or [written]:
            print_rates(path, arguments.repeats)
        print_processes(written, arguments.repeats)
        if not arguments.no_memory and Path("/proc/self/status").exists():
            print_memory(folder, arguments.pages)


if __name__ == "__main__":
    main()

"""Time turning wikitext into passages, against wikiextractor and parsers of wikitext.

Usage: python benchmarks/wikitext.py [--dump FILE …] [--pages 200] [--repeats 5] [--words]

Each side takes the same pages, articles of ns 0, from memory, one after the other in one process;
times are those of the thread's processor, the best of the repeats. `wikiextractor` cleans a page's
text with templates dropped, its faster way, and `expanding` with its own expansion of templates.
`mwparserfromhell` and `wikitextparser` only parse (the latter's `plain_text` removes markup). A
library that is not installed is left out:

    pip install mwparserfromhell wikitextparser wikiextractor

With `--words`, print how many words of wikiextractor's text layout `psgs` lacks, and has in
addition: what is right in a difference, only reading tells.
"""

from __future__ import annotations

import argparse
import logging
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from ragcore_wikipedia.dumps.reader import read_pages, read_site
from ragcore_wikipedia.layouts import Layout, read_page
from ragcore_wikipedia.pages import Page, Site

DATA = Path(__file__).parents[1] / ".." / "shared" / "data" / "wikipedia"
DUMPS = [
    DATA / "pairs" / "enwiki-20160501-edited" / "old.xml.bz2",
    DATA / "pieces" / "fatwiki-20240920-pages-articles-multistream.xml.bz2",
]
WORD = re.compile(r"\w+")

Reader = Callable[[Page], object]


def articles(path: Path, count: int) -> list[Page]:
    """Read the first articles of a dump."""
    pages: list[Page] = []
    for page in read_pages(path):
        if page.namespace == 0 and page.redirect is None and page.text:
            pages.append(page)
        if len(pages) == count:
            break
    return pages


def clean(page: Page, *, expand: bool = False) -> list[str]:
    """Clean a page with wikiextractor."""
    from wikiextractor.extract import Extractor

    extractor = Extractor(page.id, page.revision, "", page.title, [])
    lines: list[str] = extractor.clean_text(page.text, expand_templates=expand, html_safe=False)
    return lines


def readers(site: Site) -> dict[str, Reader]:
    """Return what is timed, by name."""

    def layout(name: Layout) -> Reader:
        return lambda page: read_page(page, site, name)

    timed: dict[str, Reader] = {"psgs": layout("psgs"), "structured": layout("structured")}
    if find_spec("wikiextractor"):
        timed["wikiextractor"] = clean
        timed["expanding"] = lambda page: clean(page, expand=True)
    if find_spec("mwparserfromhell"):
        import mwparserfromhell

        timed["mwparserfromhell"] = lambda page: mwparserfromhell.parse(page.text)
    if find_spec("wikitextparser"):
        import wikitextparser

        timed["wikitextparser"] = lambda page: wikitextparser.parse(page.text).plain_text()
    return timed


def seconds(read: Reader, pages: list[Page]) -> float:
    start = time.thread_time()
    for page in pages:
        read(page)
    return time.thread_time() - start


def compare_words(pages: list[Page], site: Site) -> None:
    """Print which words the texts of wikiextractor and of layout `psgs` do not share."""
    lacking: Counter[str] = Counter()
    added: Counter[str] = Counter()
    total = 0
    for page in pages:
        theirs = Counter(word for line in clean(page) for word in WORD.findall(line.lower()))
        texts = (passage.text for passage in read_page(page, site, "psgs").passages)
        ours = Counter(word for text in texts for word in WORD.findall(text.lower()))
        total += theirs.total()
        lacking += theirs - ours
        added += ours - theirs
    print(f"words {total}, lacking {lacking.total()}, added {added.total()}")
    print("  lacking most:", ", ".join(word for word, _ in lacking.most_common(20)))
    print("  added most:", ", ".join(word for word, _ in added.most_common(20)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dump", type=Path, nargs="+", default=DUMPS)
    parser.add_argument("--pages", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--words", action="store_true")
    parser.add_argument("--small", action="store_true", help="few pages, once")
    arguments = parser.parse_args()
    if arguments.small:
        arguments.pages, arguments.repeats = 10, 1
    logging.disable(logging.WARNING)  # wikiextractor warns of each template
    for path in arguments.dump:
        if not path.exists():
            print(f"{path} is not there; name a dump with --dump")
            continue
        site, pages = read_site(path), articles(path, arguments.pages)
        size = sum(len((page.text or "").encode()) for page in pages) / 1e6
        print(f"{path.parent.name}/{path.name}: {len(pages)} articles, {size:.1f} MB")
        timed = readers(site)
        runs: dict[str, list[float]] = {name: [] for name in timed}
        for _ in range(arguments.repeats):
            for name, read in timed.items():
                runs[name].append(seconds(read, pages))
        base = min(runs.get("wikiextractor") or runs["psgs"])
        for name, times in runs.items():
            best = min(times)
            print(
                f"  {name:17} {len(pages) / best:8.1f} pages/s {size / best:6.2f} MB/s "
                f"{base / best:5.2f} × (median {len(pages) / statistics.median(times):.1f} pages/s)"
            )
        faults = sum(bool(read_page(page, site).fault) for page in pages)
        lengths = sorted(
            len(passage.text.split())
            for page in pages
            for passage in read_page(page, site).passages
        )
        if lengths:
            shares = [lengths[len(lengths) * share // 100] for share in (5, 25, 50, 75, 95)]
            print(
                f"  {faults} pages with faults; words of `structured` at 5, 25, 50, 75, 95 %:",
                *shares,
            )
        if arguments.words and "wikiextractor" in timed:
            compare_words(pages, site)


if __name__ == "__main__":
    main()

"""Time building and searching BM25 against Tantivy, on the same real passages and questions.

Usage: python benchmarks/bm25_tantivy.py [--data ../shared/data] [--rounds 5] [--small]

Both get title and text of all passages of the data, write their index to disk, and make words to
English stems. Tantivy (Lucene in Rust; package `tantivy`) indexes in two threads, ragcore in one.
Questions are those of the data, one by one, the ten best rows. Rounds alternate, since other
programs slow both; the script prints medians, and the medians of the ratios within a round. The
seconds of processor time do not depend on what else runs, but for the cache. It is skipped where
tantivy or the data is missing.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from ragcore_bm25.retriever import Bm25

from ragcore.types import Passage

HERE: Final = Path(__file__).resolve().parent
Times = tuple[float, float]

K: Final = 10
BATCH: Final = 512
THREADS: Final = 2
HEAP: Final = 256_000_000
"""Bytes that Tantivy may use before it writes a segment."""


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a gzipped file of JSON lines."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def read_passages(data: Path) -> list[Passage]:
    """Read the passages of all collections, and those of the training questions."""
    files = [*sorted(data.glob("**/passages.jsonl.gz")), data / "train_mix" / "triples.jsonl.gz"]
    texts: dict[tuple[str, str], None] = {}
    for path in files:
        texts.update(dict.fromkeys((row["title"], row["text"]) for row in rows_of(path)))
    return [Passage(str(row), title, text) for row, (title, text) in enumerate(texts)]


def read_questions(data: Path) -> list[str]:
    """Read the questions on Wikipedia."""
    names = ("nq_gold", "triviaqa", "webquestions_train")
    return [
        row["question"] for name in names for row in rows_of(data / "openqa" / f"{name}.jsonl.gz")
    ]


def build(passages: list[Passage], folder: Path) -> Bm25:
    retriever = Bm25(Bm25.Config())
    for begin in range(0, len(passages), BATCH):
        batch = passages[begin : begin + BATCH]
        retriever.add(np.arange(begin, begin + len(batch)), batch)
    retriever.save(folder)
    return retriever


def build_tantivy(passages: list[Passage], folder: Path) -> Any:
    import tantivy

    schema = tantivy.SchemaBuilder()
    for field in ("title", "text"):
        schema.add_text_field(field, tokenizer_name="en_stem")
    schema.add_unsigned_field("row", stored=True)
    index = tantivy.Index(schema.build(), path=str(folder))
    writer = index.writer(HEAP, THREADS)
    for row, passage in enumerate(passages):
        document = tantivy.Document(title=passage.title, text=passage.text)
        document.add_unsigned("row", row)
        writer.add_document(document)
    writer.commit()
    writer.wait_merging_threads()
    index.reload()
    return index


def timed(action: Callable[[], object]) -> Times:
    """Return seconds on the wall clock, and of the processor, that an action takes."""
    began, worked = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - began, time.process_time() - worked


def race_builds(passages: list[Passage], rounds: int) -> tuple[list[Times], list[Times]]:
    """Time each build, round by round."""
    ours: list[Times] = []
    theirs: list[Times] = []
    for _ in range(rounds):
        for build_one, times in ((build, ours), (build_tantivy, theirs)):
            with tempfile.TemporaryDirectory() as name:
                times.append(timed(partial(build_one, passages, Path(name))))
    return ours, theirs


def race_searches(
    passages: list[Passage], questions: list[str], rounds: int
) -> tuple[list[Times], list[Times]]:
    """Time each question in each round."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other_folder:
        build(passages, Path(folder))
        retriever = Bm25.load(Path(folder), Bm25.Config())
        index = build_tantivy(passages, Path(other_folder))
        searcher = index.searcher()

        def search(question: str) -> None:
            retriever.search([question], K)

        def search_tantivy(question: str) -> None:
            # Its query language gives meanings to punctuation, which a question does not have.
            query = index.parse_query(re.sub(r"[^\w\s]", " ", question), ["title", "text"])
            for _, address in searcher.search(query, K).hits:
                searcher.doc(address)["row"]

        ours: list[Times] = []
        theirs: list[Times] = []
        for _ in range(rounds):
            for question in questions:
                ours.append(timed(partial(search, question)))
                theirs.append(timed(partial(search_tantivy, question)))
    return ours, theirs


def report(label: str, ours: list[Times], theirs: list[Times], unit: str, scale: float) -> None:
    """Print the medians of both, and of the ratios, by both clocks."""
    for number, clock in enumerate(("wall clock", "processor")):
        own, its = ([times[number] * scale for times in each] for each in (ours, theirs))
        ratio = statistics.median(mine / tantivys for mine, tantivys in zip(own, its, strict=True))
        print(
            f"{label}, {clock}: {statistics.median(own):.3f} {unit}, Tantivy "
            f"{statistics.median(its):.3f} {unit}, ratio {ratio:.2f} (1 / {1 / ratio:.1f}); "
            f"99th percentiles {np.percentile(own, 99):.3f} and {np.percentile(its, 99):.3f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=HERE.parent.parent / "shared" / "data")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="5,000 passages: to try the script")
    options = parser.parse_args()
    try:
        import tantivy  # noqa: F401
    except ModuleNotFoundError:
        print("skipped: tantivy is not installed")
        return
    if not (options.data / "openqa").is_dir():
        print(f"skipped: no passages in {options.data} (development data)")
        return
    passages, questions = read_passages(options.data), read_questions(options.data)
    if options.small:
        passages, questions = passages[:5_000], questions[:200]
    print(f"{len(passages):,} passages, {len(questions):,} questions", flush=True)

    report("build", *race_builds(passages, options.rounds), "s", 1)
    report("search", *race_searches(passages, questions, options.rounds), "ms", 1e3)


if __name__ == "__main__":
    main()

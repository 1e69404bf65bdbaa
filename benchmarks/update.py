"""Time updating a memory, against building it again, by size of the change and of the memory.

Usage: python benchmarks/update.py [--passages 20000 200000] [--changes 10 100 1000 10000]

The memories are dense (index `exact`) and BM25, over invented passages of 100 words. The encoder
draws random vectors, so that only ragcore's own work is timed; a real encoder adds its time for
each changed passage to an update, and for every passage to a build. A third of the changes are new
passages, a third replace others, a third delete some. Times are medians of several repeats, taken
in turn.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from dense_build import Drawing
from passages import WORDS

from ragcore.errors import UnknownComponentError
from ragcore.registry.components import ComponentSpec, spec_from_dict
from ragcore.retrievers.dense import Dense
from ragcore.retrievers.flat import Exact
from ragcore.store.diff import Changes
from ragcore.store.store import Store
from ragcore.types import Passage

RNG = random.Random(0)
TEXTS = [" ".join(RNG.choices(WORDS, k=100)) for _ in range(1000)]


def passage(number: int, mark: str = "") -> Passage:
    return Passage(str(number), f"Title {number}", f"{mark}{number} {TEXTS[number % 1000]}")


def passages(size: int) -> Iterator[Passage]:
    return map(passage, range(size))


def changes(size: int, amount: int, seed: int) -> Changes:
    """Make changes spread over the memory: a third new, a third replacing, a third deleting."""
    touched = random.Random(seed).sample(range(size), 2 * amount // 3)
    half = len(touched) // 2
    new = [passage(size + number) for number in range(amount - len(touched))]
    replaced = [passage(number, f"again {seed} ") for number in touched[:half]]
    upserts = {item.id: item for item in (*new, *replaced)}
    return Changes(upserts, dict.fromkeys(map(str, touched[half:]), "benchmark"))


def retrievers() -> Iterator[tuple[str, ComponentSpec]]:
    encoder = ComponentSpec("encoder", "drawing", Drawing, Drawing.Config())
    index = ComponentSpec("index", "exact", Exact, Exact.Config())
    yield (
        "dense",
        ComponentSpec("retriever", "dense", Dense, Dense.Config(encoder=encoder, index=index)),
    )
    try:
        yield "bm25", spec_from_dict("retriever", {"use": "bm25"})
    except UnknownComponentError:
        print("bm25: skipped, ragcore-bm25 is not installed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--passages", type=int, nargs="+", default=[20_000, 200_000])
    parser.add_argument("--changes", type=int, nargs="+", default=[10, 100, 1_000, 10_000])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    names = count()
    print(f"{'memory':7} {'passages':>9} {'changes':>8} {'update s':>9} {'build s':>8}  share")
    for kind, spec in retrievers():
        for size in options.passages:
            with tempfile.TemporaryDirectory() as folder:
                store = Store(Path(folder))
                began = time.perf_counter()
                store.build("base", passages(size), spec)
                build_seconds = time.perf_counter() - began
                update_seconds: dict[int, list[float]] = {amount: [] for amount in options.changes}
                for repeat in range(options.repeats):
                    for amount in options.changes:
                        batch = changes(size, amount, repeat)
                        began = time.perf_counter()
                        store.update(f"v{next(names)}", batch, parent="base", retriever=spec)
                        update_seconds[amount].append(time.perf_counter() - began)
                    store.activate("base")
                    store.gc(1)
                for amount, times in update_seconds.items():
                    took = statistics.median(times)
                    print(
                        f"{kind:7} {size:9,} {amount:8,} {took:9.3f} {build_seconds:8.1f}  "
                        f"{took / build_seconds:.4f}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()

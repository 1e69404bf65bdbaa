"""Time the embedding cache: what adding and reading a vector costs, and a build with all vectors.

Usage: python benchmarks/embedding_cache.py [--vectors 100000] [--dims 384 768]
       python benchmarks/embedding_cache.py --model all-MiniLM-L6-v2 [--passages 1000]

Without --model, random vectors of invented passages are added, read in the same order, and read in
another one. Times are this process's processor time, without that of drawing the vectors; bytes are
those of the file.

With --model, a dense memory is built from invented passages of 60 words with an empty cache
and with a full one, in turns, and the ratio of the processor times is printed. The model's loading
is not in it: a build with a full cache loads it, too, for its fingerprint.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from ragcore.embeddings.cache import EmbeddingCache
from ragcore.embeddings.upkeep import size_of
from ragcore.registry.components import ComponentSpec
from ragcore.retrievers.dense import Dense
from ragcore.retrievers.flat import Exact
from ragcore.store.store import Store
from ragcore.types import Passage

BATCH: Final = 512


def corpus(count: int, words: int) -> list[Passage]:
    draws = random.Random(0)
    known = [f"word{number}" for number in range(3000)]
    return [
        Passage(str(row), f"Title {row}", " ".join(draws.choices(known, k=words)))
        for row in range(count)
    ]


def seconds(folder: Path, dim: int, passages: Sequence[Passage]) -> float:
    """Return the processor time of passing passages through a cache, without encoding."""
    draws, drawing = np.random.default_rng(0), 0.0

    def encode(unknown: Sequence[Passage]) -> np.ndarray:
        nonlocal drawing
        began = time.process_time()
        vectors = draws.standard_normal((len(unknown), dim), np.float32)
        drawing += time.process_time() - began
        return vectors

    began = time.process_time()
    with EmbeddingCache(folder, np.inf) as cache:
        for start in range(0, len(passages), BATCH):
            cache.vectors("random", dim, passages[start : start + BATCH], encode)
    return time.process_time() - began - drawing


def per_vector(count: int, dims: Sequence[int]) -> None:
    passages = corpus(count, 100)
    shuffled = random.Random(1).sample(passages, count)
    print(f"{count:,} vectors; vectors a second of processor time, and bytes a vector")
    print(f"{'d':>5} {'added':>9} {'read':>9} {'read in another order':>22} {'bytes':>7}")
    for dim in dims:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name, "cache")
            times = [seconds(folder, dim, each) for each in (passages, passages, shuffled)]
            added, read, elsewhere = (f"{count / each:,.0f}" for each in times)
            size = size_of(folder) / count
            print(f"{dim:5} {added:>9} {read:>9} {elsewhere:>22} {size:7,.0f}")


def builds(model: str, count: int, rounds: int) -> None:
    try:
        from ragcore_transformers.configs import SentenceConfig
        from ragcore_transformers.sentence import SentenceTransformers
    except ModuleNotFoundError as error:
        print(f"skipped: {error.name} is not installed")
        return
    config = SentenceConfig.model_validate({"model": model})
    encoder = ComponentSpec("encoder", "sentence-transformers", SentenceTransformers, config)
    index = ComponentSpec("index", "exact", Exact, Exact.Config())
    spec = ComponentSpec("retriever", "dense", Dense, Dense.Config(encoder=encoder, index=index))
    loaded = encoder.shared()
    passages, ratios = corpus(count, 60), []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            times = []
            for version in ("cold", "warm"):
                began = time.process_time()
                with EmbeddingCache(Path(name, "cache"), np.inf) as cache:
                    Store(Path(name, "store")).build(version, passages, spec, cache=cache)
                times.append(time.process_time() - began)
            ratios.append(times[0] / times[1])
        print(f"{count:,} passages: {times[0]:.1f} s encoded, {times[1]:.2f} s from the cache")
    print(f"an empty cache takes {statistics.median(ratios):.0f} × as long as a full one")
    del loaded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--vectors", type=int, default=100_000)
    parser.add_argument("--dims", type=int, nargs="+", default=[384, 768])
    parser.add_argument("--model", help="time builds with this model instead")
    parser.add_argument("--passages", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if options.model is None:
        per_vector(options.vectors, options.dims)
    else:
        builds(options.model, options.passages, options.rounds)


if __name__ == "__main__":
    main()

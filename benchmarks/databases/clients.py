"""Vectors and questions, an index that is built, and threads that search it at the same time.

Works with millions of vectors: nothing is computed for all pairs, and a build says how far it is.
Knows indexes; knows neither databases nor what is printed of them.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import numpy as np

__all__ = [
    "EF_SEARCH",
    "LINKS",
    "Built",
    "Drawn",
    "K",
    "Searched",
    "build",
    "drawn",
    "recall_of",
    "searched",
]

K: Final = 10
EF_SEARCH: Final = 100
LINKS: Final = 32
COMPARED: Final = 64
"""Queries that recall is computed from."""

_QUERIES: Final = 256
_BLOCK: Final = 65_536
_BATCH: Final = 10_000
_EVERY: Final = 10.0
"""Seconds between two lines of a build."""


class Drawn(NamedTuple):
    """Vectors [n, d], queries [q, d] near some of them, and the K best rows of some queries."""

    vectors: np.ndarray
    queries: np.ndarray
    best: np.ndarray


class Built(NamedTuple):
    """An index that was built and loaded.

    Attributes:
        index: loaded.
        seconds: of adding and saving.
        size: bytes of its files.
        folder: of its files.
    """

    index: Any
    seconds: float
    size: int
    folder: Path


class Searched(NamedTuple):
    """What clients saw: questions a second, and percentiles of one search in milliseconds."""

    rate: float
    median: float
    p95: float
    p99: float


def drawn(count: int, dim: int) -> Drawn:
    """Draw vectors of length 1 from a seed, and queries near some of them."""
    rng = np.random.default_rng(0)
    vectors = np.empty((count, dim), np.float32)
    for start in range(0, count, _BLOCK):
        block = vectors[start : start + _BLOCK]
        rng.standard_normal(out=block, dtype=np.float32)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    near = vectors[rng.integers(0, count, _QUERIES)]
    queries = near + 0.05 * rng.standard_normal(near.shape, np.float32)
    return Drawn(vectors, queries, best_rows(vectors, queries[:COMPARED]))


def best_rows(vectors: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Return the K rows of highest inner product of each query, compared block by block."""
    best = np.empty((len(queries), 0), np.int64)
    scores = np.empty((len(queries), 0), np.float32)
    for start in range(0, len(vectors), _BLOCK):
        block = queries @ vectors[start : start + _BLOCK].T  # [q, b]
        rows = np.broadcast_to(np.arange(start, start + block.shape[1]), block.shape)
        scores, best = np.hstack([scores, block]), np.hstack([best, rows])
        order = np.argsort(-scores, axis=1, kind="stable")[:, :K]
        scores, best = (np.take_along_axis(each, order, axis=1) for each in (scores, best))
    return best


def build(
    stack: ExitStack,
    name: str,
    component: Any,
    config: Any,
    vectors: np.ndarray,
    metadata: list[dict[str, Any]] | None = None,
) -> Built:
    """Build, save and load an index, and print to standard error how far it is.

    Args:
        stack: with which the folder of its files is removed.
        name: of the index, as it is printed.
        component: the class.
        config: of the component.
        vectors: [n, d].
        metadata: of each vector, for an index with columns.
    """
    folder = Path(stack.enter_context(TemporaryDirectory()))
    began = shown = time.perf_counter()
    index = component(config, dim=vectors.shape[1])
    for start in range(0, len(vectors), _BATCH):
        stop = min(start + _BATCH, len(vectors))
        rows = np.arange(start, stop)
        if metadata is None:
            index.add(rows, vectors[start:stop])
        else:
            index.add_with_metadata(rows, vectors[start:stop], metadata[start:stop])
        if time.perf_counter() - shown > _EVERY:
            shown = time.perf_counter()
            _say(f"{name}: {stop:,} of {len(vectors):,} vectors after {shown - began:,.0f} s")
    if shown > began:
        _say(f"{name}: all vectors are there; completing the index")
    index.save(folder)
    seconds = time.perf_counter() - began
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    del index
    return Built(component.load(folder, config), seconds, size, folder)


def recall_of(index: Any, drawn: Drawn) -> float:
    """Return the share of the best rows that are found, of some of the queries."""
    hits = index.search(drawn.queries[:COMPARED], K)
    pairs = zip(hits.rows, drawn.best, strict=True)
    return float(np.mean([len(np.intersect1d(*pair)) / len(pair[1]) for pair in pairs]))


def searched(index: Any, queries: np.ndarray, clients: int, seconds: float) -> Searched:
    """Search by several threads, each one question after the other; each asks one at least."""
    times: list[float] = []
    began = time.perf_counter()
    end = began + seconds

    def ask(first: int) -> None:
        number, start = first, time.perf_counter()
        while number == first or start < end:
            index.search(queries[number % len(queries)][None], K)
            now = time.perf_counter()
            times.append(now - start)
            number, start = number + 1, now

    together([lambda first=first: ask(7 * first) for first in range(clients)])
    # The last searches end after `seconds`: with many clients and few processors by much.
    elapsed = time.perf_counter() - began
    milliseconds = 1000 * np.array(times)
    return Searched(len(times) / elapsed, *np.percentile(milliseconds, (50, 95, 99)).tolist())


def together(actions: list[Callable[[], None]]) -> None:
    """Run functions in a thread each, and raise the first error of any."""
    errors: list[BaseException] = []

    def guarded(action: Callable[[], None]) -> None:
        try:
            action()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)

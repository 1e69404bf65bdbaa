"""Measure ragcore's overhead: its index's `search` against the library's, on the same object."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from typing import Any, Final, cast

from ragcore.contracts import Index
from vectors.kinds import Kind, label
from vectors.making import K, Vectors, blocks_of, seconds
from vectors.records import Through

__all__ = ["TARGETS", "can_race", "race"]

TARGETS: Final = {1: 1.15, 64: 1.05}
"""The largest acceptable ratio, by the number of queries in a search."""

_RACED: Final = ("Flat", "SQ8", "HNSW32")


def can_race(kind: Kind) -> bool:
    """Return whether the library's own index can be reached, and the kind is to be compared."""
    return kind.name in _RACED or kind.use == "hnswlib" or kind.name.endswith(",Flat")


def race(
    kind: Kind, index: Index, queries: Vectors, threads: int, budget: float, rounds: int
) -> Iterator[Through]:
    """Time rounds of both in turn, in changing order, over the same queries for `budget` seconds.

    A round has many queries, so that neither finds the other's vectors in the processor's cache.
    """
    raw = _raw(kind, index, threads)
    for at_once, target in TARGETS.items():
        blocks = blocks_of(queries, at_once)
        block_seconds = seconds(lambda blocks=blocks: [raw(block) for block in blocks[:4]])[0] / 4
        blocks = blocks[: max(2, round(budget / block_seconds))]

        def ours(blocks: list[Vectors] = blocks) -> None:
            for block in blocks:
                index.search(block, K)

        def theirs(blocks: list[Vectors] = blocks) -> None:
            for block in blocks:
                raw(block)

        ratios, raws = [], []
        for turn in range(rounds + 1):
            pair: list[Callable[[], None]] = [ours, theirs]
            times = {run: seconds(run)[0] for run in (pair if turn % 2 else reversed(pair))}
            # The first round warms up.
            if turn:
                ratios.append(times[ours] / times[theirs])
                raws.append(times[theirs] / len(blocks))
        low, middle, high = statistics.quantiles(ratios, n=4)
        setting = label(kind.typical)
        yield Through(
            kind.name, setting, at_once, middle, low, high, statistics.median(raws), target
        )


def _raw(kind: Kind, index: Index, threads: int) -> Callable[[Vectors], Any]:
    """Return the library's own search; a benchmark may use a plugin's private attributes."""
    if kind.use == "hnswlib":
        graph = cast(Any, index)._graph
        # ragcore's searches use this number too.
        graph.set_num_threads(threads)
        return lambda block: graph.knn_query(block, K)
    library_index = cast(Any, index)._index
    return lambda block: library_index.search(block, K)

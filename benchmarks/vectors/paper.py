"""Estimate the bytes and hours of an index of the paper's size, from two small sizes.

Each kind is built in two halves of equal size. The time that the first half takes longer is
training. The second half gives the rate of adding, and the growth of the files gives the bytes of a
vector.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np

from ragcore.contracts import Index
from ragcore.errors import RagcoreError
from vectors.data import Data
from vectors.kinds import Kind, Law
from vectors.making import K, folder_bytes, seconds, spec_of
from vectors.records import Cost, Log

__all__ = ["DIM", "PASSAGES", "REPORTED", "TRAINED_ON", "estimate"]

PASSAGES: Final = 21_015_324
DIM: Final = 768

TRAINED_ON: Final = 160_000
"""Training vectors at the paper's size: FAISS recommends 39 for each of 4,096 centroids."""

REPORTED: Final = (
    ("the paper's index, HNSW", "about 100 GB"),
    ("the same, compressed with FAISS", "36 GB"),
    ("ParlAI's exact HNSW128", "about 80 GB"),
    ("ParlAI's IVF4096_HNSW128,PQ128", "about 3 GB"),
)
"""Sizes reported for 21 million passages: Lewis et al. (2020), and ParlAI's documentation."""


def estimate(kinds: Iterable[Kind], data: Data, log: Log) -> None:
    """Measure all kinds on these vectors; skip one that cannot be made here."""
    for kind in kinds:
        # Adding to a graph is slow, and so is training many clusters.
        half = len(data.stored) // (2 if kind.family in ("exact", "codes") else 5)
        more = {"train_size": half} if kind.use == "faiss" else {}
        try:
            index = spec_of(kind, kind.typical, **more).build(dim=data.dim)
            first, second = (_add(index, data, start, half) for start in (0, half))
        except RagcoreError as error:
            print(f"skipped {kind.name}: {' '.join(str(error).split())}", flush=True)
            continue
        cost = _cost(kind, data.dim, half, first, second)
        log.add(cost)
        print(f"{kind.name}: {cost.total_bytes / 1e9:.1f} GB, {cost.hours:.2f} h", flush=True)


def _add(index: Index, data: Data, start: int, count: int) -> tuple[float, int]:
    """Add `count` vectors; return the seconds it took and the bytes of the index afterwards."""
    rows = np.arange(start, start + count)

    def add() -> None:
        index.add(rows, data.stored[rows])
        index.search(data.queries[:1], K)

    took = seconds(add)[0]
    with tempfile.TemporaryDirectory() as folder:
        index.save(Path(folder))
        return took, folder_bytes(Path(folder))


def _cost(
    kind: Kind, dim: int, half: int, first: tuple[float, int], second: tuple[float, int]
) -> Cost:
    weight = (second[1] - first[1]) / half
    fixed = first[1] - weight * half
    work = [_work(kind.law, size) for size in (half, 2 * half, PASSAGES)]
    train = max(0.0, first[0] - second[0]) if kind.law == "linear" else 0.0
    drift = second[0] / (first[0] - train) / ((work[1] - work[0]) / work[0])
    adding = second[0] * work[2] / (work[1] - work[0])
    return Cost(
        kind=kind.name,
        dim=dim,
        sizes=(half, 2 * half),
        formula=kind.bytes,
        bytes=weight,
        fixed=fixed,
        train=train,
        add=second[0],
        law=kind.law,
        drift=drift,
        total_bytes=kind.bytes * PASSAGES + max(0.0, fixed),
        hours=(adding + train * TRAINED_ON / half) / 3600,
    )


def _work(law: Law, size: int) -> float:
    return size if law == "linear" else size * math.log2(size)

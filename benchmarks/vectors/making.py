"""Make indexes by their registered names and time them, through ragcore's contract alone."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ragcore.contracts import Index
from ragcore.registry.components import ComponentSpec, spec_from_dict
from vectors.kinds import Kind, Settings

__all__ = [
    "K",
    "Rows",
    "Vectors",
    "blocks_of",
    "folder_bytes",
    "spec_of",
    "rate",
    "recall",
    "seconds",
]

Vectors = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

K: Final = 10
"""The number of hits to ask for."""


def spec_of(kind: Kind, setting: Settings, **more: Any) -> ComponentSpec:
    """Return the component's spec, as a pipeline file would give it.

    Raises:
        RagcoreError: it is not installed, or does not know the setting.
    """
    return spec_from_dict("index", {"use": kind.use, **kind.config(setting), **more})


def seconds(action: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds that a call took, and its result."""
    began = time.perf_counter()
    result = action()
    return time.perf_counter() - began, result


def rate(index: Index, queries: Vectors, at_once: int, budget: float) -> float:
    """Return queries a second, by the median of at least three searches and `budget` seconds."""
    times: list[float] = []
    blocks = itertools.cycle(blocks_of(queries, at_once))
    index.search(next(blocks), K)
    while len(times) < 3 or sum(times) < budget:
        block = next(blocks)
        times.append(seconds(lambda block=block: index.search(block, K))[0])
    return at_once / statistics.median(times)


def blocks_of(queries: Vectors, at_once: int) -> list[Vectors]:
    """Split queries into blocks of one size, leaving out what does not fill a block."""
    starts = range(0, len(queries) - at_once + 1, at_once)
    return [queries[start : start + at_once] for start in starts]


def recall(rows: Rows, truth: Rows) -> float:
    """Return the share of the true best rows [q, k] that a search found."""
    same = sum(len(np.intersect1d(a, b)) for a, b in zip(rows, truth, strict=True))
    return same / truth.size


def folder_bytes(folder: Path) -> int:
    """Return the bytes of all files in a folder and its subfolders."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

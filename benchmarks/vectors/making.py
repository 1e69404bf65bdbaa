"""Indexes by their registered names, and queries a second: through ragcore's contract alone."""

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
    "part_of",
    "rate",
    "recall",
    "seconds",
]

Vectors = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

K: Final = 10
"""Hits asked for."""


def part_of(kind: Kind, setting: Settings, **more: Any) -> ComponentSpec:
    """The component, as a pipeline would make it.

    Raises:
        RagcoreError: it is not installed, or does not know the setting.
    """
    return spec_from_dict("index", {"use": kind.use, **kind.config(setting), **more})


def seconds(action: Callable[[], Any]) -> tuple[float, Any]:
    """How long a call took, and what it gave."""
    began = time.perf_counter()
    result = action()
    return time.perf_counter() - began, result


def rate(index: Index, asked: Vectors, at_once: int, budget: float) -> float:
    """Queries a second, from the median time of a search; at least three, then for `budget` s."""
    taken: list[float] = []
    blocks = itertools.cycle(blocks_of(asked, at_once))
    index.search(next(blocks), K)
    while len(taken) < 3 or sum(taken) < budget:
        block = next(blocks)
        taken.append(seconds(lambda block=block: index.search(block, K))[0])
    return at_once / statistics.median(taken)


def blocks_of(asked: Vectors, at_once: int) -> list[Vectors]:
    """Queries in blocks of one size; what does not fill a block is left out."""
    starts = range(0, len(asked) - at_once + 1, at_once)
    return [asked[start : start + at_once] for start in starts]


def recall(found: Rows, truth: Rows) -> float:
    """The share of the true best rows [q, k] that was found."""
    same = sum(len(np.intersect1d(a, b)) for a, b in zip(found, truth, strict=True))
    return same / truth.size


def folder_bytes(folder: Path) -> int:
    """Of all files in a folder and below."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

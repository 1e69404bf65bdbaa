"""An approximate index may be built otherwise each time: its laws compare no two builds."""

from __future__ import annotations

import itertools
import zlib
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ragcore.retrievers.flat import Exact
from ragcore.testing import IndexSuite, examine


class Built(Exact):
    """An index that misses some rows while there are enough others, and others in each build.

    As a graph does that is built by several threads. The number of the build stands for chance.
    """

    # A joined index would be one more build.
    capabilities: ClassVar[frozenset[str]] = Exact.capabilities - {"exact", "join"}
    builds: ClassVar[Any] = itertools.count()

    def __init__(self, config: Any, *, dim: int) -> None:
        super().__init__(config, dim=dim)
        self.build = next(self.builds)

    def save(self, folder: Path) -> None:
        super().save(folder)
        (folder / "build.txt").write_text(str(self.build), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, config: Any, *, mmap: bool = True) -> Any:
        loaded = super().load(folder, config, mmap=mmap)
        loaded.build = int((folder / "build.txt").read_text(encoding="utf-8"))
        return loaded

    def search(self, queries: Any, k: int, *, allowed: Any = None) -> Any:
        among = self._all_rows() if allowed is None else allowed
        missed = [zlib.crc32(f"{self.build} {row}".encode()) % 12 == 0 for row in among.tolist()]
        reached = among[~np.array(missed, bool)]
        if len(np.intersect1d(reached, self._all_rows())) < k:
            return super().search(queries, k, allowed=allowed)
        return super().search(queries, k, allowed=reached)


class Suite(IndexSuite):
    recall = 0.7


# Their duty is that of every component: the same results from any seed and in any process.
SAME_IN_EVERY_BUILD = {"test_global_seeds_do_not_matter", "test_another_process_gives_the_same"}


def test_only_the_laws_of_seeds_and_processes_compare_builds_of_an_approximate_index():
    laws = Suite.laws().keys() - SAME_IN_EVERY_BUILD
    failed = [verdict for verdict in examine(Suite, Built, laws) if verdict.outcome == "failed"]
    assert not failed, "\n".join(f"{verdict.law}: {verdict.reason}" for verdict in failed)

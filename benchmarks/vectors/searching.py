"""Builds each kind of index once, and measures its speed, its recall and what ragcore adds."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from ragcore.contracts import Index
from ragcore.errors import RagcoreError
from ragcore.registry.components import ComponentSpec
from vectors import through
from vectors.data import Data
from vectors.kinds import Kind, label
from vectors.making import K, Rows, folder_bytes, part_of, rate, recall, seconds
from vectors.records import Built, Log, Point

__all__ = ["Wanted", "search"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to measure.

    Attributes:
        threads: for searching.
        budget: seconds for each rate.
        rounds: of ragcore beside the library.
    """

    recall: bool
    overhead: bool
    threads: int
    budget: float
    rounds: int


def search(kinds: Iterable[Kind], data: Data, wanted: Wanted, log: Log) -> None:
    """Measure all kinds; one that cannot be made here is skipped, and the reason printed."""
    truth = _truth(data) if wanted.recall else np.zeros((0, K), np.int64)
    for kind in kinds:
        if not (wanted.recall or through.can_race(kind)):
            continue
        try:
            part = part_of(kind, kind.typical)
            took, index = seconds(lambda part=part: _build(part, data))
        except RagcoreError as error:
            print(f"skipped {kind.name}: {' '.join(str(error).split())}", flush=True)
            continue
        print(f"{kind.name}: built in {took:.1f} s", flush=True)
        if wanted.overhead and through.can_race(kind):
            with threadpool_limits(wanted.threads):
                _race(kind, index, data, wanted, log)
        if wanted.recall:
            with tempfile.TemporaryDirectory() as folder:
                index.save(Path(folder))
                size = len(data.stored)
                weight = folder_bytes(Path(folder)) / size
                can = tuple(sorted(index.capabilities))
                log.add(Built(kind.name, kind.family, size, data.dim, took, weight, can))
                del index
                with threadpool_limits(wanted.threads):
                    _sweep(kind, Path(folder), data, truth, wanted, log)


def _truth(data: Data) -> Rows:
    """The best rows of each query, by the core's own exact search."""
    part = part_of(Kind("exact", "exact", "exact", {}), {})
    return _build(part, data).search(data.asked, K).rows


def _build(part: ComponentSpec, data: Data) -> Index:
    """An index of all vectors; its first search makes it do whatever it has put off."""
    index: Index = part.build(dim=data.dim)
    index.add(np.arange(len(data.stored)), data.stored)
    index.search(data.asked[:1], K)
    return index


def _race(kind: Kind, index: Index, data: Data, wanted: Wanted, log: Log) -> None:
    for record in through.race(
        kind, index, data.asked, wanted.threads, wanted.budget, wanted.rounds
    ):
        log.add(record)


def _sweep(kind: Kind, folder: Path, data: Data, truth: Rows, wanted: Wanted, log: Log) -> None:
    """Each setting, on the index as it is loaded from disk."""
    for setting in kind.settings:
        part = part_of(kind, setting, **kind.searching(wanted.threads))

        def load(part: ComponentSpec = part) -> Index:
            index: Index = part.component.load(folder, part.config)
            index.search(data.asked[:1], K)
            return index

        loading, index = seconds(load)
        found = recall(index.search(data.asked, K).rows, truth)
        batch, single = (rate(index, data.asked, at_once, wanted.budget) for at_once in (64, 1))
        log.add(Point(kind.name, label(setting), found, batch, single, loading))
        print(f"  {label(setting) or 'as it is'}: recall {found:.3f}", flush=True)

"""Build each kind of index once; measure its speed, its recall and ragcore's overhead."""

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
from vectors.making import K, Rows, folder_bytes, rate, recall, seconds, spec_of
from vectors.records import Built, Log, Point

__all__ = ["Plan", "search"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure.

    Attributes:
        threads: threads for searching.
        budget: seconds for measuring a rate.
        rounds: rounds of ragcore and the library in turn.
    """

    recall: bool
    overhead: bool
    threads: int
    budget: float
    rounds: int


def search(kinds: Iterable[Kind], data: Data, plan: Plan, log: Log) -> None:
    """Measure all kinds; skip one that cannot be made here, and print the reason."""
    truth = _truth(data) if plan.recall else np.zeros((0, K), np.int64)
    for kind in kinds:
        if not (plan.recall or through.can_race(kind)):
            continue
        try:
            spec = spec_of(kind, kind.typical)
            took, index = seconds(lambda spec=spec: _build(spec, data))
        except RagcoreError as error:
            print(f"skipped {kind.name}: {' '.join(str(error).split())}", flush=True)
            continue
        print(f"{kind.name}: built in {took:.1f} s", flush=True)
        if plan.overhead and through.can_race(kind):
            with threadpool_limits(plan.threads):
                _race(kind, index, data, plan, log)
        if plan.recall:
            with tempfile.TemporaryDirectory() as folder:
                index.save(Path(folder))
                size = len(data.stored)
                bytes_each = folder_bytes(Path(folder)) / size
                capabilities = tuple(sorted(index.capabilities))
                log.add(
                    Built(kind.name, kind.family, size, data.dim, took, bytes_each, capabilities)
                )
                del index
                with threadpool_limits(plan.threads):
                    _sweep(kind, Path(folder), data, truth, plan, log)


def _truth(data: Data) -> Rows:
    """Return the best rows of each query, by the core's own exact search."""
    spec = spec_of(Kind("exact", "exact", "exact", {}), {})
    return _build(spec, data).search(data.queries, K).rows


def _build(spec: ComponentSpec, data: Data) -> Index:
    """Build an index of all vectors; a first search makes it finish work that it has put off."""
    index: Index = spec.build(dim=data.dim)
    index.add(np.arange(len(data.stored)), data.stored)
    index.search(data.queries[:1], K)
    return index


def _race(kind: Kind, index: Index, data: Data, plan: Plan, log: Log) -> None:
    for record in through.race(kind, index, data.queries, plan.threads, plan.budget, plan.rounds):
        log.add(record)


def _sweep(kind: Kind, folder: Path, data: Data, truth: Rows, plan: Plan, log: Log) -> None:
    """Measure each setting with the index loaded from disk."""
    for setting in kind.settings:
        spec = spec_of(kind, setting, **kind.searching(plan.threads))

        def load(spec: ComponentSpec = spec) -> Index:
            index: Index = spec.load(folder)
            index.search(data.queries[:1], K)
            return index

        loading, index = seconds(load)
        share = recall(index.search(data.queries, K).rows, truth)
        batch, single = (rate(index, data.queries, at_once, plan.budget) for at_once in (64, 1))
        log.add(Point(kind.name, label(setting), share, batch, single, loading))
        print(f"  {label(setting) or 'without settings'}: recall {share:.3f}", flush=True)

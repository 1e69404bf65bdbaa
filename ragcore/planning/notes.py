"""Notes of a plan: what does not fit, what helps, and what nobody has measured.

Knows the stages of a plan; knows neither rates nor formulas.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ragcore.planning.layout import DATABASE_KINDS, MOST_DIMENSIONS, IndexKind

if TYPE_CHECKING:
    from ragcore.planning.plan import Stage, Task

__all__ = ["notes_of"]


def notes_of(task: Task, stages: Sequence[Stage]) -> tuple[str, ...]:
    """Return what does not fit, and what the figures of some stages leave out.

    Args:
        task: what is planned.
        stages: the stages that are shown; no note names another one.
    """
    notes: list[str] = []
    if task.ram is not None:
        notes += _notes_on_memory(stages, task.ram, task.kind)
    if task.workers > 1 and task.kind in ("hnsw", "pgvector-hnsw", "milvus-hnsw"):
        notes.append("a graph is searched in each shard: expect slower searches than these")
    if task.kind in DATABASE_KINDS:
        notes += _notes_on_database(stages, task.kind, task.dim)
    return tuple(notes)


def _notes_on_memory(stages: Sequence[Stage], ram: float, kind: IndexKind) -> Iterator[str]:
    """Say which stages need more memory than a machine has, and what helps."""
    has = f"and a machine has {ram / 1e9:,.1f} GB"
    above = {stage.name: stage.ram.value for stage in stages if stage.ram and stage.ram.value > ram}
    own = [name for name in above if name in ("encode", "train", "build", "merge", "update")]
    if own:
        verb = "needs" if len(own) == 1 else "need"
        most = max(above[name] for name in own) / 1e9
        helps = "choose an index with smaller codes"
        if kind == "bm25" or kind in DATABASE_KINDS:
            helps = "take a larger one"
        yield f"{', '.join(own)} {verb} up to {most:,.1f} GB of memory, {has}: {helps}, or shards"
    if "search" in above and kind in ("milvus", "milvus-hnsw"):
        nodes = math.ceil(above["search"] / ram) if ram else 0
        share = f": share it among {nodes} nodes or more" if nodes else ""
        yield f"search needs {above['search'] / 1e9:,.1f} GB of memory, {has}{share}"
    elif "search" in above and kind in DATABASE_KINDS:
        read = f"search reads {above['search'] / 1e9:,.1f} GB"
        if kind == "pgvector-hnsw":
            read = f"search reads pages anywhere in {above['search'] / 1e9:,.1f} GB"
        yield f"{read}, {has}: it would wait for the database's disk"
    elif "search" in above:
        yield f"search maps {above['search'] / 1e9:,.1f} GB, {has}: it would wait for the disk"


def _notes_on_database(stages: Sequence[Stage], kind: IndexKind, dim: int) -> Iterator[str]:
    """Say what a database cannot have, and what nobody has measured in it."""
    engine = "Milvus" if kind.startswith("milvus") else "PostgreSQL"
    most = MOST_DIMENSIONS.get(kind)
    if most is not None and dim > most:
        yield (
            f"{kind} has vectors of {most:,} dimensions at most, and these have {dim:,}: choose "
            "another index or encoder"
        )
    unknown = [stage.name for stage in stages if stage.seconds is None]
    if unknown:
        *others, last = unknown
        names = f"{', '.join(others)} and {last}" if others else last
        verb = "are" if others else "is"
        yield f"the time{'s' * bool(others)} of {names} {verb} not measured in {engine}"

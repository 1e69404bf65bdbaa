"""Compute what a memory takes, stage by stage: seconds, memory and disk, each with its source.

Knows the stages and how they share work among machines; rates are in rates.py, formulas of sizes in
layout.py. It reads no corpus and builds nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from ragcore.errors import ConfigError, nearest
from ragcore.planning.layout import (
    DATABASE_KINDS,
    IndexKind,
    factory_of,
    graph_bytes,
    index_bytes,
    training_size,
)
from ragcore.planning.notes import notes_of
from ragcore.planning.rates import Rate, Rates, Work

__all__ = ["Figure", "Plan", "Stage", "StageName", "Task", "make_plan"]

StageName = Literal["encode", "train", "build", "merge", "open", "search", "update"]

_MOST: Final = {
    "passages": 10**13,
    "dim": 1_000_000,
    "text_bytes": 1e9,
    "cores": 100_000,
    "gpus": 100_000,
    "workers": 1_000_000,
    "ram": 1e18,
    "price": 1e9,
}
"""The largest numbers that are planned with: above all that there is, and far from overflow."""

CHANGED_SHARE: Final = 0.001
"""Of the passages that the update of a plan adds, replaces or deletes."""

_FLOAT: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is planned, and with what.

    Attributes:
        passages: n.
        kind: of the index.
        dim: d, the length of a vector; BM25 has none.
        encoder: name of an encoding rate; BM25 has none.
        text_bytes: of a passage with its title, id and metadata, on average; None for that of the
            corpus that the rates were measured on.
        cores: of each machine.
        gpus: of each machine, for encoding.
        workers: machines that build a shard each; 1 builds in one go.
        ram: bytes of memory of a machine; None where it does not matter.
        price: of a machine for an hour; None where it does not matter.

    Raises:
        ConfigError: a number is too small or too large to plan with, or more machines than there
            are passages would each build a shard.
    """

    passages: int
    kind: IndexKind
    dim: int = 768
    encoder: str | None = None
    text_bytes: float | None = None
    cores: int = 1
    gpus: int = 0
    workers: int = 1
    ram: float | None = None
    price: float | None = None

    def __post_init__(self) -> None:
        for name, most in _MOST.items():
            value = getattr(self, name)
            least = 0 if name in ("gpus", "ram", "price") else 1
            if value is not None and not least <= value <= most:
                # Not every integer can be shown as a float.
                shown = f"{value:.6g}" if abs(value) < 1e300 else "no number to plan with"
                raise ConfigError(f"{name} is {shown}: expected {least} to {most:,.0f}")
        if self.workers > self.passages:
            raise ConfigError(
                f"workers is {self.workers:,}, and there are {self.passages:,} passages: expected "
                "one for each machine at least"
            )


@dataclass(frozen=True, slots=True)
class Figure:
    """A number, and where it is from: sources of its parts, without repeats."""

    value: float
    sources: tuple[str, ...]

    def __add__(self, other: Figure) -> Figure:
        """Add two figures; the sum has the sources of both."""
        sources = dict.fromkeys((*self.sources, *other.sources))
        return Figure(self.value + other.value, tuple(sources))


@dataclass(frozen=True, slots=True)
class Stage:
    """What a stage takes of each machine that does it.

    Attributes:
        name: of the stage.
        seconds: that it takes; for `search` the median of one question. None where not known.
        ram: bytes of memory at its peak; None where not known.
        disk: bytes that it leaves on disk; those of `encode` are deleted when the memory is built.
        p99: for `search` seconds of the slowest question in a hundred.
    """

    name: StageName
    seconds: Figure | None = None
    ram: Figure | None = None
    disk: Figure | None = None
    p99: Figure | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The stages of a task, and what follows from them.

    Attributes:
        task: what was planned.
        factory: FAISS's factory string of the index; "" where FAISS has none.
        stages: in their order.
        seconds: from the first passage to the finished memory; None where building is not measured.
        ram: the most that a stage of making it needs, in bytes; None where not known.
        disk: of the finished memory, in bytes; with what is in a database.
        peak_disk: of all machines together while it is built, in bytes.
        cost: of the machines until it is finished; None without a price, and without `seconds`.
        notes: what to mind of all stages, in sentences.
    """

    task: Task
    factory: str
    stages: tuple[Stage, ...]
    seconds: float | None
    ram: float | None
    disk: float
    peak_disk: float
    cost: float | None
    notes: tuple[str, ...] = field(default=())

    def stage(self, name: StageName) -> Stage | None:
        """Return a stage, or None where the task has none of this name."""
        return next((stage for stage in self.stages if stage.name == name), None)


def make_plan(task: Task, rates: Rates) -> Plan:
    """Compute the stages of a task.

    Raises:
        ConfigError: an encoder has no rate, or a rate of the index is missing.
    """
    planner = _Planner(task, rates)
    stages = planner.stages()
    made = [stage for stage in stages if stage.name in ("encode", "train", "build", "merge")]
    is_timed = all(stage.seconds is not None for stage in made if stage.name == "build")
    seconds = sum(stage.seconds.value for stage in made if stage.seconds) if is_timed else None
    # Training is done once, on one machine, and so is merging.
    machine_seconds = sum(
        stage.seconds.value * (task.workers if stage.name in ("encode", "build") else 1)
        for stage in made
        if stage.seconds
    )
    disk = planner.memory_bytes(task.passages).value
    # Files of shards are shared by hard links, but for BM25, whose merge writes new ones.
    twice = planner.retriever_bytes(task.passages).value if planner.is_bm25_merge else 0.0
    return Plan(
        task,
        factory_of(task.kind, task.passages, task.dim),
        tuple(stages),
        seconds=seconds,
        ram=max((stage.ram.value for stage in made if stage.ram), default=None),
        disk=disk,
        peak_disk=disk + twice + planner.journal_bytes(task.passages),
        cost=machine_seconds / 3600 * task.price if is_timed and task.price is not None else None,
        notes=notes_of(task, stages),
    )


class _Planner:
    """The figures of one task."""

    def __init__(self, task: Task, rates: Rates) -> None:
        self._task = task
        self._rates = rates
        self._text_bytes = task.text_bytes or rates.text_bytes
        self._share = -(-task.passages // task.workers)
        self.is_bm25_merge = task.kind == "bm25" and task.workers > 1

    def stages(self) -> list[Stage]:
        """Return all stages, in their order."""
        task, kind, whole = self._task, self._task.kind, self._task.passages
        stages: list[Stage] = []
        if kind != "bm25":
            stages.append(self._encode())
        if training_size(kind, whole):
            stages.append(self._train())
        stages.append(self._build())
        if task.workers > 1:
            stages.append(self._merge())
        stages.append(
            Stage("open", self._figure(f"open.{kind}", whole), self._ram("open", whole), None)
        )
        search, p99 = (self._figure(f"{name}.{kind}", whole) for name in ("search", "search_p99"))
        if search and p99 and p99.value < search.value:
            # Both are fitted apart: a few quick sizes can make their lines cross.
            p99 = search
        stages.append(Stage("search", search, self._search_ram(), p99=p99))
        stages.append(self._update())
        return stages

    def retriever_bytes(self, passages: int) -> Figure:
        """Return the bytes of the index's files, or of its tables in a database."""
        kind = self._task.kind
        if kind == "bm25":
            return self._needed("disk.bm25", passages)
        what = "the layout of the index's arrays"
        if kind.startswith("pgvector"):
            what = "the layout of PostgreSQL's pages, on its disk, and in its memory to be fast"
        elif kind.startswith("milvus"):
            what = "the layout of a row in Milvus's memory, once for each replica, and once stored"
        return Figure(index_bytes(kind, passages, self._task.dim), (f"formula: {what}",))

    def memory_bytes(self, passages: int) -> Figure:
        """Return the bytes of a memory: its passages and its index."""
        return self._needed("disk.passages", passages) + self.retriever_bytes(passages)

    def journal_bytes(self, passages: int) -> float:
        """Return the bytes of the vectors that a build has on disk until it is finished."""
        return 0.0 if self._task.kind == "bm25" else passages * self._task.dim * _FLOAT

    def _encode(self) -> Stage:
        seconds = self._encoding(self._share)
        name = f"ram.{self._encoder_rate().name}"
        journal = Figure(self.journal_bytes(self._share), ("formula: n · d · 4",))
        return Stage("encode", seconds, self._figure(name, self._share), journal)

    def _encoding(self, passages: int) -> Figure:
        """Return the seconds in which one machine encodes passages."""
        rate, work, task = self._encoder_rate(), self._work(passages), self._task
        shared = task.gpus or task.cores / (rate.cores or task.cores)
        return Figure(rate.of(work) / shared, (rate.cited(work),))

    def _encoder_rate(self) -> Rate:
        """Return the rate of the task's encoder, on GPUs where it has any.

        Raises:
            ConfigError: it names no encoder, or one whose rate is not known.
        """
        task = self._task
        known = self._rates.encoders(gpu=task.gpus > 0)
        listed = ", ".join(known) or "none"
        if task.encoder is None:
            raise ConfigError(
                f"an index {task.kind} needs vectors: name an encoder with --encoder: {listed}"
            )
        name = f"encode.{task.encoder}" + (".gpu" if task.gpus else "")
        if name not in self._rates:
            close = nearest(task.encoder, known)
            hint = f" (did you mean {close!r}?)" if close else ""
            where = "on a GPU" if task.gpus else "on processors"
            raise ConfigError(
                f"no rate of encoder {task.encoder!r} {where} is known{hint}: known are "
                f"{listed}; add a rate {name!r} to a file for --rates"
            )
        return self._rates[name]

    def _train(self) -> Stage:
        kind, whole = self._task.kind, self._task.passages
        sample = training_size(kind, whole) * self._task.dim * _FLOAT
        ram = Figure(2 * sample, ("formula: the sample, and the copy that FAISS makes of it",))
        if kind == "ivf-pq":
            # The lists' centres as those of `ivf`, then the codebooks.
            seconds = self._needed("train.ivf", whole) + self._needed("train.codebooks", whole)
            return Stage("train", seconds, ram)
        return Stage("train", self._figure(f"train.{kind}", whole), ram)

    def _build(self) -> Stage:
        kind = self._task.kind
        if kind == "bm25":
            seconds = self._needed("build.bm25", self._share)
        elif kind in DATABASE_KINDS:
            return self._build_in_database()
        else:
            seconds = self._needed("write.dense", self._share)
            if kind != "flat":
                seconds += self._needed(f"add.{kind}", self._share)
        return Stage(
            "build", seconds, self._ram("build", self._share), self.memory_bytes(self._share)
        )

    def _build_in_database(self) -> Stage:
        """Return what the store's own work takes, and the table's, and that of its graph."""
        kind, share = self._task.kind, self._share
        names = [f"build.{kind.removesuffix('-hnsw')}"]
        if kind.endswith("-hnsw"):
            names.append(f"add.{kind}")
        seconds: Figure | None = self._needed("write.dense", share)
        for name in names:
            more = self._figure(name, share)
            seconds = seconds + more if seconds and more else None
        size = graph_bytes(kind, share, self._task.dim)
        ram = Figure(size, ("formula: the graph, in the database's maintenance_work_mem",))
        return Stage("build", seconds, ram if size else None, self.memory_bytes(share))

    def _merge(self) -> Stage:
        kind, whole = self._task.kind, self._task.passages
        if kind == "bm25":
            disk = self.retriever_bytes(whole)
        elif kind in DATABASE_KINDS:
            disk = Figure(0.0, ("formula: tables stay where they are",))
        else:
            disk = Figure(0.0, ("formula: hard links, on one file system",))
        return Stage("merge", self._figure(f"merge.{kind}", whole), self._ram("merge", whole), disk)

    def _update(self) -> Stage:
        kind, whole = self._task.kind, self._task.passages
        seconds = self._figure(f"update.{kind}", whole)
        if seconds is not None and kind != "bm25":
            # Two of three changes bring a text.
            seconds += self._encoding(round(2 / 3 * CHANGED_SHARE * whole))
        return Stage(
            "update",
            seconds,
            self._ram("update", whole),
            self._figure(f"disk_update.{kind}", whole),
        )

    def _search_ram(self) -> Figure | None:
        """Return what a search reads: from files, or what a database should have in memory."""
        kind, whole = self._task.kind, self._task.passages
        return self.retriever_bytes(whole) if kind in DATABASE_KINDS else self._ram("search", whole)

    def _ram(self, stage: str, passages: int) -> Figure | None:
        return self._figure(f"ram.{stage}.{self._task.kind}", passages)

    def _needed(self, name: str, passages: int) -> Figure:
        """Return a figure without which there is no plan; raise ConfigError if it has no rate."""
        return self._applied(self._rates[name], passages)

    def _figure(self, name: str, passages: int) -> Figure | None:
        rate = self._rates.get(name)
        return None if rate is None else self._applied(rate, passages)

    def _applied(self, rate: Rate, passages: int) -> Figure:
        work = self._work(passages)
        value = rate.of(work)
        if rate.cores is not None:
            value *= rate.cores / self._task.cores
        return Figure(value, (rate.cited(work),))

    def _work(self, passages: int) -> Work:
        return Work(passages, self._task.dim, self._text_bytes, self._task.kind)

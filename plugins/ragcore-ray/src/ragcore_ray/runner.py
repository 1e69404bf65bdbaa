"""Run the parts of a job on a Ray cluster, each worker an actor.

An actor for each part is asked for, and Ray starts as many as there is room for; each does one part
after another. So new nodes are used as soon as they join, and a worker opens what it needs once.
Knows Ray; knows nothing of what a part does.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import Any, ClassVar, Final

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ragcore.contracts import Capabilities, Finished, Job, JobReport
from ragcore.errors import ComponentError
from ragcore_ray.config import RayConfig
from ragcore_ray.workers import Board, PartWorker

__all__ = ["Ray"]

_LOG: Final = logging.getLogger("ragcore_ray")

_REACHED_SECONDS: Final = 10.0
"""How long a cluster may take to accept a connection."""
_SECONDS: Final = 0.5
"""How long reports wait where no part ends."""


class Ray:
    """Runs parts on the nodes of a Ray cluster.

    A part whose worker or node died is tried again `retries` times, on any node.
    """

    Config: ClassVar[type[RayConfig]] = RayConfig
    capabilities: ClassVar[Capabilities] = frozenset()

    def __init__(self, config: RayConfig) -> None:
        self._config = config

    def run(self, job: Job, report: JobReport) -> Iterator[Finished]:
        """Run all parts; see `Runner`.

        Raises:
            ComponentError: there is no cluster at the address, or no worker could be started.
        """
        with _connected(self._config.address):
            run = _Run(self._config, job, report)
            try:
                yield from run.finished()
            finally:
                run.close()


@contextmanager
def _connected(address: str | None) -> Iterator[None]:
    """Connect to a cluster, or start one on this machine, unless the caller is connected already.

    Raises:
        ComponentError: that fails.
    """
    if ray.is_initialized():
        yield
        return
    _check_reachable(address)
    # Ray reads it when it starts nodes; what the user has set stays.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # When a node is lost, and when it is shut down, Ray prints on standard output, where a command
    # has its result.
    with redirect_stdout(sys.stderr):
        try:
            ray.init(
                address=address,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.WARNING,
            )
        except (RayError, ConnectionError, RuntimeError, TimeoutError, ValueError) as error:
            where = "on this machine" if address is None else f"at {address!r}"
            raise ComponentError(
                f"there is no Ray cluster {where} that can be used: {error}: start one with `ray "
                "start --head`, or name another one with --on-option address=HOST:PORT"
            ) from error
        try:
            yield
        finally:
            ray.shutdown()


def _check_reachable(address: str | None) -> None:
    """Check that something listens at HOST:PORT, for which Ray itself waits minutes.

    Raises:
        ComponentError: nothing does.
    """
    host, colon, port = (address or "").rpartition(":")
    if not colon or "/" in host or not port.isdecimal():
        return
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _REACHED_SECONDS):
            pass
    except OSError as error:
        raise ComponentError(
            f"there is no Ray cluster at {address!r} ({error}): start one with `ray start --head`, "
            "or name another one with --on-option address=HOST:PORT"
        ) from error


class _Run:
    """The workers of one job, and what each of them does."""

    def __init__(self, config: RayConfig, job: Job, report: JobReport) -> None:
        self._config = config
        self._job = ray.put(job)
        self._names = job.parts
        self._report = report
        self._waiting = deque(range(len(job.parts)))
        self._attempts = Counter[int]()
        self._starting: dict[Any, Any] = {}
        self._working: dict[Any, tuple[Any, int]] = {}
        self._failure = ""
        # Here, so that no other node takes the reports with it when it dies.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._board = ray.remote(Board).options(num_cpus=0, scheduling_strategy=here).remote()
        _warn_without_room(self._needs())
        for _ in range(min(len(job.parts), config.workers or len(job.parts))):
            self._start()

    def finished(self) -> Iterator[Finished]:
        """Yield each part when it is finished."""
        while self._working or (self._waiting and self._starting):
            pending = [*self._working, *self._starting]
            done, _ = ray.wait(pending, num_returns=len(pending), timeout=0)
            if not done:
                done, _ = ray.wait(pending, timeout=_SECONDS)
            for reference in done:
                if reference in self._starting:
                    self._started(reference)
                else:
                    yield from self._ended(reference)
            self._pass_on()
        for part in self._waiting:
            yield Finished(part, lost=f"no worker could be started: {self._failure}")

    def close(self) -> None:
        """End all workers."""
        actors = [*self._starting.values(), *(actor for actor, _ in self._working.values())]
        for actor in (*actors, self._board):
            ray.kill(actor)

    def _needs(self) -> dict[str, float]:
        config = self._config
        needs = {"CPU": config.num_cpus, "GPU": config.num_gpus, **config.resources}
        return {name: amount for name, amount in needs.items() if amount}

    def _start(self) -> None:
        config = self._config
        actor = (
            ray.remote(PartWorker)
            .options(
                num_cpus=config.num_cpus,
                num_gpus=config.num_gpus,
                resources=config.resources,
                scheduling_strategy="SPREAD",
                # A worker that died is replaced here, so that its part is known.
                max_restarts=0,
                max_task_retries=0,
            )
            .remote(self._job, self._board)
        )
        self._starting[actor.ready.remote()] = actor

    def _started(self, reference: Any) -> None:
        actor = self._starting.pop(reference)
        try:
            ray.get(reference)
        except RayError as error:
            self._failure = _text(error)
            _LOG.warning("a worker could not be started: %s", self._failure)
            return
        self._employ(actor)

    def _employ(self, actor: Any) -> None:
        """Give a worker the next part, or end it."""
        if not self._waiting:
            ray.kill(actor)
            return
        part = self._waiting.popleft()
        self._working[actor.run.remote(part)] = actor, part

    def _ended(self, reference: Any) -> Iterator[Finished]:
        actor, part = self._working.pop(reference)
        try:
            outcome = ray.get(reference)
        except RayError as error:
            ray.kill(actor)
            self._attempts[part] += 1
            reason = _text(error)
            if self._attempts[part] > self._config.retries:
                tries = f" (try {self._attempts[part]} of {self._config.retries + 1})"
                yield Finished(part, lost=f"its worker ended{tries}: {reason}")
                return
            _LOG.warning("%s is tried again: its worker ended: %s", self._names[part], reason)
            self._waiting.appendleft(part)
            self._start()
            return
        self._pass_on()
        self._employ(actor)
        yield Finished(part, outcome)

    def _pass_on(self) -> None:
        for part, stage, done, total in ray.get(self._board.take.remote()):
            self._report(part, stage, done, total)


def _warn_without_room(needs: Mapping[str, float]) -> None:
    """Warn where no node has what a worker needs: Ray then waits until one joins."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if any(all(node.get(name, 0) >= amount for name, amount in needs.items()) for node in nodes):
        return
    asked = ", ".join(f"{amount:g} {name}" for name, amount in needs.items())
    there = "; ".join(
        ", ".join(f"{node.get(name, 0):g} {name}" for name in needs) for node in nodes
    )
    _LOG.warning(
        "no node of the cluster has %s, which a worker needs (they have: %s): waiting until one "
        "joins; --on-option num_cpus=… and num_gpus=… ask for less",
        asked,
        there or "none is alive",
    )


def _text(error: RayError) -> str:
    """Return an error of Ray's in one line."""
    return " ".join(str(error).split())

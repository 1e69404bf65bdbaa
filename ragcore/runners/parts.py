"""Make a job of work in parts, run it, and bring results and errors back in one process.

An error of a worker is raised again as the same kind of error with the same message, and with the
worker's traceback as its cause. Knows runners; knows nothing of what a part does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from traceback import format_exception
from typing import Any, Generic, Protocol, TypeVar

from ragcore import errors
from ragcore.contracts import JobReport, PartReport, Runner
from ragcore.errors import ComponentError, RagcoreError
from ragcore.registry.faults import component_fault

__all__ = ["Part", "Parts", "WorkerError", "run_parts"]

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Parts(Protocol[R_co]):
    """Work in parts, which can be pickled."""

    @property
    def names(self) -> Sequence[str]:
        """What each part is called in messages."""
        ...

    def opened(self) -> AbstractContextManager[Callable[[int, PartReport], R_co]]:
        """Open what all parts need, once in a process, and return what does a part."""
        ...


class WorkerError(Exception):
    """The traceback of a worker, as the cause of the error that is raised for it."""


@dataclass(frozen=True, slots=True)
class Part(Generic[R]):
    """A part that was finished.

    Attributes:
        number: which one.
        value: its result; None where it failed or was lost.
        error: what its worker raised; None where it did not.
        lost: why its worker did not end; empty where it did.
    """

    number: int
    value: R | None = None
    error: Exception | None = None
    lost: str = ""

    def result(self) -> R:
        """Return the result, or raise the worker's error.

        Raises:
            ComponentError: the worker did not end.
        """
        if self.error is not None:
            raise self.error
        if self.lost:
            raise ComponentError(f"a worker of part {self.number} ended: {self.lost}")
        return self.value  # type: ignore[return-value]  # R may be None.


def run_parts(
    parts: Parts[R], runner: Runner, report: JobReport | None = None
) -> Iterator[Part[R]]:
    """Run all parts, and yield each when it is finished, in any order.

    Args:
        parts: at least one.
        runner: where they run.
        report: see `Runner.run`.

    Yields:
        All parts; or, where a part was lost, some of the others.
    """
    missing, any_lost = dict.fromkeys(range(len(parts.names))), False
    for finished in runner.run(_Job(parts), report or _silent):
        missing.pop(finished.part, None)
        any_lost = any_lost or bool(finished.lost)
        if finished.lost:
            yield Part(finished.part, lost=finished.lost)
            continue
        outcome: _Outcome = finished.outcome
        error = None if outcome.failure is None else outcome.failure.error()
        yield Part(finished.part, outcome.value, error)
    if missing and not any_lost:
        yield Part(next(iter(missing)), lost="its runner ended before this part was done")


@dataclass(frozen=True, slots=True)
class _Failure:
    """An error as text, since not every exception can be pickled.

    Attributes:
        kind: the name of its class, of the one in `ragcore.errors` where it is derived from that.
        message: its text.
        trace: its traceback.
    """

    kind: str
    message: str
    trace: str

    @classmethod
    def of(cls, error: Exception) -> _Failure:
        fault = component_fault(error)
        if fault is not None:
            kind, message = ComponentError.__name__, fault
        else:
            # A plugin's own class may not be known to the caller's process.
            known = (each for each in type(error).__mro__ if each.__module__ == errors.__name__)
            kind, message = next(known, type(error)).__name__, str(error)
        return cls(kind, message, "".join(format_exception(error)))

    def error(self) -> Exception:
        known = getattr(errors, self.kind, None)
        raised: Exception
        if isinstance(known, type) and issubclass(known, RagcoreError):
            raised = known(self.message)
        else:
            raised = RuntimeError(f"{self.kind}: {self.message}")
        raised.__cause__ = WorkerError(f"in a worker:\n{self.trace}")
        return raised


@dataclass(frozen=True, slots=True)
class _Outcome:
    value: Any = None
    failure: _Failure | None = None


@dataclass(frozen=True, slots=True)
class _Job:
    """Parts as a runner takes them."""

    _parts: Parts[Any]

    @property
    def parts(self) -> Sequence[str]:
        return self._parts.names

    def worker(self) -> _Worker:
        return _Worker(self._parts)


class _Worker:
    """Opens what the parts need when the first is to be done, so that a failure is that part's."""

    def __init__(self, parts: Parts[Any]) -> None:
        self._parts = parts
        self._stack = ExitStack()
        self._do: Callable[[int, PartReport], Any] | None = None

    def run(self, part: int, report: PartReport) -> _Outcome:
        # What a part raises, a plugin's fault included, is raised again where the job was begun.
        try:
            if self._do is None:
                self._do = self._stack.enter_context(self._parts.opened())
            return _Outcome(self._do(part, report))
        except Exception as error:
            return _Outcome(failure=_Failure.of(error))

    def close(self) -> None:
        self._stack.close()


def _silent(part: int, stage: str, done: int, total: int | None) -> None:
    """Report nothing."""

"""Read files in processes that are ended at a file's time limit, and replaced where one crashed.

The processes are loky's, which do not run the program's main module again; pebble supervises them.
Several small files make one task, so that handing it over costs little; where such a task fails,
each of its files is read alone, and only the one that is at fault fails again.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, wait
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

from ragcore.errors import CorpusError
from ragcore_documents.reading import Job, Outcome, Task, read_file
from ragcore_documents.worker import begin, read_all, read_alone

if TYPE_CHECKING:
    from pebble import ProcessFuture, ProcessPool

    _Future = ProcessFuture[list[Outcome]]

__all__ = ["Pool"]

Item = TypeVar("Item")

_FILES: Final = 16
"""Files of a task at most."""

_BYTES: Final = 1 << 18
"""Bytes of a task's files at most, unless it has one file."""

_ITEMS: Final = 512
"""Items of a batch, those that need no reading among them."""

_AHEAD: Final = 3
"""Batches for each worker that are begun before their results are taken."""

_WATCH: Final = 1.0
"""Seconds between two looks at whether the pool is alive."""

_TRIES: Final = 3
"""How many pools may break while a task is handed to them."""

_GIB: Final = 1 << 30


class Pool(Generic[Item]):
    """Reads the files among a stream of items, and keeps the stream's order.

    Memory is bounded: three batches a worker are under way at most.
    """

    def __init__(
        self,
        workers: int,
        job: Job,
        seconds: float,
        read: Callable[[Task, Job], Outcome] = read_file,
    ) -> None:
        """Start no process yet.

        Args:
            workers: processes at most.
            job: how files are read.
            seconds: for a file.
            read: reads one, in a worker.
        """
        self._read = read
        self._workers = workers
        self._job = job
        self._seconds = seconds

    def map(
        self, items: Iterable[tuple[Item, Task | None, int]]
    ) -> Generator[tuple[Item, Outcome | None], None, None]:
        """Yield each item, with what became of its file; closed early, it ends the processes.

        Args:
            items: each with its task and the bytes of its file; None where it has none.
        """
        batches = _batches(items)
        first = list(islice(batches, self._workers * _AHEAD))
        # No more processes than there are tasks, where that is known already.
        tasks = sum(any(task is not None for _, task in batch) for batch in first)
        workers = max(1, min(self._workers, tasks))
        running: deque[tuple[Sequence[tuple[Item, Task | None]], _Running | None]] = deque()
        processes = _Processes(workers, self._job, self._seconds, self._read)
        try:
            for batch in chain(first, batches):
                files = [task for _, task in batch if task is not None]
                running.append((batch, processes.submit(files) if files else None))
                if len(running) >= workers * _AHEAD:
                    yield from _results(processes, *running.popleft())
            while running:
                yield from _results(processes, *running.popleft())
        finally:
            processes.end()


class _Processes:
    """The processes of one iteration; started when the first file is to be read."""

    def __init__(
        self, workers: int, job: Job, seconds: float, read: Callable[[Task, Job], Outcome]
    ) -> None:
        self._workers = workers
        self._job = job
        self._seconds = seconds
        self._read = read
        self._pool: ProcessPool | None = None

    def submit(self, tasks: Sequence[Task]) -> _Running:
        """Hand files to a process; where the pool is broken, to one of a new pool.

        Raises:
            CorpusError: no process can be started.
        """
        # With others a file begins within half of the time, so that it has all of its own.
        seconds = self._seconds if len(tasks) == 1 else 1.5 * self._seconds
        arguments = [tasks, self._seconds / 2]
        try:
            for _ in range(_TRIES):
                if self._pool is not None and not self._pool.active:
                    self.end()
                if self._pool is None:
                    self._pool = self._started()
                # It may break between the question and the task, which is an error then.
                with contextlib.suppress(RuntimeError):
                    future = self._pool.schedule(read_all, args=arguments, timeout=seconds)
                    return _Running(future, self._pool)
        except OSError as error:
            raise _cannot_start(error) from error
        raise _cannot_start(RuntimeError("they end at once"))

    def _started(self) -> ProcessPool:
        """Return a pool, the processes of which start with its first task.

        Raises:
            CorpusError: this process may start none.
        """
        from loky.backend import get_context
        from pebble import ProcessPool

        if multiprocessing.current_process().daemon:
            raise CorpusError(
                "files are read in processes of their own, and this process is daemonic, so that "
                "it may start none: read the folder in one with daemon=False, or by "
                "`ragcore memory build`"
            )
        if sys.stdout is None or sys.stderr is None:
            # They are flushed before a process starts.
            raise CorpusError(
                "files are read in processes of their own, which need standard output and standard "
                "error, and one of the two is closed: redirect it to a file"
            )
        return ProcessPool(
            max_workers=self._workers,
            initializer=begin,
            initargs=(self._job, self._read, os.getpid()),
            context=get_context("loky"),
        )

    def outcomes(self, running: _Running) -> Sequence[Outcome] | _Failure:
        """Await what became of a task's files, or why the task failed."""
        from concurrent.futures.process import BrokenProcessPool

        from pebble import ProcessExpired

        try:
            outcomes: Sequence[Outcome] = _awaited(running)
        except TimeoutError:
            return self.too_long()
        except MemoryError:
            size = self._job.memory / _GIB
            return _Failure(f"reading it takes more than {size:g} GiB of memory: raise memory_gib")
        except (ProcessExpired, BrokenProcessPool, CancelledError):
            # Pebble takes the task whose result it has not seen yet for the one that ended its
            # process, though that may have gone on to another; or all tasks of the pool.
            return _Failure("the process that read it ended: repair the file", is_certain=False)
        return outcomes

    def too_long(self) -> _Failure:
        """Return the failure of a file that took too long."""
        return _Failure(f"reading it was ended after {self._seconds:g} seconds: raise `seconds`")

    def read_alone(self, task: Task) -> Sequence[Outcome] | _Failure:
        """Read one file in a process that reads nothing else, so that its end is this file's doing.

        Raises:
            CorpusError: the process cannot be started.
        """
        from loky.backend import get_context

        context = get_context("loky")
        receiver, sender = context.Pipe(duplex=False)
        arguments = (sender, self._job, self._read, task, os.getpid())
        process = context.Process(target=read_alone, args=arguments)
        try:
            process.start()
        except OSError as error:
            raise _cannot_start(error) from error
        sender.close()
        try:
            # What it sends first says that it has started, so that the file has all of its time.
            receiver.recv()
            if not receiver.poll(self._seconds):
                return self.too_long()
            outcome = receiver.recv()
        except EOFError:
            process.join()
            return _Failure(
                f"the process that read it {_end_of(process.exitcode)}: repair the file"
            )
        finally:
            process.terminate()
            process.join()
            receiver.close()
        if isinstance(outcome, MemoryError):
            size = self._job.memory / _GIB
            return _Failure(f"reading it takes more than {size:g} GiB of memory: raise memory_gib")
        return [outcome]

    def end(self) -> None:
        """End the processes, whatever they do."""
        if self._pool is not None:
            self._pool.stop()  # type: ignore[no-untyped-call]
            self._pool.join()
            self._pool = None


class _Running(NamedTuple):
    """A task, and the pool that it was handed to."""

    future: _Future
    pool: ProcessPool


class _Failure(NamedTuple):
    """Why a task failed.

    Attributes:
        reason: for the user, with what to do.
        is_certain: whether the task's own file is at fault; else another may be.
    """

    reason: str
    is_certain: bool = True


def _awaited(running: _Running) -> Sequence[Outcome]:
    """Await the result of a task; raises what ended it.

    Raises:
        CancelledError: the pool broke before it took the task up.
    """
    future, pool = running
    was_active = True
    while not wait([future], timeout=_WATCH).done:
        # A pool that breaks forgets what is still in its queue; what it knows of ends by itself.
        is_active = pool.active
        if not (is_active or was_active):
            raise CancelledError
        was_active = is_active
    outcomes: Sequence[Outcome] = future.result()
    return outcomes


def _results(
    processes: _Processes, batch: Sequence[tuple[Item, Task | None]], running: _Running | None
) -> Iterator[tuple[Item, Outcome | None]]:
    """Yield the items of a batch; where its task failed, read each of its files alone."""
    if running is None:
        yield from ((item, None) for item, _ in batch)
        return
    outcomes = iter(_outcomes(processes, [task for _, task in batch if task is not None], running))
    for item, task in batch:
        yield item, None if task is None else next(outcomes)


def _outcomes(processes: _Processes, tasks: Sequence[Task], running: _Running) -> Iterator[Outcome]:
    """Yield what became of a task's files, and of those that it did not come to."""
    result = processes.outcomes(running)
    while not isinstance(result, _Failure):
        yield from result
        tasks = tasks[len(result) :]
        if not tasks:
            return
        result = processes.outcomes(processes.submit(tasks))
    results: list[Sequence[Outcome] | _Failure] = [result]
    if len(tasks) > 1:
        alone = [processes.submit([task]) for task in tasks]
        results = [processes.outcomes(each) for each in alone]
    for task, result in zip(tasks, results, strict=True):
        if isinstance(result, _Failure) and not result.is_certain:
            result = processes.read_alone(task)
        if isinstance(result, _Failure):
            yield Outcome("skipped", reason=f"{result.reason}, or exclude it", is_lasting=True)
        else:
            yield from result


def _batches(
    items: Iterable[tuple[Item, Task | None, int]],
) -> Iterator[list[tuple[Item, Task | None]]]:
    """Group items, in order, so that the files of a group make one task."""
    batch: list[tuple[Item, Task | None]] = []
    files = size = 0
    for item, task, bytes_ in items:
        if batch and task is not None and size and size + bytes_ > _BYTES:
            yield batch
            batch, files, size = [], 0, 0
        batch.append((item, task))
        if task is not None:
            files, size = files + 1, size + max(1, bytes_)
        if files >= _FILES or len(batch) >= _ITEMS or size > _BYTES:
            yield batch
            batch, files, size = [], 0, 0
    if batch:
        yield batch


def _cannot_start(error: Exception) -> CorpusError:
    """Return the error that says that no process can be started, and what to do."""
    reason = str(error) or type(error).__name__
    return CorpusError(
        f"the processes that read files cannot be started ({reason}): raise the limits of "
        "processes and open files, such as by ulimit, or lower `workers`"
    )


def _end_of(exitcode: Any) -> str:
    """Say how a process ended."""
    if not isinstance(exitcode, int) or exitcode >= 0:
        return f"ended with status {exitcode}"
    try:
        name = signal.Signals(-exitcode).name
    except ValueError:
        name = f"signal {-exitcode}"
    hint = ", perhaps since memory ran out" if name == "SIGKILL" else ""
    return f"was killed by {name}{hint}"

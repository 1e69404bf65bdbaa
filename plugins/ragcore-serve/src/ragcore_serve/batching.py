"""Answer the requests of many callers together, in one thread of a pipeline's own.

Knows which questions may be answered together, deadlines, and callers that leave; knows nothing of
HTTP, nor of how a batch is answered, which `Rag.answer_each` does. `pinned` of a caller has no
effect here, since a batch has many callers: name the version in a request's settings.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from contextvars import Context, copy_context
from functools import partial
from time import monotonic
from typing import Any, Final, ParamSpec, TypeVar, cast

from ragcore import Cancellation, Rag, Request
from ragcore.errors import (
    ComponentError,
    DeadlineError,
    QuestionError,
    RagcoreError,
    RequestCancelledError,
)
from ragcore.process.cpus import usable_cpus
from ragcore.types import Answer
from ragcore_serve.admission import Admission
from ragcore_serve.event_stream import EventStream
from ragcore_serve.outcomes import Draining, Outcome, QueueFull, kind_of
from ragcore_serve.tickets import (
    Call,
    Ticket,
    earlier_deadline,
    until_next_deadline,
    version_of,
)
from ragcore_serve.versions import RequestedVersions

__all__ = ["Batcher", "Draining", "Outcome", "QueueFull"]

P = ParamSpec("P")
T = TypeVar("T")

_LOG: Final = logging.getLogger("ragcore.serve")


class Batcher:
    """The requests of one pipeline: a bounded queue, a batch thread, and a lane for streams.

    Each question that is admitted has exactly one outcome. Questions of equal settings are answered
    together: the one that has waited longest, and those that may be answered with it, at most
    `rag.batch_size`. Nothing waits for more to come. A version of the memory that a question names
    is opened in a thread of its own first, so that no other question waits for that.
    """

    def __init__(
        self,
        rag: Rag,
        *,
        queue: int,
        streams: int,
        observe: Callable[[Outcome], None] | None = None,
        observe_batch: Callable[[int], None] | None = None,
        observe_queue: Callable[[int], None] | None = None,
        batch_span: Callable[[Sequence[Context]], AbstractContextManager[object]] | None = None,
    ) -> None:
        """Begin without a thread; each is started when it is first needed.

        Args:
            rag: answers; the caller closes it, after `drain`.
            queue: how many questions may be admitted and unfinished, those of `call` included.
            streams: how many streams may be computed at a time.
            observe: called with each outcome, in any thread.
            observe_batch: called with the size of each batch, in the batch thread.
            observe_queue: called with how many questions are admitted and unfinished, whenever that
                changes, in any thread; must not raise.
            batch_span: surrounds the computation of a batch; called with the contexts of its
                callers.
        """
        self._rag = rag
        self._observe = observe
        self._observe_batch = observe_batch
        self._batch_span = batch_span
        self._questions = Admission(queue, "questions", observe_queue)
        self._streams = Admission(streams, "streams")
        self._lock = threading.Lock()
        self._queue: deque[Ticket] = deque()
        self._batch: list[Ticket] = []
        self._unopened: set[Ticket] = set()
        self._working = False
        self._work: Future[None] | None = None
        self._versions = RequestedVersions(rag.memory)
        self._open_streams: set[EventStream] = set()
        # An executor ends its threads when it is dropped, and at the interpreter's exit.
        self._thread = ThreadPoolExecutor(1, "ragcore-batches")
        self._callers = ThreadPoolExecutor(max(2, usable_cpus()), "ragcore-calls")

    @property
    def waiting(self) -> int:
        """How many questions wait for a batch."""
        return len(self._queue)

    @property
    def running(self) -> int:
        """How many questions the batch has that is being computed."""
        return len(self._batch)

    @property
    def admitted(self) -> int:
        """How many questions are admitted and unfinished, calls included."""
        return self._questions.count

    @property
    def streaming(self) -> int:
        """How many streams are being computed."""
        return self._streams.count

    @property
    def draining(self) -> bool:
        """Whether nothing is admitted any more."""
        return self._questions.draining

    async def answer(
        self, requests: Sequence[Request], *, deadline: float | None = None
    ) -> list[Answer | RagcoreError]:
        """Answer questions, together with those of other callers.

        A caller that is cancelled cancels its questions: those that wait are not computed, and a
        batch ends once all of its questions have.

        Args:
            requests: questions with settings of their own.
            deadline: of all of them, in seconds of `time.monotonic`; a request whose `timeout` is
                over earlier ends then. The time in the queue counts.

        Returns:
            For each request its answer or its error, in order.

        Raises:
            QueueFull: there is no room for all of them; none was admitted.
            Draining: the server is about to stop.
            QuestionError: the queue would never have room for them.
        """
        if not requests:
            return []
        self._admit(self._questions, len(requests))
        calls: dict[str | None, Call] = {}
        tickets = [self._ticket(request, deadline, calls) for request in requests]
        opening: list[asyncio.Task[None]] = []
        try:
            for version, call in calls.items():
                if version is None:
                    self._enqueue(call.tickets)
                else:
                    opening.append(asyncio.create_task(self._enqueue_opened(version, call)))
            while waiting := [call.done for call in calls.values() if not call.done.done()]:
                await asyncio.wait(waiting, timeout=until_next_deadline(tickets))
                for ticket in tickets:
                    if ticket.result is None and (error := ticket.stopped(monotonic())):
                        self._end_early(ticket, error)
        finally:
            for ticket in tickets:
                if ticket.result is None:
                    self._end_early(
                        ticket, RequestCancelledError("the caller left before its answer was known")
                    )
            for task in opening:
                task.cancel()
        return [ticket.result for ticket in tickets if ticket.result is not None]

    def stream(self, request: Request, *, deadline: float | None = None) -> EventStream:
        """Begin to answer one question, and return its events as they are known.

        It is computed however slowly the events are taken, so that no reader holds a version of the
        memory open. Call it in the event loop that reads the events; close a stream that is left
        before its end.

        Args:
            request: a question with its settings.
            deadline: as for `answer`; then the stream ends with DeadlineError.

        Raises:
            QueueFull: as many streams are being computed as may be.
            Draining: the server is about to stop.
        """
        self._admit(self._streams, 1)
        settings = cast("dict[str, Any]", dict(request.settings))
        until = earlier_deadline(deadline, monotonic(), settings)
        try:
            opened = self._versions.reading(version_of(settings))
            stream = EventStream(
                self._rag, request.question, settings, until, opened, self._end_stream
            )
        except BaseException:
            self._streams.leave()
            raise
        self._open_streams.add(stream)
        return stream

    async def call(
        self,
        function: Callable[..., T],
        *args: object,
        questions: int = 1,
        deadline: float | None = None,
        cancellation: Cancellation | None = None,
        **settings: object,
    ) -> T:
        """Call a function in a thread, such as `rag.search`, and count it as questions.

        A call that is cancelled, or whose deadline passes, before it has begun is never made; one
        that has begun keeps its room in the queue until it ends.

        Args:
            function: what is called.
            args: of the function.
            questions: what it counts as.
            deadline: as for `answer`.
            cancellation: passed to the function, and cancelled where it is not waited for any more.
            settings: of the function; a `version` is opened first, as for `answer`.

        Raises:
            QueueFull, Draining, QuestionError: as `answer`.
            DeadlineError: the deadline has passed.
        """
        self._admit(self._questions, questions, observed=False)
        remaining = None if deadline is None else max(0.0, deadline - monotonic())
        if cancellation is not None:
            settings["cancellation"] = cancellation
        begun = False
        try:
            async with (
                asyncio.timeout(remaining) as limit,
                self._versions.reading(version_of(settings)),
            ):
                call = partial(function, *args, **settings)
                future = self._callers.submit(copy_context().run, call)
                begun = True
                future.add_done_callback(lambda _: self._questions.leave(questions))
                return await asyncio.wrap_future(future)
        except TimeoutError:
            if not limit.expired():
                raise
            raise DeadlineError(
                f"the call did not end within its time, {remaining:.3g} s: give it more time, or "
                "fewer questions"
            ) from None
        finally:
            if not begun:
                self._questions.leave(questions)
            if cancellation is not None:
                cancellation.cancel()

    async def drain(self, timeout: float) -> bool:
        """Admit nothing from now on, and wait for what was admitted; then end the threads.

        What is unfinished after the timeout ends with Draining; its batch ends before its next
        token.

        Args:
            timeout: in seconds.

        Returns:
            Whether all of it was finished.
        """
        lanes = [asyncio.wrap_future(lane.drain()) for lane in (self._questions, self._streams)]
        deadline = monotonic() + timeout
        _, unfinished = await asyncio.wait(lanes, timeout=timeout)
        if unfinished:
            error = Draining("the server stopped before the answer was known: ask again")
            with self._lock:
                tickets = [*self._queue, *self._batch, *self._unopened]
            for ticket in tickets:
                self._end_early(ticket, error)
            for stream in list(self._open_streams):
                stream.stop(error)
            for lane in unfinished:
                lane.cancel()
        if self._work is not None:
            # A batch that all callers have left ends before its next token.
            work = asyncio.wrap_future(self._work)
            await asyncio.wait({work}, timeout=max(0.0, deadline - monotonic()))
            work.cancel()
        self._thread.shutdown(wait=False)
        self._callers.shutdown(wait=False, cancel_futures=True)
        self._versions.close()
        return not unfinished

    def _admit(self, lane: Admission, count: int, *, observed: bool = True) -> None:
        """Admit questions or a stream, or count them as refused."""
        if count > lane.limit:
            raise QuestionError(
                f"{count} questions in one call: this server takes at most {lane.limit} at a time; "
                "ask fewer, in several calls"
            )
        try:
            lane.admit(count)
        except (QueueFull, Draining) as refusal:
            for _ in range(count if observed else 0):
                streamed = lane is self._streams
                self._report(Outcome("refused", refusal, streamed=streamed))
            raise

    def _ticket(
        self, request: Request, deadline: float | None, calls: dict[str | None, Call]
    ) -> Ticket:
        """Return the ticket of a question, which waits with those of the same version."""
        version = version_of(request.settings)
        if version not in calls:
            calls[version] = Call()
        return Ticket(request, deadline, calls[version])

    async def _enqueue_opened(self, version: str, call: Call) -> None:
        """Let questions wait for a batch once their version is open, and keep it open for them."""
        with self._lock:
            self._unopened.update(call.tickets)
        try:
            async with self._versions.reading(version):
                self._enqueue(call.tickets)
                await asyncio.wait({call.done})
        except Exception as error:
            fault = error if isinstance(error, RagcoreError) else _unopened(version, error)
            for ticket in call.tickets:
                self._settle(ticket, fault)
        finally:
            with self._lock:
                self._unopened.difference_update(call.tickets)

    def _enqueue(self, tickets: Sequence[Ticket]) -> None:
        """Let questions wait for a batch, unless they have ended meanwhile."""
        with self._lock:
            for ticket in tickets:
                ticket.queued = ticket.result is None
            self._queue.extend(ticket for ticket in tickets if ticket.queued)
            if self._working or not self._queue:
                return
            self._work = self._thread.submit(self._answer_waiting)
            self._working = True

    def _answer_waiting(self) -> None:
        """Answer batch after batch until nothing waits; in the batch thread."""
        while batch := self._take():
            try:
                self._answer_batch(batch)
            # The callers of a batch that fails in any way must not wait without end.
            except BaseException as error:
                fault = ComponentError(
                    f"the batch could not be answered: {type(error).__name__}: {error}"
                )
                fault.__cause__ = error
                _LOG.exception("a batch of %d questions could not be answered", len(batch))
                for ticket in batch:
                    self._settle(ticket, fault)

    def _take(self) -> list[Ticket]:
        """Take the question that has waited longest, and those that may be answered with it."""
        size = self._rag.config.batch_size
        with self._lock:
            batch: list[Ticket] = []
            for ticket in self._queue:
                if not batch or ticket.key == batch[0].key:
                    batch.append(ticket)
                    if len(batch) == size:
                        break
            for ticket in batch:
                ticket.queued = False
            self._queue = deque(ticket for ticket in self._queue if ticket.queued)
            self._batch = batch
            self._working = bool(batch)
        return batch

    def _answer_batch(self, batch: Sequence[Ticket]) -> None:
        now = monotonic()
        asked: list[Ticket] = []
        for ticket in batch:
            if error := ticket.stopped(now):
                self._settle(ticket, error)
            else:
                asked.append(ticket)
        if not asked:
            return
        for ticket in asked:
            ticket.taken, ticket.batch = now, len(asked)
        if self._observe_batch is not None:
            self._observe_batch(len(asked))
        span = self._batch_span
        with nullcontext() if span is None else span([ticket.context for ticket in asked]):
            results = self._rag.answer_each([ticket.request(now) for ticket in asked])
        for ticket, result in zip(asked, results, strict=True):
            self._settle(ticket, result)

    def _end_early(self, ticket: Ticket, error: RagcoreError) -> None:
        """End a question, and its computation once no other of its batch needs it."""
        # First the error, which stands: the batch's thread takes a cancelled question for one that
        # its caller cancelled.
        self._settle(ticket, error)
        ticket.cancellation.cancel()

    def _settle(self, ticket: Ticket, result: Answer | RagcoreError) -> None:
        """End a question with its result; the first one stands."""
        with self._lock:
            if ticket.result is not None:
                return
            ticket.result = result
            if ticket.queued:
                self._queue.remove(ticket)
            ticket.call.unsettled -= 1
            last = not ticket.call.unsettled
        self._report(ticket.outcome(kind_of(result), result))
        self._questions.leave()
        if last:
            ticket.call.wake()

    def _end_stream(self, stream: EventStream, outcome: Outcome) -> None:
        self._open_streams.discard(stream)
        self._report(outcome)
        self._streams.leave()

    def _report(self, outcome: Outcome) -> None:
        """Pass an outcome on; an observer that fails costs nobody an answer."""
        if self._observe is None:
            return
        try:
            self._observe(outcome)
        except Exception:
            _LOG.exception("an observer of outcomes failed")


def _unopened(version: str, error: Exception) -> ComponentError:
    fault = ComponentError(
        f"version {version!r} could not be opened: {type(error).__name__}: {error}"
    )
    fault.__cause__ = error
    return fault

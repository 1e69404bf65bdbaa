"""Define a question that was admitted, and the caller that waits for it.

Knows deadlines, cancellation and event loops; knows nothing of queues or of other questions.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextvars import copy_context
from math import isfinite
from time import monotonic
from typing import Any, Final, cast

from ragcore import Cancellation, Request
from ragcore.errors import DeadlineError, RagcoreError, RequestCancelledError
from ragcore.types import Answer
from ragcore_serve.outcomes import Outcome, OutcomeKind

__all__ = ["Call", "Ticket", "earlier_deadline", "until_next_deadline", "version_of"]

_LOG: Final = logging.getLogger("ragcore.serve")


class Call:
    """Questions of one caller, who waits in its event loop until all of them have ended.

    Attributes:
        tickets: of the questions.
        done: is done when they have ended.
        unsettled: how many have not.
    """

    def __init__(self) -> None:
        """Begin without questions; each `Ticket` adds itself."""
        self._loop = asyncio.get_running_loop()
        self.tickets: list[Ticket] = []
        self.done: asyncio.Future[None] = self._loop.create_future()
        self.unsettled = 0

    def add(self, ticket: Ticket) -> None:
        """Wait for one more question."""
        self.tickets.append(ticket)
        self.unsettled += 1

    def wake(self) -> None:
        """Let the caller go on; called from any thread."""
        try:
            self._loop.call_soon_threadsafe(self._finish)
        except RuntimeError:
            # The loop is closed, and the caller with it: nobody is left to be woken.
            _LOG.debug("a question ended after its event loop was closed")

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


class Ticket:
    """A question that was admitted, until its result is there."""

    def __init__(self, request: Request, deadline: float | None, call: Call) -> None:
        settings = cast("dict[str, Any]", dict(request.settings))
        self.admitted = monotonic()
        self.deadline = earlier_deadline(deadline, self.admitted, settings)
        self.cancellation = Cancellation(settings.pop("cancellation", None))
        self.question = request.question
        self.settings = settings
        # Python takes 1 and True for equal, a filter does not.
        self.key = repr(sorted(item for item in settings.items() if item[1] is not None))
        self.call = call
        self.context = copy_context()
        self.queued = False
        self.taken: float | None = None
        self.batch = 0
        self.result: Answer | RagcoreError | None = None
        call.add(self)

    def stopped(self, now: float) -> RagcoreError | None:
        """Return why the question should not be computed; None where it should."""
        if self.cancellation.cancelled:
            return RequestCancelledError("the question was cancelled while it waited: ask again")
        if self.deadline is not None and now >= self.deadline:
            return DeadlineError(
                f"the question was not answered within its time, "
                f"{self.deadline - self.admitted:.3g} s: give it more time, or ask again when the "
                "server has less to do"
            )
        return None

    def request(self, now: float) -> Request:
        """Return what the pipeline is asked, with the time that is left."""
        settings = {**self.settings, "cancellation": self.cancellation}
        if self.deadline is not None:
            settings["timeout"] = self.deadline - now
        return Request(self.question, cast("Any", settings))

    def outcome(self, kind: OutcomeKind, result: Answer | RagcoreError) -> Outcome:
        """Describe how the question ends now."""
        now = monotonic()
        waited = (now if self.taken is None else self.taken) - self.admitted
        return Outcome(kind, result, now - self.admitted, waited, self.batch)


def earlier_deadline(deadline: float | None, now: float, settings: dict[str, Any]) -> float | None:
    """Return the earlier of a deadline and the end of the settings' `timeout`, taken out of them.

    A timeout that is none stays: the pipeline says what is wrong with it.
    """
    timeout = settings.get("timeout")
    if isinstance(timeout, bool) or not isinstance(timeout, int | float | None):
        return deadline
    if timeout is not None and not (isfinite(timeout) and timeout > 0):
        return deadline
    settings.pop("timeout", None)
    if timeout is None:
        return deadline
    return now + timeout if deadline is None else min(deadline, now + timeout)


def version_of(settings: Mapping[str, Any]) -> str | None:
    """Return the version that settings name; None where it is the one that is served.

    A name that is none stays in the settings: the pipeline says what is wrong with it.
    """
    version = settings.get("version")
    return version if isinstance(version, str) and version else None


def until_next_deadline(tickets: Sequence[Ticket]) -> float | None:
    """Return the seconds until the next question ends by its deadline; None without one."""
    deadlines = [
        ticket.deadline
        for ticket in tickets
        if ticket.result is None and ticket.deadline is not None
    ]
    return max(0.0, min(deadlines) - monotonic()) if deadlines else None

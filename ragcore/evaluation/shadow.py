"""Shadow mode: a share of a running pipeline's questions also goes to another version.

    with Shadow(rag, "2018-12", share=0.1) as shadow:
        answers = shadow.answer(questions)      # in place of rag.answer
        print(shadow.report().change_rate)

The live pipeline answers a request, and the answer is returned immediately. A share of the answers
is put in a bounded queue, from which one thread asks the candidate; where the queue is full they
are dropped and counted. Nothing that the candidate does reaches a request, except that both share
the generator and the machine. Knows two versions and the queue between them; knows nothing of when
two answers are the same, which questions/matching.py does.
"""

from __future__ import annotations

import math
import queue
import random
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from ragcore.answering.searching import Where
from ragcore.errors import ConfigError
from ragcore.evaluation.candidate import open_candidate
from ragcore.process.fork import call_in_child, new_lock
from ragcore.questions.matching import same_answer
from ragcore.rag import Rag
from ragcore.types import Answer

__all__ = ["Change", "Shadow", "ShadowReport", "wilson_interval"]

_Z: Final = 1.959963984540054
"""The standard normal distribution's 97.5th percentile."""


@dataclass(frozen=True, slots=True)
class Change:
    """A question that the candidate answers differently.

    Attributes:
        question: the question's text.
        live: the answer that was served.
        candidate: the candidate's.
        live_log_prob: log p(y|x) of the served answer by the version that gave it.
        candidate_log_prob: log p(y|x) of the candidate's answer by the candidate itself.
        memory: the version that served it.
    """

    question: str
    live: str
    candidate: str
    live_log_prob: float | None
    candidate_log_prob: float | None
    memory: str


@dataclass(frozen=True, slots=True)
class ShadowReport:
    """What a shadow has counted so far.

    Attributes:
        candidate: the version that is compared.
        asked: answers that were served.
        sampled: those of them that were drawn for the candidate.
        compared: those of the drawn that the candidate has answered.
        changed: those of the compared that it answers differently, once normalised.
        dropped: drawn, but never answered: the queue was full, or the shadow closed.
        errors: drawn, but the candidate failed.
        last_error: the last failure, its type and message; empty where there was none.
        examples: the latest changes, the newest last.
    """

    candidate: str
    asked: int
    sampled: int
    compared: int
    changed: int
    dropped: int
    errors: int
    last_error: str
    examples: tuple[Change, ...]

    @property
    def change_rate(self) -> float | None:
        """Share of compared answers that change; None before the first."""
        return self.changed / self.compared if self.compared else None

    @property
    def interval(self) -> tuple[float, float]:
        """The change rate's Wilson interval, 95 %; 0 to 1 before the first comparison."""
        return wilson_interval(self.changed, self.compared)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain JSON-ready values."""
        rates = {"change_rate": self.change_rate, "interval": list(self.interval)}
        return {**asdict(self), **rates, "examples": [asdict(change) for change in self.examples]}


class Shadow:
    """Asks another version a share of a running pipeline's questions in the background.

    Safe to use from several threads.
    """

    def __init__(
        self,
        rag: Rag,
        version: str,
        *,
        share: float = 0.1,
        seed: int = 0,
        waiting: int = 64,
        examples: int = 20,
    ) -> None:
        """Open the candidate next to the live memory, and start the thread that asks it.

        Args:
            rag: the running pipeline; the caller closes it.
            version: the candidate, of the same store.
            share: share of the questions that the candidate is asked too, 0 to 1.
            seed: of the draws; the same order of requests draws the same questions.
            waiting: how many may wait for the candidate before more are dropped.
            examples: how many of the latest changes are reported.

        Raises:
            ConfigError: a number is out of its range, or `rag` has no store.
            StoreError: there is no such version, or it was built by another encoder.
        """
        if not 0 <= share <= 1 or waiting < 1 or examples < 0:
            raise ConfigError(
                f"a shadow with share={share}, waiting={waiting}, examples={examples}: expected a "
                "share from 0 to 1, waiting of 1 or more, and examples of 0 or more"
            )
        self._rag = rag
        self._version = version
        self._share = share
        self._random = random.Random(seed)
        self._waiting = waiting
        self._examples: deque[Change] = deque(maxlen=examples)
        self._counts = dict.fromkeys(
            ("asked", "sampled", "compared", "changed", "dropped", "errors"), 0
        )
        self._last_error = ""
        self._closed = False
        self._lock = new_lock()
        self._candidate = open_candidate(rag, version)
        self._start()
        call_in_child(self._restart)

    def __enter__(self) -> Shadow:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(drop=kind is not None)

    def answer(self, questions: str | Sequence[str], *, where: Where = None) -> list[Answer]:
        """Answer by the live pipeline, as `Rag.answer`; a share goes to the candidate too."""
        answers = self._rag.answer(questions, where=where)
        self.observe(answers, where=where)
        return answers

    def observe(self, answers: Sequence[Answer], *, where: Where = None) -> None:
        """Queue a share of the live pipeline's answers for comparison; never waits.

        Args:
            answers: as they were served.
            where: the filter of the request.
        """
        with self._lock:
            for answer in answers:
                self._counts["asked"] += 1
                if self._random.random() >= self._share:
                    continue
                self._counts["sampled"] += 1
                if self._closed or self._queue.full():
                    self._counts["dropped"] += 1
                else:
                    # Only this method adds answers, and under the lock, so that there is room.
                    self._queue.put_nowait((answer, where))

    def report(self) -> ShadowReport:
        """Return the counts so far; answers that still wait are in `sampled` alone."""
        with self._lock:
            return ShadowReport(
                candidate=self._version,
                **self._counts,
                last_error=self._last_error,
                examples=tuple(self._examples),
            )

    def join(self) -> None:
        """Wait until the queue is empty and the candidate is idle."""
        self._queue.join()

    def close(self, *, drop: bool = False) -> None:
        """Compare nothing more, and close the candidate; the live pipeline keeps serving.

        Args:
            drop: drop the answers that wait instead of comparing them first. A comparison that
                is running is completed in either case.
        """
        with self._lock:
            first, self._closed = not self._closed, True
            if drop:
                self._drain()
        if first:
            self._queue.put(None)
        self._thread.join()
        self._candidate.close()

    def _start(self) -> None:
        self._queue: queue.Queue[tuple[Answer, Where] | None] = queue.Queue(self._waiting)
        name = f"shadow {self._version}"
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def _restart(self) -> None:
        """Go on in a forked child, without the answers that wait: the parent compares those."""
        if not self._closed:
            self._start()

    def _drain(self) -> None:
        while not self._queue.empty():
            try:
                waiting = self._queue.get_nowait()
            except queue.Empty:
                return
            self._counts["dropped"] += waiting is not None
            self._queue.task_done()

    def _work(self) -> None:
        while (waiting := self._queue.get()) is not None:
            self._compare(*waiting)
            self._queue.task_done()
        self._queue.task_done()

    def _compare(self, live: Answer, where: Where) -> None:
        try:
            (other,) = self._candidate.answer(live.question, where=where)
        # Any error of the candidate is counted: finding it is what the shadow is for.
        except Exception as error:
            with self._lock:
                self._counts["errors"] += 1
                self._last_error = f"{type(error).__name__}: {error}"
            return
        with self._lock:
            self._counts["compared"] += 1
            if not same_answer(live.text, other.text):
                self._counts["changed"] += 1
                self._examples.append(
                    Change(
                        live.question,
                        live.text,
                        other.text,
                        live.log_prob,
                        other.log_prob,
                        live.memory,
                    )
                )


def wilson_interval(part: int, whole: int) -> tuple[float, float]:
    """Compute the 95 % interval of a share (Wilson, 1927).

    It holds every share p that the observed one lies near enough to:

        (part / whole - p)^2 <= z^2 p (1 - p) / whole.

    Args:
        part: how many of `whole`.
        whole: of how many; with none, every share is possible.

    >>> [round(end, 4) for end in wilson_interval(1, 10)]
    [0.0179, 0.4042]
    """
    if not whole:
        return 0.0, 1.0
    observed, shrinkage = part / whole, _Z**2 / whole
    middle = (observed + shrinkage / 2) / (1 + shrinkage)
    half = math.sqrt(shrinkage * observed * (1 - observed) + shrinkage**2 / 4) / (1 + shrinkage)
    # With no or only changes an end is exactly 0 or 1, which rounding may miss.
    low = 0.0 if part == 0 else middle - half
    return low, 1.0 if part == whole else middle + half

"""Shadow mode: a share of what a running pipeline is asked also goes to another version.

    with Shadow(rag, "2018-12", share=0.1) as shadow:
        answers = shadow.answer(questions)      # in place of rag.answer
        print(shadow.report().change_rate)

A request is answered by the live pipeline and given back at once. Of its answers a share is put in
a bounded queue, from which one thread asks the candidate; where the queue is full they are dropped
and counted. Nothing that the candidate does reaches a request, except that both share the generator
and the machine. How answers are compared, matching.py says.
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

from ragcore.answering.retrieve import Where
from ragcore.errors import ConfigError
from ragcore.evaluation.candidate import open_candidate
from ragcore.questions.matching import same_answer
from ragcore.rag import Rag
from ragcore.types import Answer

__all__ = ["Change", "Shadow", "ShadowReport", "wilson"]

_Z: Final = 1.959963984540054
"""97.5 % of a normal distribution lie below."""


@dataclass(frozen=True, slots=True)
class Change:
    """A question that the candidate answers otherwise.

    Attributes:
        question: as it was asked.
        live: the answer that was served.
        candidate: the candidate's.
        live_log_prob: log p(y|x) of the served answer by the version that gave it.
        candidate_log_prob: log p(y|x) of the candidate's answer by the candidate.
        memory: the version that served it.
    """

    question: str
    live: str
    candidate: str
    live_log_prob: float
    candidate_log_prob: float
    memory: str


@dataclass(frozen=True, slots=True)
class ShadowReport:
    """What a shadow has seen so far.

    Attributes:
        candidate: the version that is compared.
        asked: answers that were served.
        sampled: those of them that were drawn for the candidate.
        compared: those that it has answered.
        changed: those that it answers otherwise, once normalised.
        dropped: drawn, but never asked: the queue was full, or the shadow closed.
        errors: drawn, but the candidate failed.
        last_error: the last failure, its kind and message; empty where there was none.
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
        return wilson(self.changed, self.compared)

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain JSON-ready values."""
        rates = {"change_rate": self.change_rate, "interval": list(self.interval)}
        return {**asdict(self), **rates, "examples": [asdict(one) for one in self.examples]}


class Shadow:
    """Asks another version what a running pipeline is asked, off the hot path; thread-safe."""

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
        """Open the candidate beside the live memory.

        Args:
            rag: the running pipeline, which stays the caller's.
            version: the candidate, of the same store.
            share: of the answers to ask the candidate too, 0 to 1.
            seed: decides which: for one order of requests always the same.
            waiting: how many may wait for the candidate before more are dropped.
            examples: how many of the latest changes are kept.

        Raises:
            ConfigError: a number is out of its range, or `rag` has no store.
            StoreError: there is no such version, or it was built by another encoder.
        """
        if not 0 <= share <= 1 or waiting < 1 or examples < 0:
            raise ConfigError(
                f"a shadow of share={share}, waiting={waiting}, examples={examples}: expected a "
                "share from 0 to 1, one or more waiting, and no fewer than 0 examples"
            )
        self._rag = rag
        self._version = version
        self._share = share
        self._random = random.Random(seed)
        self._queue: queue.Queue[tuple[Answer, Where] | None] = queue.Queue(waiting)
        self._examples: deque[Change] = deque(maxlen=examples)
        self._counts = dict.fromkeys(
            ("asked", "sampled", "compared", "changed", "dropped", "errors"), 0
        )
        self._last_error = ""
        self._closed = False
        self._lock = threading.Lock()
        self._candidate = open_candidate(rag, version)
        self._thread = threading.Thread(target=self._work, name=f"shadow {version}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Shadow:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(drop=kind is not None)

    def answer(self, questions: str | Sequence[str], *, where: Where = None) -> list[Answer]:
        """`Rag.answer` of the live pipeline; a share of the questions goes to the candidate too."""
        answers = self._rag.answer(questions, where=where)
        self.observe(answers, where=where)
        return answers

    def observe(self, answers: Sequence[Answer], *, where: Where = None) -> None:
        """Compare a share of answers that the live pipeline has given; never waits.

        Args:
            answers: as they were served.
            where: the filter that they were asked with.
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
                    # No one else puts anything in while the lock is held, so that there is room.
                    self._queue.put_nowait((answer, where))

    def report(self) -> ShadowReport:
        """What has been seen so far; what waits is in `sampled` alone."""
        with self._lock:
            return ShadowReport(
                candidate=self._version,
                **self._counts,
                last_error=self._last_error,
                examples=tuple(self._examples),
            )

    def join(self) -> None:
        """Wait until the candidate has been asked all that waits."""
        self._queue.join()

    def close(self, *, drop: bool = False) -> None:
        """Compare nothing from now on, and close the candidate; the live pipeline goes on.

        Args:
            drop: leave out what waits instead of asking the candidate first. What it is being
                asked at the moment is waited for in any case.
        """
        with self._lock:
            first, self._closed = not self._closed, True
            if drop:
                self._drain()
        if first:
            self._queue.put(None)
        self._thread.join()
        self._candidate.close()

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
        # Whatever the candidate raises is what the shadow is there to find out.
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


def wilson(part: int, whole: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson, 1927): all shares p from which part / whole is near,

        (part / whole - p)^2 <= z^2 p (1 - p) / whole.

    Args:
        part: how many of `whole`.
        whole: of how many; with none, every share is possible.

    >>> [round(end, 4) for end in wilson(1, 10)]
    [0.0179, 0.4042]
    """
    if not whole:
        return 0.0, 1.0
    seen, pull = part / whole, _Z**2 / whole
    middle = (seen + pull / 2) / (1 + pull)
    half = math.sqrt(pull * seen * (1 - seen) + pull**2 / 4) / (1 + pull)
    # At no or all changes an end is exactly 0 or 1, which rounding may miss.
    low = 0.0 if part == 0 else middle - half
    return low, 1.0 if part == whole else middle + half

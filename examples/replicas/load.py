"""Clients that ask without a pause, and what they were answered.

Knows HTTP and the replies of `/v1/answer`. With several addresses a client is its own balancer: it
asks the next replica where one does not answer.
"""

from __future__ import annotations

import http.client
import itertools
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self
from urllib.parse import urlsplit

__all__ = ["Load", "Reply", "ask"]

BACKOFF: Final = 0.1
"""Seconds."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a question was answered.

    Attributes:
        question: what was asked.
        status: of HTTP; 0 where no reply came.
        version: of the memory, as the answer names it.
        text: the answer, or the error's message.
        passages: id and text of each passage that was read.
        broken_off: the reply had begun, so that no balancer could ask again.
    """

    question: str
    status: int
    version: str = ""
    text: str = ""
    passages: tuple[tuple[str, str], ...] = ()
    broken_off: bool = False


def ask(connection: http.client.HTTPConnection, question: str) -> Reply:
    """Ask a question, over a connection that may have been used before."""
    began = False
    try:
        body = json.dumps({"question": question})
        connection.request("POST", "/v1/answer", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        began = True
        content = response.read()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        return Reply(question, 0, text=f"{type(error).__name__}: {error}", broken_off=began)
    if response.status != 200:
        return Reply(question, response.status, text=content.decode("utf-8", "replace"))
    (answer,) = json.loads(content)["answers"]
    return Reply(question, 200, answer["memory"], answer["text"], _passages(answer["evidence"]))


def _passages(evidence: Sequence[dict[str, Any]]) -> tuple[tuple[str, str], ...]:
    return tuple((each["passage"]["id"], each["passage"]["text"]) for each in evidence)


class Load:
    """Threads that ask questions in turn, from the beginning of a block to its end.

    Attributes:
        replies: all of them, in the order in which they came.
    """

    def __init__(self, addresses: Sequence[str], questions: Sequence[str], clients: int) -> None:
        self.replies: list[Reply] = []
        self._addresses = addresses
        self._questions = questions
        self._came = threading.Condition()
        self._ending = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(number,)) for number in range(clients)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def wait(
        self, count: int, counts: Callable[[Reply], bool] = lambda _: True, seconds: float = 120
    ) -> list[Reply]:
        """Wait until so many of the replies from now on count; return all from now on.

        Raises:
            TimeoutError: they did not come in time.
        """
        with self._came:
            first = len(self.replies)
            if not self._came.wait_for(
                lambda: sum(map(counts, self.replies[first:])) >= count, timeout=seconds
            ):
                last = self.replies[-1] if self.replies else None
                raise TimeoutError(f"fewer than {count} such replies in {seconds} s; last {last}")
            return self.replies[first:]

    def _ask(self, number: int) -> None:
        connections = [
            http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
            for address in self._addresses
        ]
        try:
            for turn in itertools.count(number):
                if self._ending.is_set():
                    return
                reply = self._ask_any(connections, turn)
                with self._came:
                    self.replies.append(reply)
                    self._came.notify_all()
                if reply.status != 200:
                    # Who is refused asks again a little later, and does not flood the balancer.
                    self._ending.wait(BACKOFF)
        finally:
            for connection in connections:
                connection.close()

    def _ask_any(self, connections: Sequence[http.client.HTTPConnection], turn: int) -> Reply:
        """Ask one replica, and the others where it is not there or says 503."""
        question = self._questions[turn % len(self._questions)]
        for connection in _from(connections, turn):
            reply = ask(connection, question)
            if reply.status not in (0, 503):
                break
        return reply


def _from(
    connections: Sequence[http.client.HTTPConnection], turn: int
) -> Iterator[http.client.HTTPConnection]:
    for place in range(len(connections)):
        yield connections[(turn + place) % len(connections)]

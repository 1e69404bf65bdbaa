"""Send JSON to a server and read its reply: attempts, waiting, limits, and errors without secrets.

A request that failed for the moment is tried again: no connection, a broken or cut reply, status
408, 409, 425, 429 or 500 and above. It waits as long as the server says (`Retry-After`), else 0.5 s
that double with each attempt, and a random part of that, so that many clients do not come back
together. Where one request is told to wait, all requests of the client do. A request that should
not go on (ragcore.process.cancellation) is given up at any moment, and so are all requests of it.
Knows HTTP; knows nothing of models or of what is sent.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from contextvars import copy_context
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar
from urllib.parse import urlsplit

import httpx

from ragcore.process.cancellation import current_check
from ragcore.process.fork import call_in_child, new_lock
from ragcore_openai.configs import ServerConfig
from ragcore_openai.connections import LOOK_EVERY, Connections, Lines
from ragcore_openai.failures import (
    FOR_THE_MOMENT,
    HINTS,
    SERVER_FAULT,
    Passing,
    ServerError,
    message_of,
    retry_after,
)

__all__ = ["Ask", "Client", "Json", "Parts", "Reply"]

Json: TypeAlias = dict[str, Any]
"""A JSON object."""

Parts: TypeAlias = Generator[Json, None, None]
"""The parts of a reply, which can be closed before its end."""

T = TypeVar("T")
R = TypeVar("R")

_LOG: Final = logging.getLogger("ragcore.openai")

_ASKS_TO_WAIT: Final = FOR_THE_MOMENT | {503}
_FIRST_WAIT: Final = 0.5
_LONGEST_WAIT: Final = 30.0
_NOTICED_WAIT: Final = 2.0
"""Seconds from which on a wait is a warning: otherwise the program seems to hang."""

_MOST_BYTES: Final = 1 << 28
"""A reply that is longer is no reply to what was asked."""

_MOST_SHOWN: Final = 300

_LAST: Final = "[DONE]"
"""The data of the last event of a stream."""

_OTHER_FIELDS: Final = (":", "event:", "id:", "retry:")
"""How lines of an event begin that are not its data."""

_LEFT: Final[list[Connections]] = []
"""A parent's connections, in a forked child: collecting them would take them from the parent."""


class Reply(NamedTuple):
    """A server's reply, and how many requests it took to get it."""

    content: Json
    requests: int


Ask: TypeAlias = Callable[[str, Json], Reply]
"""Sends JSON to a path, as `Client.post`."""


class Client:
    """Requests to one server; safe to use from several threads, and after a fork."""

    def __init__(
        self,
        config: ServerConfig,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connect to nothing yet.

        Args:
            config: the server, and how long it is waited for.
            clock: seconds, for the limits on waiting.
        """
        self.config = config
        self._clock = clock
        self._lock = new_lock()
        self._connections: Connections | None = None
        self._not_before = -float("inf")
        self._quiet_until = -float("inf")
        # Of this object alone: drawing from it changes no seed of the program.
        self._random = random.Random()
        call_in_child(self._forget_connections)

    @property
    def root(self) -> str:
        """Return the server's address without the API's version: servers have routes of their own.

        Such a route is a path of `post` and `get` that begins with it.
        """
        url = self.config.base_url
        last = urlsplit(url).path.rpartition("/")[2]
        return url.removesuffix(f"/{last}") if _is_version(last) else url

    def get(self, path: str, *, patient: bool = True) -> Json:
        """Ask for one thing, and return the reply; arguments and errors as `post`."""
        return self._exchange("GET", path, None, threading.Event(), patient).content

    def post(self, path: str, payload: Json, *, patient: bool = True) -> Json:
        """Send one request, and return the reply.

        Args:
            path: below `base_url`, such as "/embeddings"; or a whole address.
            payload: JSON-ready.
            patient: whether every failure for the moment is tried again; otherwise only where the
                server asks for it (408, 409, 425, 429, 503), as for a question whether it can do
                something.

        Raises:
            ServerError: the server cannot be reached, refuses the request, or replies with no JSON
                object; after all attempts.
        """
        return self._exchange("POST", path, payload, threading.Event(), patient).content

    def post_all(self, path: str, payloads: Sequence[Json]) -> list[Json]:
        """Send requests, `concurrency` of them at a time, and return the replies in order.

        Raises:
            ServerError: as `post`, of the first that failed for good; the others are given up.
        """
        return self.each(lambda payload, ask: ask(path, payload).content, payloads)

    def each(self, function: Callable[[T, Ask], R], items: Sequence[T]) -> list[R]:
        """Call a function for each item, `concurrency` of them at a time; return in order.

        Args:
            function: takes an item, and what sends its requests.
            items: any number.

        Raises:
            Exception: what the first failing call raised; the others are given up.
        """
        stop = threading.Event()

        def ask(path: str, payload: Json) -> Reply:
            return self._exchange("POST", path, payload, stop)

        if len(items) < 2:
            return [function(item, ask) for item in items]
        workers = min(self.config.concurrency, len(items))
        pool = ThreadPoolExecutor(workers, thread_name_prefix="ragcore-openai")
        try:
            # Each is one of the request that is being answered here.
            futures: list[Future[R]] = [
                pool.submit(copy_context().run, function, item, ask) for item in items
            ]
            wait(futures, return_when=FIRST_EXCEPTION)
            failed = [each for each in futures if each.done() and each.exception()]
            return [each.result() for each in (failed or futures)]
        finally:
            # Also after an interrupt: nobody waits for a reply that nobody reads.
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)

    def stream(self, path: str, payload: Json) -> tuple[Parts, int]:
        """Send a request whose reply comes in parts; return once it begins.

        Until then it is tried again as `post`.

        Returns:
            The parts: the data of server-sent events, or the whole reply of a server that sends
            none. They raise ServerError, too, and end the request where they are closed. And how
            many requests it took.
        """
        url, body = self._url(path), json.dumps(payload).encode()
        stop = threading.Event()
        check = _checking(stop)
        return self._tried("POST", url, stop, True, lambda: self._opened(url, body, check))

    def close(self) -> None:
        """Close the connections; another request opens new ones."""
        with self._lock:
            connections, self._connections = self._connections, None
        if connections is not None:
            connections.close()

    def _exchange(
        self,
        method: str,
        path: str,
        payload: Json | None,
        stop: threading.Event,
        patient: bool = True,
    ) -> Reply:
        url, body = self._url(path), b"" if payload is None else json.dumps(payload).encode()
        check = _checking(stop)
        content, attempts = self._tried(
            method, url, stop, patient, lambda: self._attempt(method, url, body, check)
        )
        return Reply(content, attempts)

    def _url(self, path: str) -> str:
        return path if path.startswith(("http://", "https://")) else self.config.base_url + path

    def _tried(
        self,
        method: str,
        url: str,
        stop: threading.Event,
        patient: bool,
        attempt: Callable[[], R],
    ) -> tuple[R, int]:
        """Attempt until it succeeds; return what it returned, and how many attempts it took."""
        check = current_check()
        began, attempts = self._clock(), 0
        while True:
            self._wait_until_allowed(stop, check)
            try:
                return attempt(), attempts + 1
            except Passing as passing:
                attempts += 1
                waiting = passing.after
                if waiting is None:
                    longest = min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** (attempts - 1))
                    waiting = longest * self._random.uniform(0.5, 1.0)
                elapsed = self._clock() - began
                over_time = elapsed + waiting > self.config.retry_seconds
                hopeless = not patient and passing.status not in _ASKS_TO_WAIT
                if attempts > self.config.retries or over_time or hopeless or stop.is_set():
                    number = "1 attempt" if attempts == 1 else f"{attempts} attempts"
                    tried = f"(after {number} in {elapsed:.0f} s)"
                    raise ServerError(
                        f"{method} {url}: {passing.reason} {tried}",
                        passing.status,
                        passing.reply,
                        f"{method} {url}: {passing.summary} {tried}",
                    ) from None
                level = logging.WARNING if self._is_worth_a_warning(waiting) else logging.INFO
                text = "%s %s: %s: again in %.1f s"
                _LOG.log(level, text, method, url, passing.summary, waiting)
                if passing.after is None:
                    _pause(waiting, stop, check)
                else:
                    self._hold(waiting)

    def _attempt(self, method: str, url: str, body: bytes, check: Callable[[], None]) -> Json:
        """Send a request once.

        Raises:
            Passing: another attempt may succeed.
            ServerError: none will.
            RequestStoppedError: what is answered should not go on.
        """
        with self._faults(method, url):
            response, content = self._connected().exchange(
                method, url, body, self.config.timeout, check
            )
        text = content.decode("utf-8", errors="replace")
        if not response.is_success:
            raise self._refused(method, url, response, text)
        return self._json(method, url, text)

    def _opened(self, url: str, body: bytes, check: Callable[[], None]) -> Parts:
        """Send a request once, and return its parts; errors as `_attempt`."""
        items = self._connected().lines("POST", url, body, self.config.timeout, check)
        with self._faults("POST", url):
            response = next(items)
        assert isinstance(response, httpx.Response)
        if not response.is_success:
            items.close()
            raise self._refused("POST", url, response, response.text)
        return self._parts(url, items)

    def _parts(self, url: str, items: Lines) -> Parts:
        """Yield the JSON objects of lines.

        Raises:
            ServerError: the reply is cut, no JSON, or an error.
        """
        whole: list[str] = []
        try:
            with closing(items):
                while True:
                    with self._faults("POST", url):
                        line = next(items, None)
                    if not isinstance(line, str):
                        break
                    if line.startswith("data:"):
                        data = line.removeprefix("data:").strip()
                        if data == _LAST:
                            return
                        yield self._part(url, data)
                    elif not line.startswith(_OTHER_FIELDS):
                        whole.append(line)
            if any(whole):
                yield self._part(url, "\n".join(whole))
        except Passing as passing:
            fault, summary = (
                f"{text}, amid its reply" for text in (passing.reason, passing.summary)
            )
            raise ServerError(f"POST {url}: {fault}", summary=f"POST {url}: {summary}") from None

    def _part(self, url: str, text: str) -> Json:
        part = self._json("POST", url, text)
        if part.get("error"):
            raise ServerError(
                f"POST {url}: amid its reply: {self._shown(message_of(text))}",
                summary=f"POST {url}: an error amid its reply",
            )
        return part

    def _json(self, method: str, url: str, text: str) -> Json:
        """Return a JSON object.

        Raises:
            Passing, ServerError: as `_attempt`.
        """
        try:
            reply = json.loads(text)
        except (ValueError, RecursionError):
            # A proxy, or a reply that was cut where its length is unknown.
            fault = "its reply is no JSON"
            raise Passing(f"{fault}: {self._shown(text)}", summary=fault) from None
        if not isinstance(reply, dict):
            raise ServerError(f"{method} {url}: its reply is no JSON object: {self._shown(text)}")
        return reply

    @contextmanager
    def _faults(self, method: str, url: str) -> Iterator[None]:
        """Raise what fails inside the block as `_attempt` does."""
        try:
            yield
        except TimeoutError:
            raise Passing(f"no whole reply in {self.config.timeout:g} s") from None
        except OverflowError:
            raise ServerError(f"{method} {url}: its reply is longer than {_MOST_BYTES} B") from None
        except httpx.TransportError as error:
            raise Passing(self._hidden(f"{type(error).__name__}: {error}")) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ServerError(f"{method} {url}: {self._hidden(str(error))}") from None

    def _refused(self, method: str, url: str, response: httpx.Response, text: str) -> Exception:
        """Return the error of a reply that is no success."""
        status = response.status_code
        message = self._shown(message_of(text))
        summary = f"status {status} {response.reason_phrase}".rstrip()
        hint = f"; {HINTS[status]}" if status in HINTS else ""
        reason = f"{summary}: {message}{hint}"
        summary += hint
        if status in FOR_THE_MOMENT or status >= SERVER_FAULT:
            after = retry_after(response.headers.get("retry-after"))
            reason += "" if not after else f"; asks to wait {after:g} s"
            return Passing(reason, after, status, text, summary)
        return ServerError(f"{method} {url}: {reason}", status, text, f"{method} {url}: {summary}")

    def _connected(self) -> Connections:
        with self._lock:
            if self._connections is None:
                headers = {"Content-Type": "application/json"}
                if self.config.key is not None:
                    headers["Authorization"] = f"Bearer {self.config.key}"
                self._connections = Connections(headers, _MOST_BYTES)
            return self._connections

    def _hold(self, seconds: float) -> None:
        """Let no request of this client begin for so long."""
        with self._lock:
            self._not_before = max(self._not_before, self._clock() + seconds)

    def _is_worth_a_warning(self, seconds: float) -> bool:
        """Tell whether a wait is long enough to be noticed, and the last warning is over."""
        with self._lock:
            now = self._clock()
            if seconds < _NOTICED_WAIT or now < self._quiet_until:
                return False
            # Requests that run at the same time wait for the same reason.
            self._quiet_until = now + seconds
            return True

    def _wait_until_allowed(self, stop: threading.Event, check: Callable[[], None]) -> None:
        while not stop.is_set():
            check()
            with self._lock:
                seconds = self._not_before - self._clock()
            if seconds <= 0:
                return
            stop.wait(min(seconds, LOOK_EVERY))

    def _forget_connections(self) -> None:
        """Leave the parent's connections to the parent: two processes cannot share one."""
        if self._connections is not None:
            self._connections.leave()
            _LEFT.append(self._connections)
        self._connections = None

    def _hidden(self, text: str) -> str:
        """Replace the key, which a server may repeat."""
        return text.replace(self.config.key, "…") if self.config.key else text

    def _shown(self, text: str) -> str:
        """Return a server's text for a message: without the key, clipped, without control codes."""
        text = self._hidden(text)
        return repr(text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + "…")


def _checking(stop: threading.Event) -> Callable[[], None]:
    """Return what raises once a request, or all that belong to it, should not go on."""
    check = current_check()

    def checked() -> None:
        check()
        if stop.is_set():
            raise Passing("given up, as another request failed")

    return checked


def _pause(seconds: float, stop: threading.Event, check: Callable[[], None]) -> None:
    """Wait, and look now and then whether to go on."""
    while seconds > 0 and not stop.is_set():
        check()
        stop.wait(min(seconds, LOOK_EVERY))
        seconds -= LOOK_EVERY


def _is_version(segment: str) -> bool:
    """Return whether a path's last segment names a version, as v1 does."""
    return segment[:1] == "v" and segment[1:2].isdigit()

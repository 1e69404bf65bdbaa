"""Send JSON to a server and read its reply: attempts, waiting, limits, and errors without secrets.

A request that failed for the moment is tried again: no connection, a broken or cut reply, status
408, 409, 425, 429 or 500 and above. It waits as long as the server says (`Retry-After`), else 0.5 s
that double with each attempt, and a random part of that, so that many clients do not come back
together. Where one request is told to wait, all requests of the client do. Knows HTTP; knows
nothing of models or of what is sent.
"""

from __future__ import annotations

import email.utils
import json
import logging
import random
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar
from urllib.parse import urlsplit

import httpx

from ragcore.errors import GeneratorError, RemoteError
from ragcore.process.fork import call_in_child, new_lock
from ragcore_openai.configs import ServerConfig

__all__ = ["Ask", "Client", "Json", "Reply", "ServerError"]

Json: TypeAlias = dict[str, Any]
"""A JSON object."""

T = TypeVar("T")
R = TypeVar("R")

_LOG: Final = logging.getLogger("ragcore.openai")

_FOR_THE_MOMENT: Final = frozenset({408, 409, 425, 429})
_SERVER_FAULT: Final = 500
_ASKS_TO_WAIT: Final = _FOR_THE_MOMENT | {503}
_FIRST_WAIT: Final = 0.5
_LONGEST_WAIT: Final = 30.0
_NOTICED_WAIT: Final = 2.0
"""Seconds from which on a wait is a warning: otherwise the program seems to hang."""

_MOST_BYTES: Final = 1 << 28
"""A reply that is longer is no reply to what was asked."""

_MOST_SHOWN: Final = 300

_HINTS: Final[Mapping[int, str]] = {
    401: "check the key",
    403: "check the key, and what it may do",
    404: "check base_url and the model's name",
    413: "send fewer or shorter texts",
    429: "the server allows fewer requests: lower concurrency, or raise retry_seconds",
}


class ServerError(RemoteError, GeneratorError):
    """A server could not be reached, refused a request, or replied with something else.

    Attributes:
        status: of the reply; None where there is none, or its content is at fault.
        reply: its text, which may hold anything; empty where there is none.
    """

    def __init__(
        self, message: str, status: int | None = None, reply: str = "", summary: str = ""
    ) -> None:
        super().__init__(message, summary)
        self.status = status
        self.reply = reply


class Reply(NamedTuple):
    """A server's reply, and how many requests it took to get it."""

    content: Json
    requests: int


Ask: TypeAlias = Callable[[str, Json], Reply]
"""Sends JSON to a path, as `Client.post`."""


class _Passing(Exception):  # noqa: N818 (not an error of the caller yet)
    """An attempt failed in a way that another one may not.

    Attributes:
        reason: what happened.
        summary: the same without the words of the reply.
        after: seconds that the server asks to wait; None where it does not say.
        status: of the reply, if there is one.
        reply: its text.
    """

    def __init__(
        self,
        reason: str,
        after: float | None = None,
        status: int | None = None,
        reply: str = "",
        summary: str | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.summary = reason if summary is None else summary
        self.after = after
        self.status = status
        self.reply = reply


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
        self._http: httpx.Client | None = None
        self._finalizer: weakref.finalize[..., Client] | None = None
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
            futures: list[Future[R]] = [pool.submit(function, item, ask) for item in items]
            wait(futures, return_when=FIRST_EXCEPTION)
            failed = [each for each in futures if each.done() and each.exception()]
            return [each.result() for each in (failed or futures)]
        finally:
            # Also after an interrupt: nobody waits for a reply that nobody reads.
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """Close the connections; another request opens new ones."""
        with self._lock:
            finalizer, self._http, self._finalizer = self._finalizer, None, None
        if finalizer is not None:
            # Closes them, once.
            finalizer()

    def _exchange(
        self,
        method: str,
        path: str,
        payload: Json | None,
        stop: threading.Event,
        patient: bool = True,
    ) -> Reply:
        url = path if path.startswith(("http://", "https://")) else self.config.base_url + path
        body = b"" if payload is None else json.dumps(payload).encode()
        began, attempt = self._clock(), 0
        while True:
            self._wait_until_allowed(stop)
            try:
                return Reply(self._attempt(method, url, body, stop), attempt + 1)
            except _Passing as passing:
                attempt += 1
                waiting = passing.after
                if waiting is None:
                    longest = min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** (attempt - 1))
                    waiting = longest * self._random.uniform(0.5, 1.0)
                elapsed = self._clock() - began
                over_time = elapsed + waiting > self.config.retry_seconds
                hopeless = not patient and passing.status not in _ASKS_TO_WAIT
                if attempt > self.config.retries or over_time or hopeless or stop.is_set():
                    attempts = "1 attempt" if attempt == 1 else f"{attempt} attempts"
                    tried = f"(after {attempts} in {elapsed:.0f} s)"
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
                    stop.wait(waiting)
                else:
                    self._hold(waiting)

    def _attempt(self, method: str, url: str, body: bytes, stop: threading.Event) -> Json:
        """Send a request once.

        Raises:
            _Passing: another attempt may succeed.
            ServerError: none will.
        """
        timeout = self.config.timeout
        ends = self._clock() + timeout
        try:
            with self._connected().stream(method, url, content=body) as response:
                content = bytearray()
                for chunk in response.iter_bytes():
                    content += chunk
                    if len(content) > _MOST_BYTES:
                        raise ServerError(
                            f"{method} {url}: its reply is longer than {_MOST_BYTES} B"
                        )
                    # httpx limits the time between two chunks alone.
                    if self._clock() > ends:
                        raise _Passing(f"no whole reply in {timeout:g} s")
                    if stop.is_set():
                        raise _Passing("given up, as another request failed")
        except httpx.TimeoutException:
            raise _Passing(f"no reply in {timeout:g} s") from None
        except httpx.TransportError as error:
            raise _Passing(self._hidden(f"{type(error).__name__}: {error}")) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ServerError(f"{method} {url}: {self._hidden(str(error))}") from None
        text = bytes(content).decode("utf-8", errors="replace")
        if not response.is_success:
            raise self._refused(method, url, response, text)
        try:
            reply = json.loads(text)
        except (ValueError, RecursionError):
            # A proxy, or a reply that was cut where its length is unknown.
            fault = "its reply is no JSON"
            raise _Passing(f"{fault}: {self._shown(text)}", summary=fault) from None
        if not isinstance(reply, dict):
            raise ServerError(f"{method} {url}: its reply is no JSON object: {self._shown(text)}")
        return reply

    def _refused(self, method: str, url: str, response: httpx.Response, text: str) -> Exception:
        """Return the error of a reply that is no success."""
        status = response.status_code
        message = self._shown(_message(text))
        summary = f"status {status} {response.reason_phrase}".rstrip()
        hint = f"; {_HINTS[status]}" if status in _HINTS else ""
        reason = f"{summary}: {message}{hint}"
        summary += hint
        if status in _FOR_THE_MOMENT or status >= _SERVER_FAULT:
            after = _retry_after(response.headers.get("retry-after"))
            reason += "" if not after else f"; asks to wait {after:g} s"
            return _Passing(reason, after, status, text, summary)
        return ServerError(f"{method} {url}: {reason}", status, text, f"{method} {url}: {summary}")

    def _connected(self) -> httpx.Client:
        with self._lock:
            if self._http is None:
                headers = {"Content-Type": "application/json"}
                if self.config.key is not None:
                    headers["Authorization"] = f"Bearer {self.config.key}"
                limits = httpx.Limits(max_connections=None)
                self._http = httpx.Client(
                    headers=headers, timeout=self.config.timeout, limits=limits
                )
                self._finalizer = weakref.finalize(self, self._http.close)
            return self._http

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

    def _wait_until_allowed(self, stop: threading.Event) -> None:
        while not stop.is_set():
            with self._lock:
                seconds = self._not_before - self._clock()
            if seconds <= 0:
                return
            stop.wait(seconds)

    def _forget_connections(self) -> None:
        """Leave the parent's connections to the parent: two processes cannot share one."""
        if self._finalizer is not None:
            self._finalizer.detach()
        self._http = self._finalizer = None

    def _hidden(self, text: str) -> str:
        """Replace the key, which a server may repeat."""
        return text.replace(self.config.key, "…") if self.config.key else text

    def _shown(self, text: str) -> str:
        """Return a server's text for a message: without the key, clipped, without control codes."""
        text = self._hidden(text)
        return repr(text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + "…")


def _is_version(segment: str) -> bool:
    """Return whether a path's last segment names a version, as v1 does."""
    return segment[:1] == "v" and segment[1:2].isdigit()


def _message(text: str) -> str:
    """Return the message of an error in OpenAI's form, or the whole text."""
    try:
        error = json.loads(text)["error"]
        message = error["message"] if isinstance(error, dict) else error
    except (ValueError, KeyError, TypeError):
        return text
    return message if isinstance(message, str) else text


def _retry_after(header: str | None) -> float | None:
    """Return how many seconds a server asks to wait: a number, or a date; None if it is neither."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            moment = email.utils.parsedate_to_datetime(header)
        except ValueError:
            return None
        seconds = moment.timestamp() - time.time()
    # NaN is in no order.
    return max(seconds, 0.0) if seconds < float("inf") else None

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
from typing import Any, Final, TypeAlias

import httpx

from ragcore.errors import ComponentError
from ragcore.process.fork import call_in_child, new_lock
from ragcore_openai.configs import ServerConfig

__all__ = ["Client", "Json", "ServerError"]

Json: TypeAlias = dict[str, Any]
"""A JSON object."""

_LOG: Final = logging.getLogger("ragcore.openai")

_FOR_THE_MOMENT: Final = frozenset({408, 409, 425, 429})
_SERVER_FAULT: Final = 500
_FIRST_WAIT: Final = 0.5
_LONGEST_WAIT: Final = 30.0
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


class ServerError(ComponentError):
    """A server could not be reached, refused a request, or replied with something else."""


class _Passing(Exception):  # noqa: N818 (not an error of the caller yet)
    """An attempt failed in a way that another one may not.

    Attributes:
        reason: what happened.
        after: seconds that the server asks to wait; None where it does not say.
    """

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after = after


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
        # Of this object alone: drawing from it changes no seed of the program.
        self._random = random.Random()
        call_in_child(self._forget_connections)

    def post(self, path: str, payload: Json) -> Json:
        """Send one request, and return the reply.

        Args:
            path: below `base_url`, such as "/embeddings".
            payload: JSON-ready.

        Raises:
            ServerError: the server cannot be reached, refuses the request, or replies with no JSON
                object; after all attempts.
        """
        return self._post(path, payload, threading.Event())

    def post_all(self, path: str, payloads: Sequence[Json]) -> list[Json]:
        """Send requests, `concurrency` of them at a time, and return the replies in order.

        Raises:
            ServerError: as `post`, of the first that failed for good; the others are given up.
        """
        if len(payloads) < 2:
            return [self.post(path, payload) for payload in payloads]
        stop = threading.Event()
        workers = min(self.config.concurrency, len(payloads))
        pool = ThreadPoolExecutor(workers, thread_name_prefix="ragcore-openai")
        try:
            futures: list[Future[Json]] = [
                pool.submit(self._post, path, payload, stop) for payload in payloads
            ]
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

    def _post(self, path: str, payload: Json, stop: threading.Event) -> Json:
        url = self.config.base_url + path
        body = json.dumps(payload).encode()
        began, attempt = self._clock(), 0
        while True:
            self._wait_until_allowed(stop)
            try:
                return self._attempt(url, body, stop)
            except _Passing as passing:
                attempt += 1
                waiting = passing.after
                if waiting is None:
                    longest = min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** (attempt - 1))
                    waiting = longest * self._random.uniform(0.5, 1.0)
                elapsed = self._clock() - began
                over_time = elapsed + waiting > self.config.retry_seconds
                if attempt > self.config.retries or over_time or stop.is_set():
                    attempts = "1 attempt" if attempt == 1 else f"{attempt} attempts"
                    raise ServerError(
                        f"POST {url}: {passing.reason} (after {attempts} in {elapsed:.0f} s)"
                    ) from None
                _LOG.info("POST %s: %s: again in %.1f s", url, passing.reason, waiting)
                if passing.after is None:
                    stop.wait(waiting)
                else:
                    self._hold(waiting)

    def _attempt(self, url: str, body: bytes, stop: threading.Event) -> Json:
        """Send a request once.

        Raises:
            _Passing: another attempt may succeed.
            ServerError: none will.
        """
        timeout = self.config.timeout
        ends = self._clock() + timeout
        try:
            with self._connected().stream("POST", url, content=body) as response:
                content = bytearray()
                for chunk in response.iter_bytes():
                    content += chunk
                    if len(content) > _MOST_BYTES:
                        raise ServerError(f"POST {url}: its reply is longer than {_MOST_BYTES} B")
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
            raise ServerError(f"POST {url}: {self._hidden(str(error))}") from None
        text = bytes(content).decode("utf-8", errors="replace")
        if not response.is_success:
            raise self._refused(url, response, text)
        try:
            reply = json.loads(text)
        except (ValueError, RecursionError):
            # A proxy, or a reply that was cut where its length is unknown.
            raise _Passing(f"its reply is no JSON: {self._shown(text)}") from None
        if not isinstance(reply, dict):
            raise ServerError(f"POST {url}: its reply is no JSON object: {self._shown(text)}")
        return reply

    def _refused(self, url: str, response: httpx.Response, text: str) -> Exception:
        """Return the error of a reply that is no success."""
        status = response.status_code
        said = self._shown(_message(text))
        reason = f"status {status} {response.reason_phrase}".rstrip() + f": {said}"
        if status in _HINTS:
            reason += f"; {_HINTS[status]}"
        if status in _FOR_THE_MOMENT or status >= _SERVER_FAULT:
            after = _retry_after(response.headers.get("retry-after"))
            return _Passing(reason + ("" if not after else f"; asks to wait {after:g} s"), after)
        return ServerError(f"POST {url}: {reason}")

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

"""Server-sent events: what is sent, what ends a stream, and what a bad client cannot do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator
from time import monotonic

import pytest
from chat_server import QUESTION, build_store, make_rag
from hypothesis import given
from hypothesis import strategies as st
from openai._streaming import SSEDecoder
from ragcore_serve.openai_api import openai_error
from ragcore_serve.streams import EventResponse, data_frame, event_frame, event_stream

from ragcore import Rag, Token
from ragcore.errors import DeadlineError, QuestionError, StoreError
from ragcore.types import Event

SECONDS = 10.0
"""No test waits so long, unless it fails."""

TOKEN = Token("a", -0.5, (1.0,))


class Client:
    """The server's side of a connection: what an app has sent, and what its client does.

    Args:
        leaves_after: the client leaves when it has so many messages.
        stalls_after: the client reads no more when it has so many messages.
        pause: seconds that it takes to read a message.
    """

    def __init__(
        self,
        *,
        leaves_after: int | None = None,
        stalls_after: int | None = None,
        pause: float = 0.0,
    ) -> None:
        self.messages: list[dict] = []
        self.leaves_after = leaves_after
        self.stalls_after = stalls_after
        self.pause = pause
        self.left = asyncio.Event()

    async def receive(self) -> dict:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict) -> None:
        if self.stalls_after is not None and len(self.messages) >= self.stalls_after:
            await asyncio.Event().wait()
        await asyncio.sleep(self.pause)
        self.messages.append(message)
        if self.leaves_after is not None and len(self.messages) >= self.leaves_after:
            self.left.set()

    async def read(self, response) -> str:
        """Return what the client has got when the response has ended."""
        await asyncio.wait_for(response({"type": "http"}, self.receive, self.send), SECONDS)
        return self.text

    @property
    def text(self) -> str:
        bodies = [message.get("body", b"") for message in self.messages]
        return b"".join(bodies).decode("ascii")

    @property
    def complete(self) -> bool:
        return bool(self.messages) and not self.messages[-1].get("more_body", True)


class Watched:
    """Events of a list, then an error or the end; knows whether it was closed."""

    def __init__(self, *events: Event, error: Exception | None = None, last: str = "end") -> None:
        self.events = list(events)
        self.error = error
        self.last = last
        self.closed = False

    async def __anext__(self) -> Event:
        if self.events:
            return self.events.pop(0)
        if self.error is not None:
            raise self.error
        if self.last == "silence":
            await asyncio.Event().wait()
        if self.last == "repeat":
            return TOKEN
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.closed = True


def parsed(text: str) -> list[tuple[str, object]]:
    """Read events as the standard says; comments are left out."""
    rows = []
    for block in text.split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
        if fields:
            rows.append((fields["event"], json.loads(fields["data"])))
    return rows


@pytest.fixture(scope="module")
def rag(tmp_path_factory) -> Iterator[Rag]:
    with make_rag(build_store(tmp_path_factory.mktemp("streams"))) as rag:
        yield rag


HOSTILE = st.text(
    st.characters() | st.sampled_from("\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029\ud800:"),
    max_size=20,
)


@given(HOSTILE | st.sampled_from(["\n\ndata: [DONE]\n\n", "\nevent: error", "id: 1\rretry: 9\r\n"]))
def test_no_text_ends_its_line_however_a_client_splits_lines(text):
    frame = event_frame("token", {"text": text})
    assert frame.isascii()
    name, data, empty = frame[:-1].split("\n")
    assert (name, empty) == ("event: token", "")
    assert frame.splitlines() == [name, data, ""]
    assert json.loads(data.removeprefix("data: ")) == {"text": text}


@given(st.lists(HOSTILE, max_size=4))
def test_a_client_that_is_not_ours_reads_the_same_events(texts):
    stream = "".join(data_frame({"text": text}) + ":\n\n" for text in texts).encode()
    # In chunks that end amid lines.
    chunks = iter([stream[at : at + 7] for at in range(0, len(stream), 7)])
    events = [event.data for event in SSEDecoder().iter_bytes(chunks) if event.data]
    assert [json.loads(data)["text"] for data in events] == texts


def test_numbers_that_json_lacks_are_null():
    frame = event_frame("token", {"log_prob": float("-inf"), "posterior": (float("nan"),)})
    assert 'data: {"log_prob": null, "posterior": [null]}' in frame


def test_a_stream_is_hits_tokens_and_the_answer_of_the_pipeline(rag):
    async def read() -> Client:
        client = Client()
        await client.read(event_stream(rag.aevents(QUESTION), pipeline="tiny"))
        return client

    client = asyncio.run(read())
    (expected,) = rag.answer(QUESTION)
    (first, hits), *tokens, (last, answer) = parsed(client.text)
    assert (first, last) == ("hits", "answer")
    assert hits["memory"] == answer["memory"] == "v1"
    assert hits["pipeline"] == answer["pipeline"] == "tiny"
    assert [each["prior"] for each in hits["passages"]] == pytest.approx(
        [each.prior for each in expected.evidence]
    )
    assert {name for name, _ in tokens} == {"token"}
    assert "".join(token["text"] for _, token in tokens) == answer["text"] == expected.text
    assert [token["log_prob"] for _, token in tokens] == pytest.approx(
        expected.candidates[0].token_log_probs
    )
    assert [len(token["posterior"]) for _, token in tokens] == [3] * len(tokens)
    assert answer["log_prob"] == pytest.approx(expected.log_prob)
    assert client.complete
    start = client.messages[0]
    assert start["status"] == 200
    headers = dict(start["headers"])
    assert headers[b"content-type"] == b"text/event-stream; charset=utf-8"
    assert headers[b"cache-control"] == b"no-cache"
    assert headers[b"x-accel-buffering"] == b"no"
    assert b"content-length" not in headers


def test_an_error_before_the_first_event_is_raised_or_refused():
    async def read(response) -> Client:
        client = Client()
        await client.read(response)
        return client

    events = Watched(error=QuestionError("empty"))
    with pytest.raises(QuestionError, match="empty"):
        asyncio.run(read(event_stream(events, pipeline="tiny")))
    assert events.closed
    events = Watched(error=QuestionError("empty"))
    response = EventResponse(events, repr, error_frame=repr, refusal=openai_error)
    client = asyncio.run(read(response))
    assert client.messages[0]["status"] == 400
    assert json.loads(client.text)["error"]["code"] == "QuestionError"


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (DeadlineError("late\n\nevent: answer"), "DeadlineError", "late\n\nevent: answer"),
        (ValueError("a secret"), "InternalError", "a fault of the server: its log has the cause"),
    ],
)
def test_a_later_error_is_an_event_and_the_end(error, kind, message):
    async def read() -> Client:
        client = Client()
        await client.read(event_stream(events, pipeline="tiny"))
        return client

    events = Watched(TOKEN, error=error)
    client = asyncio.run(read())
    (first, _), (last, row) = parsed(client.text)
    assert (first, last) == ("token", "error")
    assert row == {"error": {"type": kind, "message": message}}
    assert client.complete
    assert events.closed


def test_comments_are_sent_while_nothing_happens():
    async def events() -> AsyncGenerator[Event, None]:
        for _ in range(2):
            while client.text.count(":\n\n") < waited[0]:
                await asyncio.sleep(0)
            waited[0] += 2
            yield TOKEN

    async def read() -> str:
        return await client.read(event_stream(events(), pipeline="tiny", heartbeat=0.001))

    waited = [2]
    client = Client()
    text = asyncio.run(read())
    assert text.startswith(":\n\n:\n\n")
    assert [name for name, _ in parsed(text)] == ["token", "token"]


def test_a_client_that_leaves_ends_the_request():
    async def read() -> Client:
        client = Client(leaves_after=3)
        await client.read(event_stream(events, pipeline="tiny"))
        return client

    events = Watched(TOKEN, TOKEN, last="silence")
    client = asyncio.run(read())
    assert len(client.messages) == 3
    assert events.closed


def test_a_client_that_leaves_frees_the_version_that_it_read(rag):
    async def read() -> None:
        client = Client(leaves_after=2)
        await client.read(event_stream(rag.aevents(QUESTION, version="v2"), pipeline="tiny"))

    with rag.memory.reading("v2") as memory:
        pass
    asyncio.run(read())
    rag.memory.release()
    # A step that a thread has begun ends first.
    until = monotonic() + SECONDS
    while monotonic() < until:
        try:
            memory.search([QUESTION], 1)
        except StoreError:
            return
    pytest.fail("the version is still open")


@pytest.mark.parametrize("stalls_after", [0, 1, 2])
def test_a_client_that_reads_nothing_is_disconnected(stalls_after, caplog):
    async def read() -> Client:
        client = Client(stalls_after=stalls_after)
        await client.read(event_stream(events, pipeline="tiny", patience=0.01))
        return client

    events = Watched(TOKEN, TOKEN, last="silence")
    client = asyncio.run(read())
    assert not client.complete
    assert events.closed
    assert "did not read its stream in time" in caplog.text


def test_a_client_that_reads_slowly_is_disconnected_after_the_deadline():
    async def read() -> Client:
        client = Client(pause=0.005)
        await client.read(event_stream(events, pipeline="tiny", deadline=0.02, patience=0.04))
        return client

    events = Watched(last="repeat")
    client = asyncio.run(read())
    assert not client.complete
    assert events.closed


def test_a_cancelled_response_closes_its_events():
    async def read() -> None:
        client = Client()
        response = event_stream(events, pipeline="tiny")
        task = asyncio.create_task(client.read(response))
        while not client.messages:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    events = Watched(TOKEN, last="silence")
    asyncio.run(read())
    assert events.closed

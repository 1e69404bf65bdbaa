"""Requests to a server that fails in every way: tried again, given up, and explained."""

from __future__ import annotations

import multiprocessing
import socket
import struct
import threading
import time
from email.utils import formatdate
from typing import Any

import pytest
from embedding_server import KEY, EmbeddingServer, Fault, vector_of
from hypothesis import given
from hypothesis import strategies as st
from ragcore_openai import client as module
from ragcore_openai.client import Client
from ragcore_openai.configs import ServerConfig
from ragcore_openai.failures import ServerError, retry_after

from ragcore.errors import ComponentError

ASKED = {"input": ["a"]}


def client(server: EmbeddingServer, **settings: Any) -> Client:
    return Client(ServerConfig(base_url=server.url, **{"key": KEY, "timeout": 20, **settings}))


def status(number: int, payload: Any = None, **headers: str) -> Fault:
    """Reply with a status; an attempt after it need not wait."""
    payload = {"error": {"message": "not now"}} if payload is None else payload
    return lambda handler, _: handler.reply(number, payload, **{"Retry-After": "0", **headers})


def cut(handler: Any, _: Any) -> None:
    """Promise more than is sent, then close the connection."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"data": [')
    handler.close_connection = True


def reset(handler: Any, _: Any) -> None:
    """Break the connection without a reply."""
    linger = struct.pack("ii", 1, 0)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    handler.close_connection = True
    handler.connection.close()


def drip(handler: Any, _: Any) -> None:
    """Send a byte now and then, so that there is always something to read."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    for _ in range(200):
        handler.wfile.write(b" ")
        time.sleep(0.02)


def silent(handler: Any, _: Any) -> None:
    time.sleep(2)


def page(handler: Any, _: Any) -> None:
    handler.reply(200, b"<html>Please log in</html>")


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_WAIT", 0.001)


def test_a_reply_is_returned_and_the_key_is_in_the_header(server):
    reply = client(server).post("/embeddings", ASKED)
    assert reply["data"][0]["embedding"] == vector_of("a").tolist()
    client(server, key=None).post("/embeddings", ASKED)
    assert server.keys == [f"Bearer {KEY}", None]
    assert server.requests == [ASKED, ASKED]


@pytest.mark.parametrize(
    "fault",
    [status(408), status(409), status(429), status(500), status(503), cut, reset, page],
    ids=["408", "409", "429", "500", "503", "cut", "reset", "page"],
)
def test_what_fails_for_the_moment_is_tried_again(server, fault):
    server.faults.extend([fault] * 3)
    assert client(server, retries=3).post("/embeddings", ASKED)["data"]
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (status(429), r"status 429 Too Many Requests: 'not now'; .*\(after 3 attempts in 0 s\)"),
        (status(500, b""), "status 500 Internal Server Error: ''"),
        (cut, "RemoteProtocolError"),
        (page, "its reply is no JSON: '<html>Please log in</html>'"),
    ],
    ids=["429", "500", "cut", "page"],
)
def test_a_storm_ends_after_the_last_attempt_and_names_what_was_wrong(server, fault, message):
    server.always = fault
    with pytest.raises(ServerError, match=message) as raised:
        client(server, retries=2).post("/embeddings", ASKED)
    assert str(raised.value).startswith(f"POST {server.url}/embeddings: ")
    assert isinstance(raised.value, ComponentError)
    assert len(server.requests) == 3


@pytest.mark.parametrize("number", [301, 400, 401, 403, 404, 413, 422])
def test_what_is_refused_for_good_is_asked_once(server, number):
    server.always = status(number, {"error": f"no: {KEY}"}, Location="http://127.0.0.1:9/v1")
    with pytest.raises(ServerError, match=f"status {number} .*'no: …'") as raised:
        client(server).post("/embeddings", ASKED)
    assert len(server.requests) == 1
    assert KEY not in str(raised.value)


@pytest.mark.parametrize("reply", [b"[]", b"null", b"3", b'"text"'])
def test_json_that_is_no_object_is_refused(server, reply):
    server.always = lambda handler, _: handler.reply(200, reply)
    with pytest.raises(ServerError, match="no JSON object"):
        client(server).post("/embeddings", ASKED)
    assert len(server.requests) == 1


def test_json_too_deep_for_the_parser_is_refused(server):
    server.always = lambda handler, _: handler.reply(200, b"[" * 200_000)
    with pytest.raises(ServerError, match="no JSON"):
        client(server, retries=0).post("/embeddings", ASKED)


def test_a_server_s_text_is_shown_on_one_line_and_clipped(server):
    server.always = status(400, b"\x1b[2J\nfault " + b"x" * 10_000)
    with pytest.raises(ServerError) as raised:
        client(server).post("/embeddings", ASKED)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 500


def test_a_reply_without_end_is_left(server, monkeypatch):
    monkeypatch.setattr(module, "_MOST_BYTES", 50)
    with pytest.raises(ServerError, match="longer than 50 B"):
        client(server).post("/embeddings", ASKED)


@pytest.mark.parametrize("fault", [drip, silent])
def test_an_attempt_takes_no_longer_than_its_time(server, fault):
    server.always = fault
    began = time.monotonic()
    with pytest.raises(ServerError, match=r"reply in 0\.2 s"):
        client(server, timeout=0.2, retries=0).post("/embeddings", ASKED)
    assert time.monotonic() - began < 1.5


def test_a_refused_connection_is_tried_again_and_named():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = ServerConfig(base_url=f"http://127.0.0.1:{port}/v1", retries=2)
    with pytest.raises(ServerError, match=rf"127\.0\.0\.1:{port}/v1/x: ConnectError.*3 attempts"):
        Client(config).post("/x", {})


@pytest.mark.parametrize(
    ("fault", "summary"),
    [
        (status(400, {"error": {"message": "Who was here?"}}), "status 400 Bad Request"),
        (status(503, {"error": {"message": "Who was here?"}}), "status 503 Service Unavailable"),
        (lambda handler, _: handler.reply(200, b"Who was here?"), "its reply is no JSON"),
    ],
)
def test_a_summary_has_no_words_of_the_reply(server, caplog, fault, summary):
    caplog.set_level("INFO", logger="ragcore.openai")
    server.always = fault
    with pytest.raises(ServerError, match="Who was here") as raised:
        client(server, retries=1).post("/embeddings", ASKED)
    assert f"POST {server.url}/embeddings: {summary}" in raised.value.summary
    assert "Who was here" not in raised.value.summary + caplog.text


def test_waits_that_are_noticed_are_one_warning(monkeypatch, caplog):
    monkeypatch.setattr(module, "_FIRST_WAIT", 0.01)
    monkeypatch.setattr(module, "_NOTICED_WAIT", 0.02)
    caplog.set_level("INFO", logger="ragcore.openai")
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    # No time passes on this clock: the fourth wait begins before the third is over.
    refused = Client(ServerConfig(base_url=url, retries=4), clock=lambda: 100.0)
    with pytest.raises(ServerError):
        refused.post("/x", {})
    levels = [record.levelname for record in caplog.records if record.name == "ragcore.openai"]
    assert levels == ["INFO", "INFO", "WARNING", "INFO"]
    assert f"POST {url}/x: ConnectError" in caplog.text


def test_it_waits_as_long_as_the_server_says(server):
    server.faults.append(status(429, **{"Retry-After": "0.3"}))
    began = time.monotonic()
    client(server).post("/embeddings", ASKED)
    assert time.monotonic() - began >= 0.3


def test_it_does_not_wait_longer_than_it_may(server):
    server.faults.append(status(429, **{"Retry-After": "3600"}))
    with pytest.raises(ServerError, match="asks to wait 3600 s"):
        client(server, retry_seconds=5).post("/embeddings", ASKED)
    assert len(server.requests) == 1


def test_where_one_request_must_wait_all_do(server):
    """Those that have not begun; the clock is the test's own."""
    now = 100.0
    config = ServerConfig(base_url=server.url, retries=0)
    waiting = Client(config, clock=lambda: now)
    waiting._hold(50)
    arrived = threading.Thread(target=waiting.post, args=("/embeddings", ASKED), daemon=True)
    arrived.start()
    arrived.join(0.2)
    assert arrived.is_alive()
    assert not server.requests
    waiting._hold(-200)
    assert waiting._not_before == 150, "a shorter wait does not end a longer one"


def test_requests_are_sent_together_and_replies_are_in_order(server):
    server.gate = threading.Barrier(3)
    payloads = [{"input": [str(number)]} for number in range(9)]
    replies = client(server, concurrency=3).post_all("/embeddings", payloads)
    for number, reply in enumerate(replies):
        assert reply["data"][0]["embedding"] == vector_of(str(number)).tolist()
    assert server.most_at_once == 3


def test_a_request_that_fails_for_good_ends_the_others(server):
    refused = status(400)

    def refuse_the_first(handler: Any, body: Any) -> None:
        (refused if body["input"] == ["0"] else status(429, **{"Retry-After": "60"}))(handler, body)

    server.always = refuse_the_first
    payloads = [{"input": [str(number)]} for number in range(50)]
    began = time.monotonic()
    with pytest.raises(ServerError, match="status 400"):
        client(server, concurrency=4).post_all("/embeddings", payloads)
    assert time.monotonic() - began < 10
    assert len(server.requests) <= 8


def test_no_request_is_no_reply(server):
    assert client(server).post_all("/embeddings", []) == []
    assert not server.requests


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="this system has no fork"
)
def test_a_forked_child_has_connections_of_its_own(server):
    parent = client(server)
    parent.post("/embeddings", ASKED)
    context = multiprocessing.get_context("fork")
    child = context.Process(target=parent.post, args=("/embeddings", {"input": ["of the child"]}))
    child.start()
    child.join(30)
    assert child.exitcode == 0
    assert parent.post("/embeddings", ASKED)["data"]
    assert server.texts == ["a", "of the child", "a"]
    first, of_child, second = server.ports
    assert first == second != of_child


def test_closed_connections_are_opened_again(server):
    used = client(server)
    used.post("/embeddings", ASKED)
    used.close()
    used.close()
    assert used.post("/embeddings", ASKED)["data"]


@given(st.one_of(st.text(), st.floats().map(str), st.integers().map(str)))
def test_any_header_is_a_time_or_none(header):
    seconds = retry_after(header)
    assert seconds is None or 0 <= seconds < float("inf")


def test_a_date_in_the_header_is_a_time():
    assert 50 < retry_after(formatdate(time.time() + 60, usegmt=True)) <= 60
    assert retry_after(formatdate(0, usegmt=True)) == 0
    assert retry_after(None) is None

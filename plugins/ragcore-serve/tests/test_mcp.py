"""The tools for assistants, called by the protocol's own client over a real connection."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from time import monotonic, sleep

import pytest
from chat_server import QUESTION, build_store, make_app, make_pipelines, make_rag, served
from gated_rag import SECONDS, GatedGenerator

pytest.importorskip("mcp", reason="the extra mcp is not installed")

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from ragcore import Rag

TOKEN = "0123456789abcdef"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("mcp")


@pytest.fixture(scope="module")
def store(folder):
    return build_store(folder)


@pytest.fixture(scope="module")
def rag(store) -> Iterator[Rag]:
    with make_rag(store) as rag:
        yield rag


@pytest.fixture(scope="module")
def address(folder, store, rag) -> Iterator[str]:
    tokens = folder / "tokens"
    tokens.write_text(f'{TOKEN} {{"n": {{"lte": 1}}}}\n', encoding="utf-8")
    tokens.chmod(0o600)
    app = make_app(make_pipelines(store, rag), token_file=tokens)
    with served(app, lifespan="on") as address:
        yield f"{address}/mcp"


def called(address: str, *calls: tuple[str, dict]) -> list:
    """Return the results of calls, after the names of the tools."""

    async def run() -> list:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with (
            httpx2.AsyncClient(headers=headers) as http,
            Client(streamable_http_client(address, http_client=http)) as client,
        ):
            listed = await client.list_tools()
            results = [await client.call_tool(name, arguments) for name, arguments in calls]
            return [[tool.name for tool in listed.tools], *results]

    return asyncio.run(run())


def test_an_answer_takes_the_settings_of_a_request(address, rag):
    sample = {"temperature": 1.0, "n": 3, "seed": 2}
    _, drawn, stopped, refused, unknown = called(
        address,
        ("answer", {"question": QUESTION, "settings": {"sample": sample, "k": 1}}),
        ("answer", {"question": QUESTION, "settings": {"max_new_tokens": 1}, "k": 1}),
        ("answer", {"question": QUESTION, "settings": {"sample": {"n": 10_000}}}),
        ("answer", {"question": QUESTION, "settings": {"temprature": 1}}),
    )
    where = {"n": {"lte": 1}}
    (expected,) = rag.answer(QUESTION, sample=sample, k=1, where=where)
    row = drawn.structured_content
    assert [each["text"] for each in row["samples"]] == [each.text for each in expected.samples]
    assert stopped.structured_content["cut"] is True
    assert len(stopped.structured_content["evidence"]) == 1
    assert refused.is_error
    assert "sample.n" in refused.content[0].text
    assert unknown.is_error


def test_tools_answer_search_and_list_versions_as_the_pipeline_does(address, rag):
    names, answer, search, versions = called(
        address,
        ("answer", {"question": QUESTION, "version": "v1", "k": 2}),
        ("search", {"question": QUESTION, "k": 3}),
        ("versions", {}),
    )
    assert names == ["answer", "search", "versions"]
    # The token's filter holds.
    (expected,) = rag.answer(QUESTION, k=2, where={"n": {"lte": 1}})
    assert answer.structured_content["text"] == expected.text
    assert answer.structured_content["log_prob"] == pytest.approx(expected.log_prob)
    assert {each["passage"]["id"] for each in answer.structured_content["evidence"]} == {
        "v1-0",
        "v1-1",
    }
    (found,) = rag.search(QUESTION, 3, where={"n": {"lte": 1}})
    ids = [each["id"] for each in search.structured_content["passages"]]
    assert ids == [passage.id for passage in found.passages]
    assert len(ids) == 2
    assert versions.structured_content["serving"] == "v1"
    assert [each["name"] for each in versions.structured_content["versions"]] == ["v1", "v2"]


def test_errors_are_texts_for_the_assistant(address):
    _, *results = called(
        address,
        ("answer", {"question": " "}),
        ("answer", {"question": QUESTION, "version": "v9"}),
        ("search", {"question": QUESTION, "pipeline": "none"}),
        ("search", {"question": QUESTION, "k": 10_000}),
    )
    for result, message in zip(
        results, ["empty", "v9", "no pipeline 'none'", "allows at most"], strict=True
    ):
        assert result.is_error
        assert message in result.content[0].text


def test_a_server_with_tools_logs_as_the_program_that_made_it(store, rag, monkeypatch):
    root = logging.getLogger()
    # pytest's own handlers would hide what is added.
    monkeypatch.setattr(root, "handlers", [])
    before = root.level
    make_app(make_pipelines(store, rag))
    assert root.handlers == []
    assert root.level == before


def test_tools_are_behind_the_tokens(address):
    assert httpx2.post(address, json={}).status_code == 401


def test_no_stream_is_held_open_that_nothing_is_sent_by(address):
    headers = {"Authorization": f"Bearer {TOKEN}", "Accept": "text/event-stream"}
    with httpx2.stream("GET", address, headers=headers, timeout=5) as reply:
        # As the protocol has it for a server without such a stream.
        assert reply.status_code == 405


def test_a_call_whose_client_left_is_not_computed(tmp_path):
    call = {"name": "answer", "arguments": {"question": QUESTION}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
    headers = {"Accept": "application/json, text/event-stream"}

    async def left(address: str, generator: GatedGenerator) -> None:
        async with httpx2.AsyncClient() as http:
            calling = asyncio.create_task(http.post(address, json=body, headers=headers))
            assert await asyncio.to_thread(generator.gate.reached.acquire, timeout=SECONDS)
            calling.cancel()
            await asyncio.wait({calling})

    with make_rag(build_store(tmp_path), GatedGenerator) as rag:
        pipelines = make_pipelines(None, rag)
        batcher = pipelines.default.batcher
        with served(make_app(pipelines), lifespan="on") as address:
            rag.generator.gate.close()
            asyncio.run(left(f"{address}/mcp", rag.generator))
            # It has ended, although the generator waits still, as it does for SECONDS at most.
            deadline = monotonic() + SECONDS / 2
            while batcher.admitted:
                assert monotonic() < deadline
                sleep(0.001)
            rag.generator.gate.open()
    assert rag.generator.steps == 0

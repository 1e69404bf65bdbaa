"""Test a deployment with two replicas: both answer, and follow the store's current version."""

from __future__ import annotations

import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ragcore
from tests.integration.tiny import save_tiny

pytestmark = pytest.mark.engines

PLACES = {"chad": "N'Djamena", "mali": "Bamako", "peru": "Lima"}


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    write(tmp_path, PLACES)
    save_tiny("bart", tmp_path / "model")
    path = tmp_path / "pipeline.yaml"
    path.write_text(
        "ragcore: 1\nmemory:\n  store: store\n  corpus: {use: jsonl, path: passages.jsonl}\n"
        "  retriever: {use: bm25}\ngenerator: {use: bart, model: ./model}\n"
        "rag: {k: 2, beams: 2, max_new_tokens: 3}\n"
    )
    ragcore.build_memory(path, version="v1")
    return path


def write(folder: Path, places: dict[str, str]) -> None:
    rows = [{"id": name, "text": f"the capital of {name} is {places[name]}"} for name in places]
    (folder / "passages.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def port(address: str) -> Iterator[int]:
    pytest.importorskip("ray.serve", reason="Ray Serve is not installed")
    import ray
    from ray import serve

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number: int = free.getsockname()[1]
    ray.init(address=address, log_to_driver=False)
    try:
        serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": number})
        yield number
    finally:
        serve.shutdown()
        ray.shutdown()


def post(port: int, body: bytes) -> tuple[int, Any]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", body, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def served(handle: Any, replicas: int, version: str) -> set[str]:
    """Ask until so many replicas have said that they serve a version."""
    seen: dict[str, str] = {}
    ends = time.monotonic() + 60
    while sum(each == version for each in seen.values()) < replicas:
        assert time.monotonic() < ends, seen
        replica, its_version = handle.served.remote().result(timeout_s=60)
        seen[replica] = its_version
    return {replica for replica, each in seen.items() if each == version}


def test_two_replicas_answer_and_swap(pipeline: Path, port: int) -> None:
    from ragcore_ray.serve import application
    from ray import serve

    handle = serve.run(application(pipeline, "rag.k=1", replicas=2, interval=0.1))
    replicas = served(handle, 2, "v1")
    assert len(replicas) == 2
    with ragcore.load(pipeline, "rag.k=1") as rag:
        (expected,) = rag.answer("capital of mali")
    for _ in range(4):
        answer = handle.ask.remote("capital of mali").result(timeout_s=60)
        assert (answer["text"], answer["log_prob"]) == (expected.text, expected.log_prob)
        assert answer["memory"] == "v1"
    status, answer = post(port, json.dumps({"question": "capital of peru"}).encode())
    assert (status, answer["memory"], answer["evidence"][0]["passage"]["id"]) == (200, "v1", "peru")
    for body, code, message in (
        (b"{", 400, "the request is no JSON"),
        (b'{"text": "mali"}', 400, "the request has no question"),
        (b'{"question": ""}', 400, "empty"),
        (b'"' + b"x" * (1 << 20) + b'"', 413, "longer than 1,048,576 bytes"),
    ):
        status, refused = post(port, body)
        assert status == code
        assert message in refused["error"]
    # The store's current version changes, and both replicas follow.
    write(pipeline.parent, {**PLACES, "togo": "Lome"})
    ragcore.build_memory(pipeline, version="v2")
    assert served(handle, 2, "v2") == replicas
    status, answer = post(port, json.dumps({"question": "capital of togo"}).encode())
    assert (status, answer["memory"], answer["evidence"][0]["passage"]["id"]) == (200, "v2", "togo")


def test_a_pipeline_without_a_generator_returns_what_it_finds(pipeline: Path, port: int) -> None:
    from ragcore_ray.serve import application
    from ray import serve

    serve.run(application(pipeline, "generator=null", "rag.k=2"))
    status, found = post(port, json.dumps({"question": "capital of mali"}).encode())
    with ragcore.load(pipeline, "generator=null", "rag.k=2") as rag:
        (expected,) = rag.search("capital of mali")
    assert (status, found) == (200, json.loads(json.dumps(expected.to_dict())))

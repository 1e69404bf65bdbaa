"""The site of deploy/nginx.conf: nginx accepts it, and passes on streams, errors and upgrades."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest
from chat_server import QUESTION, build_store, make_app, make_pipelines, make_rag, served
from gated_rag import SECONDS, GatedGenerator
from test_deploy import NGINX

HOST: Final = "rag.example.org"
PROGRAM: Final = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin")

pytestmark = pytest.mark.skipif(
    PROGRAM is None or shutil.which("openssl") is None, reason="no nginx and openssl here"
)


def command(folder: Path, upstream: str = "127.0.0.1:8000") -> list[str]:
    """Write the site, which listens on a socket of the folder; return how nginx is started."""
    request = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj"
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "fullchain.pem")]
    subprocess.run([*request.split(), f"/CN={HOST}", *files], check=True, capture_output=True)
    site = NGINX.read_text("utf-8").replace("/etc/ssl/rag.example.org", str(folder))
    # The port may need rights.
    site = site.replace("listen 443", f"listen unix:{folder}/s")
    site = site.replace("server 127.0.0.1:8000", f"server {upstream}")
    folders = "".join(
        f"{name}_temp_path {folder}/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "" if os.geteuid() else "user root;"
    head = f"{user} daemon off; pid {folder}/pid; error_log stderr; events {{}}"
    file = folder / "nginx.conf"
    file.write_text(f"{head} http {{ access_log off; {folders} {site} }}", "utf-8")
    assert PROGRAM is not None
    return [PROGRAM, "-p", str(folder), "-c", str(file)]


@contextmanager
def proxied(folder: Path, upstream: str) -> Iterator[httpx.AsyncHTTPTransport]:
    """Run nginx in front of a server; yields what connects to it."""
    arguments = command(folder, upstream)
    with (folder / "log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(arguments, stderr=log)
    try:
        while not (folder / "s").exists():
            assert process.poll() is None, (folder / "log").read_text("utf-8")
        yield httpx.AsyncHTTPTransport(uds=str(folder / "s"), verify=False)
    finally:
        process.terminate()
        process.wait(SECONDS)


def test_nginx_accepts_the_site(tmp_path):
    done = subprocess.run([*command(tmp_path), "-t"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.engines
def test_a_stream_passes_the_proxy_as_it_is_decoded(tmp_path):
    async def run(transport: httpx.AsyncHTTPTransport, generator: GatedGenerator) -> list[str]:
        names = []
        async with (
            httpx.AsyncClient(transport=transport, base_url=f"https://{HOST}") as client,
            asyncio.timeout(SECONDS / 2),
            client.stream(
                "POST",
                "/v1/answer",
                json={"question": QUESTION},
                headers={"Accept": "text/event-stream", "Accept-Encoding": "gzip"},
            ) as reply,
        ):
            assert reply.status_code == 200
            async for line in reply.aiter_lines():
                if line.startswith("event: "):
                    names.append(line.removeprefix("event: "))
                    # The generator waits until the first event has come through.
                    generator.gate.open()
        return names

    with make_rag(build_store(tmp_path), GatedGenerator) as rag:
        app = make_app(make_pipelines(None, rag), hosts=(HOST,))
        with served(app, lifespan="on") as address:
            rag.generator.gate.close()
            with proxied(tmp_path, address.removeprefix("http://")) as transport:
                names = asyncio.run(run(transport, rag.generator))
    assert names[0] == "hits"
    assert names[-1] == "answer"
    assert "token" in names


@pytest.mark.engines
def test_a_client_that_leaves_the_proxy_ends_its_question(tmp_path):
    async def leave(transport: httpx.AsyncHTTPTransport, generator: GatedGenerator, batcher):
        async with httpx.AsyncClient(transport=transport, base_url=f"https://{HOST}") as client:
            asking = asyncio.create_task(client.get("/v1/answer", params={"question": QUESTION}))
            assert await asyncio.to_thread(generator.gate.reached.acquire, timeout=SECONDS)
            asking.cancel()
            await asyncio.wait({asking})
        # The generator waits still.
        async with asyncio.timeout(SECONDS / 2):
            while batcher.admitted:
                await asyncio.sleep(0.001)

    with make_rag(build_store(tmp_path), GatedGenerator) as rag:
        pipelines = make_pipelines(None, rag)
        with served(make_app(pipelines, hosts=(HOST,)), lifespan="on") as address:
            rag.generator.gate.close()
            with proxied(tmp_path, address.removeprefix("http://")) as transport:
                asyncio.run(leave(transport, rag.generator, pipelines.default.batcher))
            rag.generator.gate.open()


@pytest.mark.engines
def test_errors_of_the_server_pass_the_proxy_and_metrics_do_not(tmp_path):
    async def run(transport: httpx.AsyncHTTPTransport) -> list[tuple[int, str]]:
        async with httpx.AsyncClient(transport=transport, base_url=f"https://{HOST}") as client:
            replies = [
                await client.post("/v1/answer", json={"question": ""}),
                await client.post("/v1/answer", json={"question": QUESTION, "version": "v9"}),
                await client.get("/readyz"),
                await client.get("/metrics"),
                await client.get("/readyz", headers={"Host": "evil.test"}),
            ]
            return [(each.status_code, each.headers["content-type"]) for each in replies]

    with (
        make_rag(build_store(tmp_path)) as rag,
        served(make_app(make_pipelines(None, rag), hosts=(HOST,)), lifespan="on") as address,
        proxied(tmp_path, address.removeprefix("http://")) as transport,
    ):
        replies = asyncio.run(run(transport))
    assert [status for status, _ in replies[:4]] == [422, 404, 200, 404]
    assert {kind for _, kind in replies[:3]} == {"application/json"}
    assert replies[3][1] == "text/html"

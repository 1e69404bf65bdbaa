"""Requests of foreign hosts and pages are refused."""

from __future__ import annotations

import pytest
from serving_app import QUESTION, error_of, serving

BODY = {"question": QUESTION}


def status(client, path="/v1/versions", **headers):
    return client.get(path, headers=headers).status_code


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8000", "127.0.0.1", "127.0.0.1:81", "[::1]", "[::1]:8000", "a.test:1"],
)
def test_own_names_are_served(tmp_path, host):
    with serving(tmp_path, hosts=("a.test",)) as client:
        assert status(client, Host=host) == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.test",
        "evil.test:8000",
        "localhost.evil.test",
        "127.0.0.1.evil.test",
        "::1x",
        "",
        "[::1]evil.test",
        "[::1",
        "[::1]x:80",
        "[127.0.0.1].evil.test:80",
    ],
)
def test_a_name_that_another_site_has_is_refused(tmp_path, host):
    with serving(tmp_path) as client:
        reply = client.get("/v1/versions", headers={"Host": host})
        assert (reply.status_code, error_of(reply)) == (403, "HostError")
        assert status(client, "/readyz", Host=host) == 200


def test_an_open_server_has_the_names_that_are_listed(tmp_path):
    with serving(tmp_path, host="0.0.0.0", open=True, hosts=("a.test",)) as client:
        assert status(client, Host="a.test") == 200
        assert status(client, Host="localhost") == 403
    with serving(tmp_path / "other", host="0.0.0.0", open=True) as client:
        assert status(client, Host="b.test") == 200


@pytest.mark.parametrize(
    "origin",
    ["https://evil.test", "null", "http://127.0.0.1:9", "http://[x", "file://127.0.0.1", ""],
)
def test_a_foreign_page_can_neither_ask_nor_change_anything(tmp_path, origin):
    with serving(tmp_path) as client:
        for path, body in (("/v1/answer", BODY), ("/v1/admin/rollback", None)):
            reply = client.post(path, body, headers={"Origin": origin})
            assert (reply.status_code, error_of(reply)) == (403, "HostError")
        assert client.rag.memory.version == "v1"


def test_pages_of_the_server_and_of_listed_origins_can(tmp_path):
    with serving(tmp_path, cors=("https://a.test",)) as client:
        own = client.post("/v1/answer", BODY, headers={"Origin": "http://127.0.0.1"})
        assert own.status_code == 200
        listed = client.post("/v1/answer", BODY, headers={"Origin": "https://a.test"})
        assert listed.headers["access-control-allow-origin"] == "https://a.test"
        preflight = client.request(
            "OPTIONS",
            "/v1/answer",
            headers={
                "Origin": "https://a.test",
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "authorization,content-type",
            },
        )
        assert preflight.status_code == 200
        assert "authorization" in preflight.headers["access-control-allow-headers"].lower()

"""`/metrics` shows what was asked, by templates of routes, to those who have a token."""

from __future__ import annotations

from pathlib import Path

from serving_app import QUESTION, TOKEN, serving


def test_requests_are_measured_by_the_template_of_their_route(tmp_path):
    with serving(tmp_path) as client:
        client.post("/v1/answer", {"question": QUESTION})
        client.get("/v1/versions/v1")
        client.get("/v1/versions/v2")
        client.get("/nowhere/secret")
        client.post("/v1/answer", {"question": ""})
        reply = client.get("/metrics")
    assert reply.headers["Content-Type"].startswith("text/plain")
    lines = reply.text.splitlines()
    counts = [line for line in lines if line.startswith("ragcore_http_requests_total")]
    assert sorted(line.partition("{")[2] for line in counts) == [
        'method="GET",route="/v1/versions/{version}",status="200"} 2.0',
        'method="GET",route="other",status="404"} 1.0',
        'method="POST",route="/v1/answer",status="200"} 1.0',
        'method="POST",route="/v1/answer",status="422"} 1.0',
    ]
    assert "secret" not in reply.text
    assert 'ragcore_http_request_seconds_count{route="/v1/answer"} 2.0' in lines


def test_a_stranger_sees_no_metrics(tmp_path: Path):
    tokens = tmp_path / "tokens"
    tokens.write_text(TOKEN + "\n", encoding="utf-8")
    tokens.chmod(0o600)
    with serving(tmp_path, token_file=tokens) as client:
        assert client.get("/metrics").status_code == 401
        assert client.get("/metrics", token=TOKEN).status_code == 200

"""The log has method, path, status and time of each request, and no question unless asked."""

from __future__ import annotations

import logging

import pytest
from ragcore_serve.served import Pipelines
from serving_app import QUESTION, error_of, serving

from ragcore.process.log_fields import fields_of

SECRET = "what is the secret of chad"


def test_requests_are_logged_without_questions_and_tokens(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    with serving(tmp_path) as client:
        client.get("/v1/answer", params={"question": SECRET}, token="secret-0123456789abcdef")
        client.post("/v1/answer", {"question": [SECRET, "broken " + SECRET, ""]})
        client.post("/v1/answer", {"question": SECRET, "settings": {"where": {"secret": {"x": 1}}}})
    lines = [record for record in caplog.records if record.name == "ragcore.serve.access"]
    assert [record.getMessage().split(":")[0] for record in lines] == [
        "GET /v1/answer",
        "POST /v1/answer",
        "POST /v1/answer",
    ]
    assert fields_of(lines[0])["status"] == 200
    own = [record for record in caplog.records if record.name.startswith("ragcore")]
    assert "secret" not in "".join(map(logging.Formatter().format, own))


def test_questions_are_logged_if_asked(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    with serving(tmp_path, log_questions=True) as client:
        client.post("/v1/answer", {"question": QUESTION + "\n\x1b[31m"})
    (line,) = [r.getMessage() for r in caplog.records if r.name == "ragcore.serve.questions"]
    assert line == f"world: '{QUESTION}\\n\\x1b[31m'"


def test_a_path_cannot_forge_a_line(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    with serving(tmp_path) as client:
        client.get("/v1/versions/a%0Aragcore%1b[31m" + "x" * 500)
    (line,) = [r.getMessage() for r in caplog.records if r.name == "ragcore.serve.access"]
    assert "\n" not in line
    assert "\x1b" not in line
    assert len(line) < 300


@pytest.mark.parametrize("shown", [False, True])
def test_a_fault_is_a_reply_and_its_message_is_logged_if_asked(
    tmp_path, caplog, monkeypatch, shown
):
    def fail(self: Pipelines, name: str | None = None) -> None:
        raise RuntimeError(f"cannot do {SECRET}")

    with serving(tmp_path, log_questions=shown) as client:
        monkeypatch.setattr(Pipelines, "get", fail)
        reply = client.post("/v1/answer", {"question": SECRET})
    assert (reply.status_code, error_of(reply)) == (500, "InternalError")
    assert "secret" not in reply.text
    (record,) = [each for each in caplog.records if each.name == "ragcore.serve"]
    text = logging.Formatter().format(record)
    assert "RuntimeError" in text
    assert "in fail" in text
    assert ("secret of chad" in text) == shown

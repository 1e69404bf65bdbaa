"""Versions are changed through the store, so that every program that follows it does too."""

from __future__ import annotations

import pytest
from gated_rag import make_rag
from serving_app import QUESTION, error_of, serving

from ragcore import Rag
from ragcore.store.store import Store
from tests.helpers.word_encoder import dense_part


@pytest.fixture
def client(tmp_path):
    with serving(tmp_path) as client:
        yield client


def served(client):
    (answer,) = client.post("/v1/answer", {"question": QUESTION}).json()["answers"]
    return answer["memory"]


def test_a_version_is_activated_and_rolled_back(client, tmp_path):
    store = Store(tmp_path / "store")
    store.activate("v1")
    reply = client.post("/v1/admin/activate", {"version": "v2"})
    assert reply.json() == {"pipeline": "world", "version": "v2", "before": "v1"}
    assert (store.current(), served(client)) == ("v2", "v2")
    reply = client.post("/v1/admin/rollback")
    assert reply.json() == {"pipeline": "world", "version": "v1", "before": "v2"}
    assert (store.current(), served(client)) == ("v1", "v1")


def test_a_version_that_cannot_be_opened_changes_nothing(client, tmp_path):
    store = Store(tmp_path / "store")
    before = store.current()
    manifest = tmp_path / "store" / "versions" / "v2" / "manifest.json"
    manifest.chmod(0o600)
    manifest.write_text("{}", encoding="utf-8")
    for route in ("activate", "check"):
        reply = client.post(f"/v1/admin/{route}", {"version": "v2"})
        assert (reply.status_code, error_of(reply)) == (500, "StoreCorruptError")
        unknown = client.post(f"/v1/admin/{route}", {"version": "v9"})
        assert (unknown.status_code, error_of(unknown)) == (404, "UnknownVersionError")
    assert store.current() == before
    assert served(client) == "v1"


def test_a_check_opens_a_version_and_serves_it_not(client):
    reply = client.post("/v1/admin/check", {"version": "v2"})
    assert reply.json() == {"pipeline": "world", "version": "v2", "passages": 5}
    assert served(client) == "v1"


@pytest.mark.parametrize(
    ("pin", "reason"), [(False, "memory.version names one"), (True, "started with --pin")]
)
def test_a_pinned_pipeline_refuses_with_the_reason(tmp_path, pin, reason):
    open_one = make_rag(tmp_path)
    pinned = Rag(
        open_one.memory.open("v1"),
        open_one.generator,
        open_one.config,
        store=Store(tmp_path / "store"),
        retriever=dense_part(),
        pinned=True,
    )
    open_one.close()
    with serving(tmp_path, pinned, pin=pin) as client:
        for route, body in (("activate", {"version": "v2"}), ("rollback", None)):
            reply = client.post(f"/v1/admin/{route}", body)
            assert (reply.status_code, error_of(reply)) == (409, "RefusedError")
            assert reason in reply.json()["error"]["message"]


def test_a_full_queue_does_not_hold_up_a_change(tmp_path):
    with serving(tmp_path, queue=1, max_questions=1) as client:
        admission = client.pipelines.default.batcher._questions
        admission.admit(1)
        assert client.post("/v1/answer", {"question": QUESTION}).status_code == 429
        assert client.post("/v1/admin/activate", {"version": "v2"}).status_code == 200
        admission.leave(1)

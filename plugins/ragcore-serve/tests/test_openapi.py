"""The OpenAPI document is true for any request: no reply is a fault, and none is undocumented."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error, status_code_conformance
from serving_app import Client, serving

CHECKS = [not_a_server_error, status_code_conformance]
OF_OPENAI = {"/v1/chat/completions", "/v1/models", "/v1/models/{model}"}
"""Their errors are OpenAI's, whose own documents describe them."""
CHANGING = "/v1/admin/"
"""Routes under it are tested by test_admin.py; at random they would open versions all the time."""


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with serving(
        tmp_path_factory.mktemp("served"), max_k=5, max_beams=2, max_new_tokens=3
    ) as client:
        yield client


def operations(client: Client):
    schema = schemathesis.openapi.from_dict(client.app.openapi())
    schema.app = client.app
    found = [each.ok() for each in schema.get_all_operations()]
    return [each for each in found if not each.path.startswith(CHANGING)]


def test_no_request_is_a_fault(client):
    listed = operations(client)
    assert {each.path for each in listed} >= {"/v1/answer", "/v1/search", "/v1/log_prob"}
    for operation in listed:
        send_what_fits(operation)


def send_what_fits(operation) -> None:
    @settings(max_examples=5, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def no_fault(case):
        checks = [not_a_server_error] if operation.path in OF_OPENAI else CHECKS
        case.call_and_validate(base_url="http://127.0.0.1", checks=checks)

    no_fault()

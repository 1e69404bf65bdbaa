"""The settings, and what is imported to check them."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError
from ragcore_milvus.config import MilvusConfig


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("http://root:geheim@host:19530", "as token"),
        ("localhost:19530", "no address of a server"),
        ("memory.db", "no address of a server"),
        ("http://host:19530/mydb", "and database"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused(uri: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message) as raised:
        MilvusConfig(uri=uri)
    assert "geheim" not in str(raised.value.errors(include_input=False))


def test_a_token_that_is_written_out_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError, match="written out"):
        MilvusConfig(token="root:geheim")
    monkeypatch.setenv("MILVUS_TOKEN", "root:geheim")
    assert "geheim" not in repr(MilvusConfig(token="root:geheim"))


def test_a_file_is_checked_without_the_client() -> None:
    code = "import sys, ragcore_milvus.config as _; print('pymilvus' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"

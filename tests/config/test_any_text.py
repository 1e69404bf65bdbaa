"""Test that reading any text gives a config or a ConfigError, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragcore.config import parse_config
from ragcore.errors import ConfigError

WHOLE = (Path(__file__).parent / "valid" / "everything.yaml").read_text(encoding="utf-8")
PIECES = [
    *"{}[]:,-?|>&*!%@`'\"#~\n\t ",
    ": ",
    "\n  ",
    "<<: ",
    "!!int ",
    "${env:",
    "---\n",
    "&a ",
    "*a",
]

pytestmark = pytest.mark.usefixtures("sample")
# The plugin is the same for all examples, and reading changes nothing.
settings.register_profile(
    "text", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
TEXT = settings.get_profile("text")


def read(text: str, *overrides: str) -> None:
    message = "p.yaml: ok"
    try:
        parse_config(text, "p.yaml", overrides=overrides)
    except ConfigError as error:
        message = str(error)
    assert message.startswith(("p.yaml:", "override "))


@settings(TEXT, max_examples=150)
@given(st.lists(st.sampled_from([*PIECES, *"abk01.é\x00\x85\u2028\ufeff"])).map("".join))
def test_any_text_is_read_or_refused(text: str) -> None:
    read(text)


@settings(TEXT, max_examples=150)
@given(
    start=st.integers(0, len(WHOLE)),
    length=st.integers(0, 12),
    piece=st.sampled_from(["", *PIECES]),
)
def test_any_damage_is_read_or_refused(start: int, length: int, piece: str) -> None:
    read(WHOLE[:start] + piece + WHOLE[start + length :])


@settings(TEXT, max_examples=100)
@given(
    path=st.lists(st.sampled_from(["rag", "memory", "retriever", "use", "k", "0", "", "é"])),
    value=st.lists(st.sampled_from([*PIECES, *"ab1"])).map("".join),
)
def test_any_override_is_applied_or_refused(path: list[str], value: str) -> None:
    read(WHOLE, f"{'.'.join(path)}={value}")

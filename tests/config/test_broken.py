"""Test that each broken file gives its whole message: `NAME.yaml` gives `NAME.expected`.

To see the message of a new file: pytest tests/config/test_broken.py -k NAME
"""

from __future__ import annotations

from pathlib import Path

import pytest

from ragcore.config import load_config
from ragcore.errors import ConfigError

BROKEN = Path(__file__).parent / "broken"
SECRET = "hush-hush-hush-hush-hush"


@pytest.mark.parametrize("name", sorted(path.stem for path in BROKEN.glob("*.yaml")))
def test_a_broken_file_gives_its_message(
    name: str, sample: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(BROKEN)
    monkeypatch.delenv("RAGCORE_TEST_UNSET", raising=False)
    monkeypatch.setenv("RAGCORE_TEST_SECRET", SECRET)
    with pytest.raises(ConfigError) as raised:
        load_config(f"{name}.yaml")
    assert str(raised.value) == (BROKEN / f"{name}.expected").read_text(encoding="utf-8")[:-1]
    assert SECRET not in str(raised.value)


def test_every_message_has_its_file() -> None:
    assert {path.stem for path in BROKEN.glob("*.yaml")} == {
        path.stem for path in BROKEN.glob("*.expected")
    }

"""A model that is not on this machine fails soon where there is no network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
from ragcore.registry.components import spec_from_dict
try:
    settings = dict.fromkeys(sys.argv[3:], "nobody/no-model")
    spec_from_dict(sys.argv[1], {"use": sys.argv[2], **settings}).build()
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("kind", "use", "settings"),
    [
        ("encoder", "sentence-transformers", ["model"]),
        ("encoder", "dpr", ["question_model", "passage_model"]),
        ("generator", "bart", ["model"]),
        ("generator", "causal", ["model"]),
        ("scorer", "cross-encoder", ["model"]),
    ],
)
def test_a_missing_model_is_reported_after_one_attempt(
    kind: str, use: str, settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing listens there.
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, kind, use, *settings],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert "'nobody/no-model' cannot be loaded: the model hub did not answer" in run.stdout, run
    assert "check the name, or download it" in run.stdout
    assert "Retrying" not in run.stderr

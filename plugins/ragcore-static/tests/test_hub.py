"""Without network a model that was downloaded before loads, and another one fails soon."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import tiny_static as tiny

BUILD = """
import sys
from ragcore.errors import PluginError
from ragcore_static.encoder import Static
for name in sys.argv[1:]:
    try:
        print(Static(Static.Config(model=name)).dim)
    except PluginError as error:
        print(error)
"""

COMMIT = "0" * 40


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that has one downloaded model, and a hub's address where nothing listens."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    repository = tmp_path / "hub" / "models--nobody--here"
    tiny.save(repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return tmp_path


def run(*names: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BUILD, *names],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("offline", [{}, {"HF_HUB_OFFLINE": "1"}], ids=["unreachable", "offline"])
def test_the_hub_is_asked_once_and_the_cache_is_read(
    monkeypatch: pytest.MonkeyPatch, offline: Mapping[str, str]
) -> None:
    for name, value in offline.items():
        monkeypatch.setenv(name, value)
    done = run("nobody/here", "nobody/else", "-bad", "/no/such/folder")
    loaded, missing, misnamed, absolute = done.stdout.splitlines()
    assert loaded == "16"
    assert missing.startswith("model 'nobody/else' cannot be loaded: ")
    assert ("the model hub did not answer" in missing) is (not offline)
    assert "check the name, or download it" in missing
    assert misnamed.startswith("model '-bad' cannot be loaded: ")
    assert absolute == (
        "model '/no/such/folder' cannot be loaded: there is no such folder; check the path"
    )
    assert "Retrying" not in done.stderr


@pytest.mark.usefixtures("home")
def test_a_hub_that_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert run("nobody/here").stdout == "16\n"

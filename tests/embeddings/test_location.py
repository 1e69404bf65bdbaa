"""Where the embedding cache is, by pipeline and environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragcore.embeddings.location import cache_folder
from ragcore.errors import ConfigError


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"RAGCORE_CACHE": "/named"}, "/named"),
        ({"RAGCORE_CACHE": "~/named"}, "/home/somebody/named"),
        ({"RAGCORE_CACHE": "off"}, None),
        ({"RAGCORE_CACHE": "OFF"}, None),
        ({"RAGCORE_CACHE": "", "XDG_CACHE_HOME": "/caches"}, "/caches/ragcore/embeddings"),
        ({"XDG_CACHE_HOME": "relative"}, "/home/somebody/.cache/ragcore/embeddings"),
        ({}, "/home/somebody/.cache/ragcore/embeddings"),
    ],
)
def test_the_environment_decides_where_the_pipeline_does_not(
    environment: dict[str, str], folder: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAGCORE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/home/somebody", **environment}.items():
        monkeypatch.setenv(name, value)
    assert cache_folder(None) == (None if folder is None else Path(folder))
    assert cache_folder(Path("/own")) == Path("/own")


def test_an_environment_that_is_no_path_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGCORE_CACHE", "x" * 5000)
    with pytest.raises(ConfigError, match="not a usable path"):
        cache_folder(None)

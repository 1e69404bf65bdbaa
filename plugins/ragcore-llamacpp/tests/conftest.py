from __future__ import annotations

import sys
from pathlib import Path

import pytest

# Tests are imported by file, so that the folder is not on the path by itself.
sys.path.insert(0, str(Path(__file__).parent))

import tiny_gguf as tiny


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_gguf(tmp_path_factory.mktemp("plain") / "plain.gguf")


@pytest.fixture(scope="session")
def chatty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_gguf(tmp_path_factory.mktemp("chatty") / "chatty.gguf", chat=tiny.CHAT)

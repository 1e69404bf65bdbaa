from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

# Tests are imported by file, so that the folder is not on the path by itself.
sys.path.insert(0, str(Path(__file__).parent))

import tiny_models as tiny


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def bart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_bart(tmp_path_factory.mktemp("bart"))


@pytest.fixture(scope="session")
def t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_t5(tmp_path_factory.mktemp("t5"))


@pytest.fixture(scope="session")
def pegasus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_pegasus(tmp_path_factory.mktemp("pegasus"))


@pytest.fixture(scope="session", params=["bart", "t5", "pegasus"])
def folder(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(request.param)
    return found

"""Share fixtures of tests of stores: a pipeline in shards, and vectors in an SQLite database."""

from pathlib import Path
from typing import Any

import pytest

from ragcore.registry.components import ComponentSpec
from tests.conftest import Installed
from tests.helpers.shard_project import pipeline
from tests.helpers.sqlite_index import make_database, remote_part

__all__ = ["database", "part", "pipeline", "sqlite_plugins"]


@pytest.fixture
def sqlite_plugins(installed: Installed) -> None:
    """Install the encoder of words, and the index whose vectors are in SQLite."""
    installed.add("words", "from tests.helpers.word_encoder import ragcore_encoders\n")
    installed.add("sqlite", "from tests.helpers.sqlite_index import ragcore_indexes\n")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return make_database(tmp_path / "database.sqlite")


@pytest.fixture
def part(database: Path) -> ComponentSpec[Any]:
    return remote_part(database)

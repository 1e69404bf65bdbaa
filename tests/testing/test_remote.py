"""The laws of `remote` hold for a small index in a database, and find what breaks them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ragcore.registry.components import ComponentSpec
from ragcore.testing import IndexSuite
from ragcore.testing.remote import RemoteLaws
from tests.helpers.sqlite_index import SqliteIndex, make_database, tables


def spec(folder: Path, component: type[Any] = SqliteIndex) -> ComponentSpec[Any]:
    database = make_database(folder / "database.sqlite")
    return ComponentSpec("index", "sqlite", component, component.Config(database=str(database)))


class Forgetful(SqliteIndex):
    """Drops nothing."""

    @classmethod
    def drop(cls, folder: Path, config: SqliteIndex.Config) -> bool:
        return True


class Late(SqliteIndex):
    """Writes no pointer before its data."""

    def use_scratch(self, folder: Path) -> int:
        return 0


class Laws(IndexSuite):
    __test__ = False


@pytest.mark.parametrize("law", [name for name in vars(RemoteLaws) if name.startswith("test_")])
def test_a_small_index_in_a_database_keeps_each_law(tmp_path: Path, law: str) -> None:
    (tmp_path / "work").mkdir()
    getattr(Laws(), law)(spec(tmp_path), tmp_path / "work")
    assert tables(tmp_path / "database.sqlite") == []


@pytest.mark.parametrize(
    ("component", "law", "message"),
    [
        (Forgetful, "test_a_pointer_leads_to_the_data_until_they_are_dropped", "dropped table"),
        (Late, "test_a_pointer_is_written_before_the_data", "there are 0 pointers"),
    ],
)
def test_a_broken_index_breaks_a_law(
    tmp_path: Path, component: type[Any], law: str, message: str
) -> None:
    (tmp_path / "work").mkdir()
    with pytest.raises(AssertionError, match=message):
        getattr(Laws(), law)(spec(tmp_path, component), tmp_path / "work")

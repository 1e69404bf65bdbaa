"""The laws of `where` hold for a small index in a database, and find what breaks them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ragcore.filters.expressions import Filter
from ragcore.filters.predicates import Compare, OneOf, Present
from ragcore.registry.components import ComponentSpec
from ragcore.testing import IndexSuite
from ragcore.testing.filtering import FilterLaws
from tests.helpers.sqlite_index import SqliteIndex, make_database

COLUMNS = {"lang": "text", "year": "int", "odd \"name'": "text"}


def spec(folder: Path, component: type[Any] = SqliteIndex) -> ComponentSpec[Any]:
    database = make_database(folder / "database.sqlite")
    config = component.Config(database=str(database), columns=COLUMNS)
    return ComponentSpec("index", "sqlite", component, config)


class Nullable(SqliteIndex):
    """Lets a comparison with NULL be neither true nor false."""

    def _spelt(self, leaf: Present | OneOf | Compare, parameters: list[Any]) -> str:
        return super()._spelt(leaf, parameters).removeprefix("coalesce(").removesuffix(", 0)")


class Inclusive(SqliteIndex):
    """Takes what is less for what is less or equal."""

    def _spelt(self, leaf: Present | OneOf | Compare, parameters: list[Any]) -> str:
        return super()._spelt(leaf, parameters).replace(" < ?", " <= ?")


class Bold(SqliteIndex):
    """Evaluates filters on fields with values that it did not store."""

    def _expressed(self) -> Any:
        return self.columns


class Mute(SqliteIndex):
    """Has columns, and uses them for nothing."""

    def expresses(self, where: Filter) -> bool:
        return False


class Shuffled(SqliteIndex):
    """Returns metadata by row, not as asked for."""

    def metadata(self, rows: Any) -> list[dict[str, Any]]:
        return super().metadata(rows[rows.argsort()])


class Laws(IndexSuite):
    __test__ = False


def keep(law: str, folder: Path, component: type[Any]) -> None:
    (folder / "work").mkdir()
    arguments = [folder / "work"] if law == "test_filters_mean_the_same_in_the_index" else []
    getattr(Laws(), law)(spec(folder, component), *arguments)


@pytest.mark.parametrize("law", [name for name in vars(FilterLaws) if name.startswith("test_")])
def test_a_small_index_with_columns_keeps_each_law(tmp_path: Path, law: str) -> None:
    keep(law, tmp_path, SqliteIndex)


@pytest.mark.parametrize(
    ("component", "law", "message"),
    [
        (Nullable, "test_filters_mean_the_same_in_the_index", "by .*Not"),
        (Inclusive, "test_filters_mean_the_same_in_the_index", "'lt'.* allows no row"),
        (Bold, "test_values_that_fit_no_column_are_not_expressed", "is expressed, with"),
        (Mute, "test_filters_mean_the_same_in_the_index", "no filter"),
        (Shuffled, "test_metadata_build_an_equal_index", "returned others"),
    ],
)
def test_a_broken_index_breaks_a_law(
    tmp_path: Path, component: type[Any], law: str, message: str
) -> None:
    with pytest.raises(AssertionError, match=message):
        keep(law, tmp_path, component)

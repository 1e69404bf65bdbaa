"""Filters that PostgreSQL evaluates, on columns of metadata."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ragcore_pgvector.index import Pgvector

from ragcore.errors import MemoryMismatchError, StoreCorruptError
from ragcore.filters.expressions import read_where
from ragcore.registry.components import ComponentSpec
from ragcore.testing import IndexSuite
from ragcore.testing.filtering import FilterLaws
from tests.helpers.postgres_server import PostgresServer

pytestmark = pytest.mark.engines

COLUMNS = {"lang": "text", "year": "int", "odd \"name'": "text"}


class Laws(IndexSuite):
    __test__ = False


def drawn(count: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal((count, 24)).astype(np.float32)


def filled(spec: ComponentSpec[Any], folder: Path, count: int) -> Pgvector:
    index = spec.build(dim=24)
    metadata = [{"lang": "de" if row % 2 else "en", "year": row} for row in range(count)]
    index.add_with_metadata(np.arange(count), drawn(count), metadata)
    index.save(folder)
    return spec.load(folder)


@pytest.mark.parametrize("method", ["exact", "hnsw"])
@pytest.mark.parametrize("law", [name for name in vars(FilterLaws) if name.startswith("test_")])
def test_the_laws_of_filters_hold(made: Any, tmp_path: Path, law: str, method: str) -> None:
    arguments = [tmp_path] if law == "test_filters_mean_the_same_in_the_index" else []
    getattr(Laws(), law)(made(columns=COLUMNS, method=method), *arguments)


def test_a_walk_by_a_filter_finds_as_many_as_there_are(made: Any, tmp_path: Path) -> None:
    settings = {"method": "hnsw", "ef_search": 10, "m": 4, "ef_construction": 8}
    index = filled(made(columns=COLUMNS, **settings), tmp_path, 5_000)
    for last, found in ((0, 1), (7, 4), (4_000, 20)):
        where = read_where({"lang": "en", "year": {"lte": last}})
        hits = index.search_where(drawn(4, seed=4), 20, where)
        assert (hits.rows[:, :found] >= 0).all()
        assert (hits.rows[:, found:] == -1).all()
        assert (hits.rows[:, :found] % 2 == 0).all()
        assert (hits.rows <= last).all()


def test_other_columns_than_those_of_the_build_are_refused(made: Any, tmp_path: Path) -> None:
    filled(made(columns=COLUMNS), tmp_path, 10)
    for columns in (
        {},
        {"year": "int"},
        {**COLUMNS, "lang": "int"},
        dict([*COLUMNS.items()][::-1]),
    ):
        with pytest.raises(MemoryMismatchError, match="was built with columns"):
            made(columns=columns).load(tmp_path)


def test_a_changed_column_is_no_longer_what_was_built(
    made: Any, tmp_path: Path, server: PostgresServer
) -> None:
    index = filled(made(columns=COLUMNS), tmp_path, 10)
    index.check(full=True)
    server.execute(f"update ragcore.{index._name} set c1 = 5 where row = 3")
    with pytest.raises(StoreCorruptError, match="was changed"):
        index.check(full=True)


@pytest.mark.parametrize("columns", [{"$id": "text"}, {"": "text"}, {"year": "float"}])
def test_columns_that_cannot_be_are_refused(made: Any, columns: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="columns"):
        made(columns=columns)

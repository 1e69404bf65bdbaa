"""Filters that Milvus evaluates, on columns of metadata."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from memories import vectors
from ragcore_milvus.config import MilvusConfig
from ragcore_milvus.index import Milvus

from ragcore.disk.remote import RemotePointer
from ragcore.errors import ComponentError, MemoryMismatchError, StoreCorruptError
from ragcore.filters.expressions import read_where
from ragcore.registry.components import ComponentSpec
from ragcore.testing import IndexSuite
from ragcore.testing.filtering import FilterLaws

pytestmark = pytest.mark.engines

COLUMNS = {"lang": "text", "year": "int"}


class Laws(IndexSuite):
    __test__ = False


def made(uri: str, **settings: Any) -> ComponentSpec[Any]:
    config = MilvusConfig(uri=uri, **{"columns": COLUMNS, **settings})
    return ComponentSpec("index", "milvus", Milvus, config)


@pytest.mark.parametrize("law", [name for name in vars(FilterLaws) if name.startswith("test_")])
def test_the_laws_of_filters_hold(uri: str, tmp_path: Path, law: str) -> None:
    arguments = [tmp_path] if law == "test_filters_mean_the_same_in_the_index" else []
    spec = made(uri)
    getattr(Laws(), law)(spec, *arguments)
    if arguments:
        Milvus.drop(tmp_path / "saved", spec.config)


def test_a_graph_finds_as_many_as_match(uri: str, tmp_path: Path) -> None:
    spec, values = made(uri, method="hnsw"), vectors(3_000)
    index = spec.build(dim=16)
    metadata = [{"lang": "de" if row % 2 else "en", "year": row} for row in range(3_000)]
    index.add_with_metadata(np.arange(3_000), values, metadata)
    index.save(tmp_path)
    loaded = spec.load(tmp_path)
    loaded.check(full=True)
    for last, found in ((0, 1), (7, 4), (2_000, 20)):
        where = read_where({"lang": "en", "year": {"lte": last}})
        hits = loaded.search_where(values[:4], 20, where)
        assert (hits.rows[:, :found] >= 0).all()
        assert (hits.rows[:, found:] == -1).all()
        assert (hits.rows[:, :found] % 2 == 0).all()
        assert (hits.rows <= last).all()
    assert loaded.metadata(np.array([2, 1])) == [metadata[2], metadata[1]]
    with pytest.raises(ComponentError, match="has no row 4000"):
        loaded.metadata(np.array([2, 4_000]))
    for columns in ({}, {"year": "int"}, {"year": "int", "lang": "text"}):
        with pytest.raises(MemoryMismatchError, match="was built with"):
            made(uri, method="hnsw", columns=columns).load(tmp_path)
    Milvus.drop(tmp_path, spec.config)


def test_other_metadata_have_another_digest(uri: str, tmp_path: Path) -> None:
    spec, pointers = made(uri), []
    for number, lang in enumerate(("de", "en")):
        index, folder = spec.build(dim=16), tmp_path / str(number)
        index.add_with_metadata(np.arange(2), vectors(2), [{"lang": lang}, {"year": 3}])
        folder.mkdir()
        index.save(folder)
        pointers.append(RemotePointer.read(folder))
    exchanged = RemotePointer("index", "milvus", pointers[0].name, pointers[1].details)
    exchanged.write(tmp_path / "1")
    spec.load(tmp_path / "0").check(full=True)
    with pytest.raises(StoreCorruptError, match="digest"):
        spec.load(tmp_path / "1").check(full=True)
    for pointer in pointers:
        pointer.write(tmp_path / "0")
        Milvus.drop(tmp_path / "0", spec.config)


@pytest.mark.parametrize("columns", [{"$id": "text"}, {"": "text"}, {"year": "float"}])
def test_columns_that_cannot_be_are_refused(uri: str, columns: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="columns"):
        made(uri, columns=columns)

"""Test that a merged memory and its shards share tables, and who drops them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ragcore.errors import StoreError
from ragcore.registry.components import ComponentSpec
from ragcore.store.catalog import Catalog
from ragcore.store.merging import merge_version
from ragcore.store.sharding import build_shard_version
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.helpers.sqlite_index import ids, named, tables

PASSAGES = [Passage(f"p{n}", "", f"text {n} of w{n % 7}") for n in range(40)]
pytestmark = pytest.mark.usefixtures("sqlite_plugins")


def shards(folder: Path, part: ComponentSpec[Any]) -> Catalog:
    catalog = Catalog(folder)
    for number in range(2):
        build_shard_version(
            catalog,
            number,
            2,
            PASSAGES,
            part,
            corpus_config=None,
            training=None,
            fresh=False,
            batch=16,
            cache=None,
            report=lambda *_: None,
        )
    return catalog


def merged(catalog: Catalog, source: Catalog, part: ComponentSpec[Any]) -> Store:
    merge_version(
        catalog,
        "one",
        [source.folder],
        part,
        corpus_config=None,
        activate=True,
        verify=True,
        report=lambda *_: None,
    )
    return Store(catalog.folder)


def test_a_merged_memory_has_the_tables_of_its_shards(
    tmp_path: Path, part: ComponentSpec[Any], database: Path
) -> None:
    source = shards(tmp_path / "shards", part)
    before = tables(database)
    store = merged(Catalog(tmp_path / "store"), source, part)
    assert tables(database) == before == sorted(named(store.folder))
    assert ids(store, "text 33 of w5")[0] == "p33"
    # The shards go: the memory has their tables.
    Store(source.folder).gc(1)
    assert tables(database) == before
    # The shards are built again: the memory has the old ones.
    build_shard_version(
        source,
        0,
        2,
        PASSAGES,
        part,
        corpus_config=None,
        training=None,
        fresh=True,
        batch=16,
        cache=None,
        report=lambda *_: None,
    )
    assert set(before) <= set(tables(database))
    assert ids(store, "text 3 of w3")[0] == "p3"


def test_a_merge_that_fails_leaves_the_shards_their_tables(
    tmp_path: Path, part: ComponentSpec[Any], database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = shards(tmp_path / "shards", part)
    before = tables(database)
    with monkeypatch.context() as patch:
        patch.setattr(
            "ragcore.store.merging.check_opens",
            lambda *_: (_ for _ in ()).throw(StoreError("it does not open")),
        )
        with pytest.raises(StoreError, match="does not open"):
            merged(Catalog(tmp_path / "store"), source, part)
    assert tables(database) == before
    store = merged(Catalog(tmp_path / "store"), source, part)
    # A merged memory that is collected leaves them too, and drops them once there are no shards.
    store.build("two", PASSAGES, part)
    store.gc(1)
    assert set(before) < set(tables(database))


def test_a_merged_memory_drops_what_deleted_shards_had(
    tmp_path: Path, part: ComponentSpec[Any], database: Path
) -> None:
    source = shards(tmp_path / "shards", part)
    store = merged(Catalog(tmp_path / "store"), source, part)
    shutil.rmtree(source.folder)
    store.build("two", PASSAGES, part)
    assert store.gc(1).remote == 2
    assert set(tables(database)) == named(store.folder)


def test_shards_keep_the_tables_of_a_merged_memory_that_has_moved(
    tmp_path: Path, part: ComponentSpec[Any], database: Path
) -> None:
    source = shards(tmp_path / "shards", part)
    store = merged(Catalog(tmp_path / "store"), source, part)
    before = tables(database)
    store.folder.rename(tmp_path / "moved")
    collected = Store(source.folder).gc(1)
    assert collected.removed
    (left,) = collected.left
    assert f"{tmp_path / 'store'} may use it, which is missing" in left.problem
    assert "if that was deleted" in left.advice
    assert tables(database) == before
    # The pointer stays, so that the table is not forgotten.
    assert set(before) <= named(source.folder)
    moved = Store(tmp_path / "moved")
    assert ids(moved, "text 3 of w3")[0] == "p3"
    # It tells the shards where it is, whose table it uses.
    moved.gc(1)
    assert Store(source.folder).gc(1).left == ()
    assert Store(source.folder).gc(1, deleted=[tmp_path / "store"]).left == ()
    assert tables(database) == before
    assert ids(moved, "text 3 of w3")[0] == "p3"


def test_a_merged_memory_that_is_deleted_leaves_no_table(
    tmp_path: Path, part: ComponentSpec[Any], database: Path
) -> None:
    source = shards(tmp_path / "shards", part)
    store = merged(Catalog(tmp_path / "store"), source, part)
    of_shards = Store(source.folder)
    with pytest.raises(StoreError, match="is not deleted: delete its folder first"):
        of_shards.gc(1, deleted=[store.folder])
    with pytest.raises(StoreError, match=f"expected one of these: {store.folder}"):
        of_shards.gc(1, deleted=[tmp_path / "another"])
    shutil.rmtree(store.folder)
    before = tables(database)
    tried = of_shards.gc(1, dry_run=True)
    assert (tried.remote, tried.bytes) == (0, 0)
    (expected,) = of_shards.gc(1).left
    assert [each.problem for each in tried.left] == [expected.problem]
    assert tables(database) == before
    with pytest.raises(StoreError, match=f"expected one of these: {store.folder}"):
        of_shards.gc(1, deleted=[tmp_path / "another"], dry_run=True)
    assert of_shards.gc(1, deleted=[store.folder], dry_run=True).remote == 1
    assert of_shards.gc(1, deleted=[store.folder]).remote == 1
    assert set(tables(database)) == named(source.folder)
    assert len(tables(database)) == len(before) - 1
    with pytest.raises(StoreError, match="expected one of these: none"):
        of_shards.gc(1, deleted=[store.folder])


def test_a_trial_says_the_same_where_one_of_two_merged_memories_is_deleted(
    tmp_path: Path, part: ComponentSpec[Any], database: Path
) -> None:
    source = shards(tmp_path / "shards", part)
    first, second = (
        merged(Catalog(tmp_path / name), source, part).folder for name in ("first", "second")
    )
    for folder in (first, second):
        shutil.rmtree(folder)
    of_shards, before = Store(source.folder), tables(database)
    for dry_run in (True, False):
        collected = of_shards.gc(1, deleted=[second], dry_run=dry_run)
        assert collected.remote == 0
        assert [str(first) in each.problem for each in collected.left] == [True]
    assert tables(database) == before
    # Its folder is named through a link, as people may know it.
    (tmp_path / "link").symlink_to(tmp_path)
    assert of_shards.gc(1, deleted=[tmp_path / "link" / "first"]).remote == 1


def test_a_failed_shard_leaves_no_table_where_the_merged_memory_is_missing(
    tmp_path: Path, part: ComponentSpec[Any], database: Path
) -> None:
    source = shards(tmp_path / "shards", part)
    shutil.rmtree(merged(Catalog(tmp_path / "store"), source, part).folder)
    before = tables(database)

    def corpus() -> Iterator[Passage]:
        yield from PASSAGES
        raise RuntimeError("the corpus broke off")

    with pytest.raises(RuntimeError, match="broke off"):
        Store(source.folder).build("three", corpus(), part, batch=8)
    assert tables(database) == before

"""Opening reads some blocks of large files; what it does not read is found by `verify`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ragcore.disk import atomic
from ragcore.disk.arrays import save_array
from ragcore.disk.atomic import sha256_of_samples
from ragcore.errors import StoreCorruptError
from ragcore.store import layout
from ragcore.store.diff import Changes
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.helpers.word_encoder import dense_part
from tests.store.test_store import flip, numbered

VECTORS = "retriever/index/vectors.npy"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store whose files count as large, sampled by 64 blocks of two bytes."""
    monkeypatch.setattr(layout, "LARGE", 100)
    monkeypatch.setattr(atomic, "_SAMPLE", 2)
    store = Store(tmp_path / "store")
    store.build("one", numbered(200), dense_part())
    return store


def path_of(store: Store, name: str = VECTORS) -> Path:
    return store.folder / "versions" / "one" / name


def test_samples_are_the_ends_and_blocks_between(tmp_path: Path) -> None:
    path = tmp_path / "large"
    content = bytearray(np.random.default_rng(0).bytes(9 << 20))
    path.write_bytes(content)
    digest = sha256_of_samples(path)
    for place in (
        0,
        65_535,
        len(content) - 1,
        len(content) - 65_536,
        (len(content) - 65_536) // 63,
    ):
        flip(path, place)
        assert sha256_of_samples(path) != digest, place
        flip(path, place)
    assert sha256_of_samples(path) == digest
    # Between the first block and the second.
    flip(path, 65_536)
    assert sha256_of_samples(path) == digest


@pytest.mark.parametrize("size", [0, 1, 1000, 65_536, 4 << 20])
def test_of_a_small_file_all_is_sampled(size: int, tmp_path: Path) -> None:
    path = tmp_path / "small"
    path.write_bytes(bytes(size))
    digest = sha256_of_samples(path)
    for place in {0, size // 3, size - 1} if size else ():
        flip(path, place)
        assert sha256_of_samples(path) != digest
        flip(path, place)


def test_only_large_files_have_samples(store: Store) -> None:
    for name, record in store.manifest().files.items():
        assert (record.samples is not None) == (record.bytes > 100), name
    assert b"null" not in path_of(store, "manifest.json").read_bytes().split(b'"files"')[1][:300]


def test_damage_in_a_block_is_found_and_other_damage_by_verify(store: Store) -> None:
    flip(path_of(store), 0)
    with pytest.raises(StoreCorruptError, match=r"vectors\.npy: its blocks have sha256"):
        store.open("one", retriever=dense_part())
    flip(path_of(store), 0)
    size = path_of(store).stat().st_size
    blocks = {(size - 2) * number // 63 + byte for number in range(64) for byte in (0, 1)}
    flip(path_of(store), next(place for place in range(200, size) if place not in blocks))
    store.open("one", retriever=dense_part()).close()
    for verify in (True, "full"):
        with pytest.raises(StoreCorruptError, match=r"vectors\.npy has sha256"):
            store.open("one", retriever=dense_part(), verify=verify)
    with pytest.raises(StoreCorruptError, match=r"vectors\.npy has sha256"):
        store.verify("one")


def test_an_update_reads_whole_what_it_derives_from(store: Store) -> None:
    passages = path_of(store, "passages.arrow")
    size = passages.stat().st_size
    blocks = {(size - 2) * number // 63 + byte for number in range(64) for byte in (0, 1)}
    flip(passages, next(place for place in range(3000, size) if place not in blocks))
    store.open("one", retriever=dense_part()).close()
    with pytest.raises(StoreCorruptError, match=r"passages\.arrow has sha256"):
        store.update(
            "two",
            Changes({"new": Passage("new", "", "a")}, {}),
            verify="sampled",
            retriever=dense_part(),
        )


def test_a_version_with_large_files_is_exported_and_imported(store: Store, tmp_path: Path) -> None:
    store.export(tmp_path / "one.tar")
    other = Store(tmp_path / "other")
    other.import_version(tmp_path / "one.tar", activate=True, retriever=dense_part())
    assert other.manifest().files == store.manifest().files
    flip(path_of(other), 0)
    with pytest.raises(StoreCorruptError, match=r"vectors\.npy: its blocks have sha256"):
        other.open("one", retriever=dense_part(), verify="sampled")


def test_an_archive_with_wrong_samples_is_not_imported(store: Store, tmp_path: Path) -> None:
    manifest = store.manifest()
    wrong = manifest.files[VECTORS].model_copy(update={"samples": "0" * 64})
    changed = manifest.model_copy(update={"files": {**manifest.files, VECTORS: wrong}})
    changed.write(path_of(store, ""))
    store.export(tmp_path / "one.tar")
    other = Store(tmp_path / "other")
    with pytest.raises(StoreCorruptError, match=r"the blocks of retriever/index/vectors\.npy"):
        other.import_version(tmp_path / "one.tar")
    assert other.versions() == []


def test_a_manifest_without_samples_is_checked_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "store")
    store.build("one", numbered(200), dense_part())
    assert all(record.samples is None for record in store.manifest().files.values())
    monkeypatch.setattr(layout, "LARGE", 100)
    flip(path_of(store), 500)
    with pytest.raises(StoreCorruptError, match=r"vectors\.npy has sha256"):
        store.open("one", retriever=dense_part())


@pytest.mark.parametrize("rows", [[0.5, 1.5], [[0, 1]], [3, 2], [-1, 2], [0, 999]])
def test_a_list_of_rows_with_a_right_digest_is_refused_where_it_cannot_be(
    rows: list[object], tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    store.build("one", numbered(20), dense_part())
    save_array(path_of(store, "rows.npy"), np.array(rows))
    version = layout.VersionFolder(path_of(store, ""), store.manifest())
    with pytest.raises(StoreCorruptError):
        version.open_passages()

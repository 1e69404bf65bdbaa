"""Test which version is current, which was before, and which may not be collected."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from ragcore.disk.atomic import try_lock
from ragcore.errors import StoreCorruptError, UnknownVersionError
from ragcore.store import catalog
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.helpers.word_encoder import dense_part


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Versions a, b, c and d, none of them current."""
    store = Store(tmp_path)
    for name in "abcd":
        store.build(name, [Passage(name, "", f"text {name}")], dense_part(), activate=False)
    return store


def test_rollback_reverses_activations(store: Store) -> None:
    for name in "abca":
        store.activate(name)
    assert [store.rollback() for _ in range(2)] == [("a", "c"), ("c", "b")]
    store.activate("d")
    assert [store.rollback() for _ in range(2)] == [("d", "b"), ("b", "a")]
    with pytest.raises(UnknownVersionError, match=r"before 'a': activate one of a, b, c, d"):
        store.rollback()
    assert store.current() == "a"


def test_activating_the_current_version_adds_nothing_to_the_history(store: Store) -> None:
    for name in "abbb":
        store.activate(name)
    assert store.rollback() == ("b", "a")


def test_a_first_activation_cannot_be_rolled_back(store: Store) -> None:
    for current in (None, "a"):
        if current:
            store.activate(current)
        with pytest.raises(UnknownVersionError, match="no version to go back to"):
            store.rollback()
        assert store.current() == current


def test_rollback_skips_versions_that_were_collected(store: Store) -> None:
    for name in "abc":
        store.activate(name)
    (store.folder / "versions" / "b").rename(store.folder / "gone")
    assert store.rollback() == ("c", "a")


def test_rollback_skips_damaged_lines_of_the_history(store: Store) -> None:
    for name in "abc":
        store.activate(name)
    history = store.folder / "HISTORY"
    history.write_bytes(b"\xff\n../a\n" + history.read_bytes() + b"\n\n")
    assert store.rollback() == ("c", "b")


def test_a_kill_between_writing_history_and_current_does_not_mislead_rollback(store: Store) -> None:
    """Activation writes the history first, rollback the current version."""
    for name in "abc":
        store.activate(name)
    current, history = store.folder / "CURRENT", store.folder / "HISTORY"
    before = current.read_bytes()
    store.activate("d")
    current.write_bytes(before)
    assert store.rollback() == ("c", "b")
    store.activate("d")
    before = history.read_bytes()
    assert store.rollback() == ("d", "b")
    history.write_bytes(before)
    assert store.rollback() == ("b", "a")


def test_a_broken_current_does_not_prevent_activation_or_rollback(store: Store) -> None:
    for name in "abc":
        store.activate(name)
    (store.folder / "CURRENT").write_text("../x\n")
    with pytest.raises(StoreCorruptError, match="CURRENT holds"):
        store.current()
    assert store.rollback() == (None, "b")
    (store.folder / "CURRENT").write_text("../x\n")
    store.activate("d")
    assert store.current() == "d"


def test_a_history_has_at_most_100_entries(store: Store) -> None:
    for turn in range(250):
        store.activate("abcd"[turn % 4])
    assert len((store.folder / "HISTORY").read_text().splitlines()) == 100


def test_an_open_version_is_leased_until_its_memory_is_closed_or_dropped(store: Store) -> None:
    folder = store.folder / "versions" / "a"

    def free() -> bool:
        descriptor = try_lock(folder)
        if descriptor is not None:
            os.close(descriptor)
        return descriptor is not None

    first, second = (store.open("a", retriever=dense_part()) for _ in range(2))
    assert not free()
    first.close()
    first.close()
    assert not free()
    del second
    assert free()


def test_a_version_that_is_rewritten_while_it_is_leased_is_protected(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, old = store.folder / "versions" / "a", store.folder / "old"
    lock_shared = catalog.lock_shared

    def rewritten_before_the_lock(path: Path) -> int | None:
        descriptor = lock_shared(path)
        if not old.exists():
            path.rename(old)
            shutil.copytree(old, path)
        return descriptor

    monkeypatch.setattr(catalog, "lock_shared", rewritten_before_the_lock)
    with store.open("a", retriever=dense_part()):
        assert try_lock(folder) is None
        descriptor = try_lock(old)
        assert descriptor is not None
        os.close(descriptor)


def test_a_version_that_cannot_be_opened_is_not_leased(store: Store) -> None:
    (store.folder / "versions" / "a" / "passages.arrow").write_bytes(b"")
    for _ in range(2):
        with pytest.raises(StoreCorruptError):
            store.open("a", retriever=dense_part())
    assert try_lock(store.folder / "versions" / "a") is not None

"""Test the handle on a served memory: who reads which version, and when one closes."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragcore.errors import StoreError
from ragcore.live.handle import LiveMemory
from ragcore.memory.memory import Memory
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.helpers.word_encoder import dense_part


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Versions a, b and c; every passage carries the name of its version."""
    store = Store(tmp_path)
    for name in "abc":
        passages = [Passage(f"{name}{n}", name, f"word{n}", {"in": name}) for n in range(20)]
        store.build(name, passages, dense_part())
    return store


def opened(store: Store, version: str) -> Memory:
    return store.open(version, retriever=dense_part())


def is_open(memory: Memory) -> bool:
    try:
        memory.passages.take([0])
    except StoreError:
        return False
    return True


def test_a_request_keeps_the_version_that_it_began_with(store: Store) -> None:
    live = LiveMemory(opened(store, "a"))
    with live.reading() as before:
        assert live.swap(opened(store, "b")) == "a"
        assert live.version == "b"
        with live.reading() as after:
            assert (before.version, after.version) == ("a", "b")
            assert before.passages[0].metadata == {"in": "a"}
            assert after.passages[0].metadata == {"in": "b"}


def test_the_old_version_closes_with_its_last_reader(store: Store) -> None:
    old = opened(store, "a")
    live = LiveMemory(old)
    first, second = live.reading(), live.reading()
    first.__enter__()
    second.__enter__()
    live.swap(opened(store, "b"))
    assert is_open(old)
    first.__exit__(None, None, None)
    assert is_open(old)
    second.__exit__(None, None, None)
    assert not is_open(old)


def test_an_old_version_without_readers_closes_immediately(store: Store) -> None:
    old, new = opened(store, "a"), opened(store, "b")
    live = LiveMemory(old)
    live.swap(new)
    assert (is_open(old), is_open(new)) == (False, True)


def test_a_reader_that_fails_leaves_too(store: Store) -> None:
    old = opened(store, "a")
    live = LiveMemory(old)
    new = opened(store, "b")
    with pytest.raises(ZeroDivisionError), live.reading():
        raise ZeroDivisionError(live.swap(new))
    assert not is_open(old)


def test_the_current_memory_can_be_swapped_for_itself(store: Store) -> None:
    memory = opened(store, "a")
    live = LiveMemory(memory)
    assert live.swap(memory) == "a"
    assert is_open(memory)


def test_closing_waits_for_readers_and_refuses_new_ones(store: Store) -> None:
    memory = opened(store, "a")
    live = LiveMemory(memory)
    with live.reading():
        live.close()
        live.close()
        assert is_open(memory)
        with pytest.raises(StoreError, match=r"'a'.*closed"), live.reading():
            pass
    assert not is_open(memory)
    new = opened(store, "b")
    with pytest.raises(StoreError, match="closed"):
        live.swap(new)
    assert is_open(new)

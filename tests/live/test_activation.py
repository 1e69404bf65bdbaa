"""Activating and rolling back through the store, so that all programs that follow it do too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ragcore.config import RagConfig
from ragcore.errors import ConfigError, StoreError, UnknownVersionError
from ragcore.rag import Rag
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.helpers.table_generator import TableGenerator
from tests.helpers.word_encoder import dense_part


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    for version in ("v1", "v2", "v3"):
        store.build(version, [Passage("p", "t", f"chad {version}")], dense_part())
    return store


def make(store: Store | None, version: str = "v3", **more) -> Rag:
    return Rag(
        Store(store.folder).open(version, retriever=dense_part()),
        TableGenerator(TableGenerator.Config()),
        RagConfig(k=1, max_new_tokens=4),
        store=store,
        retriever=dense_part(),
        **more,
    )


def test_activating_changes_the_store_and_what_is_served(store):
    rag, other = make(store), make(store)
    with other.memory.watch(3600) as watch:
        assert rag.activate("v1") == "v3"
        assert (store.current(), rag.memory.version) == ("v1", "v1")
        assert watch.look() == "v1"
        assert other.answer("chad")[0].memory == "v1"


def test_a_watch_follows_the_store_back_to_the_version_before_an_activation(store):
    rag = make(store)
    with rag.memory.watch(3600) as watch:
        rag.activate("v1")
        # Another program goes back before the watch has looked.
        Store(store.folder).activate("v3")
        assert (watch.look(), rag.memory.version) == ("v3", "v3")
        assert rag.rollback() == "v1"
        Store(store.folder).activate("v3")
        assert (watch.look(), rag.memory.version) == ("v3", "v3")
        # What this pipeline alone serves is still left alone.
        rag.swap("v2")
        assert (watch.look(), rag.memory.version) == (None, "v2")


class ChangedMeanwhile(Store):
    """A store that changes right after it was read."""

    change: Callable[[], object] | None = None

    def current(self) -> str | None:
        version = super().current()
        change, self.change = self.change, None
        if change is not None:
            change()
        return version


@pytest.mark.parametrize("other", [None, "v2"])
def test_a_watch_never_goes_back_behind_an_activation(store, other):
    store = ChangedMeanwhile(store.folder)
    rag = make(store)
    with rag.memory.watch(3600) as watch:
        if other is not None:
            Store(store.folder).activate(other)
        store.change = lambda: rag.activate("v1")
        assert (watch.look(), rag.memory.version) == (None, "v1")
        assert (watch.look(), rag.memory.version) == (None, "v1")
        Store(store.folder).activate("v3")
        assert (watch.look(), rag.memory.version) == ("v3", "v3")


def test_rolling_back_goes_to_the_version_that_was_current_before(store):
    rag = make(store)
    assert rag.rollback() == "v2"
    assert (store.current(), rag.memory.version) == ("v2", "v2")
    assert rag.rollback() == "v1"
    with pytest.raises(UnknownVersionError, match="no version to go back to"):
        rag.rollback()
    assert (store.current(), rag.memory.version) == ("v1", "v1")


def test_what_cannot_be_served_is_not_activated(store):
    rag = make(store)
    for version in ("v1", "v2"):
        (file,) = (store.folder / "versions" / version).glob("passages*.arrow")
        damaged = bytearray(file.read_bytes())
        damaged[len(damaged) // 2] ^= 1
        file.chmod(0o644)
        file.write_bytes(damaged)
    for change in (lambda: rag.activate("v1"), rag.rollback, lambda: rag.activate("v9")):
        with pytest.raises(StoreError):
            change()
        assert (store.current(), rag.memory.version) == ("v3", "v3")


def test_a_pipeline_that_names_its_version_refuses_to_change_the_store(store):
    rag = make(store, pinned=True)
    for change, what in ((lambda: rag.activate("v1"), "activate"), (rag.rollback, "roll back")):
        with pytest.raises(ConfigError, match=f"cannot {what}: .* 'v3' because memory.version"):
            change()
    assert store.current() == "v3"
    assert rag.swap("v1") == "v3"


def test_a_closed_pipeline_leaves_the_store_as_it_is(store):
    rag = make(store)
    rag.close()
    for change in (lambda: rag.activate("v1"), rag.rollback):
        with pytest.raises(StoreError, match="is closed"):
            change()
    assert store.current() == "v3"


def test_without_a_store_there_is_nothing_to_activate(store):
    rag = make(store)
    alone = Rag(store.open("v1", retriever=dense_part()), rag.generator, rag.config)
    with pytest.raises(ConfigError, match="give `store=` to Rag"):
        alone.rollback()

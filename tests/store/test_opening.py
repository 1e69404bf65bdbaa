"""Which retriever may search a version: one of the name that it records, old or new."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragcore.errors import MemoryMismatchError
from ragcore.registry.components import ComponentSpec
from ragcore.store.diff import Changes
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.conftest import Installed
from tests.helpers.rarity import Rarity

PASSAGES = [Passage("1", "", "red"), Passage("2", "", "blue")]


def spec(name: str) -> ComponentSpec[Rarity]:
    return ComponentSpec("retriever", name, Rarity, Rarity.Config())


@pytest.fixture
def renamed(installed: Installed, monkeypatch: pytest.MonkeyPatch) -> None:
    """The retriever `rarity` was once called `scarcity`."""
    installed.add("rarity", "from tests.helpers.rarity import ragcore_retrievers\n")
    names = {("retriever", "scarcity"): "rarity"}
    monkeypatch.setattr("ragcore.registry.discovery.RENAMED", names)


@pytest.mark.usefixtures("renamed")
@pytest.mark.parametrize("built_with", ["scarcity", "rarity"])
@pytest.mark.parametrize("now", ["scarcity", "rarity", None])
def test_a_version_opens_under_the_old_name_and_the_new(
    tmp_path: Path, built_with: str, now: str | None
) -> None:
    store = Store(tmp_path)
    store.build("one", PASSAGES, spec(built_with))
    retriever = None if now is None else spec(now)
    with store.open("one", retriever=retriever) as memory:
        assert memory.hits(["blue"], 1).rows.tolist() == [[1]]
    store.update("two", Changes({"3": Passage("3", "", "green")}, {}), retriever=retriever)
    with store.open("two", retriever=retriever) as memory:
        assert memory.hits(["green"], 1).rows.tolist() == [[2]]


@pytest.mark.usefixtures("renamed")
def test_another_retriever_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.build("one", PASSAGES, spec("scarcity"))
    with pytest.raises(
        MemoryMismatchError, match=r"built with retriever 'scarcity', but .*'dense'"
    ):
        store.open("one", retriever=spec("dense"))

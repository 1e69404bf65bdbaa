"""`SimpleRetriever.prepare` is called when passages change; its values are saved and loaded."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragcore import ComponentConfig, ComponentSpec, SimpleRetriever
from ragcore.errors import ComponentError, MemoryMismatchError, StoreCorruptError
from ragcore.live.handle import LiveMemory
from ragcore.store.diff import Changes
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.conftest import Installed
from tests.helpers.rarity import Rarity

ROOT = Path(__file__).resolve().parents[2]


class Counting(SimpleRetriever):
    """Score by the number of passages; note each call of `prepare` in `calls`."""

    class Config(ComponentConfig):
        factor: float = 1.0

    calls: list[list[str]]

    def prepare(self) -> dict[str, Any]:
        type(self).calls.append([passage.id for passage in self.passages])
        lengths = np.array([len(passage.text) for passage in self.passages], np.float32)
        return {
            "lengths": lengths * self.config.factor,
            "ids": {p.id: (1, 2) for p in self.passages},
        }

    def scores(self, question: str) -> Any:
        return self.prepared["lengths"]


@pytest.fixture(autouse=True)
def no_calls() -> None:
    Counting.calls = []


def spec(cls: type[Any] = Counting, **settings: Any) -> ComponentSpec[Any]:
    return ComponentSpec("retriever", cls.__name__.lower(), cls, cls.Config(**settings))


def passages(*lengths: int) -> list[Passage]:
    return [Passage(f"p{length}", "", "x" * length) for length in lengths]


def best(memory: Any, question: str = "?") -> list[str]:
    hits = memory.hits([question], 5)
    return [p.id for p in memory.passages.take([r for r in hits.rows[0].tolist() if r >= 0])]


def test_a_build_prepares_once_with_all_passages_and_opening_does_not(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.build("one", passages(3, 1, 2), spec(), batch=1)
    assert Counting.calls == [["p3", "p1", "p2"]]
    with store.open("one", retriever=spec(), verify=True) as memory:
        assert best(memory) == ["p3", "p2", "p1"]
    assert len(Counting.calls) == 1


def test_an_update_prepares_once_with_the_passages_that_it_leads_to(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.build("one", passages(3, 1, 2), spec())
    upserts = [Passage("p1", "", "x" * 9), *passages(5)]
    changes = Changes({passage.id: passage for passage in upserts}, {"p2": "test"})
    store.update("two", changes, retriever=spec())
    assert len(Counting.calls) == 2
    assert sorted(Counting.calls[1]) == ["p1", "p3", "p5"]
    with store.open("two", retriever=spec()) as new, store.open("one", retriever=spec()) as old:
        assert best(new) == ["p1", "p5", "p3"]
        assert best(old) == ["p3", "p2", "p1"]
    assert len(Counting.calls) == 2


def test_an_update_that_only_deletes_prepares_once_more(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.build("one", passages(3, 1, 2), spec())
    store.update("two", Changes({}, {"p3": "test"}), retriever=spec())
    assert Counting.calls[1:] == [["p1", "p2"]]
    with store.open("two", retriever=spec()) as memory:
        assert best(memory) == ["p2", "p1"]


def test_an_update_without_a_change_prepares_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.build("one", passages(3, 1), spec())
    store.update("two", Changes({"p3": passages(3)[0]}, {}), retriever=spec())
    assert len(Counting.calls) == 1


def test_each_version_of_a_swap_has_its_own_values(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.build("one", passages(3, 1), spec())
    store.build("two", passages(4, 8, 6), spec())
    handle = LiveMemory(store.open("one", retriever=spec()))
    with handle.reading() as memory:
        assert best(memory) == ["p3", "p1"]
        handle.swap(store.open("two", retriever=spec()))
        assert best(memory) == ["p3", "p1"]
    with handle.reading() as memory:
        assert best(memory) == ["p8", "p6", "p4"]
    handle.close()
    assert len(Counting.calls) == 2


def test_another_process_finds_the_same(tmp_path: Path, installed: Installed) -> None:
    installed.add("rarity", "from tests.helpers.rarity import ragcore_retrievers\n")
    texts = ["the red house", "the blue house", "the red river", "the old red red mill"]
    corpus = [Passage(str(number), "", text) for number, text in enumerate(texts)]
    store = Store(tmp_path / "store")
    store.build("one", corpus, spec(Rarity))
    question = "the blue mill"
    with store.open("one") as memory:
        hits = memory.hits([question], 4)
    code = (
        "import sys\n"
        "from tests.helpers.rarity import Rarity\n"
        "Rarity.prepare = None\n"
        "from ragcore import ComponentSpec\n"
        "from ragcore.store.store import Store\n"
        "spec = ComponentSpec('retriever', 'rarity', Rarity, Rarity.Config())\n"
        "memory = Store(sys.argv[1]).open('one', retriever=spec)\n"
        "hits = memory.hits([sys.argv[2]], 4)\n"
        "print(hits.rows.tolist(), hits.scores.tolist())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "store"), question],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{hits.rows.tolist()} {hits.scores.tolist()}\n"
    assert hits.rows[0, :2].tolist() in ([1, 3], [3, 1])


def test_other_settings_prepare_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.build("one", passages(3, 1), spec())
    with store.open("one", retriever=spec(factor=-1.0)) as memory:
        assert best(memory) == ["p1", "p3"]
    assert len(Counting.calls) == 2


def test_values_are_those_that_are_loaded(tmp_path: Path) -> None:
    retriever = spec().build()
    retriever.add(np.arange(2), passages(3, 1))
    retriever.search(["?"], 1)
    assert retriever.prepared["ids"] == {"p3": [1, 2], "p1": [1, 2]}
    assert not retriever.prepared["lengths"].flags.writeable
    retriever.save(tmp_path)
    loaded = spec().load(tmp_path)
    assert loaded.prepared["ids"] == retriever.prepared["ids"]
    assert np.array_equal(loaded.prepared["lengths"], retriever.prepared["lengths"])
    assert not loaded.prepared["lengths"].flags.writeable
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["passages.jsonl", "prepared-0.npy", "prepared.json"]


def test_threads_prepare_once() -> None:
    retriever = spec().build()
    retriever.add(np.arange(40), passages(*range(1, 41)))
    barrier = threading.Barrier(8)

    def search() -> None:
        barrier.wait()
        retriever.search(["?"], 3)

    threads = [threading.Thread(target=search) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Counting.calls) == 1


def test_without_passages_nothing_is_prepared(tmp_path: Path) -> None:
    retriever = spec().build()
    assert (retriever.search(["?"], 2).rows == -1).all()
    retriever.add(np.arange(1), passages(3))
    retriever.search(["?"], 2)
    retriever.remove(np.arange(1))
    assert (retriever.search(["?"], 2).rows == -1).all()
    retriever.save(tmp_path)
    assert len(Counting.calls) == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (None, r"returned None: expected {name: value}"),
        ([1], r"returned a list"),
        ({1: 2}, r"returned a dict"),
        ({"a": {1}}, r"returned a set in 'a'"),
        (
            {"a": {1: "one"}},
            r"returned the key 1, and JSON has keys of text only in 'a'",
        ),
        (
            {"a": [float("nan")]},
            r"returned the number nan, which JSON does not have in 'a'",
        ),
        ({"a": np.array([object()])}, r"returned an array of Python objects in 'a'"),
        ({"a": b"x"}, r"returned a bytes in 'a'"),
    ],
)
def test_what_cannot_be_saved_is_refused(values: Any, message: str, tmp_path: Path) -> None:
    class Wrong(Counting):
        def prepare(self) -> Any:
            return values

    with pytest.raises(ComponentError, match=rf"retriever 'Wrong': prepare\(\) {message}"):
        Store(tmp_path).build("one", passages(1, 2), spec(Wrong))
    assert Store(tmp_path).versions() == []


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("prepared.json", b"{"),
        ("prepared.json", b"[1]"),
        ("prepared.json", b'{"settings": 1}'),
        ("prepared-0.npy", None),
        ("prepared-0.npy", b"\x93NUMPY"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, file: str, content: bytes | None) -> None:
    retriever = spec().build()
    retriever.add(np.arange(2), passages(3, 1))
    retriever.save(tmp_path)
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(StoreCorruptError, match=f"{file} cannot be read"):
        spec().load(tmp_path)


def test_no_array_is_unpickled(tmp_path: Path) -> None:
    retriever = spec().build()
    retriever.add(np.arange(2), passages(3, 1))
    retriever.save(tmp_path)
    np.save(tmp_path / "prepared-0.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(StoreCorruptError, match="allow_pickle=False"):
        spec().load(tmp_path)


def test_a_secret_in_the_settings_is_not_saved(tmp_path: Path) -> None:
    retriever = spec(factor=73219.0).build()
    retriever.add(np.arange(1), passages(0))
    retriever.save(tmp_path)
    assert "73219" not in (tmp_path / "prepared.json").read_text("utf-8")
    assert set(json.loads((tmp_path / "prepared.json").read_text("utf-8"))) == {
        "settings",
        "arrays",
        "values",
    }


class Older(Counting):
    """Another release of a retriever, which prepared less."""

    def prepare(self) -> dict[str, Any]:
        return {"count": len(self.passages), "widths": np.ones(2)}


def test_values_that_other_code_prepared_are_to_be_built_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.build("one", passages(3, 1), ComponentSpec("retriever", "counting", Older, config()))
    with store.open("one", retriever=spec()) as memory:
        message = (
            "retriever 'Counting' reads 'lengths' of what was prepared, but the memory has "
            "'count', 'widths': this version was prepared by other code: build it again"
        )
        with pytest.raises(MemoryMismatchError, match=message):
            best(memory)
        prepared = memory.retriever.prepared  # type: ignore[attr-defined]
        assert "lengths" not in prepared
        assert prepared.get("lengths") is None
        with pytest.raises(TypeError):
            prepared["lengths"] = 1


def test_a_value_that_prepare_does_not_return_is_named(tmp_path: Path) -> None:
    older = Older(config())
    older.add(np.arange(2), passages(3, 1))
    with pytest.raises(
        ComponentError, match=r"'Older' reads 'lengths' .*prepare\(\) returned 'count', 'widths'"
    ):
        older.search(["?"], 1)


def config() -> ComponentConfig:
    return Counting.Config()

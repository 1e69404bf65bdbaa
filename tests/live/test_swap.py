"""Test a running pipeline's memory: swapping, pinning, watching; under load and in failure."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import threading
from pathlib import Path

import pytest

from ragcore.config import RagConfig
from ragcore.errors import (
    ConfigError,
    MemoryMismatchError,
    StoreCorruptError,
    StoreError,
    UnknownVersionError,
)
from ragcore.live import watch as watching
from ragcore.memory.memory import Memory
from ragcore.rag import Rag
from ragcore.registry.components import ComponentSpec
from ragcore.retrievers.dense import Dense
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.helpers.table_generator import TableGenerator
from tests.helpers.word_encoder import dense_part

QUESTIONS = ["who rules chad", "who rules mali", "where is the river"]


def passages(version: str) -> list[Passage]:
    texts = ["chad is ruled", "mali is ruled", "the river is long", "who knows", "where it is"]
    return [Passage(f"{version}:{i}", f"t{i}", f"{text} {version}") for i, text in enumerate(texts)]


class Watched(Store):
    """A store that remembers every memory it has opened."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.opened: list[Memory] = []
        self.opening = threading.Event()

    def open(self, *arguments, **named):
        self.opening.set()
        self.opened.append(super().open(*arguments, **named))
        return self.opened[-1]

    def still_open(self) -> list[str]:
        return [memory.version for memory in self.opened if not memory._closed]


@pytest.fixture
def store(tmp_path: Path) -> Watched:
    """Versions old and new; old is the current one."""
    store = Watched(tmp_path / "store")
    for version in ("new", "old"):
        store.build(version, passages(version), dense_part())
    return store


def make(store: Store, retriever: ComponentSpec | None = None, **rag) -> Rag:
    part = retriever or dense_part()
    return Rag(
        store.open("old", retriever=part),
        TableGenerator(TableGenerator.Config(sharpness=1.5)),
        RagConfig(**{"k": 3, "max_new_tokens": 4, **rag}),
        store=store,
        retriever=part,
    )


def memory_of(rag: Rag) -> str:
    """Ask a question; return the version that the answer names, from which it must be read."""
    (answer,) = rag.answer(QUESTIONS[0])
    assert {each.passage.id.split(":")[0] for each in answer.evidence} == {answer.memory}
    return answer.memory


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


# Swapping


def test_a_swap_changes_what_is_read_and_says_so(store):
    rag = make(store)
    assert rag.swap("new") == "old"
    (answer,) = rag.answer(QUESTIONS[0])
    assert answer.memory == rag.memory.version == "new"
    assert all(e.passage.id.startswith("new:") for e in answer.evidence)


def test_a_stream_finishes_on_the_version_that_it_began_with(store):
    rag = make(store)
    expected = list(rag.stream(QUESTIONS[0]))
    stream = rag.stream(QUESTIONS[0])
    first = next(stream)
    rag.swap("new")
    assert [first, *stream] == expected


def test_a_swap_that_fails_leaves_the_old_version_serving(store):
    rag = make(store)
    before = rag.answer(QUESTIONS)
    with pytest.raises(UnknownVersionError, match="newer"):
        rag.swap("newer")
    file = store.folder / "versions" / "new" / "passages.arrow"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(StoreCorruptError, match=r"passages\.arrow"):
        rag.swap("new")
    assert rag.answer(QUESTIONS) == before


class FailingLoad(Dense):
    """Has no memory for any version but the first that it loads."""

    loaded = 0

    @classmethod
    def load(cls, folder, config, *, mmap=True):
        FailingLoad.loaded += 1
        if FailingLoad.loaded > 1:
            raise MemoryError("12 GiB")
        return super().load(folder, config, mmap=mmap)


class FailingSearch(Dense):
    """Loads well, and fails in its first search, the one that warms it up."""

    def search(self, questions, k, **named):
        if questions == ["warm up"]:
            raise ZeroDivisionError
        return super().search(questions, k, **named)


@pytest.mark.parametrize(
    ("kind", "error"),
    [(FailingLoad, MemoryError), (FailingSearch, ZeroDivisionError)],
    ids=["load", "search"],
)
def test_a_version_that_cannot_be_served_is_closed(store, kind, error):
    part = ComponentSpec("retriever", "dense", kind, dense_part().config)
    rag = make(store, part)
    before = rag.answer(QUESTIONS)
    with pytest.raises(error):
        rag.swap("new")
    gc.collect()
    assert store.still_open() == ["old"]
    assert store.gc(1).removed == ("new",)
    assert rag.answer(QUESTIONS) == before


def test_another_encoder_is_refused_and_the_old_version_goes_on_serving(store):
    rag = make(store)
    store.build("other", passages("other"), dense_part(seed=3), activate=False)
    with pytest.raises(MemoryMismatchError, match="'other'"):
        rag.swap("other")
    assert memory_of(rag) == "old"


def test_a_closed_pipeline_serves_nothing_and_keeps_nothing_open(store):
    rag = make(store)
    rag.close()
    with pytest.raises(StoreError, match="closed"):
        rag.swap("new")
    with pytest.raises(StoreError, match="closed"), rag.pinned("new"):
        pass
    assert store.still_open() == []


@pytest.fixture
def eager():
    """Switch threads often, so that more of them are in the middle of an answer at a swap."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("eager")
def test_swaps_under_load_neither_drop_nor_mix_answers(store):
    rag = make(store, max_new_tokens=1, beams=1)
    done, faults, served = threading.Event(), [], set()

    def ask() -> None:
        try:
            while not done.is_set():
                served.add(memory_of(rag))
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for turn in range(60):
        rag.swap("new" if turn % 2 == 0 else "old")
    done.set()
    for thread in threads:
        thread.join()
    assert faults == []
    assert served == {"new", "old"}
    assert len(store.opened) == 61
    assert [memory._closed for memory in store.opened] == [True] * 60 + [False]


def test_swaps_from_several_threads_leave_one_version_open(store):
    rag = make(store)
    start = threading.Barrier(6)

    def swap(version: str) -> None:
        start.wait()
        rag.swap(version)

    threads = [threading.Thread(target=swap, args=(name,)) for name in ("new", "old") * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.still_open() == [rag.memory.version]


def test_a_swap_waits_for_the_one_before(store):
    """At most one version is open next to the one that is served."""
    rag = make(store)
    begun, going_on = threading.Event(), threading.Event()
    opened = store.open

    def slow(version, **named):
        begun.set()
        assert going_on.wait(30)
        return opened(version, **named)

    store.open = slow
    first = threading.Thread(target=rag.swap, args=("new",))
    first.start()
    assert begun.wait(30)
    store.open = opened
    second = threading.Thread(target=rag.swap, args=("old",))
    second.start()
    second.join(0.2)
    assert second.is_alive()
    going_on.set()
    first.join()
    second.join()
    assert memory_of(rag) == "old"
    assert store.still_open() == ["old"]


def test_versions_are_those_of_the_store(store):
    assert make(store).memory.versions() == store.versions()


def test_without_verify_a_swap_reads_sizes_only(store):
    flip(store.folder / "versions" / "new" / "retriever" / "index" / "vectors.npy")
    for verify in (True, False):
        rag = Rag(
            store.open("old", retriever=dense_part()),
            TableGenerator(TableGenerator.Config()),
            store=store,
            retriever=dense_part(),
            verify=verify,
        )
        if verify:
            with pytest.raises(StoreCorruptError, match=r"vectors\.npy"):
                rag.swap("new")
        else:
            assert rag.swap("new") == "old"


# Pinning


def test_a_pinned_version_stays_inside_the_block(store):
    rag = make(store)
    expected = rag.answer(QUESTIONS)
    rag.swap("new")
    with rag.pinned("old") as pinned:
        assert rag.answer(QUESTIONS) == pinned.answer(QUESTIONS) == expected
        assert rag.memory.version == "old"
        assert [token.log_prob for token in rag.stream(QUESTIONS[0])]
        rag.swap("old")
        rag.swap("new")
        assert memory_of(rag) == "old"
        with rag.pinned("new"):
            assert memory_of(rag) == "new"
        assert memory_of(rag) == "old"
    assert memory_of(rag) == rag.memory.version == "new"
    assert store.still_open() == ["new"]


def test_pinning_does_not_affect_other_threads(store):
    rag = make(store)
    seen = []
    with rag.pinned("new"):
        other = threading.Thread(target=lambda: seen.append(memory_of(rag)))
        other.start()
        other.join()
        assert memory_of(rag) == "new"
    assert seen == ["old"]


def test_pinning_the_served_version_does_not_open_it_again(store):
    rag = make(store)
    with rag.pinned("old"):
        assert len(store.opened) == 1
        rag.swap("new")
        assert memory_of(rag) == "old"
        assert store.still_open() == ["old", "new"]
    assert store.still_open() == ["new"]


def test_each_task_has_its_own_pin(store):
    rag = make(store)

    async def ask(version: str) -> list[str]:
        with rag.pinned(version):
            begun = asyncio.create_task(rag.aanswer(QUESTIONS))
            await asyncio.sleep(0)
            answers = [*await rag.aanswer(QUESTIONS), *await begun]
            return [answer.memory for answer in answers]

    async def all_() -> list[list[str]]:
        return await asyncio.gather(*map(ask, ("new", "old", "new")))

    assert asyncio.run(all_()) == [["new"] * 6, ["old"] * 6, ["new"] * 6]
    assert memory_of(rag) == "old"
    assert store.still_open() == ["old"]


def test_a_running_stream_finishes_after_the_block_has_ended(store):
    rag = make(store)
    with rag.pinned("new"):
        stream = rag.stream(QUESTIONS[0])
        expected = list(rag.stream(QUESTIONS[0]))
        first = next(stream)
    assert store.still_open() == ["old", "new"]
    assert [first, *stream] == expected
    assert store.still_open() == ["old"]


def test_a_request_that_begins_after_the_block_is_refused(store):
    rag = make(store)

    async def late() -> None:
        ended = asyncio.Event()

        async def ask() -> None:
            await ended.wait()
            await rag.aanswer(QUESTIONS)

        with rag.pinned("new"):
            task = asyncio.create_task(ask())
            await asyncio.sleep(0)
        ended.set()
        with pytest.raises(StoreError, match=r"'new' was pinned, and the block .* has ended"):
            await task

    asyncio.run(late())


def test_pinning_an_unknown_or_damaged_version_is_refused(store):
    rag = make(store)
    with pytest.raises(UnknownVersionError), rag.pinned("newer"):
        pass
    flip(store.folder / "versions" / "new" / "passages.arrow")
    with pytest.raises(StoreCorruptError), rag.pinned("new"):
        pass
    assert store.still_open() == ["old"]
    assert memory_of(rag) == "old"


# Watching: the first look is immediate, the next after an hour; all others are the test's own.


def test_a_version_that_becomes_current_is_served(store):
    rag = make(store)
    with rag.memory.watch(3600) as watch:
        assert watch.look() is None
        store.activate("new")
        assert (watch.look(), watch.look()) == ("new", None)
        assert memory_of(rag) == "new"
        rag.swap("old")
        assert watch.look() is None
        store.rollback()
        assert (watch.look(), memory_of(rag)) == (None, "old")
        store.activate("new")
        assert (watch.look(), memory_of(rag)) == ("new", "new")
    assert store.still_open() == ["new"]


def test_the_thread_looks_by_itself(store):
    rag = make(store)
    with rag.memory.watch(0.001):
        store.opening.clear()
        store.activate("new")
        assert store.opening.wait(30)
    # Stopping waits for a running swap.
    assert memory_of(rag) == "new"
    assert not [each for each in threading.enumerate() if each.name == "ragcore-watch"]


def test_a_version_that_is_current_already_is_served_immediately(store):
    rag = make(store)
    store.activate("new")
    watch = rag.memory.watch(3600)
    watch.stop()
    assert memory_of(rag) == "new"


def test_a_version_that_cannot_be_served_is_reported_and_tried_again(store, monkeypatch, caplog):
    rag = make(store)
    file = store.folder / "versions" / "new" / "passages.arrow"
    flip(file)
    store.activate("new")
    errors: list[Exception] = []
    with caplog.at_level(logging.ERROR), rag.memory.watch(3600, on_error=errors.append) as watch:
        assert isinstance(errors[0], StoreCorruptError)
        assert "version 'old' goes on serving: version 'new' is damaged" in caplog.text
        assert memory_of(rag) == "old"
        # Not at each look, which would read all files again each time, but after RETRY seconds.
        assert watch.look() is None
        monkeypatch.setattr(watching, "RETRY", 0.0)
        with pytest.raises(StoreCorruptError):
            watch.look()
        flip(file)
        assert (watch.look(), memory_of(rag)) == ("new", "new")
        assert watch.look() is None


def test_a_broken_current_is_reported(store):
    rag = make(store)
    errors: list[Exception] = []
    (store.folder / "CURRENT").write_text("../x\n")
    with rag.memory.watch(3600, on_error=errors.append):
        assert "holds '../x'" in str(errors[0])
    assert memory_of(rag) == "old"


def test_a_version_that_the_pipeline_names_is_not_replaced(store, caplog):
    rag = Rag(
        store.open("old", retriever=dense_part()),
        TableGenerator(TableGenerator.Config(sharpness=1.5)),
        RagConfig(k=3, max_new_tokens=4),
        store=store,
        retriever=dense_part(),
        pinned=True,
    )
    store.activate("new")
    with caplog.at_level(logging.WARNING), rag.memory.watch(3600) as watch:
        assert "version 'old' stays, since memory.version names it" in caplog.text
        assert (watch.look(), memory_of(rag)) == (None, "old")
        rag.swap("new")
        store.activate("old")
        assert (watch.look(), memory_of(rag)) == (None, "new")


def test_a_watch_that_begins_inside_a_pinned_block_follows_what_others_are_served(store):
    rag = make(store)
    store.activate("new")
    with rag.pinned("new"), rag.memory.watch(3600):
        assert rag.memory.version == "new"
    assert memory_of(rag) == "new"


def test_without_a_store_there_is_nothing_to_watch(store):
    rag = Rag(store.open("old", retriever=dense_part()), TableGenerator(TableGenerator.Config()))
    for ask in (rag.memory.watch, rag.memory.versions, lambda: rag.swap("new")):
        with pytest.raises(ConfigError, match="give `store=` to Rag"):
            ask()

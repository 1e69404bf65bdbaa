"""Test that a derived version answers as one that is built from the same passages."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from ragcore.errors import (
    CorpusError,
    EmptyCorpusError,
    MemoryMismatchError,
    StoreCorruptError,
    StoreError,
    UnknownVersionError,
    UnsupportedOperation,
    VersionExistsError,
)
from ragcore.filters.expressions import read_where
from ragcore.registry.components import ComponentSpec, spec_from_dict
from ragcore.retrievers.dense import Dense
from ragcore.retrievers.hybrid import Hybrid
from ragcore.store.diff import Changes, changes_to
from ragcore.store.manifest import Manifest
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.helpers.word_encoder import Vectors, WordEncoder, dense_part

WORDS = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=4).map(" ".join)
QUESTIONS = ["a b", "c", "d d e", "h"]


class Counting(WordEncoder):
    encoded: ClassVar[list[str]] = []

    def encode_passages(self, passages: Sequence[Passage]) -> Vectors:
        Counting.encoded.extend(passage.id for passage in passages)
        return super().encode_passages(passages)


def counting() -> ComponentSpec:
    encoder = ComponentSpec("encoder", "counting", Counting, WordEncoder.Config())
    config = dense_part().config.model_copy(update={"encoder": encoder})
    return ComponentSpec("retriever", "dense", Dense, config)


def bm25() -> ComponentSpec:
    return spec_from_dict("retriever", {"use": "bm25", "stemmer": None, "stopwords": None})


def hybrid() -> ComponentSpec:
    config = Hybrid.Config(retrievers=[bm25(), dense_part()])
    return ComponentSpec("retriever", "hybrid", Hybrid, config)


def passage(name: str, text: str = "a") -> Passage:
    return Passage(name, "", text, {"even": len(text) % 2 == 0})


def upserts(*passages: Passage) -> dict[str, Passage]:
    return {passage.id: passage for passage in passages}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    Counting.encoded.clear()
    store = Store(tmp_path / "store")
    store.build("one", [passage(f"p{n}", f"a b{n}") for n in range(20)], counting())
    return store


@pytest.mark.parametrize("part", [dense_part, bm25, hybrid])
def test_any_sequence_of_updates_answers_as_a_build_of_the_same_passages(
    part: Any, tmp_path: Path
) -> None:
    stores = (Store(tmp_path / str(number)) for number in itertools.count())

    class Updates(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.store = next(stores)
            self.passages = {f"p{n}": passage(f"p{n}", f"a b {n}") for n in range(6)}
            self.store.build("v0", list(self.passages.values()), part())
            self.versions = 0

        @rule(
            new=st.dictionaries(st.integers(0, 12).map("p{}".format), WORDS, max_size=4),
            drawn=st.data(),
        )
        def update(self, new: dict[str, str], drawn: st.DataObject) -> None:
            stay = [name for name in self.passages if name not in new]
            deleted = drawn.draw(st.sets(st.sampled_from(stay or ["none"]), max_size=3))
            deleted &= set(stay)
            expected = {n: old for n, old in self.passages.items() if n not in deleted}
            for name, text in new.items():
                if expected.get(name) != passage(name, text):
                    expected.pop(name, None)
                    expected[name] = passage(name, text)
            if not expected:
                return
            self.versions += 1
            changes = Changes(
                upserts(*(passage(*item) for item in new.items())), dict.fromkeys(deleted, "here")
            )
            self.store.update(f"v{self.versions}", changes, retriever=part())
            self.passages = expected
            self.compare()

        def compare(self) -> None:
            other = next(stores)
            other.build("built", list(self.passages.values()), part())
            memories = [each.open(retriever=part(), verify=True) for each in (self.store, other)]
            updated, built = memories
            assert list(updated.passages) == list(built.passages)
            for k in (1, 3, 20):
                for where in (None, read_where({"even": True})):
                    hits, expected = (memory.hits(QUESTIONS, k, where=where) for memory in memories)
                    assert np.array_equal(hits.rows, expected.rows)
                    assert np.array_equal(hits.scores, expected.scores)
            for memory in memories:
                memory.close()

    run_state_machine_as_test(
        Updates,
        settings=settings(max_examples=8, stateful_step_count=5, deadline=None, derandomize=True),
    )


def test_only_what_is_new_is_encoded_and_the_rest_is_shared(store: Store) -> None:
    Counting.encoded.clear()
    changes = Changes(
        upserts(passage("p3", "changed"), passage("p4", "a b4"), passage("new", "x")),
        {"p9": "here"},
    )
    info = store.update("two", changes, retriever=counting())
    assert sorted(Counting.encoded) == ["new", "p3"]
    assert (info.passages, info.current) == (20, True)
    one, two = (store.folder / "versions" / name for name in ("one", "two"))
    for name in ("passages.arrow", "retriever/index/vectors.npy"):
        assert (one / name).samefile(two / name)
    manifest = Manifest.read(two)
    assert manifest.parent == "one"
    assert manifest.files["passages.arrow"] == Manifest.read(one).files["passages.arrow"]
    assert store.verify("two").name == "two"
    # The parent is as it was.
    assert len(store.open("one", retriever=counting()).passages) == 20


def test_an_update_keeps_the_record_of_corpus_and_retriever(store: Store) -> None:
    corpus = {"use": "jsonl", "path": "passages.jsonl", "words": None}
    store.build("made", [passage("x"), passage("y")], counting(), corpus_config=corpus)
    store.update("two", Changes({}, {"x": "here"}), retriever=counting())
    store.update("three", Changes(upserts(passage("z")), {}), retriever=counting())
    made, two, three = (store.manifest(name) for name in ("made", "two", "three"))
    assert two.corpus == three.corpus == made.corpus == corpus
    assert two.fingerprint == three.fingerprint == made.fingerprint
    assert two.retriever == three.retriever == made.retriever
    assert (two.parent, three.parent) == ("made", "two")


@pytest.mark.parametrize("same", [{}, upserts(passage("p4", "a b4"))], ids=["none", "equal"])
def test_an_update_that_changes_nothing_makes_no_version(
    store: Store, same: dict[str, Passage]
) -> None:
    store.build("other", [passage("x")], counting())
    info = store.update("two", Changes(same, {}), parent="one", retriever=counting())
    assert (info.nothing_changed, info.name, info.parent) == (True, "one", "one")
    assert (info.added, info.changed, info.removed) == (0, 0, 0)
    assert [each.name for each in store.versions()] == ["one", "other"]
    assert store.current() == "other"


def test_a_version_other_than_the_current_one_can_be_updated(store: Store) -> None:
    store.build("other", [passage("x")], counting())
    changes = Changes({}, {"p0": "here"})
    info = store.update("two", changes, parent="one", retriever=counting(), activate=False)
    assert (info.passages, store.current()) == (19, "other")


@pytest.mark.parametrize(
    ("version", "changes", "options", "error", "message"),
    [
        ("one", Changes({}, {}), {}, VersionExistsError, "already has a version 'one'"),
        ("a/b", Changes({}, {}), {}, StoreError, "cannot be a version's name"),
        ("two", Changes({}, {}), {"parent": "no"}, UnknownVersionError, "no version 'no'"),
        ("two", Changes({}, {"x": "f:3"}), {}, CorpusError, "f:3: no passage has the id 'x'"),
        ("two", Changes(upserts(passage("x", " ")), {}), {}, CorpusError, "empty text"),
        (
            "two",
            Changes({}, {f"p{n}": "f" for n in range(20)}),
            {},
            EmptyCorpusError,
            "all 20 passages",
        ),
        (
            "two",
            Changes({}, {}),
            {"retriever": dense_part(seed=5)},
            MemoryMismatchError,
            "rebuild the memory",
        ),
    ],
)
def test_a_refused_update_leaves_nothing(
    store: Store, version: str, changes: Changes, options: Any, error: type, message: str
) -> None:
    with pytest.raises(error, match=message):
        store.update(version, changes, **{"retriever": counting(), **options})
    assert [path.name for path in (store.folder / "versions").iterdir()] == ["one"]
    assert store.current() == "one"


def test_a_retriever_that_cannot_remove_is_named(tmp_path: Path) -> None:
    class Fixed(dense_part().component):  # type: ignore[misc]
        capabilities: ClassVar[frozenset[str]] = frozenset({"add"})

    part = ComponentSpec("retriever", "fixed", Fixed, dense_part().config)
    store = Store(tmp_path)
    store.build("one", [passage("a"), passage("b")], part)
    with pytest.raises(UnsupportedOperation, match="retriever 'fixed' does not support 'remove'"):
        store.update("two", Changes({}, {"a": "here"}), retriever=part)
    assert store.update("two", Changes(upserts(passage("c")), {}), retriever=part).passages == 3


def test_what_an_update_did_is_counted(store: Store) -> None:
    changes = Changes(
        upserts(passage("p3", "changed"), passage("p4", "a b4"), passage("new"), passage("more")),
        {"p9": "here"},
    )
    info = store.update("two", changes, retriever=counting())
    assert (info.name, info.parent, info.nothing_changed) == ("two", "one", False)
    assert (info.added, info.changed, info.removed, info.passages) == (2, 1, 1, 21)


def test_a_corpus_with_an_id_twice_is_refused_as_a_build_refuses_it(store: Store) -> None:
    corpus = [passage("p0", "a b0"), passage("x", "first"), passage("x", "second")]
    with pytest.raises(CorpusError, match="'x', which an earlier passage has"):
        store.build("two", corpus, counting())
    with pytest.raises(CorpusError, match="'x', which an earlier passage has"):
        store.update("two", lambda old: changes_to(old, corpus), retriever=counting())
    assert [each.name for each in store.versions()] == ["one"]


def flipped(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8 % len(content)] ^= 1 << bit % 8
    path.write_bytes(content)


@pytest.mark.parametrize("part", [dense_part, bm25, hybrid])
def test_no_update_gives_damage_new_digests(part: Any, tmp_path: Path) -> None:
    """A bit of the parent is flipped: the update is refused, or `verify` finds it in both."""
    generator = np.random.default_rng(0)
    store = Store(tmp_path / "store")
    store.build("one", [passage(f"p{n}", f"a b{n}") for n in range(20)], part())
    first = Changes(upserts(passage("new", "x")), {"p1": "here"})
    store.update("two", first, retriever=part())
    changes = Changes(upserts(passage("p3", "other")), {"p5": "here"})
    names = sorted(store.manifest("two").files)
    refused = 0
    for number, name in enumerate(names * 3):
        path = store.folder / "versions" / "two" / name
        content = path.read_bytes()
        # A copy of its own, so that version one stays whole.
        path.unlink()
        path.write_bytes(content)
        flipped(path, int(generator.integers(8 * len(content))))
        try:
            info = store.update(f"three{number}", changes, parent="two", retriever=part())
        except StoreError:
            refused += 1
        else:
            with pytest.raises(StoreCorruptError):
                store.verify(info.name)
        path.write_bytes(content)
    assert refused > 0
    assert store.verify("two").name == "two"
    assert store.update("whole", changes, parent="two", retriever=part()).passages == 19
    assert store.verify("whole").name == "whole"


def test_files_that_are_only_shared_are_not_read(store: Store) -> None:
    """Their recorded sha256 stays, so damage in them is found in the new version, too."""
    record = store.manifest("one").files["retriever/index/vectors.npy"]
    flipped(store.folder / "versions" / "one" / "retriever/index/vectors.npy", 3000)
    store.update("two", Changes(upserts(passage("new", "x")), {}), retriever=counting())
    assert store.manifest("two").files["retriever/index/vectors.npy"] == record
    for name in ("one", "two"):
        with pytest.raises(StoreCorruptError, match=r"vectors\.npy has sha256"):
            store.verify(name)


def test_what_cannot_be_opened_does_not_become_current(store: Store) -> None:
    class Broken(Dense):
        def save(self, folder: Path) -> None:
            (folder / "dense.json").write_text("{}")

    config = counting().config
    part = ComponentSpec("retriever", "dense", Broken, config)
    changes = Changes(upserts(passage("new", "x")), {})
    with pytest.raises(StoreError, match="'two' cannot become the current one"):
        store.update("two", changes, retriever=part)
    with pytest.raises(StoreError, match="'two' cannot become the current one"):
        store.build("two", [passage("x")], part, check=True)
    assert ([each.name for each in store.versions()], store.current()) == (["one"], "one")
    store.update("two", changes, retriever=part, activate=False)
    with pytest.raises(StoreError, match="'two' cannot become the current one"):
        store.activate("two", check=True, retriever=counting())
    assert store.current() == "one"


def test_damaged_passages_are_not_compared(store: Store) -> None:
    store.update("two", Changes(upserts(passage("new", "x")), {}), retriever=counting())
    flipped(store.folder / "versions" / "two" / "passages-1.arrow", 900)
    with pytest.raises(StoreCorruptError, match=r"passages-1\.arrow has sha256"):
        store.diff("one", "two")

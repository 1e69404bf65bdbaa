"""Adding and removing answer as building anew does, rows and scores, bit for bit."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)
from ragcore_bm25 import retriever as module
from ragcore_bm25.retriever import Bm25

from ragcore.errors import ComponentError
from ragcore.types import Passage

TEXT = st.lists(st.sampled_from([*"abcdefghi", "?"]), min_size=1, max_size=9).map(" ".join)
QUESTIONS = ["a", "b c", "a d d unknown", "e f g h i", "?"]


def built(texts: dict[int, str], config: Any) -> Bm25:
    made = Bm25(config)
    made.add(np.array(list(texts), np.int64), [Passage(str(row), "", texts[row]) for row in texts])
    return made


def same(one: Bm25, other: Bm25, **options: Any) -> None:
    for k in (1, 3, 30):
        hits, expected = (each.search(QUESTIONS, k, **options) for each in (one, other))
        assert np.array_equal(hits.rows, expected.rows)
        assert np.array_equal(hits.scores, expected.scores)


@pytest.mark.parametrize("variant", ["lucene", "okapi", "bm25l", "plus"])
def test_any_sequence_of_changes_answers_as_one_built_anew(
    variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Few terms may wait, so that passages are counted in several parts.
    monkeypatch.setattr(module, "_WAITING", 20)
    config = Bm25.Config(variant=variant, stemmer=None, stopwords=None)
    folders = (tmp_path / str(number) for number in itertools.count())

    class Changes(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.made = Bm25(config)
            self.texts: dict[int, str] = {}

        @rule(new=st.dictionaries(st.integers(0, 40), TEXT, min_size=1, max_size=8))
        def add(self, new: dict[int, str]) -> None:
            new = {row: text for row, text in new.items() if row not in self.texts}
            passages = [Passage(str(row), "", text) for row, text in new.items()]
            self.made.add(np.array(list(new), np.int64), passages)
            self.texts |= new

        @precondition(lambda self: self.texts)
        @rule(drawn=st.data())
        def remove(self, drawn: st.DataObject) -> None:
            gone = drawn.draw(st.sets(st.sampled_from(sorted(self.texts)), max_size=6))
            self.made.remove(np.array(sorted(gone, reverse=True), np.int64))
            self.texts = {row: text for row, text in self.texts.items() if row not in gone}

        @rule(mmap=st.booleans())
        def save_and_load(self, mmap: bool) -> None:
            folder = next(folders)
            folder.mkdir()
            self.made.save(folder)
            self.made = Bm25.load(folder, config, mmap=mmap)

        @rule(allowed=st.none() | st.lists(st.integers(0, 40)))
        def search(self, allowed: list[int] | None) -> None:
            assert len(self.made) == len(self.texts)
            given = {} if allowed is None else {"allowed": np.array(allowed, np.int64)}
            same(self.made, built(dict(sorted(self.texts.items())), config), **given)

    run_state_machine_as_test(
        Changes,
        settings=settings(max_examples=20, stateful_step_count=15, deadline=None, derandomize=True),
    )


def test_the_words_of_what_was_removed_are_not_saved(tmp_path: Path) -> None:
    made = built({1: "kept words", 2: "secret words"}, Bm25.Config(stemmer=None))
    made.remove(np.array([2]))
    made.save(tmp_path)
    said = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"kept" in said
    assert b"secret" not in said


def test_a_row_that_is_not_there_removes_none() -> None:
    made = built({1: "a", 2: "b"}, Bm25.Config())
    with pytest.raises(ComponentError, match="row 7 cannot be removed"):
        made.remove(np.array([1, 7]))
    assert len(made) == 2
    made.remove(np.array([1]))
    with pytest.raises(ComponentError, match="row -1 cannot be removed"):
        made.remove(np.array([-1]))
    assert len(made) == 1


def test_a_search_finds_the_passages_of_its_beginning() -> None:
    made = built({1: "old"}, Bm25.Config())

    class LabelledQuestion(list[str]):
        def __iter__(self) -> Iterator[str]:
            yield "old"
            made.add(np.array([2]), [Passage("2", "", "new old")])
            yield "new old"

    assert made.search(LabelledQuestion(["", ""]), 2).rows.tolist() == [[1, -1], [1, -1]]
    assert made.search(["new old"], 2).rows.tolist() == [[2, 1]]


def test_a_word_that_comes_too_often_for_a_byte_is_counted() -> None:
    config = Bm25.Config(stemmer=None, stopwords=None, b=0, k1=1000)
    made = built({1: "a " * 250}, config)
    for row, often in ((2, 300), (3, 257), (4, 7)):
        made.search(["a"], 1)
        made.add(np.array([row]), [Passage(str(row), "", "a " * often)])
    assert made.search(["a"], 4).rows.tolist() == [[2, 3, 1, 4]]

"""One opened version: a search checks the hits, and rows have no holes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from ragcore.contracts import PassageSource
from ragcore.errors import ComponentError, StoreError
from ragcore.filters.expressions import read_where
from ragcore.memory.memory import Memory
from ragcore.memory.passages import Passages, PassageWriter
from ragcore.registry.components import ComponentSpec
from ragcore.retrievers.dense import Dense
from ragcore.types import MISSING_ROW, Hits, Passage
from tests.helpers.word_encoder import WordEncoder, dense_part

PASSAGES = [Passage(str(n), "", f"word{n}") for n in range(4)]


def memory_of(folder: Path, retriever: Dense) -> Memory:
    with PassageWriter(folder / "p.arrow") as writer:
        writer.write(PASSAGES)
    retriever.add(np.arange(4), PASSAGES)
    return Memory("v", Passages(folder / "p.arrow"), retriever, name="dense")


class FixedRows(Dense):
    """Finds the rows in its attribute for every question."""

    rows: list[int]

    def search(self, questions: Sequence[str], k: int, *, allowed: object = None) -> Hits:
        rows = np.array([self.rows] * len(questions))
        falling = np.arange(len(self.rows), 0, -1, dtype=np.float32)
        return Hits(rows, np.where(rows == MISSING_ROW, -np.inf, falling).astype(np.float32))


def memory_with_rows(folder: Path, rows: list[int]) -> Memory:
    retriever = FixedRows(dense_part().config)
    retriever.rows = rows
    return memory_of(folder, retriever)


def test_no_more_hits_than_there_are_passages(tmp_path: Path) -> None:
    memory = memory_of(tmp_path, dense_part().build())
    assert len(memory) == 4
    assert memory.hits(["word1", "word2"], 3).rows.shape == (2, 3)
    hits = memory.hits(["word1", "word2"], 10)
    assert np.sort(hits.rows, axis=1).tolist() == [[0, 1, 2, 3]] * 2


def test_a_search_with_gradient_has_the_same_hits(tmp_path: Path) -> None:
    class Learning(WordEncoder):
        capabilities: ClassVar[frozenset[str]] = frozenset({"trainable"})

        def encode_questions(self, questions: Sequence[str]) -> torch.Tensor:
            return super().encode_questions(questions) * torch.ones(self.dim, requires_grad=True)

        # What the capability promises; a search calls none of it.
        def trained_module(self) -> Any: ...

        def save_trained(self, folder: Path) -> Any: ...

        def passage_module(self) -> Any: ...

        def encode_passages_with_grad(self, passages: Any) -> Any: ...

    encoder = ComponentSpec("encoder", "learning", Learning, WordEncoder.Config())
    config = dense_part().config.model_copy(update={"encoder": encoder})
    memory = memory_of(tmp_path, Dense(config))
    questions = ["word1", "word2"]
    for k, expected in ((3, 3), (4, 4), (10, 4)):
        hits, scores = memory.search_with_grad(questions, k)
        assert hits.rows.shape == hits.scores.shape == scores.shape == (2, expected)
        assert hits.rows.tolist() == memory.hits(questions, k).rows.tolist()
        np.testing.assert_allclose(scores.detach().numpy(), hits.scores, rtol=1e-5)
        assert scores.requires_grad


def test_no_questions_have_no_hits(tmp_path: Path) -> None:
    memory = memory_of(tmp_path, dense_part().build())
    assert memory.hits([], 3).rows.shape == (0, 3)


@pytest.mark.parametrize("k", [0, -1])
def test_k_is_at_least_one(tmp_path: Path, k: int) -> None:
    with pytest.raises(ComponentError, match=f"asked for {k} hits"):
        memory_of(tmp_path, dense_part().build()).hits(["word"], k)


def test_missing_hits_are_accepted(tmp_path: Path) -> None:
    memory = memory_with_rows(tmp_path, [2, MISSING_ROW, MISSING_ROW])
    assert memory.hits(["word"], 3).rows.tolist() == [[2, -1, -1]]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([0, 4], r"row 4: expected rows from 0 to 3"),
        ([-2, 1], r"row -2"),
        ([1, 0, 2], r"hits of shape \(1, 3\): expected \(1, 2\)"),
        ([1], r"hits of shape \(1, 1\): expected \(1, 2\)"),
        ([3, 3], r"row 3 twice"),
    ],
)
def test_a_retriever_that_breaks_its_contract_is_named(
    tmp_path: Path, rows: list[int], message: str
) -> None:
    with pytest.raises(ComponentError, match=f"retriever 'dense' of memory 'v' gave {message}"):
        memory_with_rows(tmp_path, rows).hits(["word"], 2)


@pytest.mark.parametrize("result", [None, ([[0, 1]], [[1.0, 0.5]])])
def test_a_retriever_that_returns_no_hits_object_is_named(tmp_path: Path, result: object) -> None:
    class Returning(Dense):
        def search(self, *_: object, **__: object) -> Any:
            return result

    memory = memory_of(tmp_path, Returning(dense_part().config))
    kind = type(result).__name__
    with pytest.raises(ComponentError, match=f"'dense' .* gave a result of type {kind}: expected"):
        memory.hits(["word"], 2)


def test_searching_a_closed_memory_is_an_error(tmp_path: Path) -> None:
    memory = memory_of(tmp_path, dense_part().build())
    memory.close()
    with pytest.raises(StoreError, match="'v' is closed"):
        memory.hits(["word"], 1)
    with pytest.raises(StoreError, match="closed"):
        memory.passages.take([0])


ROW_NUMBERS = np.array([0, 2, 3, 6])
STORED = [Passage(str(n), "", f"word{n} word", {"even": n % 2 == 0}) for n in range(7)]


class Reading(FixedRows):
    """Also reads passages, as a reranker does."""

    @property
    def capabilities(self) -> frozenset[str]:
        return super().capabilities | {"passages"}

    def use_passages(self, passages: PassageSource) -> None:
        self.source = passages


def derived(folder: Path, retriever: Dense) -> Memory:
    """Open a version that leaves passages out; its retriever finds numbers of the others."""
    for name, stored in (("a", STORED[:5]), ("b", STORED[5:])):
        with PassageWriter(folder / f"{name}.arrow") as writer:
            writer.write(stored)
    retriever.add(ROW_NUMBERS, [STORED[number] for number in ROW_NUMBERS])
    passages = Passages(folder / "a.arrow", folder / "b.arrow", kept=ROW_NUMBERS)
    return Memory("v", passages, retriever, name="dense")


def test_rows_have_no_holes_where_passages_are_left_out(tmp_path: Path) -> None:
    memory = derived(tmp_path, dense_part().build())
    hits = memory.hits(["word0", "word2", "word3", "word6"], 4)
    assert hits.rows[:, 0].tolist() == [0, 1, 2, 3]
    assert np.sort(hits.rows, axis=1).tolist() == [[0, 1, 2, 3]] * 4
    texts = [passage.text for passage in memory.passages.take(hits.rows[:, 0].tolist())]
    assert texts == ["word0 word", "word2 word", "word3 word", "word6 word"]
    even = memory.hits(["word3"], 4, where=read_where({"even": True}))
    assert np.sort(even.rows[0]).tolist() == [-1, 0, 1, 3]


def test_finding_a_removed_passage_is_an_error(tmp_path: Path) -> None:
    retriever = FixedRows(dense_part().config)
    retriever.rows = [0, 4]
    with pytest.raises(ComponentError, match="gave passage 4, which was removed"):
        derived(tmp_path, retriever).hits(["word"], 2)


def test_a_retriever_reads_passages_by_the_numbers_that_it_finds(tmp_path: Path) -> None:
    retriever = Reading(dense_part().config)
    derived(tmp_path, retriever)
    assert [passage.id for passage in retriever.source.take([6, 2])] == ["6", "2"]

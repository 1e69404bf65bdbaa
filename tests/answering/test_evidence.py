"""What an answer takes over from its generator."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ragcore.config import RagConfig
from ragcore.errors import ComponentError
from ragcore.rag import Rag
from ragcore.store.store import Store
from ragcore.types import Answer, Passage
from tests.helpers.table_generator import TableGenerator
from tests.helpers.word_encoder import dense_part


class Named(TableGenerator):
    dtype = "float16"


class OfTorch(TableGenerator):
    dtype = torch.float16


def answer(folder: Path, kind: type[TableGenerator]) -> Answer:
    store = Store(folder)
    store.build("built", [Passage("p0", "chad", "abcab")], dense_part())
    memory = store.open("built", retriever=dense_part())
    return Rag(memory, kind(kind.Config()), RagConfig(k=1, max_new_tokens=4)).answer("chad")[0]


def test_an_answer_names_the_type_of_the_generators_weights(tmp_path: Path) -> None:
    assert answer(tmp_path / "named", Named).dtype == "float16"
    assert answer(tmp_path / "unnamed", TableGenerator).dtype is None


def test_a_type_that_is_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ComponentError, match=r"OfTorch\.dtype is torch\.float16: expected its name"
    ):
        answer(tmp_path, OfTorch)

"""`sparse` keeps the contract of a retriever, with a model that reads and one that does not."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
import tiny_models as tiny
from ragcore_transformers.sparse import Sparse

from ragcore.registry.components import ComponentSpec
from ragcore.testing import RetrieverSuite


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "splade": tiny.save_sparse(folder / "splade"),
        "cosine": tiny.save_sparse_static(folder / "cosine", similarity="cosine"),
    }


RANDOM: Final = {
    "test_unusual_texts_are_saved_and_found": "the model's weights are random: it finds no text",
}


class TestSplade(RetrieverSuite):
    waived = RANDOM
    longest_question = 8  # the model reads 48 tokens, most of them letters
    variants = (
        {"max_active_dims": 3},
        {"passage_template": "{text}"},
        {"passage_prompt": "Chad "},
        {"max_tokens": 8},
        {"dtype": "bfloat16"},
    )
    recall = 0.0  # the model's weights are random

    @pytest.fixture
    def component(self, folders: dict[str, Path]) -> ComponentSpec:
        config = Sparse.Config(model=str(folders["splade"]))
        return ComponentSpec("retriever", "sparse", Sparse, config)


class TestCosine(RetrieverSuite):
    recall = 0.5  # to the tokenizer, most titles are a few letters

    @pytest.fixture
    def component(self, folders: dict[str, Path]) -> ComponentSpec:
        config = Sparse.Config(model=str(folders["cosine"]))
        return ComponentSpec("retriever", "sparse", Sparse, config)

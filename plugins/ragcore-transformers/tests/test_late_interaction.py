"""`late-interaction` scores pairs by MaxSim, and takes models that have a vector for each token."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_models as tiny
from ragcore_transformers.late_interaction import LateInteraction
from sentence_transformers import MultiVectorEncoder

from ragcore.errors import PluginError
from ragcore.types import Passage

PASSAGES = [
    Passage("0", "Chad", "N'Djamena is the capital of Chad"),
    Passage("1", "", "Nairobi, the largest city of the country"),
]
QUESTIONS = ["What is the capital of Chad?", "Nairobi"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_late_interaction(tmp_path_factory.mktemp("late"))


@pytest.mark.parametrize("batch_size", [1, 32])
def test_a_score_is_the_sum_of_the_largest_products(folder: Path, batch_size: int) -> None:
    scorer = LateInteraction(LateInteraction.Config(model=str(folder), batch_size=batch_size))
    questions = [question for question in QUESTIONS for _ in PASSAGES]
    scores = scorer.score(questions, PASSAGES * len(QUESTIONS))
    model = MultiVectorEncoder(str(folder), device="cpu")
    texts = ["Chad. N'Djamena is the capital of Chad", PASSAGES[1].text]
    expected = [
        (query @ document.T).max(dim=1).values.sum().item()
        for query in model.encode_query(QUESTIONS)
        for document in model.encode_document(texts)
    ]
    assert np.allclose(scores, expected, rtol=1e-5)


def test_each_text_is_encoded_once(folder: Path) -> None:
    scorer = LateInteraction(LateInteraction.Config(model=str(folder)))
    rows: list[int] = []
    transformer = scorer.model[0]
    transformer.register_forward_pre_hook(
        lambda _, inputs: rows.append(len(inputs[0]["input_ids"]))
    )
    questions = [question for question in QUESTIONS for _ in PASSAGES]
    scorer.score(questions * 3, PASSAGES * 6)
    assert sum(rows) == len(QUESTIONS) + len(PASSAGES)


def test_a_model_of_one_vector_a_text_is_refused(tmp_path: Path) -> None:
    folder = tiny.save_sentence(tmp_path / "dense")
    with pytest.raises(PluginError, match="is no MultiVectorEncoder"):
        LateInteraction(LateInteraction.Config(model=str(folder)))

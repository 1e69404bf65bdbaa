from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tiny_models as tiny
import torch
from pydantic import ValidationError
from ragcore_transformers.configs import CrossEncoderConfig
from ragcore_transformers.cross_encoder import CrossEncoder
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from ragcore.contracts import Scorer
from ragcore.errors import PluginError
from ragcore.types import Passage

PASSAGES = [
    Passage("1", "Chad, Capital", "N'Djamena is the capital of Chad, a country of Africa."),
    Passage("2", "", "Nairobi"),
    Passage("3", "Ethiopia", "Abiy Ahmed Ali, since April 2018. " * 4),
]
QUESTIONS = ["What is the capital of Chad?", "Who?", "Who is the prime minister of Ethiopia now?"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_cross_encoder(tmp_path_factory.mktemp("cross"))


def made(folder: Path, **settings: object) -> CrossEncoder:
    return CrossEncoder(CrossEncoderConfig(model=str(folder), **settings))


def test_scores_are_the_models_logits(folder: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    expected = []
    for question, passage in zip(QUESTIONS, PASSAGES, strict=True):
        text = f"{passage.title}. {passage.text}" if passage.title else passage.text
        pair = tokenizer(question, text, truncation=True, max_length=64, return_tensors="pt")
        with torch.no_grad():
            expected.append(model(**pair).logits.item())
    scorer = made(folder, batch_size=2)
    assert isinstance(scorer, Scorer)
    scores = scorer.score(QUESTIONS, PASSAGES)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert np.ptp(scores) > 0.01


def test_no_pairs_have_no_scores(folder: Path) -> None:
    assert made(folder).score([], []).shape == (0,)


def test_batches_change_nothing(folder: Path) -> None:
    one, other = (
        made(folder, batch_size=size).score(QUESTIONS * 3, PASSAGES * 3) for size in (1, 4)
    )
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_the_template_and_the_limit_decide_what_is_read(folder: Path) -> None:
    plain = made(folder).score(QUESTIONS, PASSAGES)
    untitled = made(folder, passage_template="{text}").score(QUESTIONS, PASSAGES)
    assert untitled[1] == pytest.approx(plain[1], abs=1e-5)
    assert abs(untitled[0] - plain[0]) > 1e-4
    short = made(folder, max_tokens=24).score(QUESTIONS, PASSAGES)
    assert abs(short[2] - plain[2]) > 1e-4
    with pytest.raises(ValidationError, match="text"):
        made(folder, passage_template="{title}")


def test_threads_take_turns(folder: Path) -> None:
    scorer = made(folder)
    expected = scorer.score(QUESTIONS, PASSAGES)
    with ThreadPoolExecutor(4) as pool:
        for scores in pool.map(lambda _: scorer.score(QUESTIONS, PASSAGES), range(12)):
            np.testing.assert_array_equal(scores, expected)


def test_a_model_of_several_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="gives 3 numbers for a pair"):
        made(tiny.save_cross_encoder(tmp_path, labels=3))


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="cannot be loaded"):
        made(tmp_path / "nowhere")

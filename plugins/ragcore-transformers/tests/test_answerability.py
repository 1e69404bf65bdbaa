"""The scorer `answerability` keeps its contract, and tells what `extractive` tells."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import tiny_readers
import torch
from ragcore_transformers.answerability import Answerability
from ragcore_transformers.extractive import Extractive

from ragcore.errors import GeneratorError
from ragcore.registry.components import ComponentSpec
from ragcore.testing import ScorerSuite
from ragcore.types import Passage

PASSAGES = [
    Passage("1", "Kenya", "Nairobi is the largest city"),
    Passage("2", "Chad", "the river of that land meets the sea"),
    Passage("3", "", "Nairobi"),
]


@pytest.fixture(scope="module", params=["bert", "roberta"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_readers.save_reader(request.param, tmp_path_factory.mktemp(request.param))


class TestAnswerability(ScorerSuite):
    waived: ClassVar[Mapping[str, str]] = {
        "test_title_alone_and_text_alone_count": "an answer lies in the text: without one, none",
    }

    @pytest.fixture
    def component(self, folder: Path) -> ComponentSpec:
        config = Answerability.Config(model=str(folder), batch_size=8)
        return ComponentSpec("scorer", "answerability", Answerability, config)


def test_it_is_what_the_generator_says_of_a_passage(folder):
    scorer = Answerability(Answerability.Config(model=str(folder)))
    generator = Extractive(Extractive.Config(model=str(folder), floor=1e-6))
    questions = ["What is the capital of Kenya?"] * len(PASSAGES)
    targets = torch.tensor(generator.encode_answers(["unknown"])).expand(len(PASSAGES), -1)
    with torch.no_grad():
        read = generator.read(questions, PASSAGES)
        expected = generator.score(read, torch.arange(len(PASSAGES)), targets).sum(dim=1)
    log_p = scorer.log_unanswerable(questions, PASSAGES)
    assert log_p == pytest.approx(expected.numpy(), abs=1e-3)
    p = np.exp(log_p.astype(np.float64))
    assert np.ptp(p) > 0
    scores = scorer.score(questions, PASSAGES)
    assert scores == pytest.approx(np.log1p(-p) - np.log(p), abs=1e-3)


def test_a_passage_without_text_certainly_has_no_answer(folder):
    scorer = Answerability(Answerability.Config(model=str(folder)))
    empty = [Passage("e", "Kenya", " ")]
    assert scorer.log_unanswerable(["Who?"], empty) == [0]
    assert scorer.score(["Who?"], empty) == [-100]


def test_its_dtype_is_in_the_report_of_its_speed(folder):
    scorer = Answerability(Answerability.Config(model=str(folder)))
    assert scorer.dtype == "float32"
    assert any("float32" in line for line in scorer.speed_report())


def test_a_model_of_another_kind_is_refused(tmp_path):
    with pytest.raises(GeneratorError):
        Answerability(Answerability.Config(model=str(tmp_path / "none")))

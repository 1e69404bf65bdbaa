"""The generator `extractive` keeps the contract, on tiny random models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
import tiny_readers
from ragcore_transformers.extractive import Extractive

from ragcore.registry.components import ComponentSpec
from ragcore.testing import GeneratorSuite


class TestExtractive(GeneratorSuite):
    answers = ("Nairobi", "the largest city", "Chad")  # the tiny tokenizers know few signs
    waived: ClassVar[Mapping[str, str]] = {
        "test_a_long_search_equals_score": "texts that no span begins with are uniform",
        "test_the_question_and_the_passage_matter": "without a passage there is one answer",
    }

    @pytest.fixture(scope="class", params=["bert", "roberta"])
    def component(
        self, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
    ) -> ComponentSpec:
        folder = tiny_readers.save_reader(request.param, tmp_path_factory.mktemp(request.param))
        # What is no span has one probability: as a small one, it would look like a clipped one.
        config = Extractive.Config(model=str(folder), floor=0.01)
        return ComponentSpec("generator", "extractive", Extractive, config)

    def test_a_long_search_equals_score(self, component: Any) -> None:
        """All of the law but its end, which asks whether the last of many random tokens matters."""
        with pytest.raises(AssertionError, match="46 tokens the next one makes no difference"):
            super().test_a_long_search_equals_score(component)

    def test_the_question_and_the_passage_matter(self, component: Any) -> None:
        """All of the law but its last comparison, of two questions without a passage."""
        same = r"\('Where\?', None\) and \('Who\?', None\) give the same"
        with pytest.raises(AssertionError, match=same):
            super().test_the_question_and_the_passage_matter(component)


class TestExtractiveInt8(TestExtractive):
    @pytest.fixture(scope="class")
    def component(self, tmp_path_factory: pytest.TempPathFactory) -> ComponentSpec:
        folder = tiny_readers.save_reader("electra", tmp_path_factory.mktemp("electra"))
        config = Extractive.Config(model=str(folder), floor=0.01, dtype="int8")
        return ComponentSpec("generator", "extractive", Extractive, config)


class TestExtractiveWithoutUnknown(TestExtractive):
    @pytest.fixture(scope="class")
    def component(self, tmp_path_factory: pytest.TempPathFactory) -> ComponentSpec:
        folder = tiny_readers.save_reader("distilbert", tmp_path_factory.mktemp("distilbert"))
        config = Extractive.Config(model=str(folder), floor=0.01, unknown=None, longest=3)
        return ComponentSpec("generator", "extractive", Extractive, config)

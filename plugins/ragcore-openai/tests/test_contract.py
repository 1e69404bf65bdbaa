from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from embedding_server import DIM, EmbeddingServer, running
from ragcore_openai.embeddings import OpenAIEmbeddings
from ragcore_openai.generator import OpenAI
from writing_server import END, WritingServer

from ragcore.registry.components import ComponentSpec
from ragcore.testing import (
    EncoderSuite,
    ScoringGeneratorSuite,
    TextGeneratorSuite,
    TopGeneratorSuite,
)


class TestOpenAIEmbeddings(EncoderSuite):
    variants = (
        {"normalize": True},
        {"passage_template": "{text}"},
        {"passage_prompt": "Chad "},
        {"dim": 8, "shortened": True},
    )

    @pytest.fixture
    def component(self, server: EmbeddingServer) -> ComponentSpec:
        config = OpenAIEmbeddings.Config(base_url=server.url, model="tiny", dim=DIM)
        return ComponentSpec("encoder", "openai-embeddings", OpenAIEmbeddings, config)


def specs(forms: Sequence[str], *, chat: bool) -> Iterator[ComponentSpec]:
    """A generator of a server that shows so much."""
    with running(WritingServer(forms, positions=1500)) as server:
        config = OpenAI.Config(
            base_url=server.url,
            model="m",
            chat=chat,
            template="{title}: {text} {question} Answer:",
            end_tokens=(END,),
            retries=0,
        )
        yield ComponentSpec("generator", "openai", OpenAI, config)


class TestOpenAIOfTexts(TextGeneratorSuite):
    longest_question = 2000

    @pytest.fixture(scope="class")
    @classmethod
    def component(cls) -> Iterator[ComponentSpec]:
        yield from specs([], chat=True)


class TestOpenAIOfTops(TopGeneratorSuite):
    @pytest.fixture(scope="class")
    @classmethod
    def component(cls) -> Iterator[ComponentSpec]:
        yield from specs(["logprobs"], chat=False)


class TestOpenAIOfEchoedScores(ScoringGeneratorSuite):
    @pytest.fixture(scope="class")
    @classmethod
    def component(cls) -> Iterator[ComponentSpec]:
        yield from specs(["logprobs", "echo"], chat=False)


class TestOpenAIOfPromptLogprobs(ScoringGeneratorSuite):
    @pytest.fixture(scope="class")
    @classmethod
    def component(cls) -> Iterator[ComponentSpec]:
        yield from specs(["logprobs", "prompt_logprobs"], chat=False)

from __future__ import annotations

import pytest
from embedding_server import DIM, EmbeddingServer
from ragcore_openai.embeddings import OpenAIEmbeddings

from ragcore.registry.components import ComponentSpec
from ragcore.testing import EncoderSuite


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

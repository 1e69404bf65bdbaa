"""The generator keeps its contract, on tiny random models."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragcore.registry.components import ComponentSpec
from ragcore.testing import GeneratorSuite

module = pytest.importorskip(
    "ragcore_llamacpp.generator",
    reason="llama-cpp-python is compiled when it is installed",
    exc_type=ImportError,
)
pytest.importorskip("gguf", reason="the tests write GGUF files")
LlamaCpp = module.LlamaCpp


class TestLlamaCpp(GeneratorSuite):
    @pytest.fixture(scope="class", params=["plain", "chatty"])
    def component(self, request: pytest.FixtureRequest) -> ComponentSpec:
        file: Path = request.getfixturevalue(request.param)
        config = LlamaCpp.Config(
            model=str(file),
            template="{title}: {text}\n{question}\n",
            template_without_passage="{question}\n",
            cache_dtype="float32",
            threads=1,
        )
        return ComponentSpec("generator", "llamacpp", LlamaCpp, config)


class TestLlamaCppInASmallCache(GeneratorSuite):
    """Prompts and rows lose their cells all the time, and are computed again."""

    @pytest.fixture(scope="class")
    def component(self, plain: Path) -> ComponentSpec:
        config = LlamaCpp.Config(
            model=str(plain),
            template="{title}: {text}\n{question}\n",
            template_without_passage="{question}\n",
            cache_dtype="float32",
            cache_tokens=192,
            threads=1,
        )
        return ComponentSpec("generator", "llamacpp", LlamaCpp, config)

"""`static` keeps the contract of an encoder, with every kind of saved model."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_static as tiny
from ragcore_static.encoder import Static

from ragcore.registry.components import ComponentSpec
from ragcore.testing import EncoderSuite

KINDS = {
    "plain": {},
    "int8": {"dtype": "int8"},
    "shared": {"shared": True, "dtype": "float16"},
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        **{kind: tiny.save(folder / kind, tiny.make(**has)) for kind, has in KINDS.items()},
        "layers": tiny.save_layers(
            folder / "layers", ["StaticEmbedding", "Normalize"], inside="0_StaticEmbedding"
        ),
    }


class TestStatic(EncoderSuite):
    variants = (
        {"normalize": False},
        {"passage_template": "{text}"},
        {"passage_prompt": "Chad "},
        {"truncate_dim": 8},
        {"max_tokens": 12},
    )

    # All laws run on one model before the next is loaded.
    @pytest.fixture(scope="class", params=[*KINDS, "layers"])
    def component(self, request: pytest.FixtureRequest, folders: dict[str, Path]) -> ComponentSpec:
        config = Static.Config(model=str(folders[request.param]))
        return ComponentSpec("encoder", "static", Static, config)


class TestStaticCut(EncoderSuite):
    @pytest.fixture
    def component(self, folders: dict[str, Path]) -> ComponentSpec:
        config = Static.Config(model=str(folders["plain"]), max_tokens=200)
        return ComponentSpec("encoder", "static", Static, config)

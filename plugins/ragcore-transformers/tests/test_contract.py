"""The encoders and generators of this package keep their contracts, on tiny random models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest
import tiny_models as tiny
from ragcore_transformers.causal import Causal
from ragcore_transformers.dpr import Dpr
from ragcore_transformers.sentence import SentenceTransformers
from ragcore_transformers.seq2seq import Seq2Seq

from ragcore.registry.components import ComponentSpec
from ragcore.testing import EncoderSuite, GeneratorSuite

CAUSAL: Final = ["llama", "gpt2", "bloom", "mamba"]

# A fixture with parameters has the scope of its class: pytest then runs all laws on one model
# before it goes to the next, and a suite loads a model once.


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "sentence": tiny.save_sentence(folder / "sentence"),
        "dpr": tiny.save_dpr(folder / "dpr"),
        "uncased": tiny.save_bart(folder / "uncased", cased=False),
        **{kind: tiny.save_causal(kind, folder / kind) for kind in CAUSAL},
    }


class TestSentenceTransformers(EncoderSuite):
    variants = ({"normalize": True}, {"passage_template": "{text}"}, {"passage_prompt": "Chad "})

    @pytest.fixture
    def component(self, folders: dict[str, Path]) -> ComponentSpec:
        config = SentenceTransformers.Config(model=str(folders["sentence"]), batch_size=2)
        return ComponentSpec("encoder", "sentence-transformers", SentenceTransformers, config)


class TestDpr(EncoderSuite):
    variants = ({"max_tokens": 8},)

    @pytest.fixture
    def component(self, folders: dict[str, Path]) -> ComponentSpec:
        config = Dpr.Config(
            question_model=str(folders["dpr"] / "question"),
            passage_model=str(folders["dpr"] / "passage"),
            max_tokens=64,
        )
        return ComponentSpec("encoder", "dpr", Dpr, config)


class TestSeq2Seq(GeneratorSuite):
    @pytest.fixture(scope="class", params=["bart", "t5", "pegasus"])
    def component(self, request: pytest.FixtureRequest) -> ComponentSpec:
        folder: Path = request.getfixturevalue(request.param)
        return ComponentSpec("generator", "seq2seq", Seq2Seq, Seq2Seq.Config(model=str(folder)))


class TestSeq2SeqInt8(GeneratorSuite):
    @pytest.fixture
    def component(self, bart: Path) -> ComponentSpec:
        config = Seq2Seq.Config(model=str(bart), dtype="int8")
        return ComponentSpec("generator", "bart", Seq2Seq, config)


class TestSeq2SeqUncased(GeneratorSuite):
    answers = ("Nairobi", "the largest city", "Chad")  # its tokenizer knows few signs

    @pytest.fixture
    def component(self, folders: dict[str, Path]) -> ComponentSpec:
        return ComponentSpec(
            "generator", "bart", Seq2Seq, Seq2Seq.Config(model=str(folders["uncased"]))
        )


class TestCausal(GeneratorSuite):
    @pytest.fixture(scope="class", params=CAUSAL)
    def component(self, request: pytest.FixtureRequest, folders: dict[str, Path]) -> ComponentSpec:
        config = Causal.Config(
            model=str(folders[request.param]),
            template="{title}: {text}\n{question}\n",
            template_without_passage="{question}\n",
            template_of_passages="{text}\n{question}\n",
        )
        return ComponentSpec("generator", "causal", Causal, config)


def test_a_forced_first_token_is_possible_and_written(tmp_path: Path) -> None:
    folder = tiny.save_bart(tmp_path)
    path = folder / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "forced_bos_token_id": 0}))
    spec = ComponentSpec("generator", "bart", Seq2Seq, Seq2Seq.Config(model=str(folder)))
    assert spec.build().forced_bos_token_id == 0
    GeneratorSuite().test_a_forced_first_token_is_possible(spec)


@pytest.mark.parametrize("kind", ["bart", "llama", "gpt2"])
def test_a_model_may_pad_with_its_end_token(kind: str, tmp_path: Path) -> None:
    folder = tiny.save_bart(tmp_path) if kind == "bart" else tiny.save_causal(kind, tmp_path)
    for name in ("config.json", "generation_config.json"):
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), "pad_token_id": 2}))
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "pad_token": "</s>"}))
    if kind == "bart":
        spec = ComponentSpec("generator", "bart", Seq2Seq, Seq2Seq.Config(model=str(folder)))
    else:
        config = Causal.Config(
            model=str(folder),
            template="{title}: {text}\n{question}\n",
            template_without_passage="{question}\n",
            template_of_passages="{text}\n{question}\n",
        )
        spec = ComponentSpec("generator", "causal", Causal, config)
    generator = spec.build()
    assert generator.tokenizer.pad_token_id == generator.eos_token_id
    suite = GeneratorSuite()
    suite.test_the_end_token_is_scored_like_any_other(spec)
    suite.test_padding_scores_zero(spec)
    suite.test_a_batch_equals_single_rows(spec)
    suite.test_many_pairs_have_the_numbers_of_few(spec)
    suite.test_gradients_equal_finite_differences(spec)

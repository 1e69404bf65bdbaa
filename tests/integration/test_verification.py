"""Recompute served answers of real BART and T5 pipelines by the definition: there is no gap."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ragcore_transformers.seq2seq import Seq2Seq

from ragcore.config import AbstainConfig, RagConfig
from ragcore.evaluation.verification import verify_answer
from ragcore.rag import Rag
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.helpers.word_encoder import dense_part
from tests.integration.reference import by_definition, log_probs, make_generator
from tests.integration.tiny import pack_everything

QUESTIONS = ["who rules chad ?", "river ?"]
TEXTS = ["one rules chad", "two rules mali river river three", "three", "chad one two"]
MODES = [
    {"marginalize": "token"},
    {"marginalize": "sequence", "decode": "thorough"},
    {"marginalize": "sequence", "decode": "fast"},
    {"marginalize": "sequence", "decode": "joint"},
]


@pytest.fixture(scope="module", params=["bart", "t5"])
def generator(request, tmp_path_factory) -> Seq2Seq:
    return make_generator(request.param, tmp_path_factory.mktemp("models"), seed=9)


def make_rag(folder: Path, generator: Seq2Seq, **rag: object) -> Rag:
    store = Store(folder / "store")
    passages = [Passage(str(z), "river", text) for z, text in enumerate(TEXTS)]
    store.build("one", passages, dense_part(), corpus_config=None)
    memory = store.open("one", retriever=dense_part(), temperature=9.0)
    return Rag(memory, generator, RagConfig(k=3, max_new_tokens=6, **rag))


@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: "-".join(mode.values()))
def test_no_gap_in_any_way_of_decoding(tmp_path, generator, mode, beams):
    rag = make_rag(tmp_path, generator, beams=beams, **mode)
    for question in QUESTIONS:
        verification = verify_answer(rag, question)
        assert verification.gap < 1e-4
        log_p = [
            log_probs(generator, question, one.passage, verification.answer.token_ids)
            for one in verification.readings
        ]
        scores = torch.tensor([e.score for e in verification.answer.evidence]) / 9.0
        truth = by_definition(mode["marginalize"], scores, log_p)
        assert verification.log_prob == pytest.approx(truth, abs=1e-5)
        for reading, alone in zip(verification.readings, log_p, strict=True):
            assert reading.log_prob == pytest.approx(float(alone.sum()), abs=1e-4)


@pytest.mark.parametrize("above", [0.0, 1.0])
@pytest.mark.parametrize("marginalize", ["token", "sequence"])
def test_no_gap_where_passages_may_abstain(tmp_path, generator, marginalize, above):
    abstain = AbstainConfig(answer="alpha", above=above)
    rag = make_rag(tmp_path, generator, marginalize=marginalize, abstain=abstain)
    verification = verify_answer(rag, QUESTIONS[0])
    assert verification.gap < 1e-4
    assert (verification.answer.text == "alpha") == (above == 0.0)


@pytest.mark.parametrize("dtype", ["int8", "bfloat16", "packed"])
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: "-".join(mode.values()))
def test_every_kernel_and_type_of_weights_is_verified(
    tmp_path, generator, mode, dtype, monkeypatch
):
    pack_everything(monkeypatch)
    weights = "float32" if dtype == "packed" else dtype
    config = Seq2Seq.Config(model=generator.config.model, dtype=weights, device="cpu")
    verification = verify_answer(make_rag(tmp_path, Seq2Seq(config), **mode), QUESTIONS[0])
    assert verification.answer.dtype == weights
    # Sums in another order; in bfloat16 they are rounded to other neighbours, in each layer.
    assert verification.gap < (0.05 if dtype == "bfloat16" else 1e-4)

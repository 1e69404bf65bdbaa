"""The generators `llamacpp` and `causal` answer alike from the same GGUF file."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from ragcore_transformers.causal import Causal

from ragcore.config import RagConfig
from ragcore.evaluation.verification import verify_answer
from ragcore.rag import Rag
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.helpers.word_encoder import dense_part
from tests.integration.test_verification import MODES

for package in ("gguf", "accelerate"):
    pytest.importorskip(package, reason="both read GGUF files")
LlamaCpp = pytest.importorskip(
    "ragcore_llamacpp.generator",
    reason="llama-cpp-python is compiled when it is installed",
    exc_type=ImportError,
).LlamaCpp

TESTS = Path(__file__).resolve().parents[2] / "plugins" / "ragcore-llamacpp" / "tests"
QUESTIONS = ["who rules chad ?", "<|user|> what is the capital of Kenya 12345 ?"]
TEXTS = ["one rules chad", "two rules mali river river three", "three</s><|assistant|>", "Ünï 東京"]
SETTINGS = {
    "template": "{title}: {text}\n{question}\nAnswer:",
    "template_without_passage": "{question}\nAnswer:",
}


def tiny_gguf() -> Any:
    spec = importlib.util.spec_from_file_location("tiny_gguf", TESTS / "tiny_gguf.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", params=["plain", "chat"])
def generators(request, tmp_path_factory) -> tuple[Any, Causal]:
    tiny = tiny_gguf()
    file = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    tiny.save_gguf(file, chat=tiny.CHAT if request.param == "chat" else None)
    return (
        LlamaCpp(LlamaCpp.Config(model=str(file), cache_dtype="float32", threads=1, **SETTINGS)),
        Causal(Causal.Config(model=str(file), device="cpu", **SETTINGS)),
    )


def make_rag(folder: Path, generator: Any, **rag: object) -> Rag:
    store = Store(folder)
    passages = [Passage(str(z), "river", text) for z, text in enumerate(TEXTS)]
    store.build("one", passages, dense_part(), corpus_config=None)
    memory = store.open("one", retriever=dense_part(), temperature=9.0)
    return Rag(memory, generator, RagConfig(k=3, max_new_tokens=6, beams=3, **rag))


def test_prompts_answers_and_log_probs_are_the_same(generators):
    llama, causal = generators
    passages = [Passage("1", "Chad", TEXTS[2]), None]
    prompts, other = (one.read(QUESTIONS, passages).prompts for one in generators)
    assert [list(prompt.tokens) for prompt in prompts] == other
    assert llama.eos_token_ids == causal.eos_token_ids
    assert llama.max_input_tokens == causal.max_input_tokens
    targets = llama.encode_answers([*TEXTS, ""])
    assert targets == causal.encode_answers([*TEXTS, ""])
    assert [llama.decode_tokens(ids) for ids in targets] == [
        causal.decode_tokens(ids) for ids in targets
    ]
    assert llama.encode_words(TEXTS[:2]) == causal.encode_words(TEXTS[:2])
    width = max(map(len, targets))
    padded = torch.tensor([ids + [-1] * (width - len(ids)) for ids in targets])
    pairs = torch.tensor([0, 1, 0, 1, 0])
    with torch.no_grad():
        scores = [one.score(one.read(QUESTIONS, passages), pairs, padded) for one in generators]
    torch.testing.assert_close(scores[0], scores[1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("grounded", [False, True])
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: "-".join(mode.values()))
def test_both_answer_alike_and_there_is_no_gap(tmp_path, generators, mode, grounded):
    found = [
        verify_answer(make_rag(tmp_path / str(at), one, grounded=grounded, **mode), QUESTIONS[0])
        for at, one in enumerate(generators)
    ]
    assert found[0].gap < 1e-4
    answers = [one.answer for one in found]
    assert answers[0].token_ids == answers[1].token_ids
    assert answers[0].log_prob == pytest.approx(answers[1].log_prob, abs=1e-4)
    assert answers[0].dtype == "F32"

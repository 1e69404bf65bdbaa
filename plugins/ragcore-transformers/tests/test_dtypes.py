from __future__ import annotations

from pathlib import Path

import pytest
import tiny_models as tiny
import torch
from ragcore_transformers import dtypes, int8, kernels, packed, speed
from ragcore_transformers.causal import Causal
from ragcore_transformers.configs import CausalConfig, CrossEncoderConfig, Seq2SeqConfig
from ragcore_transformers.cross_encoder import CrossEncoder
from ragcore_transformers.gaps import Gaps
from ragcore_transformers.packed import PackedLinear
from ragcore_transformers.seq2seq import Seq2Seq
from ragcore_transformers.trials import Trial

from ragcore.types import Passage

QUESTIONS = ["What is the capital of Chad?", "Who?"]
PASSAGES = [Passage("1", "Chad", "N'Djamena is the capital of Chad."), None]
TARGETS = torch.randint(3, 200, (2, 5), generator=torch.Generator().manual_seed(1))
PAIRS = torch.tensor([1, 0])

KINDS = ["bart", "t5", "llama", "gpt2"]


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("models") / request.param
    if request.param == "bart":
        return tiny.save_bart(folder)
    if request.param == "t5":
        return tiny.save_t5(folder)
    return tiny.save_causal(request.param, folder)


@pytest.fixture
def bfloat16_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "SMALL", 1)
    monkeypatch.setattr(
        dtypes, "_seconds", lambda _, dtype: 0.5 if dtype == torch.bfloat16 else 1.0
    )


@pytest.fixture
def rounding_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    # Random weights make bfloat16 differ more than a trained reader's do.
    monkeypatch.setattr(Gaps, "allowed", 0.5)


def made(folder: Path, dtype: str) -> Seq2Seq | Causal:
    if folder.name in ("bart", "t5"):
        return Seq2Seq(Seq2SeqConfig(model=str(folder), dtype=dtype))
    return Causal(CausalConfig(model=str(folder), template="{text}\n{question}", dtype=dtype))


def scored(generator: Seq2Seq | Causal) -> torch.Tensor:
    with torch.no_grad():
        return generator.score(generator.read(QUESTIONS, PASSAGES), PAIRS, TARGETS)


@pytest.mark.usefixtures("bfloat16_is_faster", "rounding_is_allowed")
def test_auto_computes_as_bfloat16_where_it_is_faster(folder: Path) -> None:
    generator, expected = made(folder, "auto"), made(folder, "bfloat16")
    assert (generator.dtype, expected.dtype) == ("bfloat16", "bfloat16")
    assert torch.equal(scored(generator), scored(expected))
    assert "bfloat16, chosen by auto" in generator.speed_report()[0]


@pytest.mark.parametrize("why", ["slower", "small", "differs"])
def test_auto_computes_as_float32_elsewhere(
    folder: Path, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if why != "small":
        monkeypatch.setattr(packed, "SMALL", 1)
        seconds = 1.0 if why == "slower" else 0.1
        monkeypatch.setattr(
            dtypes, "_seconds", lambda _, dtype: seconds if dtype == torch.bfloat16 else 1.0
        )
    if why == "differs":
        # Only here: the decoding in float32 is judged as ever.
        monkeypatch.setattr(dtypes, "Gaps", type("Strict", (Gaps,), {"allowed": 0.0}))
    generator = made(folder, "auto")
    assert generator.dtype == "float32"
    torch.testing.assert_close(
        scored(generator), scored(made(folder, "float32")), atol=1e-4, rtol=1e-4
    )
    reasons = {"slower": "1.00 of float32's", "small": "so large", "differs": "would be off by"}
    assert reasons[why] in generator.speed_report()[0]


@pytest.mark.usefixtures("bfloat16_is_faster", "rounding_is_allowed")
def test_training_gets_every_bit_of_float32(folder: Path) -> None:
    generator, exact = made(folder, "auto"), made(folder, "float32")
    with torch.no_grad():
        rough = generator.read(QUESTIONS, PASSAGES)
    values = dict(generator.trained_module().named_parameters())
    for name, value in exact.trained_module().named_parameters():
        assert values[name].dtype == torch.float32
        assert torch.equal(values[name], value), name
    assert generator.dtype == "float32"
    # What was read before is still usable.
    generator.score(rough, PAIRS, TARGETS).sum().backward()
    torch.testing.assert_close(scored(generator), scored(exact), atol=1e-4, rtol=1e-4)


@pytest.mark.usefixtures("bfloat16_is_faster", "rounding_is_allowed")
def test_what_a_model_computes_when_it_is_made_stays_wide(tmp_path: Path) -> None:
    model = made(tiny.save_causal("llama", tmp_path / "llama"), "auto").model
    assert model.dtype == torch.bfloat16
    assert {buffer.dtype for buffer in model.buffers()} == {torch.float32}


def test_a_trial_prefers_no_kernel_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "can_pack", lambda _: False)
    made_of = []

    def compare(part: object, plain: object, pack: object, dtype: torch.dtype) -> Trial:
        made_of.append(type(pack()))
        return Trial(plain=1.0, packed=1.0, plain_few=1.0, packed_few=1.0)

    monkeypatch.setattr(dtypes, "compare", compare)
    model = torch.nn.Sequential(torch.nn.Linear(300, 300))
    model.device = torch.device("cpu")
    assert dtypes._is_faster(model)[0] is False
    assert made_of == [torch.nn.Linear] * 2


@pytest.mark.skipif(not kernels.can_pack(torch.float32), reason="no packed products here")
def test_the_report_counts_layers_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny.save_bart(tmp_path / "bart")
    small = made(folder, "float32").speed_report()
    assert small[0] == "dtype float32"
    assert all(line.endswith("plain: fewer than 65,536 weights") for line in small[1:])
    assert "24 x linear 16 x 16, float32: plain: fewer than 65,536 weights" in small

    trial = Trial(plain=0.002, packed=0.001, plain_few=3e-5, packed_few=4e-5)
    for module in (packed, int8):
        monkeypatch.setattr(module, "compare", lambda *_: trial)
        monkeypatch.setattr(module, "SMALL", 1)
    monkeypatch.setattr(speed, "SMALL", 1)
    monkeypatch.setattr(speed, "known_trial", lambda _: trial)
    generator = made(folder, "float32")
    assert PackedLinear in {type(module) for module in generator.model.modules()}
    line = (
        "24 x linear 16 x 16, float32: packed (2.00 ms plain, 1.00 ms packed; few rows of states "
        "0.03 and 0.04)"
    )
    assert line in generator.speed_report()
    generator.trained_module()
    assert any(
        "few rows of states 0.03 and 0.04); packed" in line for line in generator.speed_report()
    )
    if kernels.can_pack_int8():
        rough = made(folder, "int8").speed_report()
        assert rough[0] == "dtype int8"
        assert any(line.startswith("24 x linear 16 x 16, int8: packed (") for line in rough)
    scorer = CrossEncoder(
        CrossEncoderConfig(model=str(tiny.save_cross_encoder(tmp_path / "cross")))
    )
    assert any("packed" in line for line in scorer.speed_report())

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_models as tiny
import torch
from ragcore_transformers import int8, kernels, packed, trials
from ragcore_transformers.causal import Causal
from ragcore_transformers.configs import CausalConfig, CrossEncoderConfig, Seq2SeqConfig
from ragcore_transformers.cross_encoder import CrossEncoder
from ragcore_transformers.int8 import Int8Linear, PackedInt8Linear
from ragcore_transformers.packed import PackedLinear, pack_model, unpack_model
from ragcore_transformers.seq2seq import Seq2Seq
from ragcore_transformers.trials import Trial
from transformers.pytorch_utils import Conv1D

from ragcore.errors import UnsupportedOperation
from ragcore.types import Passage

QUESTIONS = ["What is the capital of Chad?", "Who?", "Who is the prime minister of Ethiopia?"]
PASSAGES = [
    Passage("1", "Chad", "N'Djamena is the capital of Chad."),
    Passage("2", "Ethiopia, Government", "Abiy Ahmed Ali, since April 2018"),
    None,
]
TARGETS = torch.randint(3, 200, (4, 5), generator=torch.Generator().manual_seed(1))
PAIRS = torch.tensor([2, 0, 1, 0])

needs_packing = pytest.mark.skipif(
    not kernels.can_pack(torch.float32), reason="this torch has no packed products here"
)


FASTER, SLOWER = (
    Trial(plain=1.0, packed=0.5, plain_few=1.0, packed_few=1.0),
    Trial(plain=1.0, packed=1.0, plain_few=1.0, packed_few=1.0),
)


@pytest.fixture
def packs_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pack every layer, also small ones and slow ones, in blocks of a few rows."""
    monkeypatch.setattr(packed, "SMALL", 1)
    monkeypatch.setattr(int8, "SMALL", 1)
    monkeypatch.setattr(packed, "BLOCK", 50)
    monkeypatch.setattr(int8, "BLOCK", 50)
    monkeypatch.setattr(packed, "compare", lambda *_: FASTER)
    monkeypatch.setattr(int8, "compare", lambda *_: FASTER)


def made(folder: Path, dtype: str) -> Seq2Seq:
    return Seq2Seq(Seq2SeqConfig(model=str(folder), dtype=dtype))


def made_causal(folder: Path, dtype: str) -> Causal:
    return Causal(CausalConfig(model=str(folder), template="{text}\n{question}", dtype=dtype))


def kinds(generator: Seq2Seq | Causal | CrossEncoder) -> set[type]:
    return {type(module) for module in generator.model.modules()}


def log_probs(generator: Seq2Seq | Causal) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what scoring and what stepping say of the targets, [4, 5] each."""
    with torch.no_grad():
        read = generator.read(QUESTIONS, PASSAGES)
        scored = generator.score(read, PAIRS, TARGETS)
        state = generator.start(read, PAIRS)
        columns = []
        for position in range(TARGETS.shape[1]):
            fed = None if position == 0 else TARGETS[:, position - 1]
            log_p = generator.step(state, fed)
            columns.append(log_p.gather(1, TARGETS[:, position : position + 1]))
    return scored, torch.cat(columns, dim=1)


def test_the_pinned_torch_has_the_private_operators() -> None:
    # Fails when torch changes what kernels.py relies on: adapt that module, or drop it.
    if torch.backends.mkldnn.is_available() and "x86" in torch.backends.quantized.supported_engines:
        assert kernels.can_pack(torch.float32)
        assert kernels.can_pack_int8()
        if torch.ops.mkldnn._is_mkldnn_bf16_supported():
            assert kernels.can_pack(torch.bfloat16)


@needs_packing
def test_layers_of_gpt2_are_packed_and_restored(packs_all: None) -> None:
    torch.manual_seed(1)
    layer = Conv1D(128, 48)
    with torch.no_grad():
        layer.bias.normal_()
        states = torch.randn(2, 5, 48)
        packed_layer = PackedLinear(layer)
        torch.testing.assert_close(packed_layer(states), layer(states))
    restored = packed_layer.unpacked()
    assert (type(restored), restored.nx, restored.nf) == (Conv1D, 48, 128)
    assert torch.equal(restored.weight, layer.weight)
    assert restored.weight.is_contiguous()
    assert restored.weight.requires_grad
    assert restored.bias is layer.bias


@needs_packing
@pytest.mark.parametrize("rows", [3, 50, 128])
@pytest.mark.parametrize("bias", [True, False])
def test_a_packed_layer_computes_as_the_plain_one(rows: int, bias: bool, packs_all: None) -> None:
    torch.manual_seed(1)
    linear = torch.nn.Linear(48, rows, bias=bias)
    layer = PackedLinear(linear)
    states = torch.randn(2, 5, 48)
    with torch.no_grad():
        torch.testing.assert_close(layer(states), linear(states))
        flat = states.view(10, 48)
        out = torch.full((10, rows), torch.nan)
        assert layer.into(flat, out) is out
        torch.testing.assert_close(out, linear(flat))
        assert layer(states[:0]).shape == (0, 5, rows)
    assert (layer.weight.shape, layer.weight.dtype) == (linear.weight.shape, torch.float32)
    assert layer.weight.isnan().all()


@needs_packing
def test_unpacking_returns_every_bit(packs_all: None) -> None:
    linear = torch.nn.Linear(48, 128)
    linear.bias.requires_grad_(False)
    layer = PackedLinear(linear)
    restored = layer.unpacked()
    assert torch.equal(restored.weight, linear.weight)
    assert restored.weight.requires_grad
    assert restored.bias is linear.bias
    assert [name for name, _ in restored.named_parameters()] == ["weight", "bias"]
    assert not restored.bias.requires_grad


@needs_packing
def test_a_packed_layer_gives_no_gradient_silently() -> None:
    layer = PackedLinear(torch.nn.Linear(8, 4))
    with pytest.raises(UnsupportedOperation, match="gradients"):
        layer(torch.ones(2, 8, requires_grad=True))


@needs_packing
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_answers_of_packed_models_agree(
    folder: Path, dtype: str, request: pytest.FixtureRequest
) -> None:
    if not kernels.can_pack(getattr(torch, dtype)):
        pytest.skip(f"no packed products in {dtype}")
    plain = log_probs(made(folder, dtype))
    request.getfixturevalue("packs_all")
    generator = made(folder, dtype)
    assert torch.nn.Linear not in kinds(generator)
    within = {"atol": 1e-4, "rtol": 1e-4} if dtype == "float32" else {"atol": 0.1, "rtol": 0.05}
    for found, expected in zip(log_probs(generator), plain, strict=True):
        torch.testing.assert_close(found, expected, **within)


@needs_packing
@pytest.mark.parametrize("kind", ["llama", "gpt2", "bloom", "mistral", "mamba"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_answers_of_packed_causal_models_agree(
    kind: str, dtype: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if not kernels.can_pack(getattr(torch, dtype)):
        pytest.skip(f"no packed products in {dtype}")
    folder = tiny.save_causal(kind, tmp_path)
    plain = log_probs(made_causal(folder, dtype))
    request.getfixturevalue("packs_all")
    generator = made_causal(folder, dtype)
    # Mamba multiplies with one of its layers' weights itself.
    left = {torch.nn.Linear, Conv1D} & kinds(generator)
    assert left == ({torch.nn.Linear} if kind == "mamba" else set())
    assert PackedLinear in kinds(generator)
    within = {"atol": 1e-4, "rtol": 1e-4} if dtype == "float32" else {"atol": 0.1, "rtol": 0.05}
    for found, expected in zip(log_probs(generator), plain, strict=True):
        torch.testing.assert_close(found, expected, **within)


@needs_packing
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_causal_models_are_unpacked_for_training(
    kind: str, tmp_path: Path, packs_all: None
) -> None:
    folder = tiny.save_causal(kind, tmp_path / "made")
    generator = made_causal(folder, "float32")
    expected, _ = log_probs(generator)
    read = generator.read(QUESTIONS, PASSAGES)
    scored = generator.score(read, PAIRS, TARGETS)
    assert PackedLinear not in kinds(generator)
    scored.sum().backward()
    module = generator.trained_module()
    assert all(value.grad is not None for value in module.parameters())
    torch.testing.assert_close(scored.detach(), expected, atol=1e-4, rtol=1e-4)

    saved = made_causal(folder, "float32")
    saved.save_trained(tmp_path / "saved")
    again = made_causal(tmp_path / "saved", "float32")
    for name, value in again.trained_module().named_parameters():
        assert torch.equal(value, module.get_parameter(name)), name


@needs_packing
def test_scores_of_a_packed_cross_encoder_agree(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    config = CrossEncoderConfig(model=str(tiny.save_cross_encoder(tmp_path)))
    passages = [passage for passage in PASSAGES if passage is not None]
    expected = CrossEncoder(config).score(QUESTIONS[:2], passages)
    request.getfixturevalue("packs_all")
    scorer = CrossEncoder(config)
    assert torch.nn.Linear not in {type(module) for module in scorer.model.modules()}
    assert scorer.score(QUESTIONS[:2], passages) == pytest.approx(expected, abs=1e-4)


@pytest.mark.skipif(not kernels.can_pack_int8(), reason="no packed int8 products here")
def test_packed_int8_layers_are_the_plain_ones(folder: Path, packs_all: None) -> None:
    torch.manual_seed(1)
    linear = Int8Linear(torch.nn.Linear(48, 128))
    states = torch.randn(2, 5, 48) * torch.logspace(-3, 3, 5)[:, None]
    states[1, 2] = 0
    with torch.no_grad():
        torch.testing.assert_close(
            PackedInt8Linear(linear)(states), linear(states), atol=1e-6, rtol=1e-6
        )
    assert kinds(made(folder, "int8")).isdisjoint({torch.nn.Linear, Int8Linear})


@needs_packing
def test_training_finds_plain_layers(bart: Path, packs_all: None) -> None:
    generator = made(bart, "float32")
    expected, _ = log_probs(generator)
    module = generator.trained_module()
    assert PackedLinear not in {type(part) for part in module.modules()}
    assert generator.trained_module() is module
    assert module.get_output_embeddings().weight is module.get_input_embeddings().weight
    read = generator.read(QUESTIONS, PASSAGES)
    scored = generator.score(read, PAIRS, TARGETS)
    scored.sum().backward()
    assert all(value.grad is not None for value in module.parameters() if value.requires_grad)
    torch.testing.assert_close(scored.detach(), expected, atol=1e-4, rtol=1e-4)


@needs_packing
def test_scoring_with_gradients_needs_no_call_before_it(bart: Path, packs_all: None) -> None:
    generator = made(bart, "float32")
    read = generator.read(QUESTIONS, PASSAGES)
    assert generator.score(read, PAIRS, TARGETS).requires_grad


@needs_packing
def test_slower_and_small_layers_stay_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(300, 300), torch.nn.Linear(300, 8))

    def forward() -> torch.Tensor:
        return model(torch.ones(300)).log_softmax(dim=-1)

    monkeypatch.setattr(packed, "compare", lambda *_: SLOWER)
    pack_model(model, forward)
    assert [type(part) for part in model] == [torch.nn.Linear] * 2
    monkeypatch.setattr(packed, "compare", lambda *_: FASTER)
    pack_model(model, forward)
    assert [type(part) for part in model] == [PackedLinear, torch.nn.Linear]
    unpack_model(model)
    assert [type(part) for part in model] == [torch.nn.Linear] * 2


@needs_packing
def test_a_model_that_reads_its_weights_stays_plain(packs_all: None) -> None:
    class Reader(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(8, 4)

        def forward(self, states: torch.Tensor) -> torch.Tensor:
            return states @ self.layer.weight.t()

    model = Reader()
    expected = model(torch.ones(8))
    pack_model(model, lambda: model(torch.ones(8)).log_softmax(dim=-1))
    assert type(model.layer) is torch.nn.Linear
    assert torch.equal(model(torch.ones(8)), expected)


@needs_packing
@pytest.mark.parametrize("fault", ["weight", "member"])
def test_only_layers_that_a_model_reads_stay_plain(fault: str, packs_all: None) -> None:
    class Reader(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.called, self.read = torch.nn.Linear(8, 8), torch.nn.Linear(8, 4)
            self.read.factor = 2.0

        def forward(self, states: torch.Tensor) -> torch.Tensor:
            states = self.called(states)
            if fault == "weight":
                return states @ self.read.weight.t()
            return self.read(states) * self.read.factor

    model = Reader()
    expected = model(torch.ones(3, 8)).detach()
    pack_model(model, lambda: model(torch.ones(3, 8)))
    assert type(model.read) is torch.nn.Linear
    # A missing member does not say of which layer.
    assert type(model.called) is (PackedLinear if fault == "weight" else torch.nn.Linear)
    with torch.no_grad():
        torch.testing.assert_close(model(torch.ones(3, 8)), expected)


def test_a_model_is_judged_by_the_spread_of_what_it_computes() -> None:
    vectors = torch.tensor([[3.0, -1.0], [0.5, 2.0]])
    assert packed._distance(vectors, vectors.clone()) == 0
    assert packed._distance(vectors * 1.01, vectors) == pytest.approx(0.01, abs=0.003)
    assert packed._distance(vectors * 1e4 * 1.01, vectors * 1e4) == pytest.approx(0.01, abs=0.003)
    # Log-probs around -10: what they differ in counts.
    assert packed._distance(vectors * 1.01 - 10, vectors - 10) == pytest.approx(0.01, abs=0.003)
    assert packed._distance(torch.tensor([2.1]), torch.tensor([2.0])) == pytest.approx(0.05)
    infinite = torch.tensor([-torch.inf, -1.0, -2.0])
    assert packed._distance(infinite, infinite) == 0
    assert not packed._distance(torch.zeros(3), infinite) <= 1
    assert not packed._distance(infinite * torch.nan, infinite) <= 1


def test_a_shape_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def times(*layers: object) -> list[float]:
        calls.append(1)
        return [1.0, 0.5]

    monkeypatch.setattr(trials, "shortest_times", times)
    monkeypatch.setattr(trials, "_trials", {})
    layer = torch.nn.Linear(6, 4)
    assert trials.compare(layer, layer, lambda: layer, torch.float32).faster
    # With many rows of states, and with few.
    assert len(calls) == 2
    assert trials.compare(layer, layer, lambda: layer, torch.float32).faster
    assert len(calls) == 2


def test_packing_is_judged_by_many_rows_and_by_few() -> None:
    def faster(many: float, few: float) -> bool:
        return Trial(plain=2e-3, packed=many * 2e-3, plain_few=1e-5, packed_few=few * 1e-5).faster

    assert faster(0.5, 1.0)
    assert faster(0.5, 1.75)
    assert not faster(0.6, 1.75)
    assert faster(1.02, 0.7)
    assert not faster(0.97, 0.97)
    assert not faster(1.2, 0.5)

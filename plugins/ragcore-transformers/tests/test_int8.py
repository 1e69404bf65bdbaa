from __future__ import annotations

from pathlib import Path

import pytest
import tiny_models as tiny
import torch
from ragcore_transformers import int8
from ragcore_transformers.configs import Seq2SeqConfig
from ragcore_transformers.int8 import Int8Linear
from ragcore_transformers.seq2seq import Seq2Seq

from ragcore.errors import GeneratorError, UnsupportedOperation
from ragcore.types import Passage

QUESTIONS = ["What is the capital of Chad?", "Who?", "Who is the prime minister of Ethiopia?"]
PASSAGES = [
    Passage("1", "Chad", "N'Djamena is the capital of Chad."),
    Passage("2", "Ethiopia, Government", "Abiy Ahmed Ali, since April 2018"),
    None,
]


def made(folder: Path, dtype: str = "int8", **settings: object) -> Seq2Seq:
    return Seq2Seq(Seq2SeqConfig(model=str(folder), dtype=dtype, **settings))


@pytest.mark.parametrize("top", [127, 63])
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_is_as_near_as_its_rounding(
    top: int, bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8, "_top_of_weights", lambda: top)
    torch.manual_seed(1)
    linear = torch.nn.Linear(48, 30, bias=bias)
    with torch.no_grad():
        linear.weight[3] *= 1000
        linear.weight[4] = 0
        states = torch.randn(2, 5, 48) * torch.logspace(-3, 3, 5)[:, None]
        states[1, 2] = 0
        layer = Int8Linear(linear)
        found, expected = layer(states), linear(states)
    # Each product is off by at most half a step of either side.
    step_of_states = states.abs().amax(-1, keepdim=True) / 127
    step_of_weights = linear.weight.abs().amax(1) / top
    bound = (
        step_of_states / 2 * linear.weight.abs().sum(1)
        + step_of_weights / 2 * states.abs().sum(-1, keepdim=True)
        + step_of_states * step_of_weights * 48 / 4
    )
    assert layer.weight.dtype == torch.int8
    assert int(layer.weight.abs().max()) == top
    assert (found - expected).abs().le(bound * 1.0001 + 1e-5).all()
    assert (found - expected).abs().max() > 0


def test_sums_that_would_not_fit_sixteen_bits_are_exact() -> None:
    linear = torch.nn.Linear(512, 3, bias=False)
    with torch.no_grad():
        linear.weight.fill_(1.0)
        found = Int8Linear(linear)(torch.full((2, 512), -1.0))
    torch.testing.assert_close(found, torch.full((2, 3), -512.0))


@torch.no_grad()
def test_log_probs_stay_near_float32(folder: Path) -> None:
    exact, rough = made(folder, "float32"), made(folder)
    targets = torch.randint(3, 200, (3, 6), generator=torch.Generator().manual_seed(1))
    found, expected = (
        generator.score(generator.read(QUESTIONS, PASSAGES), torch.arange(3), targets)
        for generator in (rough, exact)
    )
    # A random model of two layers whose log-probs lie between 0 and -15.
    assert (found - expected).abs().mean() < 0.15
    assert not torch.equal(found, expected)


@torch.no_grad()
def test_every_linear_layer_is_int8(folder: Path) -> None:
    model = made(folder).model
    kinds = {type(module) for module in model.modules()}
    assert torch.nn.Linear not in kinds
    assert model.get_output_embeddings().weight.dtype == torch.int8
    assert model.get_input_embeddings().weight.dtype == torch.float32


@torch.no_grad()
def test_stepping_batching_and_plain_decoding_agree(folder: Path) -> None:
    generator = made(folder)
    read = generator.read(QUESTIONS, PASSAGES)
    targets = torch.randint(3, 200, (4, 5), generator=torch.Generator().manual_seed(1))
    pairs = torch.tensor([2, 0, 1, 0])
    scored = generator.score(read, pairs, targets)
    state = generator.start(read, pairs)
    generator._decoder = None
    own = generator.score(read, pairs, targets)
    # What is summed in another order may be rounded to another neighbour.
    torch.testing.assert_close(scored, own, atol=0.05, rtol=0.02)
    for position in range(5):
        log_probs = generator.step(state, None if position == 0 else targets[:, position - 1])
        found = log_probs.gather(1, targets[:, position : position + 1])[:, 0]
        torch.testing.assert_close(found, scored[:, position], atol=0.05, rtol=0.02)


def test_int8_is_not_trained(bart: Path) -> None:
    generator = made(bart)
    assert generator.capabilities == {"together", "words"}
    read = generator.read(["Who?"], [None])
    with pytest.raises(UnsupportedOperation, match="in int8 does not support 'score with grad"):
        generator.score(read, torch.tensor([0]), torch.tensor([[5, 2]]))


def test_int8_elsewhere_than_on_a_cpu_is_a_clear_error(bart: Path) -> None:
    with pytest.raises(GeneratorError, match=r"int8 is for a CPU and device is 'meta'"):
        made(bart, device="meta")


def test_int8_rows_are_read_as_int8(tmp_path: Path) -> None:
    from ragcore_transformers.weights import save_int8_rows

    folder = tiny.save_bart(tmp_path / "bart")
    generator = made(folder, "float32")
    save_int8_rows(generator.model, tmp_path / "rows")
    generator.tokenizer.save_pretrained(tmp_path / "rows")
    assert made(tmp_path / "rows").model.get_output_embeddings().weight.dtype == torch.int8

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from ragcore_transformers.configs import Seq2SeqConfig
from ragcore_transformers.seq2seq import Seq2Seq
from ragcore_transformers.weights import quantize_rows, save_int8_rows
from safetensors.torch import load_file, save_file

from ragcore.errors import GeneratorError
from ragcore.types import Passage


def small(source: Path, folder: Path) -> tuple[Seq2Seq, Path]:
    """Return a generator, and a folder with its int8 copy."""
    generator = Seq2Seq(Seq2SeqConfig(model=str(source)))
    save_int8_rows(generator.model, folder)
    generator.tokenizer.save_pretrained(folder)
    return generator, folder


def test_a_weight_is_at_most_half_a_step_away() -> None:
    matrix = torch.randn(50, 40, generator=torch.Generator().manual_seed(0))
    matrix *= torch.logspace(-6, 3, 50)[:, None]
    matrix[3] = 0
    whole, scale = quantize_rows(matrix)
    assert whole.dtype == torch.int8
    assert scale.dtype == torch.float16
    error = (whole.float() * scale.float()[:, None] - matrix).abs().amax(dim=1)
    # float16 rounds the scale by up to a 2048th, or, below 6e-5, by up to 3e-8.
    step = scale.float()
    assert (error <= 0.5 * step + 127 * torch.maximum(step / 2048, torch.tensor(3e-8))).all()


@torch.no_grad()
def test_an_int8_model_is_the_same_but_for_rounding(folder: Path, tmp_path: Path) -> None:
    generator, stored = small(folder, tmp_path)
    loaded = Seq2Seq(Seq2SeqConfig(model=str(stored)))
    before, after = generator.model.state_dict(), loaded.model.state_dict()
    assert set(before) == set(after)
    for name, value in before.items():
        # Half a step of at most max|w| / 127, and float16's own rounding.
        bound = value.abs().max() * (0.5 / 127 + 1 / 1024) + 1e-6
        assert (after[name] - value).abs().max() <= bound, name
    passages = [Passage("1", "Chad", "N'Djamena is the capital of Chad.")]
    targets = torch.tensor(generator.encode_answers(["N'Djamena"]))
    scores = [
        one.score(one.read(["What is the capital?"], passages), torch.tensor([0]), targets)
        for one in (generator, loaded)
    ]
    torch.testing.assert_close(*scores, atol=0.3, rtol=0.05)
    assert loaded.forced_bos_token_id == generator.forced_bos_token_id
    assert loaded.eos_token_id == generator.eos_token_id


def test_tied_weights_are_written_once_and_tied_again(bart: Path, tmp_path: Path) -> None:
    _, stored = small(bart, tmp_path)
    names = load_file(stored / "model.safetensors")
    assert [name for name in names if names[name].shape == (330, 16)] == ["model.shared.weight"]
    assert names["model.shared.weight.scale"].shape == (330,)
    model = Seq2Seq(Seq2SeqConfig(model=str(stored))).model
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert model.lm_head.weight is model.model.shared.weight
    assert model.model.encoder.embed_tokens.weight is model.model.shared.weight


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("drop", r"missing: model\.decoder\.layers\.0\.fc1\.bias"),
        ("add", "not of this model: stray"),
        ("shape", r"fc1\.bias \(3,\) instead of \(24,\)"),
        ("scale", "with no scale"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    bart: Path, tmp_path: Path, change: str, message: str
) -> None:
    _, stored = small(bart, tmp_path)
    tensors = load_file(stored / "model.safetensors")
    bias = "model.decoder.layers.0.fc1.bias"
    match change:
        case "drop":
            del tensors[bias]
        case "add":
            tensors["stray"] = torch.zeros(2)
        case "shape":
            tensors[bias] = torch.zeros(3, dtype=torch.float16)
        case "scale":
            del tensors["model.shared.weight.scale"]
    save_file(tensors, stored / "model.safetensors")
    with pytest.raises(GeneratorError, match=message):
        Seq2Seq(Seq2SeqConfig(model=str(stored)))


def test_a_damaged_file_is_refused(bart: Path, tmp_path: Path) -> None:
    _, stored = small(bart, tmp_path)
    path = stored / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(GeneratorError, match="cannot be read"):
        Seq2Seq(Seq2SeqConfig(model=str(stored)))


def test_an_unknown_form_of_weights_is_refused(bart: Path, tmp_path: Path) -> None:
    _, stored = small(bart, tmp_path)
    path = stored / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "ragcore_weights": "int2"}))
    with pytest.raises(GeneratorError, match=r"'int2'.*'int8-rows' only"):
        Seq2Seq(Seq2SeqConfig(model=str(stored)))

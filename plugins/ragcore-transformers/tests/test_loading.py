"""Loading: float16, adapters, weights spread by accelerate, bitsandbytes, and converting."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny_models as tiny
import torch
from pydantic import ValidationError
from ragcore_transformers import converting
from ragcore_transformers.causal import Causal
from ragcore_transformers.causal_loading import load_causal
from ragcore_transformers.configs import CausalConfig, Seq2SeqConfig
from ragcore_transformers.placement import is_plain
from ragcore_transformers.seq2seq import Seq2Seq
from ragcore_transformers.seq2seq_loading import load_seq2seq
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM,
    BartConfig,
    BertConfig,
)

from ragcore.cli import main
from ragcore.errors import GeneratorError
from ragcore.types import Passage

QUESTIONS = ["What is the capital of Chad?", "Who?"]
PASSAGES = [Passage("1", "Chad", "N'Djamena is the capital of Chad."), None]
TARGETS = torch.randint(3, 200, (2, 5), generator=torch.Generator().manual_seed(1))
PAIRS = torch.tensor([1, 0])

KINDS = ["bart", "t5", "llama", "gpt2"]


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a tiny model into a folder with its kind's name."""
    folder: Path = tmp_path_factory.mktemp("models") / request.param
    return saved(folder)


def saved(folder: Path) -> Path:
    if folder.name == "bart":
        return tiny.save_bart(folder)
    return tiny.save_t5(folder) if folder.name == "t5" else tiny.save_causal(folder.name, folder)


def made(folder: Path, kind: str = "", **settings: Any) -> Seq2Seq | Causal:
    if (kind or folder.name) in ("bart", "t5"):
        return Seq2Seq(Seq2SeqConfig(model=str(folder), **settings))
    return Causal(CausalConfig(model=str(folder), template="{text}\n{question}", **settings))


def scored(generator: Seq2Seq | Causal) -> torch.Tensor:
    with torch.no_grad():
        return generator.score(generator.read(QUESTIONS, PASSAGES), PAIRS, TARGETS)


@pytest.mark.parametrize(
    "reader",
    [
        BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=1),
        # Its decoder loads into a model that writes, and lacks nothing.
        BartConfig(vocab_size=20, d_model=16, encoder_layers=1, decoder_layers=1),
    ],
    ids=["bert", "bart"],
)
@pytest.mark.parametrize(
    ("load", "config"),
    [(load_seq2seq, Seq2SeqConfig), (load_causal, CausalConfig)],
    ids=["seq2seq", "causal"],
)
def test_a_model_of_spans_is_for_another_generator(
    tmp_path: Path, reader: Any, load: Any, config: Any
) -> None:
    AutoModelForQuestionAnswering.from_config(reader).save_pretrained(tmp_path)
    with pytest.raises(GeneratorError, match=r"ForQuestionAnswering: .* write use: extractive"):
        load(config(model=str(tmp_path)))


def test_float16_is_nearer_to_float32_than_bfloat16(model: Path) -> None:
    exact, half = scored(made(model)), made(model, dtype="float16")
    assert half.dtype == "float16"
    # transformers computes some layers of T5 in float32, so that they do not overflow.
    wide = {torch.float32} if model.name == "t5" else set()
    assert {weight.dtype for weight in half.model.parameters()} == {torch.float16} | wide
    assert scored(half).dtype == torch.float32
    far = (scored(made(model, dtype="bfloat16")) - exact).abs().max()
    assert (scored(half) - exact).abs().max() < far / 2
    assert "trainable" not in half.capabilities


LAYERS = re.compile(r"fc1|fc2|gate_proj|up_proj|c_fc|mlp.c_proj|wi|wo")


@pytest.mark.parametrize(("factor", "found"), [(1e6, "are infinite"), (5e4, r"\(NaN\)")])
def test_a_model_that_float16_cannot_hold_is_refused(
    model: Path, tmp_path: Path, factor: float, found: str
) -> None:
    folder = tmp_path / model.name
    shutil.copytree(model, folder)
    weights = load_file(folder / "model.safetensors")
    for name, value in weights.items():
        if value.ndim == 2 and LAYERS.search(name):
            value *= factor
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    made(folder)
    with pytest.raises(GeneratorError, match=f"{found}.*set dtype to bfloat16"):
        made(folder, dtype="float16")


def save_adapter(base: Path, folder: Path, *, named: str | None = None, **settings: Any) -> Any:
    """Save a LoRA adapter of random numbers; return the base with it, not merged."""
    peft = pytest.importorskip("peft")
    causal = base.name in ("llama", "gpt2")
    loader = AutoModelForCausalLM if causal else AutoModelForSeq2SeqLM
    config = peft.LoraConfig(
        task_type="CAUSAL_LM" if causal else "SEQ_2_SEQ_LM",
        r=2,
        init_lora_weights=False,
        **settings,
    )
    torch.manual_seed(3)
    model = peft.get_peft_model(loader.from_pretrained(base), config)
    model.save_pretrained(folder)
    path = folder / "adapter_config.json"
    content = json.loads(path.read_text("utf-8"))
    content["base_model_name_or_path"] = named or os.path.relpath(base, folder)
    path.write_text(json.dumps(content), encoding="utf-8")
    return model.eval()


def test_an_adapter_answers_as_peft_computes(model: Path, tmp_path: Path) -> None:
    attached = save_adapter(model, tmp_path / "adapter")
    generator, base = made(tmp_path / "adapter", model.name), made(model)
    assert (scored(generator) - scored(base)).abs().max() > 0.01
    ids = torch.tensor([[5, 9, 13, 17]])
    inputs = {"input_ids": ids}
    if isinstance(generator, Seq2Seq):
        inputs["decoder_input_ids"] = ids
    with torch.no_grad():
        expected = attached(**inputs).logits
        torch.testing.assert_close(generator.model(**inputs).logits, expected, atol=1e-4, rtol=1e-4)
    assert "trainable" in generator.capabilities
    assert all(weight.requires_grad for weight in generator.trained_module().parameters())
    generator.save_trained(tmp_path / "whole")
    torch.testing.assert_close(scored(made(tmp_path / "whole", model.name)), scored(generator))


def test_an_adapter_of_a_folder_loads_without_a_warning(
    llama: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    save_adapter(llama, tmp_path / "adapter")
    recwarn.clear()
    made(tmp_path / "adapter")
    # Its base is named from its own folder, where peft does not look: it would ask the model hub.
    assert [str(warning.message) for warning in recwarn] == []


def test_an_adapter_keeps_the_dtype_of_the_settings(model: Path, tmp_path: Path) -> None:
    save_adapter(model, tmp_path / "adapter")
    narrow = made(tmp_path / "adapter", model.name, dtype="bfloat16")
    assert {weight.dtype for weight in narrow.model.parameters()} == {torch.bfloat16}
    plain = made(model, dtype="bfloat16").model
    assert [buffer.dtype for buffer in narrow.model.buffers()] == [
        buffer.dtype for buffer in plain.buffers()
    ]


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    return tiny.save_causal("llama", tmp_path / "llama")


def test_an_adapter_without_its_base_says_which(llama: Path, tmp_path: Path) -> None:
    save_adapter(llama, tmp_path / "adapter", named="somebody/base-7b")
    with pytest.raises(GeneratorError) as error:
        made(tmp_path / "adapter")
    assert "model 'somebody/base-7b' cannot be loaded" in str(error.value)
    assert f"the base of the adapter '{tmp_path / 'adapter'}'" in str(error.value)
    assert "HF_HUB_OFFLINE is set" in str(error.value)


def test_an_adapter_with_a_tokenizer_has_its_own(llama: Path, tmp_path: Path) -> None:
    save_adapter(llama, tmp_path / "adapter")
    base = made(llama).tokenizer
    assert made(tmp_path / "adapter").tokenizer.chat_template is None
    base.chat_template = tiny.CHAT
    base.save_pretrained(tmp_path / "adapter")
    assert made(tmp_path / "adapter").tokenizer.chat_template == tiny.CHAT


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("task", "is an adapter for SEQ_CLS"),
        ("name", "does not name the model"),
        ("json", "adapter_config.json cannot be read"),
        ("pickle", "without adapter_model.safetensors"),
        ("weights", "2 weights are in one of the two alone"),
        ("base", "cannot be added to"),
    ],
)
def test_a_faulty_adapter_is_refused(
    llama: Path, tmp_path: Path, damage: str, message: str
) -> None:
    folder = tmp_path / "adapter"
    save_adapter(llama, folder)
    path, weights = folder / "adapter_config.json", folder / "adapter_model.safetensors"
    content = json.loads(path.read_text("utf-8"))
    match damage:
        case "task":
            content["task_type"] = "SEQ_CLS"
        case "name":
            content["base_model_name_or_path"] = None
        case "pickle":
            weights.rename(folder / "adapter_model.bin")
        case "weights":
            tensors = load_file(weights)
            first = next(iter(tensors))
            tensors[first.replace("layers.0", "layers.7")] = tensors.pop(first)
            save_file(tensors, weights)
        case "base":
            content["base_model_name_or_path"] = str(
                tiny.save_causal("llama", tmp_path / "wide", hidden_size=32)
            )
    path.write_text("{" if damage == "json" else json.dumps(content), encoding="utf-8")
    with pytest.raises(GeneratorError, match=message):
        made(folder)


def test_layers_on_disk_compute_the_same(model: Path, tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    numbers = sum(weight.numel() for weight in made(model).model.parameters())
    limit = {"cpu": f"{numbers * 4 * 0.9 / 1024:.0f}KiB"}
    spread = made(model, device_map="auto", max_memory=limit, offload_folder=tmp_path / "offload")
    assert not is_plain(spread.model)
    assert any(weight.is_meta for weight in spread.model.parameters())
    torch.testing.assert_close(scored(spread), scored(made(model)), atol=1e-5, rtol=1e-5)
    state = spread.start(spread.read(QUESTIONS, PASSAGES), PAIRS)
    plain = made(model)
    expected = plain.start(plain.read(QUESTIONS, PASSAGES), PAIRS)
    for tokens in (None, torch.tensor([7, 9]), torch.tensor([11, 5])):
        torch.testing.assert_close(
            spread.step(state, tokens), plain.step(expected, tokens), atol=1e-4, rtol=1e-4
        )
    assert "trainable" not in spread.capabilities


def test_a_model_that_fits_on_a_device_is_an_ordinary_one(llama: Path) -> None:
    pytest.importorskip("accelerate")
    generator = made(llama, device_map="auto", dtype="bfloat16")
    assert is_plain(generator.model)
    assert "trainable" in generator.capabilities
    assert torch.equal(scored(generator), scored(made(llama, dtype="bfloat16")))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_bitsandbytes_is_refused_without_a_gpu(llama: Path) -> None:
    with pytest.raises(GeneratorError, match="is for a GPU with CUDA, and there is none"):
        made(llama, bitsandbytes="nf4")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device_map": "auto", "device": "cuda"}, "leave device out"),
        ({"device_map": "auto", "dtype": "auto"}, "for weights on one device"),
        ({"bitsandbytes": "int8", "dtype": "auto"}, "and bitsandbytes is set"),
        ({"max_memory": {"0": "1GiB"}}, "set device_map: auto"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(settings: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        CausalConfig(model="model", **settings)


def save_pickled(folder: Path, *, shards: int = 1) -> dict[str, torch.Tensor]:
    """Replace a folder's safetensors by pytorch_model.bin, as older releases of Hugging Face's."""
    loader = AutoModelForSeq2SeqLM if folder.name in ("bart", "t5") else AutoModelForCausalLM
    # Tied weights share their memory, as in the files of that time.
    weights: dict[str, torch.Tensor] = loader.from_pretrained(folder).state_dict()
    (folder / "model.safetensors").unlink()
    if shards == 1:
        torch.save(weights, folder / "pytorch_model.bin")
        return weights
    names, places = list(weights), {}
    for number in range(shards):
        file = f"pytorch_model-{number + 1:05}-of-{shards:05}.bin"
        part = {name: weights[name] for name in names[number::shards]}
        torch.save(part, folder / file)
        places.update(dict.fromkeys(part, file))
    index = {"metadata": {}, "weight_map": places}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index), encoding="utf-8")
    return weights


@pytest.mark.parametrize("shards", [1, 3])
def test_pickled_weights_are_converted(
    model: Path, tmp_path: Path, shards: int, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / model.name
    shutil.copytree(model, folder)
    weights = save_pickled(folder, shards=shards)
    with pytest.raises(GeneratorError, match=f"`ragcore models convert {folder}`"):
        made(folder)
    # As a killed conversion leaves it.
    (folder / ".converting-01234567").mkdir()
    assert main(["models", "convert", str(folder)]) == 0
    assert f"{len(weights)} weights, equal" in " ".join(capsys.readouterr().out.split())
    assert torch.equal(scored(made(folder)), scored(made(model)))
    assert not list(folder.glob(".converting*"))
    assert main(["models", "convert", str(folder)]) == 2
    assert "as safetensors already" in capsys.readouterr().err


def test_several_shards_are_loaded(model: Path, tmp_path: Path) -> None:
    loader = AutoModelForSeq2SeqLM if model.name in ("bart", "t5") else AutoModelForCausalLM
    folder = tmp_path / model.name
    shutil.copytree(model, folder)
    (folder / "model.safetensors").unlink()
    loader.from_pretrained(model).save_pretrained(folder, max_shard_size="8KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 2
    assert torch.equal(scored(made(folder)), scored(made(model)))


class Code:
    """What a pickle could run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("run",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"weight": Code()}, "could be code"),
        ({"state_dict": {"weight": torch.ones(2)}}, "'state_dict' is no tensor"),
        ([torch.ones(2)], "'list' is no tensor"),
        (b"PK\3\4 nothing", "cannot be read|could be code"),
    ],
)
def test_what_is_no_state_dict_is_not_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: Any, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "pytorch_model.bin"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    with pytest.raises(GeneratorError, match=message):
        converting.convert(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pytorch_model.bin"]


@pytest.mark.parametrize("name", ["../other.bin", "none.bin"])
def test_an_index_names_files_of_its_folder(tmp_path: Path, name: str) -> None:
    torch.save({"weight": torch.ones(2)}, tmp_path / "other.bin")
    folder = tmp_path / "model"
    folder.mkdir()
    index = {"weight_map": {"weight": name}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(GeneratorError, match=r"no file of its folder|no such file"):
        converting.convert(folder)


def test_weights_that_were_not_written_as_they_are_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = converting.save_torch_state_dict

    def damaging(weights: dict[str, torch.Tensor], folder: Path, **options: Any) -> None:
        save({**weights, "weight": weights["weight"] + 1}, folder, **options)

    monkeypatch.setattr(converting, "save_torch_state_dict", damaging)
    torch.save({"weight": torch.ones(2), "bias": torch.ones(2)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(GeneratorError, match="weight was not written as it is"):
        converting.convert(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["pytorch_model.bin"]

"""Which generator a model is for, by what it is."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import yaml
from ragcore_world.models import settings_of

from ragcore.errors import ConfigError
from ragcore.registry.discovery import registry

FREE = ("rag.grounded=false", "rag.abstain=null")


def folder(path: Path, **config: object) -> str:
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return str(path)


def gguf_reader() -> str:
    installed = "llamacpp" in registry().names("generator")
    return "llamacpp" if installed and importlib.util.find_spec("llama_cpp") else "causal"


@pytest.mark.parametrize(
    ("use", "config"),
    [
        ("bart", {"model_type": "bart", "is_encoder_decoder": True}),
        ("t5", {"model_type": "t5", "is_encoder_decoder": True}),
        ("seq2seq", {"model_type": "pegasus", "is_encoder_decoder": True}),
        ("causal", {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}),
        ("causal", {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}),
        ("extractive", {"model_type": "bert", "architectures": ["BertForQuestionAnswering"]}),
    ],
)
def test_a_folder_is_recognised_by_its_config(tmp_path, monkeypatch, use, config):
    model = folder(tmp_path / "model", **config)
    monkeypatch.chdir(tmp_path)
    for name in (model, "model", "./model"):
        settings = settings_of(name)
        assert settings.generator == {"use": use, "model": model}
        # A reader of our kind is asked as the demo's own.
        assert settings.rag == ((*FREE, "rag.beams=2") if use == "causal" else ())


def test_a_shipped_model_is_known_by_its_name():
    settings = settings_of("world-reader")
    assert settings.generator["use"] == "extractive"
    assert (Path(settings.generator["model"]) / "config.json").is_file()


def test_a_gguf_file_is_read_by_llama_cpp_where_that_is_installed(tmp_path):
    path = tmp_path / "m.gguf"
    path.touch()
    for model in (path, tmp_path):
        settings = settings_of(str(model))
        assert settings.generator == {"use": gguf_reader(), "model": str(path)}
        assert settings.rag == (*FREE, "rag.beams=2")
    assert settings_of(str(path), generator="causal").generator["use"] == "causal"


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("https://api.openai.com/v1", {"key": "${env:OPENAI_API_KEY}"}),
        # No other server is sent the key of that one.
        ("http://localhost:8080/v1", {}),
        ("https://api.openai.com.example.org/v1", {}),
    ],
)
def test_an_address_is_a_server_s(address, key):
    settings = settings_of(address, name="a-model")
    expected = {"use": "openai", "base_url": address, "model": "a-model", **key}
    assert (settings.generator, settings.rag) == (expected, FREE)
    generator, *rag = settings.overrides()
    assert yaml.safe_load(generator.removeprefix("generator=")) == expected
    assert tuple(rag) == FREE


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("http://localhost:8080/v1", "which of the server's models"),
        ("./nowhere", "there is no such file or folder"),
        ("nowhere.gguf", "there is no such file or folder"),
        ("model\0", "no model"),
        ("x" * 5000, "no model"),
        ("no-such/model", "the hub gives no config.json"),
    ],
)
def test_what_is_no_model_says_what_was_found(tmp_path, monkeypatch, model, reason):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConfigError, match=reason):
        settings_of(model)


def test_a_folder_that_cannot_read_says_why(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{")
    (tmp_path / "weights.safetensors").touch()
    (tmp_path / "two").mkdir()
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / "two" / name).touch()
    encoder = folder(tmp_path / "encoder", model_type="bert", architectures=["BertModel"])
    for name, reason in {
        "empty": "no config.json, by which a model is recognised, and neither",
        "broken": "not readable as JSON",
        "weights.safetensors": "name the folder that it is in",
        "two": "2 .gguf files: name one of them",
        "encoder": r"no model that answers questions \(BertModel\)",
    }.items():
        with pytest.raises(ConfigError, match=reason):
            settings_of(str(tmp_path / name))
    assert settings_of(encoder, generator="causal").generator["use"] == "causal"
    with pytest.raises(ConfigError, match="belongs to the address of one"):
        settings_of(encoder, name="a-model")

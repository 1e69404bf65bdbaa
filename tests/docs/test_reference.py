"""The reference is complete: every key with its default, command, hook, member and name."""

from __future__ import annotations

import inspect
from typing import Any, Final, get_args

import click
import pytest
import typer
import yaml
from pydantic import BaseModel
from ragcore_transformers.configs import ReuseConfig

import ragcore
from ragcore import contracts, hookspecs
from ragcore.cli import COMMANDS
from ragcore.cli.chatting import COMMANDS as CHAT_COMMANDS
from ragcore.config import (
    AbstainConfig,
    CacheConfig,
    ConfidenceConfig,
    MemoryConfig,
    PipelineConfig,
    RagConfig,
    RewriteConfig,
    SampleConfig,
    WriteConfig,
)
from ragcore.config.training import (
    DistillConfig,
    LoraConfig,
    QuestionsConfig,
    RefreshConfig,
    TrainConfig,
)
from ragcore.corpora.splitting import SplitConfig
from ragcore.experiments.config import ExperimentConfig, QuestionsSection, SystemSection
from ragcore.questions import FORMATS
from ragcore.registry.components import to_plain, yaml_key
from ragcore.registry.discovery import registry
from ragcore.store.manifest import Manifest
from tests.helpers.markdown import ROOT, tables

REFERENCE: Final = ROOT / "docs" / "reference"
PIPELINE: Final = tables(REFERENCE / "pipeline.md")
COMMAND_LINE: Final = tables(REFERENCE / "command-line.md")
EXPERIMENT: Final = tables(REFERENCE / "experiment.md")
CONTRACTS: Final = tables(REFERENCE / "contracts.md")

SECTIONS: Final = {
    "The file": PipelineConfig,
    "memory": MemoryConfig,
    "memory.cache": CacheConfig,
    "split": SplitConfig,
    "rag": RagConfig,
    "rag.abstain": AbstainConfig,
    "rag.confidence": ConfidenceConfig,
    "rag.write": WriteConfig,
    "rag.sample": SampleConfig,
    "rag.rewrite": RewriteConfig,
    "train": TrainConfig,
    "train.questions, train.dev": QuestionsConfig,
    "train.lora": LoraConfig,
    "train.distill": DistillConfig,
    "train.refresh": RefreshConfig,
    "reuse": ReuseConfig,
}
EXPERIMENT_SECTIONS: Final = {
    "The file": ExperimentConfig,
    "questions, dev": QuestionsSection,
    "systems": SystemSection,
}
COMPONENTS: Final = {
    "corpus": [
        "csv",
        "documents",
        "dpr-tsv",
        "huggingface",
        "jsonl",
        "parquet",
        "text",
        "tsv",
        "wikipedia",
        "world-factbook",
    ],
    "retriever": ["bm25", "dense", "hybrid", "rerank", "sparse", "with-metadata"],
    "scorer": ["answerability", "cross-encoder", "late-interaction", "query-likelihood"],
    "encoder": ["dpr", "openai-embeddings", "sentence-transformers", "static", "world-vectors"],
    "index": ["exact", "faiss", "hnswlib", "milvus", "pgvector"],
    "passages": ["postgres"],
    "generator": ["bart", "causal", "extractive", "llamacpp", "openai", "seq2seq", "t5"],
}
PROTOCOLS: Final = [
    name
    for name in contracts.__all__
    if getattr(getattr(contracts, name), "_is_protocol", False) and name != "Component"
]
EVALUATION: Final = tables(REFERENCE / "evaluation.md")


def keys_and_defaults(model: type[BaseModel]) -> dict[str, Any]:
    return {
        yaml_key(name, field): "required"
        if field.is_required()
        else to_plain(field.get_default(call_default_factory=True, validated_data={}))
        for name, field in model.model_fields.items()
    }


def documented(heading: str, page: dict[str, list[list[str]]] = PIPELINE) -> dict[str, Any]:
    return {key: yaml.safe_load(default) for key, default, *_ in page.get(heading, [])}


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_of_a_section_is_documented_with_its_default(section):
    expected = keys_and_defaults(SECTIONS[section])
    if section == "The file":
        expected["rag"] = {}  # documented in its own section
    assert documented(section) == expected


@pytest.mark.parametrize("section", EXPERIMENT_SECTIONS)
def test_every_key_of_an_experiment_file_is_documented_with_its_default(section):
    expected = keys_and_defaults(EXPERIMENT_SECTIONS[section])
    assert documented(section, EXPERIMENT) == expected


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, names in COMPONENTS.items() for name in names]
)
def test_every_key_of_a_component_is_documented_with_its_default(kind, name):
    if name == "hnswlib":
        pytest.importorskip("ragcore_hnswlib.index", reason="hnswlib needs a compiler to install")
    if name == "llamacpp":
        pytest.importorskip(
            "ragcore_llamacpp.generator",
            reason="llama.cpp needs a compiler to install",
            exc_type=ImportError,
        )
    (heading,) = [
        heading
        for heading in PIPELINE
        if heading.startswith(f"{kind} ") and name in names_in(heading)
    ]
    assert documented(heading) == keys_and_defaults(registry().load(kind, name).Config)


def names_in(heading: str) -> list[str]:
    return heading.partition(" ")[2].split(", ")


@pytest.mark.parametrize("name", ["processes", "ray"])
def test_every_setting_of_a_runner_is_documented_with_its_default(name):
    assert registry().target("runner", name) is not None
    expected = keys_and_defaults(registry().load_config("runner", name))
    assert documented(f"runner {name}", COMMAND_LINE) == expected


def test_no_unknown_component_is_documented():
    listed = {
        (heading.partition(" ")[0], name)
        for heading in PIPELINE
        if heading.partition(" ")[0] in COMPONENTS
        for name in names_in(heading)
    }
    assert listed <= {(kind, name) for kind, names in COMPONENTS.items() for name in names}


def test_every_metric_is_documented_with_its_keys():
    listed = [cells[0] for name in ("Of answers", "Of passages") for cells in EVALUATION[name]]
    names = registry().names("metric")
    assert sorted(listed) == sorted(names)
    for name in names:
        keys = {key: yaml.safe_load(default) for key, default, *_ in EVALUATION.get(name, [])}
        assert keys == keys_and_defaults(registry().load("metric", name).Config), name


def test_every_format_of_question_files_is_documented():
    assert [cells[0] for cells in EVALUATION["Question files"]] == list(FORMATS)


def test_every_command_is_documented_with_its_arguments():
    expected = {}
    for name in [*COMMANDS, "encoder", "import-hf", "export-hf", "world", "serve"]:
        command = typer.main.get_command(registry().load("command", name))
        expected |= leaves(command, f"ragcore {name}")
    listed = {path: sorted(cells[0] for cells in COMMAND_LINE.get(path, [])) for path in expected}
    assert listed == expected


def test_every_command_of_a_chat_is_documented():
    listed = [cells[0] for cells in COMMAND_LINE["Commands of a chat"]]
    assert listed == [command.usage for command in CHAT_COMMANDS.values()]


def leaves(command: Any, path: str) -> dict[str, list[str]]:
    """Return the arguments and options of a command, or of each subcommand."""
    if hasattr(command, "commands"):
        below: dict[str, list[str]] = {}
        for name, inner in command.commands.items():
            if inner.hidden:
                continue
            below |= leaves(inner, f"{path} {name}")
        return below
    return {path: sorted(map(written, command.params))}


def written(parameter: click.Parameter) -> str:
    """Return a parameter as a user writes it."""
    if parameter.param_type_name == "option":
        return parameter.opts[0]
    return (parameter.metavar or parameter.name or "").upper()


def test_every_hook_is_documented():
    hooks = {name for name in vars(hookspecs) if name.startswith("ragcore_")}
    assert {cells[0] for cells in CONTRACTS["Hooks"]} == hooks


@pytest.mark.parametrize("kind", PROTOCOLS)
def test_every_member_of_a_contract_is_documented(kind):
    members = {
        name
        for name, value in vars(getattr(contracts, kind)).items()
        if (inspect.isfunction(value) or isinstance(value, property | classmethod))
        and (not name.startswith("_") or name in ("__len__", "__iter__"))
    }
    assert {cells[0] for cells in CONTRACTS[kind]} == members


def test_every_capability_of_the_core_is_documented():
    listed = {cells[0] for cells in CONTRACTS["Capabilities"]}
    assert listed == set(get_args(contracts.Capability))
    assert contracts.Component.__doc__ is not None
    assert all(f"`{name}`" in contracts.Component.__doc__ for name in listed)


def test_every_public_name_is_documented():
    assert sorted(cells[0] for cells in CONTRACTS["Names in ragcore"]) == sorted(ragcore.__all__)


def test_every_key_of_a_manifest_is_documented():
    listed = [cells[0] for cells in tables(REFERENCE / "store.md")["manifest.json"]]
    assert listed == [*Manifest.model_fields, "sha256"]

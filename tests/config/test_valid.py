"""Test accepted files: what they become, and that they can be written in full and described."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import yaml

from ragcore.config import config_schema, fill_config, load_config, parse_config
from ragcore.config.source import Mapping, Source
from ragcore.errors import ConfigError
from ragcore.registry.components import ComponentSpec, spec_from_dict, to_plain

VALID = Path(__file__).parent / "valid"
NAMES = sorted(path.name for path in VALID.glob("*.yaml"))
SMALL = "ragcore: 1\nmemory:\n  store: stores/world\n  retriever: {use: words}\n"

pytestmark = pytest.mark.usefixtures("sample")


@pytest.mark.parametrize("name", NAMES)
def test_a_filled_file_loads_to_an_equal_config(name: str, tmp_path: Path) -> None:
    source = tmp_path / name
    source.write_bytes((VALID / name).read_bytes())
    filled = tmp_path / "filled.yaml"
    filled.write_text(fill_config(source), encoding="utf-8")
    assert load_config(filled) == load_config(source)
    assert fill_config(filled) == filled.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_a_valid_file_fits_the_schema(name: str) -> None:
    validator = jsonschema.Draft202012Validator(config_schema())
    validator.validate(yaml.safe_load(fill_config(VALID / name)))


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(config_schema())


@pytest.mark.parametrize(
    "text",
    [
        SMALL + "genrator: {use: echo, model: x}\n",
        SMALL + "generator: {use: echo, modle: x}\n",
        SMALL + "generator: {use: parrot, model: x}\n",
        SMALL + "generator: {model: x}\n",
        SMALL + "rag: {k: -1}\n",
        SMALL + "rag: {abstain: {abov: 1}}\n",
        SMALL.replace("words}", "pair}"),
        SMALL.replace("words}", "mix, retrievers: [{use: words, k2: 1}]}"),
    ],
)
def test_the_schema_refuses_what_reading_refuses(text: str) -> None:
    assert not jsonschema.Draft202012Validator(config_schema()).is_valid(yaml.safe_load(text))
    with pytest.raises(ConfigError):
        parse_config(text)


def test_the_schema_knows_defaults_descriptions_and_names() -> None:
    schema = config_schema()
    tiny = schema["$defs"]["encoder.tiny"]
    assert tiny["properties"]["use"]["const"] == "tiny"
    assert tiny["properties"]["dim"]["default"] == 8
    assert tiny["properties"]["dim"]["description"] == "length of a vector"
    assert tiny["required"] == ["use", "model"]
    assert schema["$defs"]["index"]["properties"]["use"]["enum"] == ["exact", "flat"]
    assert "gone" in schema["$defs"]["generator"]["properties"]["use"]["enum"]
    assert "cannot be loaded" in schema["$defs"]["generator.gone"]["description"]


def test_a_file_becomes_a_config() -> None:
    config = load_config(VALID / "everything.yaml")
    assert config.memory.store == Path("/srv/stores/world")
    assert config.memory.version == "2018-12-01"
    assert config.rag.k == 10
    assert config.rag.abstain is not None
    assert config.rag.abstain.answer == "on"
    assert config.generator is not None
    assert dict(config.generator.config) == {"model": "mini", "template": "{question}\n"}
    pair = config.memory.retriever
    assert (pair.kind, pair.use) == ("retriever", "pair")
    assert pair.build().config is pair.config
    encoder = pair.to_dict()["encoder"]
    assert encoder["model"] == "no"
    assert encoder["scale"] == pytest.approx(1e-4)
    assert encoder["token"] is None


def test_components_are_read_at_any_depth() -> None:
    mix = dict(load_config(VALID / "nested.yaml").memory.retriever.config)
    words, inner = mix["retrievers"]
    assert isinstance(words, ComponentSpec)
    assert isinstance(mix["named"]["again"], ComponentSpec)
    assert [spec.use for spec in inner.config.retrievers] == ["words", "pair"]
    assert inner.config.retrievers[0] == words == mix["named"]["again"]


def test_a_component_can_be_rebuilt_from_its_dict() -> None:
    spec = load_config(VALID / "nested.yaml").memory.retriever
    assert spec_from_dict("retriever", spec.to_dict()) == spec


def test_paths_start_from_the_folder_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "pipelines"
    folder.mkdir()
    (folder / "p.yaml").write_text(
        SMALL.replace(
            "{use: words}",
            "{use: pair, encoder: {use: tiny, model: mini}, index: {use: flat}}",
        )
    )
    monkeypatch.chdir(tmp_path)
    config = load_config("pipelines/p.yaml")
    assert config.memory.store == folder / "stores/world"
    assert dict(config.memory.retriever.config)["cache"] == folder / "cache"


def test_fill_keeps_what_is_written_and_adds_the_rest_in_order(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("memory: {retriever: {k1: 2, use: words}, store: ./s}\nragcore: 1\n")
    assert fill_config(path, ["rag.k=7"]) == (
        "ragcore: 1\n"
        "memory:\n"
        "  store: ./s\n"
        "  version: null\n"
        "  passages: null\n"
        "  corpus: null\n"
        "  retriever:\n"
        "    use: words\n"
        "    k1: 2\n"
        "    stop: []\n"
        "    weights: {}\n"
        "  temperature: 1.0\n"
        "  cache:\n"
        "    folder: null\n"
        "    max_gib: 10.0\n"
        "  verify: sampled\n"
        "generator: null\n"
        "rag:\n"
        "  marginalize: token\n"
        "  decode: thorough\n"
        "  k: 7\n"
        "  beams: 4\n"
        "  max_new_tokens: 32\n"
        "  min_new_tokens: 0\n"
        "  length_penalty: 0.0\n"
        "  no_repeat_ngram: 0\n"
        "  repetition_penalty: 1.0\n"
        "  stop: []\n"
        "  sample: null\n"
        "  grounded: false\n"
        "  where: null\n"
        "  batch_size: 16\n"
        "  drop_below: 0.0\n"
        "  abstain: null\n"
        "  cite: false\n"
        "  write: null\n"
        "  confidence: null\n"
        "  rewrite: null\n"
        "train: null\n"
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("2018-12-01", "2018-12-01"),
        ("12:30:00", "12:30:00"),
        ("1_000", "1_000"),
        ("true", True),
        ("010", 10),
        ("0x10", 16),
        ("1e-4", 1e-4),
        ("+.5", 0.5),
        ("~", None),
        ("", None),
        ("'5'", "5"),
        ("!!str 5", "5"),
    ],
)
def test_plain_scalars_follow_the_core_schema_of_yaml_1_2(text: str, value: object) -> None:
    tree = Source(f"key: {text}\n", "text").tree()
    assert isinstance(tree, Mapping)
    found = getattr(tree.entries["key"].value, "value", tree)
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize(
    ("path", "words"),
    [("nowhere.yaml", "no such file"), (".", "a folder")],
)
def test_a_file_that_cannot_be_read(path: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_config(path)


@pytest.mark.parametrize("text", ["[" * 5000, "a: " + "{b: " * 5000])
def test_absurd_nesting_is_a_fault_like_others(text: str) -> None:
    with pytest.raises(ConfigError, match="nested too deeply"):
        parse_config(text)


def test_aliases_that_multiply_are_a_fault() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, 9):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]")
    with pytest.raises(ConfigError, match="more than 100,000 values"):
        parse_config("\n".join(lines))


def test_a_config_as_plain_values_is_what_fill_writes_where_nothing_is_relative() -> None:
    config = parse_config(SMALL.replace("stores", "/stores"))
    assert to_plain(config)["memory"]["retriever"] == {
        "use": "words",
        "k1": 1.2,
        "stop": [],
        "weights": {},
    }

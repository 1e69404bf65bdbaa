"""Test overrides: what they change, and the messages about those that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragcore.config import PipelineConfig, load_config, parse_config
from ragcore.errors import ConfigError

VALID = Path(__file__).parent / "valid"
TEXT = """\
ragcore: 1
memory:
  store: stores/world
  retriever:
    use: pair
    encoder: {use: tiny, model: mini}
    index: {use: flat}
generator: {use: echo, model: mini, template: '{question}'}
"""

pytestmark = pytest.mark.usefixtures("sample")


def read(*overrides: str) -> PipelineConfig:
    return parse_config(TEXT, "p.yaml", overrides=overrides)


def refusal(*overrides: str) -> str:
    with pytest.raises(ConfigError) as raised:
        read(*overrides)
    return str(raised.value)


def test_values_are_read_as_yaml() -> None:
    config = read(
        "rag.k=10",
        "rag.abstain={answer: not given, above: 0.25}",
        "memory.version='2018'",
        "memory.retriever.index.factory=IVF64,Flat",
        "memory.retriever.encoder.lower = false",
    )
    assert config.rag.k == 10
    assert config.rag.abstain is not None
    assert config.rag.abstain.answer == "not given"
    assert config.memory.version == "2018"
    retriever = config.memory.retriever.to_dict()
    assert retriever["index"]["factory"] == "IVF64,Flat"
    assert retriever["encoder"]["lower"] is False


def test_an_override_may_create_sections() -> None:
    assert read("rag.abstain.above=0.1").rag.abstain is not None


def test_the_last_override_of_a_key_wins() -> None:
    assert read("rag.k=3", "rag.k=4").rag.k == 4


def test_nothing_after_the_equals_sign_is_null() -> None:
    assert read("generator=").generator is None


def test_an_item_of_a_list_is_named_by_its_index() -> None:
    config = load_config(VALID / "nested.yaml", ["memory.retriever.retrievers.1.retrievers.0.k1=9"])
    retrievers = config.memory.retriever.to_dict()["retrievers"]
    assert retrievers[1]["retrievers"][0]["k1"] == 9
    assert retrievers[0]["k1"] == 1.5  # the same anchor in the file, but another position


def test_another_component_keeps_the_keys_that_it_knows() -> None:
    config = read("memory.retriever.encoder={use: tiny, model: other}")
    assert config.memory.retriever.to_dict()["encoder"]["model"] == "other"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "rag.kk=10",
            "override 'rag.kk=10': unknown key 'kk' in 'rag': did you mean 'k'? allowed: "
            "marginalize, decode, k, beams, max_new_tokens, min_new_tokens, length_penalty, "
            "no_repeat_ngram, repetition_penalty, stop, sample, grounded, where, batch_size, "
            "drop_below, abstain, cite, write, confidence, rewrite",
        ),
        (
            "memry.version=a",
            "override 'memry.version=a': unknown key 'memry' in the pipeline: did you mean "
            "'memory'? allowed: ragcore, memory, generator, rag, train",
        ),
        ("rag.k=ten", "override 'rag.k=ten': k: expected an integer, found the string 'ten'"),
        ("rag.k=-1", "override 'rag.k=-1': k: must be at least 0, found -1"),
        ("rag.k", "override 'rag.k': not an override: write KEY.KEY=VALUE, as in rag.k=10"),
        ("=5", "override '=5': not an override: write KEY.KEY=VALUE, as in rag.k=10"),
        (
            "generator.model.size=5",
            "override 'generator.model.size=5': 'generator.model' has no keys: it is the "
            "string 'mini'",
        ),
        (
            "rag.k=[1",
            "override 'rag.k=[1': not valid YAML while parsing a flow sequence that begins in "
            "line 1: expected ',' or ']', but the file ends",
        ),
        (
            "rag={k: 1, k: 2}",
            "override 'rag={k: 1, k: 2}': the key 'k' is already there: remove one of the two",
        ),
        (
            "generator.use=eco",
            "override 'generator.use=eco': unknown generator 'eco': did you mean 'echo'? "
            "installed: bare, crash, echo, gone",
        ),
        (
            "generator={model: mini}",
            "override 'generator={model: mini}': missing key 'use', which names the generator: "
            "write {use: NAME, …}; installed: bare, crash, echo, gone",
        ),
        (
            "memory.retriever=words",
            "override 'memory.retriever=words': retriever: expected a retriever as a mapping with "
            "'use', found the string 'words': write {use: words}; installed: dense, hybrid, "
            "mix, pair, rerank, with-metadata, words",
        ),
    ],
)
def test_a_refused_override_is_named(override: str, message: str) -> None:
    assert refusal(override) == message


def test_an_index_that_a_list_does_not_have() -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(VALID / "nested.yaml", ["memory.retriever.retrievers.2.k1=1"])
    assert str(raised.value) == (
        "override 'memory.retriever.retrievers.2.k1=1': 'memory.retriever.retrievers' is a list of "
        "2 items: '2' is not an index of it; they are counted from 0"
    )


def test_keys_that_another_component_does_not_know_name_the_override_that_chose_it() -> None:
    assert refusal("generator.use=crash") == (
        "p.yaml:8:37: unknown key 'template' in generator 'crash' (chosen by override "
        "'generator.use=crash'): allowed: use, model\n"
        "    generator: {use: echo, model: mini, template: '{question}'}\n"
        "                                        ^\n"
        "override 'generator.use=crash': generator 'crash' cannot check its config: "
        "KeyError: 'mini'"
    )


def test_a_key_that_another_component_lacks_names_the_override_that_chose_it() -> None:
    assert "missing key 'retrievers' in retriever 'mix' (chosen by override" in refusal(
        "memory.retriever.use=mix"
    )


def test_faults_of_the_file_come_before_those_of_overrides() -> None:
    with pytest.raises(ConfigError) as raised:
        parse_config(TEXT + "extra: 1\n", "p.yaml", overrides=["rag.k=-1", "rag.b=1"])
    starts = [line.split(": ")[0] for line in str(raised.value).splitlines() if line[0] != " "]
    assert starts == ["p.yaml:9:1", "override 'rag.k=-1'", "override 'rag.b=1'"]

"""Test secrets: filled in from the environment, and never written or shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import BaseModel, Field

from ragcore.config import fill_config, load_config, parse_config
from ragcore.config.overrides import apply_overrides
from ragcore.config.reader import ConfigReader
from ragcore.config.source import Mapping, Source
from ragcore.errors import ConfigError
from ragcore.registry.components import ComponentSpec, spec_from_dict

SECRET = "s3cr3t: {a} 'b' \"c\" \\ \n d"
TEXT = """\
ragcore: 1
memory:
  store: stores/${env:RAGCORE_TEST_PLACE}
  retriever:
    use: mix
    retrievers:
    - use: pair
      encoder: {use: tiny, model: mini, token: "${env:RAGCORE_TEST_SECRET}"}
      index: {use: flat}
    - {use: words, stop: ["a", "Bearer ${env:RAGCORE_TEST_SECRET}"]}
"""

pytestmark = pytest.mark.usefixtures("sample")


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGCORE_TEST_SECRET", SECRET)
    monkeypatch.setenv("RAGCORE_TEST_PLACE", "world")


def specs(text: str = TEXT) -> tuple[ComponentSpec, ComponentSpec]:
    pair, words = dict(parse_config(text).memory.retriever.config)["retrievers"]
    return pair, words


def test_a_secret_is_filled_in_in_any_string() -> None:
    pair, words = specs()
    assert dict(dict(pair.config)["encoder"].config)["token"] == SECRET
    assert dict(words.config)["stop"] == ["a", f"Bearer {SECRET}"]
    assert parse_config(TEXT, base="/srv").memory.store == Path("/srv/stores/world")


def test_a_component_gives_the_secret_as_it_was_written() -> None:
    retriever = parse_config(TEXT).memory.retriever
    written = retriever.to_dict()
    assert written["retrievers"][0]["encoder"]["token"] == "${env:RAGCORE_TEST_SECRET}"
    assert written["retrievers"][1]["stop"] == ["a", "Bearer ${env:RAGCORE_TEST_SECRET}"]
    assert "s3cr3t" not in json.dumps(written)
    assert "s3cr3t" not in repr(retriever)
    for spec in specs():
        assert "s3cr3t" not in json.dumps(spec.to_dict())


def test_fill_leaves_the_secret_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(TEXT)
    filled = fill_config(path)
    assert "s3cr3t" not in filled
    assert "store: stores/${env:RAGCORE_TEST_PLACE}" in filled
    (tmp_path / "filled.yaml").write_text(filled)
    assert load_config(tmp_path / "filled.yaml") == load_config(path)


def test_an_override_may_name_a_secret() -> None:
    config = parse_config(TEXT, overrides=["memory.version=${env:RAGCORE_TEST_PLACE}"])
    assert config.memory.version == "world"


def test_components_with_different_secrets_are_not_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    first = specs()[0].shared()
    assert specs()[0].shared() is first
    monkeypatch.setenv("RAGCORE_TEST_SECRET", "another")
    assert specs()[0].shared() is not first


def test_no_message_shows_a_secret() -> None:
    text = TEXT.replace("use: words, stop", "use: '${env:RAGCORE_TEST_SECRET}', stop").replace(
        "model: mini", "model: mini, pooling: '${env:RAGCORE_TEST_SECRET}', dim: '${env:HOME}'"
    )
    with pytest.raises(ConfigError) as raised:
        parse_config(text)
    assert "s3cr3t" not in str(raised.value)
    assert "unknown retriever '${env:RAGCORE_TEST_SECRET}'" in str(raised.value)
    assert "found the string '${env:RAGCORE_TEST_SECRET}'" in str(raised.value)


def test_a_recorded_component_with_a_secret_cannot_be_rebuilt_without_its_file() -> None:
    with pytest.raises(ConfigError, match="names a secret"):
        spec_from_dict("retriever", specs()[0].to_dict())


@pytest.mark.parametrize("order", [("SHORT", "LONG"), ("LONG", "SHORT")])
def test_a_secret_that_begins_like_another_is_hidden_whole(
    monkeypatch: pytest.MonkeyPatch, order: tuple[str, str]
) -> None:
    monkeypatch.setenv("SHORT", "hunter")
    monkeypatch.setenv("LONG", "hunter2-swordfish")
    first, second = (f"${{env:{name}}}" for name in order)
    text = TEXT.replace("model: mini", f"model: mini, pooling: '{first}', dim: '{second}'").replace(
        "use: words, stop", "use: '${env:LONG}', stop"
    )
    with pytest.raises(ConfigError) as raised:
        parse_config(text)
    message = str(raised.value)
    assert "unknown retriever '${env:LONG}'" in message
    assert "hunter" not in message
    assert "swordfish" not in message


class Service(BaseModel):
    """Settings of which one is marked as a secret."""

    url: str = ""
    password: str = Field("", repr=False, min_length=12)
    size: int = 1


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        (
            "{url: http://me:hunter2@host, password: hunter2, size: many}",
            [],
            "p.yaml:1:41: password: must have at least 12 characters, found the string '…'\n"
            "    {url: http://…@host, password: …, size: many}\n"
            "                                   ^\n"
            "p.yaml:1:56: size: expected an integer, found the string 'many'\n"
            "    {url: http://…@host, password: …, size: many}\n"
            "                                            ^",
        ),
        (
            "{}",
            ["password=hunter2"],
            "override 'password=…': password: must have at least 12 characters, "
            "found the string '…'",
        ),
    ],
)
def test_a_secret_that_is_written_out_is_in_no_message(
    text: str, overrides: list[str], message: str
) -> None:
    source = Source(text, "p.yaml", overrides)
    tree = source.tree()
    assert isinstance(tree, Mapping)
    apply_overrides(tree, source)
    assert ConfigReader(source, Path()).read(tree, Service, "the service") is None
    assert source.show() == message

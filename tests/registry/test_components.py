"""Component specs: what a manifest records is read back, and equal configs share a component."""

from __future__ import annotations

import pytest

from ragcore import SimpleRetriever
from ragcore.contracts import Retriever
from ragcore.errors import ConfigError, UnknownComponentError
from ragcore.registry.components import ComponentConfig, ComponentSpec, spec_from_dict
from ragcore.retrievers.dense import Dense
from ragcore.retrievers.flat import Exact
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.conftest import Installed
from tests.helpers.word_encoder import WordEncoder, dense_part


@pytest.fixture
def words(installed: Installed) -> Installed:
    """Install a plugin that provides the encoder `words`."""
    installed.add("words", "from tests.helpers.word_encoder import ragcore_encoders\n")
    return installed


@pytest.mark.usefixtures("words")
def test_a_spec_is_rebuilt_from_its_dict() -> None:
    spec = dense_part(seed=3, batch_size=7)
    again = spec_from_dict("retriever", spec.to_dict())
    assert again == spec
    assert isinstance(again.config, Dense.Config)
    assert again.config.encoder.component is WordEncoder
    assert again.config.index.component is Exact


@pytest.mark.usefixtures("words")
def test_a_version_opens_from_its_recorded_spec(installed: Installed) -> None:
    store = Store(installed.folder / "store")
    store.build("one", [Passage("1", "", "text")], dense_part(seed=3))
    memory = store.open()
    assert memory.retriever.fingerprint == "words(seed=3,d=32)"
    assert memory.hits(["text"], 1).rows.tolist() == [[0]]


@pytest.mark.usefixtures("words")
@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ({}, ConfigError, "expected a mapping with 'use'"),
        ({"use": "densest"}, UnknownComponentError, "did you mean 'dense'"),
        ({"use": "dense", "index": {"use": "exact"}}, ConfigError, "(?s)'dense'.*encoder"),
        (
            {"use": "dense", "index": {"use": "exact"}, "encoder": {"use": "words", "din": 5}},
            ConfigError,
            "(?s)encoder 'words'.*din",
        ),
        (
            {"use": "dense", "index": {"use": "exact", "key": "${env:KEY}"}},
            ConfigError,
            "index 'exact'.*names a secret",
        ),
    ],
)
def test_a_record_without_a_fitting_component_is_an_error(
    data: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        spec_from_dict("retriever", data)


@pytest.mark.usefixtures("words")
def test_specs_in_lists_and_optional_fields_are_rebuilt(installed: Installed) -> None:
    installed.add(
        "many",
        "from ragcore import hookimpl\n"
        "@hookimpl\n"
        "def ragcore_retrievers():\n"
        "    return {'many': 'tests.registry.test_components:Many'}\n",
    )
    inner = [dense_part(seed=1), dense_part(seed=2)]
    spec = ComponentSpec("retriever", "many", Many, Many.Config(retrievers=inner, best=None))
    assert spec_from_dict("retriever", spec.to_dict()) == spec
    single = ComponentSpec("retriever", "many", Many, Many.Config(retrievers=[], best=inner[0]))
    assert spec_from_dict("retriever", single.to_dict()) == single


def test_equal_configs_share_one_component_of_one_class() -> None:
    class Other(WordEncoder):
        pass

    first = ComponentSpec("encoder", "words", WordEncoder, WordEncoder.Config(seed=8))
    same = ComponentSpec("encoder", "words", WordEncoder, WordEncoder.Config(seed=8))
    other_seed = ComponentSpec("encoder", "words", WordEncoder, WordEncoder.Config(seed=9))
    other_class = ComponentSpec("encoder", "words", Other, WordEncoder.Config(seed=8))
    encoder = first.shared()
    assert same.shared() is encoder
    assert other_seed.shared() is not encoder
    assert other_class.shared() is not encoder


class Many(SimpleRetriever):
    class Config(ComponentConfig):
        retrievers: list[ComponentSpec[Retriever]]
        best: ComponentSpec[Retriever] | None

    def scores(self, question: str) -> list[float]:
        return [0.0] * len(self)

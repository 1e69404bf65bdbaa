"""Test the back door: which settings it respects when it opens and updates a memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import ragcore
from ragcore.config import load_config
from ragcore.errors import ConfigError, StoreCorruptError
from ragcore.store.store import Store
from tests.conftest import Installed
from tests.store.test_store import flip

PIPELINE = """\
ragcore: 1
memory:
  store: store
  corpus: {use: jsonl, path: passages.jsonl}
  retriever: {use: dense, encoder: {use: words}, index: {use: exact}}
  temperature: 0.5
"""


def write_corpus(folder: Path, count: int) -> None:
    lines = [json.dumps({"id": f"p{n}", "title": "", "text": f"word{n}"}) for n in range(count)]
    (folder / "passages.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def pipeline(installed: Installed, tmp_path: Path) -> Path:
    """Build version one from nine passages; then the corpus gains a tenth."""
    installed.add("words", "from tests.helpers.word_encoder import ragcore_encoders\n")
    path = tmp_path / "pipeline.yaml"
    path.write_text(PIPELINE, encoding="utf-8")
    write_corpus(tmp_path, 9)
    ragcore.build_memory(path, version="one")
    write_corpus(tmp_path, 10)
    return path


def damage(pipeline: Path, version: str = "one") -> None:
    """Change one bit of the vectors, which sizes do not show."""
    flip(
        pipeline.parent / "store" / "versions" / version / "retriever" / "index" / "vectors.npy",
        200,
    )


def let_sizes_be_enough(pipeline: Path) -> None:
    pipeline.write_text(f"{PIPELINE}  verify: false\n", encoding="utf-8")


def test_an_update_from_a_corpus_verifies_the_parent_unless_told_not_to(pipeline: Path) -> None:
    damage(pipeline)
    with pytest.raises(StoreCorruptError, match=r"vectors\.npy has sha256"):
        ragcore.update_memory(pipeline, version="two")
    assert [info.name for info in Store(pipeline.parent / "store").versions()] == ["one"]
    let_sizes_be_enough(pipeline)
    info = ragcore.update_memory(pipeline, version="two")
    assert (info.name, info.passages) == ("two", 10)


@pytest.mark.parametrize("form", ["path", "config", "section"])
def test_a_memory_opens_as_its_section_says_whatever_names_it(pipeline: Path, form: str) -> None:
    forms: dict[str, Any] = {
        "path": lambda: pipeline,
        "config": lambda: load_config(pipeline),
        "section": lambda: load_config(pipeline).memory,
    }
    with ragcore.open_memory(forms[form]()) as memory:
        assert (memory.version, len(memory), memory.temperature) == ("one", 9, 0.5)
    damage(pipeline)
    with pytest.raises(StoreCorruptError, match=r"vectors\.npy"):
        ragcore.open_memory(forms[form]())
    ragcore.open_memory(forms[form](), verify=False).close()
    let_sizes_be_enough(pipeline)
    ragcore.open_memory(forms[form]()).close()
    with pytest.raises(StoreCorruptError, match=r"vectors\.npy"):
        ragcore.open_memory(forms[form](), verify=True)


def test_the_version_is_the_one_asked_for_else_the_files_else_the_current(pipeline: Path) -> None:
    ragcore.update_memory(pipeline, version="two")
    ragcore.update_memory(pipeline, version="three")
    with ragcore.open_memory(pipeline) as memory:
        assert memory.version == "three"
    with ragcore.open_memory(pipeline, "memory.version=two") as memory:
        assert memory.version == "two"
    with ragcore.open_memory(pipeline, "memory.version=two", version="one") as memory:
        assert memory.version == "one"


def test_overrides_of_a_loaded_config_are_refused(pipeline: Path) -> None:
    with pytest.raises(ConfigError, match=r"give the pipeline's path"):
        ragcore.open_memory(load_config(pipeline), "memory.temperature=1")


RACING = """\
from ragcore.hookspecs import hookimpl
from ragcore.registry.components import ComponentConfig, ConfigPath
from ragcore.store.store import Store
from ragcore.types import Passage

class Racing:
    capabilities = frozenset()

    class Config(ComponentConfig):
        store: ConfigPath

    def __init__(self, config):
        self.store = Store(config.store)

    def __iter__(self):
        self.store.activate("other")
        yield Passage("p0", "", "word0")
        yield Passage("new", "", "words")

@hookimpl
def ragcore_corpora():
    return {"racing": "racing_plugin:Racing"}
"""


def test_an_update_compares_the_version_that_it_changes(
    pipeline: Path, installed: Installed
) -> None:
    """Another version becomes the current one while the corpus is read."""
    ragcore.build_memory(pipeline, version="other")
    store = Store(pipeline.parent / "store")
    store.activate("one")
    installed.add("racing", RACING)
    racing = PIPELINE.replace("{use: jsonl, path: passages.jsonl}", "{use: racing, store: store}")
    pipeline.write_text(racing, encoding="utf-8")
    ragcore.update_memory(pipeline, version="two")
    assert store.manifest("two").parent == "one"
    with store.passages("two") as passages:
        assert [passage.id for passage in passages] == ["p0", "new"]

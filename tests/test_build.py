"""Test the back door: which settings it respects when it opens and updates a memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import ragcore
from ragcore.config import load_config
from ragcore.errors import ConfigError, CorpusError, PluginError, StoreCorruptError, StoreError
from ragcore.store.manifest import Manifest
from ragcore.store.portable import portable
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
    write_corpus(pipeline.parent, 11)
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


FILED = """\
from pathlib import Path
from ragcore import ModelName, hookimpl
from ragcore.errors import PluginError
from ragcore.registry.components import ComponentConfig
from tests.helpers.word_encoder import WordEncoder

class Filed(WordEncoder):
    class Config(ComponentConfig):
        model: ModelName
        prefix: str = ""
        prompts: dict[str, ModelName] = {}

    def __init__(self, config):
        path = Path(config.model) / "seed"
        if not path.is_file():
            raise PluginError(f"model {config.model!r} is no folder")
        super().__init__(WordEncoder.Config(seed=int(path.read_text())))

@hookimpl
def ragcore_encoders():
    return {"filed": "filed_plugin:Filed"}
"""


@pytest.fixture
def project(installed: Installed, tmp_path: Path) -> Path:
    """Build version one by a pipeline whose encoder is a folder of the project."""
    installed.add("filed", FILED)
    folder = tmp_path / "alice" / "project"
    (folder / "models" / "enc").mkdir(parents=True)
    (folder / "models" / "enc" / "seed").write_text("7")
    text = PIPELINE.replace("{use: words}", "{use: filed, model: models/enc}")
    (folder / "pipeline.yaml").write_text(text.replace("store: store", "store: stores/s"))
    write_corpus(folder, 9)
    ragcore.build_memory(folder / "pipeline.yaml", version="one")
    (folder / "changes.jsonl").write_text('{"id": "new", "text": "new"}\n')
    return folder


def test_a_manifest_records_paths_as_they_were_written(project: Path) -> None:
    text = (project / "stores/s/versions/one/manifest.json").read_text()
    assert "alice" not in text
    manifest = Store(project / "stores/s").manifest()
    assert manifest.retriever["encoder"]["model"] == "models/enc"
    assert manifest.paths == ["/retriever/encoder/model", "/corpus/path"]
    assert (manifest.corpus or {})["path"] == "passages.jsonl"
    assert manifest.base == "../.."


def test_a_project_that_has_moved_is_updated_by_its_store(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = tmp_path / "bob"
    project.rename(moved)
    monkeypatch.chdir(tmp_path)
    info = ragcore.update_memory(moved / "stores" / "s", moved / "changes.jsonl", version="two")
    assert (info.name, info.passages) == ("two", 10)
    one, two = (Store(moved / "stores/s").manifest(name) for name in ("one", "two"))
    assert (two.retriever, two.corpus, two.base) == (one.retriever, one.corpus, one.base)
    Store(Path("bob/stores/s")).open("two").close()


def test_an_error_says_where_the_path_came_from(project: Path) -> None:
    (project / "models" / "enc" / "seed").unlink()
    with pytest.raises(PluginError) as caught:
        ragcore.update_memory(project / "stores/s", project / "changes.jsonl")
    message = str(caught.value)
    assert f"those in {project / 'stores/s/versions/one/manifest.json'}" in message
    assert f"relative paths start from {project}" in message
    # With the pipeline's own settings the manifest has nothing to do with it.
    with pytest.raises(PluginError, match=r"is no folder$"):
        ragcore.open_memory(project / "pipeline.yaml")


def test_an_export_cuts_paths_and_no_other_texts(project: Path, tmp_path: Path) -> None:
    encoder = project / "models" / "enc"
    settings = f"model: {encoder}, prefix: /system/ask me, prompts: {{a/b: {encoder}}}"
    text = PIPELINE.replace("{use: words}", f"{{use: filed, {settings}}}")
    pipeline = project / "absolute.yaml"
    pipeline.write_text(
        text.replace("store: store", "store: stores/t").replace(
            "path: passages.jsonl", f"path: {project / 'passages.jsonl'}"
        )
    )
    ragcore.build_memory(pipeline, version="one")
    store = Store(project / "stores/t")
    assert store.manifest().paths == [
        "/retriever/encoder/model",
        "/retriever/encoder/prompts/a~1b",
        "/corpus/path",
    ]
    for version in ("one", "two"):
        other = Store(tmp_path / f"other-{version}")
        store.export(tmp_path / "out.tar", version)
        other.import_version(tmp_path / "out.tar")
        manifest = other.manifest(version)
        assert "alice" not in manifest.spelled().decode()
        recorded = manifest.retriever["encoder"]
        assert recorded["prefix"] == "/system/ask me"
        assert recorded["model"] == recorded["prompts"]["a/b"] == "enc"
        assert (manifest.corpus or {})["path"] == "passages.jsonl"
        if version == "one":
            ragcore.update_memory(pipeline, project / "changes.jsonl", version="two")


def test_a_path_of_one_name_is_cut_where_the_manifest_says_that_it_is_one(project: Path) -> None:
    folder = project / "stores/s/versions/one"
    manifest = Manifest.read(folder).model_copy(
        update={"retriever": {"use": "dense", "model": "/m", "prefix": "/a/b"}, "base": "."}
    )
    named = manifest.model_copy(update={"paths": ["/retriever/model"]})
    fields = json.loads(portable(named, folder))["retriever"]
    assert (fields["model"], fields["prefix"]) == ("m", "/a/b")
    # A manifest of before does not say it: it is guessed.
    guessed = manifest.model_copy(update={"paths": None})
    fields = json.loads(portable(guessed, folder))["retriever"]
    assert (fields["model"], fields["prefix"]) == ("/m", "b")


def test_an_error_of_an_import_names_no_working_folder(project: Path, tmp_path: Path) -> None:
    Store(project / "stores/s").export(tmp_path / "one.tar")
    with pytest.raises(StoreError, match=r"versions/one/manifest\.json") as caught:
        Store(tmp_path / "a/b/c").import_version(tmp_path / "one.tar", activate=True)
    assert ".building-" not in str(caught.value)


def test_a_manifest_of_before_with_an_absolute_path_opens(project: Path) -> None:
    folder = project / "stores/s/versions/one"
    manifest = Manifest.read(folder)
    encoder = {**manifest.retriever["encoder"], "model": str(project / "models" / "enc")}
    retriever = {**manifest.retriever, "encoder": encoder}
    manifest.model_copy(update={"retriever": retriever, "base": None}).write(folder)
    ragcore.update_memory(project / "stores/s", project / "changes.jsonl", version="two")
    assert Store(project / "stores/s").manifest("two").retriever == retriever


def test_a_version_that_is_not_activated_leaves_the_current_one(pipeline: Path) -> None:
    store = Store(pipeline.parent / "store")
    built = ragcore.build_memory(pipeline, version="two", activate=False)
    updated = ragcore.update_memory(pipeline, version="three", activate=False)
    assert (built.current, updated.current, store.current()) == (False, False, "one")


def test_versions_of_one_day_have_names_of_their_own(pipeline: Path) -> None:
    first = ragcore.build_memory(pipeline).name
    second = ragcore.build_memory(pipeline).name
    ragcore.update_memory(pipeline, parent="one")
    names = [info.name for info in Store(pipeline.parent / "store").versions()]
    assert len(names) == 4
    assert second in (f"{first}-2", names[1])


def test_a_repeated_id_in_the_corpus_stops_an_update(pipeline: Path) -> None:
    with (pipeline.parent / "passages.jsonl").open("a") as file:
        file.write('{"id": "p3", "text": "again"}\n')
    with pytest.raises(CorpusError, match="'p3', which an earlier passage has"):
        ragcore.update_memory(pipeline, version="two")


def test_nan_in_a_corpus_is_refused_by_its_line(pipeline: Path) -> None:
    for value in ("NaN", "-Infinity", "1e999"):
        write_corpus(pipeline.parent, 3)
        with (pipeline.parent / "passages.jsonl").open("a") as file:
            file.write(f'{{"id": "x", "text": "x", "price": {value}}}\n')
        with pytest.raises(CorpusError, match=r"write (a string or )?null"):
            ragcore.build_memory(pipeline, version="two")

"""`ragcore cache`, and what builds and updates say of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import ragcore
from ragcore.cli import main
from ragcore.embeddings.cache import Encodings
from ragcore.embeddings.database import vector_files
from tests.conftest import Installed

PIPELINE = """\
ragcore: 1
memory:
  store: store
  corpus: {use: jsonl, path: passages.jsonl}
  retriever: {use: dense, encoder: {use: words}, index: {use: exact}}
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAGCORE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def pipeline(installed: Installed, tmp_path: Path, cache: Path) -> Path:
    installed.add("words", "from tests.helpers.word_encoder import ragcore_encoders\n")
    write_corpus(tmp_path, 9, 2018)
    path = tmp_path / "pipeline.yaml"
    path.write_text(PIPELINE, encoding="utf-8")
    return path


def write_corpus(folder: Path, count: int, year: int) -> None:
    lines = [
        json.dumps({"id": f"p{n}", "title": f"t{n}", "text": f"word{n}", "year": year})
        for n in range(count)
    ]
    (folder / "passages.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command that must succeed, and return its output."""
    code = main([*map(str, arguments)])
    out, err = capsys.readouterr()
    assert code == 0, err
    return " ".join(out.split())


def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command that must fail with a user's error, and return the message."""
    assert main([*map(str, arguments)]) == 2
    return capsys.readouterr().err


def test_a_build_says_what_the_cache_saved(
    pipeline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = run(capsys, "memory", "build", pipeline, "--version", "one")
    assert "9 encoded, 0 from the cache; it is the current one" in out
    other = run(capsys, "memory", "build", pipeline, "memory.store=other", "--json")
    assert json.loads(other)["encodings"] == {"encoded": 0, "from_cache": 9, "resumed": 0}
    fresh = ragcore.build_memory(pipeline, version="fresh", fresh=True)
    assert fresh.encodings == Encodings(9, 0)


def test_an_update_says_what_the_cache_saved(
    pipeline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ragcore.build_memory(pipeline, version="one")
    # Metadata alone, and one passage more.
    write_corpus(pipeline.parent, 10, 2019)
    updated = ragcore.update_memory(pipeline, version="two")
    assert updated.encodings == Encodings(1, 9)
    assert (updated.added, updated.changed, updated.encodings_saved) == (1, 9, 9)
    # A store without a pipeline has the default cache.
    changes = pipeline.parent / "changes.jsonl"
    row = {"id": "new", "title": "t3", "text": "word3"}
    changes.write_text(json.dumps(row) + "\n", encoding="utf-8")
    out = run(capsys, "memory", "update", pipeline.parent / "store", changes)
    assert "0 encoded, 1 from the cache" in out


def test_a_pipeline_names_its_own_cache_or_none(
    pipeline: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    built = ragcore.build_memory(pipeline, "memory.cache=null", version="one")
    assert built.encodings == Encodings(9, 0)
    assert not cache.exists()
    own = "memory.cache.folder=own"
    assert ragcore.build_memory(pipeline, own, version="two").encodings == Encodings(9, 0)
    assert ragcore.build_memory(pipeline, own, version="three").encodings == Encodings(0, 9)
    assert (pipeline.parent / "own").is_dir()
    assert not cache.exists()
    pipeline.write_text(PIPELINE + "  cache: {folder: own}\n", encoding="utf-8")
    assert f"{pipeline.parent / 'own'}: " in run(capsys, "cache", "show", pipeline)
    pipeline.write_text(PIPELINE + "  cache: null\n", encoding="utf-8")
    assert "memory.cache is null" in fails(capsys, "cache", "show", pipeline)


def test_show_lists_encoders(
    pipeline: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "cache", "show") == f"{cache}: 0 B of 10.7 GB"
    ragcore.build_memory(pipeline, version="one")
    shown = run(capsys, "cache", "show")
    assert "9 32" in shown
    assert "words(seed=0,d=32)" in shown
    row = json.loads(run(capsys, "cache", "show", "--json"))
    (encoder,) = row["encoders"]
    assert (encoder["vectors"], encoder["dim"]) == (9, 32)
    assert row["bytes"] == encoder["bytes"]
    vector_files(cache)[0].write_bytes(b"nothing" * 999)
    assert "broken" in run(capsys, "cache", "show")
    (encoder,) = json.loads(run(capsys, "cache", "show", "--json"))["encoders"]
    assert "not a database" in encoder["broken"]


def test_prune_clear_and_forget(
    pipeline: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ragcore.build_memory(pipeline, version="one")
    assert "0 B freed" in run(capsys, "cache", "prune")
    assert "0 B freed" in run(capsys, "cache", "prune", "--unused-days", "1")
    passages = pipeline.parent / "secret.jsonl"
    row = {"title": "t3", "text": "word3"}
    passages.write_text(json.dumps(row) + "\n", encoding="utf-8")
    assert f"{cache}: 1 vectors removed" in run(capsys, "cache", "forget", passages)
    assert ragcore.build_memory(pipeline, version="two").encodings == Encodings(1, 8)
    assert json.loads(run(capsys, "cache", "prune", "--max-gib", "0", "--json"))["freed"] >= 0
    assert ragcore.build_memory(pipeline, version="three").encodings == Encodings(9, 0)
    both = ("--max-gib", "1", "--unused-days", "1")
    assert "give one of them" in fails(capsys, "cache", "prune", *both)
    assert "freed, 0 B left" in run(capsys, "cache", "clear")
    assert ragcore.build_memory(pipeline, version="four").encodings == Encodings(9, 0)


def test_forgetting_everywhere_forgets_in_the_cache(
    pipeline: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ragcore.build_memory(pipeline, version="one")
    out = run(capsys, "memory", "forget", pipeline, "p3", "--version", "two")
    assert f"left in the embedding cache {cache}: --everywhere removes vectors there, too" in out
    out = run(capsys, "memory", "forget", pipeline, "p3", "--everywhere")
    assert f"1 vectors removed from the embedding cache {cache}" in out
    assert ragcore.build_memory(pipeline, version="three").encodings == Encodings(1, 8)
    # By the store's folder, the default cache is meant.
    store = pipeline.parent / "store"
    row = json.loads(run(capsys, "memory", "forget", store, "p4", "--everywhere", "--json"))
    assert row["cache"] == {"vectors": 1, "left": {}}
    (path,) = vector_files(cache)
    path.write_bytes(b"nothing" * 999)
    out = run(capsys, "memory", "forget", pipeline, "p5", "--everywhere")
    assert f"left in the embedding cache {path}: file is not a database: delete this file" in out


FORGETFUL = """
from pathlib import Path

from ragcore import hookimpl


@hookimpl
def ragcore_generators():
    return {"table": "tests.helpers.table_generator:TableGenerator"}


@hookimpl
def ragcore_forget(config, passages):
    assert config.vocabulary == 4
    (Path(__file__).parent / "forgotten").write_text(" ".join(each.text for each in passages))
    return {"states": len(passages)}
"""


def test_forgetting_everywhere_asks_the_plugin_of_the_generator(
    pipeline: Path, installed: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    ragcore.build_memory(pipeline, version="one")
    with ragcore.open_memory(pipeline) as memory:
        text = memory.passages.by_id(["p3", "absent"])["p3"].text
    installed.add("forgetful", FORGETFUL)
    out = run(capsys, "memory", "forget", pipeline, "p3", "--everywhere", "--version", "two")
    # The pipeline has no generator.
    assert "what a generator keeps" not in out
    pipeline.write_text(PIPELINE + "generator: {use: table}\n", encoding="utf-8")
    forgotten = installed.folder / "forgotten"
    run(capsys, "memory", "forget", pipeline, "p4", "--version", "three")
    assert not forgotten.exists()
    out = run(capsys, "memory", "forget", pipeline, "p4", "--everywhere")
    assert "1 passage removed from what a generator keeps in states" in out
    assert forgotten.read_text() == text.replace("3", "4")
    row = json.loads(run(capsys, "memory", "forget", pipeline, "p5", "--everywhere", "--json"))
    assert row["states"] == {"states": 1}


def test_what_cannot_be_forgotten_is_an_error(
    pipeline: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ragcore.build_memory(pipeline, version="one")
    (path,) = vector_files(cache)
    path.write_bytes(b"nothing" * 999)
    message = fails(capsys, "cache", "forget", pipeline.parent / "passages.jsonl")
    assert str(path) in message
    assert "ragcore cache clear" in message


def test_a_cache_that_is_switched_off_is_not_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAGCORE_CACHE", "off")
    assert "RAGCORE_CACHE is off" in fails(capsys, "cache", "show")


def test_show_imports_no_model_library_and_no_numpy(pipeline: Path, cache: Path) -> None:
    ragcore.build_memory(pipeline, version="one")
    code = (
        "import sys\nfrom ragcore.cli import main\nassert main(['cache', 'show']) == 0\n"
        "print(sorted({'torch', 'numpy', 'pyarrow', 'transformers'} & set(sys.modules)))"
    )
    environment = {**os.environ, "RAGCORE_CACHE": str(cache)}
    output = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert output.splitlines()[-1] == "[]"

"""What commands import: those that need no model library import none, whatever a pipeline names."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FIXTURE = ROOT / "tests" / "compat" / "fixture"

PLUGINS = ("bm25", "faiss", "hnswlib", "openai", "static", "transformers", "world")

EVERY_PLUGIN = """\
ragcore: 1
memory:
  store: store
  corpus: {use: world-factbook}
  retriever:
    use: rerank
    retriever:
      use: hybrid
      retrievers:
        - use: dense
          encoder: {use: sentence-transformers, model: all-MiniLM-L6-v2}
          index: {use: faiss}
        - use: dense
          encoder: {use: dpr, question_model: a/question, passage_model: a/passage}
          index: {use: hnswlib}
        - use: dense
          encoder: {use: dpr, question_model: a/b, passage_model: a/c}
          index: {use: exact}
        - use: dense
          encoder: {use: static, model: a/static}
          index: {use: exact}
        - use: dense
          encoder: {use: openai-embeddings, model: a-name, dim: 8}
          index: {use: exact}
        - {use: bm25}
    scorer: {use: cross-encoder, model: a/scorer}
generator: {use: bart, model: a/reader}
"""
"""Names every kind of component with a model or a library behind it."""

HEAVY = {
    "faiss",
    "hnswlib",
    "httpx",
    "model2vec",
    "pyarrow.compute",
    "rank_bm25",
    "scipy",
    "sentence_transformers",
    "sklearn",
    "tokenizers",
    "torch",
    "transformers",
}

OTHER_COMPONENTS = {
    "faiss",
    "hnswlib",
    "pandas",
    "pyarrow.compute",
    "rank_bm25",
    "ragcore.evaluation",
    "ragcore.training",
    "sentence_transformers",
    "sklearn",
    "torchvision",
    "transformers.models.dpr.modeling_dpr",
    "transformers.models.llama.modeling_llama",
    "transformers.models.rag.modeling_rag",
    "transformers.trainer",
}
"""What BM25 and a BART reader do without; scipy is imported by transformers where it is there."""

CODE = """\
import json, sys
from ragcore.cli import main

seen = []
for command in json.loads(sys.argv[1]):
    assert main(command) == 0, command
    seen.append(sorted(sys.modules))
with open("modules", "w") as file:
    json.dump(seen, file)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A pipeline that names every plugin, over a store of three versions."""
    for name in PLUGINS:
        pytest.importorskip(f"ragcore_{name}", reason=f"ragcore-{name} is not installed")
    shutil.copytree(FIXTURE / "stores" / "bm25", tmp_path / "store")
    (tmp_path / "p.yaml").write_text(EVERY_PLUGIN, encoding="utf-8")
    return tmp_path


def modules(folder: Path, *arguments: str) -> set[str]:
    """Run a command in a fresh Python; return the names of the modules that it imported."""
    return modules_after(folder, [arguments])[0]


def modules_after(folder: Path, commands: Sequence[Sequence[str]]) -> list[set[str]]:
    """Run commands in one fresh Python; return what it had imported after each."""
    paths = os.pathsep.join(map(os.path.abspath, filter(None, sys.path)))
    done = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(commands)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return list(map(set, json.loads((folder / "modules").read_text(encoding="utf-8"))))


def test_a_file_is_read_without_any_array_library(folder: Path) -> None:
    api = ["fill", "p.yaml", "generator={use: openai, model: a-name}"]
    plan = ["memory", "plan", "--passages", "1000", "--index", "bm25"]
    commands = [["fill", "p.yaml"], api, ["schema"], ["plugins"], plan]
    for command, imported in zip(commands, modules_after(folder, commands), strict=True):
        assert "ragcore.registry.discovery" in imported, command
        assert not imported & (HEAVY | {"numpy", "pyarrow"}), command


def test_a_store_is_managed_without_any_model_library(folder: Path) -> None:
    commands = [
        ["check", "p.yaml"],
        ["memory", "list", "p.yaml"],
        ["memory", "show", "p.yaml"],
        ["memory", "verify", "p.yaml"],
        ["memory", "export", "p.yaml", "version.tar"],
        ["memory", "activate", "p.yaml", "2016"],
        ["memory", "rollback", "p.yaml"],
        ["memory", "gc", "p.yaml"],
    ]
    for command, imported in zip(commands, modules_after(folder, commands), strict=True):
        assert not imported & HEAVY, command


def test_versions_are_compared_without_any_model_library(folder: Path) -> None:
    imported = modules(folder, "memory", "diff", "p.yaml", "2016", "2018")
    assert not imported & (HEAVY - {"pyarrow.compute"})


def test_check_load_imports_every_class(folder: Path) -> None:
    pytest.importorskip("hnswlib", reason="hnswlib needs a compiler to install")
    assert {"torch", "faiss"} <= modules(folder, "check", "--load", "p.yaml")


@pytest.mark.parametrize("name", ["missing_generator", "secret", "typo"])
def test_store_commands_read_nothing_but_the_store(folder: Path, name: str) -> None:
    faults = {
        "missing_generator": ("use: bart, model: a/reader", "use: not-installed"),
        "secret": ("a/reader", "'${env:RAGCORE_NOT_SET}'"),
        "typo": ("  corpus:", "  korpus:"),
    }
    text = (folder / "p.yaml").read_text(encoding="utf-8")
    (folder / "p.yaml").write_text(text.replace(*faults[name]), encoding="utf-8")
    modules(folder, "memory", "list", "p.yaml")


def test_bm25_and_a_reader_import_no_library_of_other_components(tmp_path: Path) -> None:
    for name in ("bm25", "transformers"):
        pytest.importorskip(f"ragcore_{name}", reason=f"ragcore-{name} is not installed")
    from tests.integration.tiny import save_tiny

    save_tiny("bart", tmp_path / "model")
    (tmp_path / "rows.jsonl").write_text('{"id": "1", "text": "one rules chad"}\n')
    (tmp_path / "p.yaml").write_text(
        "ragcore: 1\n"
        "memory: {store: store, corpus: {use: jsonl, path: rows.jsonl}, retriever: {use: bm25}}\n"
        "generator: {use: bart, model: ./model}\n"
        "rag: {k: 1, beams: 1, max_new_tokens: 2}\n"
    )
    modules(tmp_path, "memory", "build", "p.yaml")
    imported = modules(tmp_path, "ask", "p.yaml", "who rules chad ?")
    assert {"torch", "transformers.models.bart.modeling_bart"} <= imported
    assert not imported & OTHER_COMPONENTS


def test_a_search_by_words_imports_no_model_library(folder: Path) -> None:
    """Not even that of the generator which the pipeline names."""
    (folder / "p.yaml").write_text(
        "ragcore: 1\n"
        "memory: {store: store, retriever: {use: bm25}}\n"
        "generator: {use: bart, model: a/reader}\n"
    )
    (folder / "q.jsonl").write_text('{"question": "capital of Peru", "answer": "Lima"}\n')
    commands = [
        ["search", "p.yaml", "capital of Peru"],
        ["search", "p.yaml", "capital of Peru", "--json", "--where", '{"country": "Peru"}'],
        ["search", "p.yaml", "--questions", "q.jsonl", "--trec"],
    ]
    filtering = {"pyarrow.compute"}
    for command, imported in zip(commands, modules_after(folder, commands), strict=True):
        assert "ragcore_bm25.retriever" in imported, command
        assert not imported & (HEAVY - filtering), command

"""What needs torch: decoding, training and generators' suites alone, and what leads to them."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.test_floors import CORE

NEED_TORCH: Final = {
    "answering/answerer.py",
    "answering/reading.py",
    "decoding/abstention.py",
    "decoding/checks.py",
    "decoding/prefixes.py",
    "decoding/question_prior.py",
    "decoding/sampling.py",
    "decoding/scoring.py",
    "decoding/sequence.py",
    "decoding/token.py",
    "testing/as_tier.py",
    "testing/generator.py",
    "testing/log_probs.py",
    "testing/reads.py",
    "testing/tokens.py",
}
"""The modules that torch must be there to import, and all of training/."""

IMPORT_ALL: Final = """\
import importlib, json, sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")

sys.meta_path.insert(0, NoTorch())
failed = []
for name in json.loads(sys.argv[1]):
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as missing:
        assert missing.name == "torch", missing
        failed.append(name)
print(json.dumps(failed))
"""

SEARCH: Final = """\
import sys
import ragcore
with ragcore.load("p.yaml") as rag:
    (result,) = rag.search("capital of Mali", 2)
    assert result.passages and not rag.can_answer
print(sorted({"torch", "transformers"} & set(sys.modules)))
"""


def name_of(path: Path) -> str:
    relative = path.relative_to(CORE.parent).with_suffix("")
    return ".".join(part for part in relative.parts if part != "__init__")


def run(code: str, *arguments: str, cwd: Path) -> str:
    """Run code in a fresh Python; its output."""
    paths = os.pathsep.join(map(os.path.abspath, filter(None, sys.path)))
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_other_module_is_imported_without_torch(tmp_path: Path) -> None:
    """Only the modules of this list fail where torch is missing."""
    paths = [
        path
        for path in sorted(CORE.rglob("*.py"))
        if path.name != "__main__.py" and not {"training", "templates"} & set(path.parts)
    ]
    failed = json.loads(run(IMPORT_ALL, json.dumps(list(map(name_of, paths))), cwd=tmp_path))
    assert set(failed) == {name_of(CORE / relative) for relative in NEED_TORCH}


def test_the_list_names_modules_that_need_torch() -> None:
    """Each imports torch itself, or a module that does."""
    names = {name_of(CORE / relative) for relative in NEED_TORCH} | {"torch"}
    for relative in NEED_TORCH:
        tree = ast.parse((CORE / relative).read_text(encoding="utf-8"))
        imported = {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
        imported |= {
            alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names
        }
        assert imported & names, relative


def test_a_pipeline_without_a_generator_searches_without_torch(tmp_path: Path) -> None:
    pytest.importorskip("ragcore_bm25", reason="ragcore-bm25 is not installed")
    (tmp_path / "rows.jsonl").write_text('{"id": "1", "text": "Bamako is the capital of Mali"}\n')
    (tmp_path / "p.yaml").write_text(
        "ragcore: 1\n"
        "memory: {store: store, corpus: {use: jsonl, path: rows.jsonl}, retriever: {use: bm25}}\n"
    )
    built = "from ragcore.cli import main; raise SystemExit(main(['memory', 'build', 'p.yaml']))"
    run(built, cwd=tmp_path)
    assert run(SEARCH, cwd=tmp_path) == "[]\n"


ANSWER: Final = """\
import sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")

sys.meta_path.insert(0, NoTorch())
import ragcore
for tier in ("score", "top", "text"):
    with ragcore.load("p.yaml", f"generator.tier={tier}") as rag:
        question = "What is the capital of Mali?"
        (answer,) = rag.answer(question)
        assert (answer.text, answer.tier) == ("bamako", tier), answer
        assert list(rag.events(question))[-1] == answer
"""


def test_generators_of_texts_answer_without_torch(tmp_path: Path) -> None:
    pytest.importorskip("ragcore_bm25", reason="ragcore-bm25 is not installed")
    (tmp_path / "rows.jsonl").write_text('{"id": "1", "text": "Bamako is the capital of Mali"}\n')
    (tmp_path / "p.yaml").write_text(
        "ragcore: 1\n"
        "memory: {store: store, corpus: {use: jsonl, path: rows.jsonl}, retriever: {use: bm25}}\n"
        "generator: {use: word-chooser}\n"
    )
    info = tmp_path / "ragcore_words-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ragcore-words\nVersion: 1.0\n")
    points = "[ragcore]\nwords = tests.helpers.word_chooser\n"
    (info / "entry_points.txt").write_text(points)
    built = "from ragcore.cli import main; raise SystemExit(main(['memory', 'build', 'p.yaml']))"
    run(built, cwd=tmp_path)
    run(ANSWER, cwd=tmp_path)

"""A pipeline over a small corpus with any retriever, to build in shards."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ragcore
from ragcore.memory.memory import Memory
from ragcore.store.manifest import Manifest
from tests.conftest import Installed

ROOT = Path(__file__).parents[2]

WORDS = [
    *("chad", "lake", "desert", "river", "north"),
    *("south", "capital", "people", "language", "music"),
]
DENSE = "{use: dense, encoder: {use: words}, index: {use: exact}}"
FAISS = "{{use: dense, encoder: {{use: words}}, index: {{use: faiss, factory: {}}}}}"
BM25 = "{use: bm25}"
HNSWLIB = "{use: dense, encoder: {use: words}, index: {use: hnswlib}}"
HYBRID = f"{{use: hybrid, retrievers: [{BM25}, {DENSE}]}}"
QUESTIONS = ["lake chad", "music of the north", "w7 people", "desert w55"]

PLUGIN = """\
from ragcore.registry.components import ComponentConfig
from ragcore.types import Document, Passage

class Pages:
    class Config(ComponentConfig):
        sizes: tuple[int, ...]
        twice: bool = False

    capabilities = frozenset({"documents"})
    identity, date, complete = "pages", "2026-01-01", True

    def __init__(self, config):
        self.config = config

    def documents(self, known):
        for n, size in enumerate(self.config.sizes):
            texts = [f"text {i} of w{n}" for i in range(size)]
            passages = tuple(Passage(f"d{n}-{i}", f"d{n}", text) for i, text in enumerate(texts))
            is_last = n + 1 == len(self.config.sizes)
            yield Document("d0" if self.config.twice and is_last else f"d{n}", str(size), passages)

    def __iter__(self):
        for document in self.documents(None):
            yield from document.passages
from tests.helpers.word_encoder import ragcore_encoders
from ragcore.hookspecs import hookimpl

@hookimpl
def ragcore_corpora():
    return {"pages": "words_plugin:Pages"}

@hookimpl
def ragcore_retrievers():
    return {"bm25": "ragcore_bm25.retriever:Bm25"}

@hookimpl
def ragcore_indexes():
    return {
        "faiss": "ragcore_faiss.index:Faiss",
        "hnswlib": "ragcore_hnswlib.index:Hnswlib",
    }
"""


def write_corpus(folder: Path, count: int = 60) -> None:
    lines = []
    for n in range(count):
        text = " ".join(WORDS[(n * step) % len(WORDS)] for step in (1, 3, 7)[: 1 + n % 3])
        lines.append(json.dumps({"id": f"p{n}", "title": f"w{n}", "text": text, "n": n}))
    (folder / "passages.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def pipeline(installed: Installed, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a pipeline with a retriever, and its corpus."""
    installed.add("words", PLUGIN)
    write_corpus(tmp_path)

    def write(retriever: str = DENSE, corpus: str = "{use: jsonl, path: passages.jsonl}") -> Path:
        path = tmp_path / "pipeline.yaml"
        path.write_text(
            "ragcore: 1\nmemory:\n  store: store\n  cache: null\n"
            f"  corpus: {corpus}\n  retriever: {retriever}\n",
            encoding="utf-8",
        )
        return path

    return write


def build_shards(path: Path, of: int, **options: Any) -> Path:
    out = path.parent / "shards"
    for number in range(of):
        ragcore.build_shard(path, number=number, of=of, out=out, **options)
    return out


def answers(memory: Memory) -> list[list[Any]]:
    hits = memory.hits(QUESTIONS, 7)
    return [hits.rows.tolist(), hits.scores.tolist()]


def files(store: Path, version: str) -> dict[str, str]:
    manifest = Manifest.read(store / "versions" / version)
    return {name: record.sha256 for name, record in manifest.files.items()}


def change_seed(path: Path) -> None:
    path.write_text(path.read_text().replace("{use: words}", "{use: words, seed: 1}"))

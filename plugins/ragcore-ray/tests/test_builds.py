"""Test builds on a cluster of nodes, each a set of processes: also when one of them is killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import ragcore
from ragcore.store.manifest import Manifest

pytestmark = pytest.mark.engines

PASSAGES = 90


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    rows = [
        {"id": f"p{n}", "title": f"t{n}", "text": f"lake {n % 7} of chad, river {n % 11}"}
        for n in range(PASSAGES)
    ]
    (tmp_path / "passages.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = tmp_path / "pipeline.yaml"
    path.write_text(
        "ragcore: 1\nmemory:\n  store: store\n  corpus: {use: jsonl, path: passages.jsonl}\n"
        "  retriever: {use: bm25}\n"
    )
    return path


def command(*arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ragcore", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def on_ray(address: str, *options: str) -> list[str]:
    settings = [f"address={address}", *options]
    return ["--on", "ray", *(word for each in settings for word in ("--on-option", each))]


def digests(path: Path, version: str) -> dict[str, str]:
    manifest = Manifest.read(path.parent / "store" / "versions" / version)
    return {name: record.sha256 for name, record in manifest.files.items()}


def test_a_node_that_is_killed_changes_nothing(nodes: Any, address: str, pipeline: Path) -> None:
    folder = pipeline.parent
    for number in range(6):
        ragcore.build_shard(pipeline, number=number, of=6, out=folder / "alone")
    ragcore.merge_shards(pipeline, [folder / "alone"], version="alone")
    for name in ("arrived", "gate"):
        os.mkfifo(folder / name)
    build = command(
        *("memory", "build", pipeline, "memory.corpus.use=gated"),
        *("--shards", "6", "--version", "sharded", "--out", folder / "shards", "--json"),
        *on_ray(address),
    )
    node = (folder / "arrived").read_text()
    (folder / "open").touch()
    nodes.kill(node)
    output, errors = build.communicate(timeout=100)
    assert build.returncode == 0, errors
    row = json.loads(output)
    assert (row["passages"], row["current"]) == (PASSAGES, True)
    assert "shard 1/6 is tried again: its worker ended: " in errors
    assert digests(pipeline, "sharded") == digests(pipeline, "alone")
    with ragcore.open_memory(pipeline, version="sharded", verify=True) as memory:
        assert [each.id for each in memory.passages] == [f"p{n}" for n in range(PASSAGES)]

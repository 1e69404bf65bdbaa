"""What can be seen of the fixture through the Python API and the command line.

`make.py` writes down what ragcore 479b1a3 shows; `test_compat.py` compares with it. Nothing here
imports more than a user's own program does.
"""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import yaml

import ragcore
from ragcore.cli import main

PIPELINES = ("bm25", "exact", "faiss-flat", "faiss-hnsw", "hnswlib", "hybrid", "rerank", "simple")
NEEDS = {"faiss-flat": "faiss", "faiss-hnsw": "faiss", "hnswlib": "hnswlib"}
"""Packages without which a pipeline cannot be opened."""
VERSIONS = dict.fromkeys(PIPELINES, ("2016", "2018"))
VERSIONS["bm25"] = ("2016", "2018", "2020")
QUESTIONS = [
    "Who is the president of Peru?",
    "What is the capital of Mali?",
    "Which river flows through Togo?",
    "Zebra xylophone",
]
WHERE = {"country": {"in": ["Chad", "Peru"]}, "not": {"coast": True}}


def run(*arguments: str | Path) -> str:
    """The standard output of `ragcore …`, which must succeed."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        code = main([str(argument) for argument in arguments])
    assert code == 0, f"ragcore {' '.join(map(str, arguments))}: exit code {code}"
    return output.getvalue()


def lines(*arguments: str | Path) -> list[Any]:
    """The JSON lines that a command prints."""
    return [json.loads(line) for line in run(*arguments).split("\n") if line]


def listed(store: str) -> dict[str, Any]:
    """The versions of a store, each with what its manifest says."""
    (versions,) = lines("memory", "list", store, "--json")
    return {"versions": versions, "manifests": [manifest(store, row["name"]) for row in versions]}


def manifest(store: str, version: str) -> dict[str, Any]:
    """What a version was made from, as its manifest says."""
    (shown,) = lines("memory", "show", store, version, "--json")
    return {key: shown[key] for key in ("name", "parent", "passages", "fingerprint", "current")}


def searched(rag: ragcore.Rag, version: str, k: int = 5) -> dict[str, Any]:
    """Rows, ids and scores of each question in one version."""
    memory = rag.memory.open(version)
    try:
        # Its name in the version that wrote expected.json, which runs this file too, was `search`.
        hits = (getattr(memory, "hits", None) or memory.search)(QUESTIONS, k)
        ids = [
            [passage.id for passage in memory.passages.take([row for row in rows if row >= 0])]
            for rows in hits.rows.tolist()
        ]
        # -inf, the score of a hit that is missing, is no JSON.
        scores = [[max(score, -1e30) for score in own] for own in hits.scores.tolist()]
        return {"rows": hits.rows.tolist(), "ids": ids, "scores": scores}
    finally:
        memory.close()


def answered(pipeline: str, *overrides: str) -> list[Any]:
    """Answers to the questions, each with the passages that it rests on."""
    with ragcore.load(pipeline, *overrides) as rag:
        return [
            {
                "text": answer.text,
                "log_prob": answer.log_prob,
                "memory": answer.memory,
                "evidence": [
                    [one.passage.id, one.score, one.prior, one.posterior] for one in answer.evidence
                ],
            }
            for answer in rag.answer(QUESTIONS[:3])
        ]


def filtered(pipeline: str) -> list[Any]:
    """What `memory search --where` prints, by the keys that it had from the beginning."""
    options = ("--k", "4", "--where", json.dumps(WHERE), "--json")
    rows = lines("memory", "search", pipeline, QUESTIONS[0], *options)
    keys = ("score", "id", "title", "text", "metadata", "memory")
    return [{key: row[key] for key in keys} for row in rows]


def pipeline_facts(name: str) -> dict[str, Any]:
    """All that is looked at of one pipeline whose store is left as it is."""
    pipeline, store = f"{name}.yaml", f"stores/{name}"
    with ragcore.load(pipeline) as rag:
        found = {version: searched(rag, version) for version in VERSIONS[name]}
    return {
        **listed(store),
        "searches": found,
        "filtered": filtered(pipeline),
        "answers": answered(pipeline),
    }


def differences(name: str) -> list[Any]:
    """What `memory diff` prints, from the first version to the second and back."""
    store = f"stores/{name}"
    return [
        lines("memory", "diff", store, *pair, "--json")
        for pair in (("2016", "2018"), ("2018", "2016"))
    ]


def updated_facts(name: str) -> dict[str, Any]:
    """What a further update of an old store gives; changes the store."""
    run("memory", "update", f"{name}.yaml", "changes-2022.jsonl", "--version", "2022")
    with ragcore.load(f"{name}.yaml") as rag:
        found = searched(rag, "2022")
    return {"searches": found, "manifest": manifest(f"stores/{name}", "2022")}


def rollback_facts(name: str) -> list[Any]:
    """The current version after each of three steps back; changes the store."""
    store = f"stores/{name}"
    steps = []
    for _ in range(3):
        run("memory", "rollback", store)
        (versions,) = lines("memory", "list", store, "--json")
        steps.append([row["name"] for row in versions if row["current"]])
    return steps


def collectable(name: str) -> dict[str, Any]:
    """What `memory gc` would remove and keep."""
    (row,) = lines("memory", "gc", f"stores/{name}", "--keep", "1", "--dry-run", "--json")
    return {key: sorted(row[key]) for key in ("removed", "kept", "in_use")}


def filled(pipeline: str) -> Any:
    """A pipeline with every default, as `ragcore fill` writes it."""
    return yaml.safe_load(run("fill", pipeline))

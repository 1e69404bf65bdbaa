"""`benchmarks/scale.py`: a small run from corpus to swap, what it leaves out, rates and tables."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragcore.planning.plan import Task, make_plan
from ragcore.planning.rates import load_rates

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
STAGES = ["build", "open", "search", "update", "swap", "shard", "shard", "merge", "merged-search"]


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)


def scale(*arguments: object, script: str = "scale.py") -> list[str]:
    """Run the script; return the lines that it printed."""
    command = [sys.executable, str(BENCHMARKS / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def records(lines: list[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines if line.startswith("{")]


def test_a_small_run_measures_every_stage_and_is_not_done_again(tmp_path):
    pytest.importorskip("ragcore_bm25", reason="ragcore-bm25 is not installed")
    pytest.importorskip("ragcore_faiss", reason="ragcore-faiss is not installed")
    log, rates, page = tmp_path / "log.jsonl", tmp_path / "rates.json", tmp_path / "page.md"
    page.write_text(
        "<!-- scale: tables -->\nold\n<!-- scale: end -->\n\n"
        "```console\n$ ragcore memory plan --passages 9 --index bm25 --cores 2\nold\n```\n"
    )
    options = ["--thousands", 1, "--kinds", "bm25", "--shards", 2, "--questions", 5, "--json", log]
    options += ["--encoders", "--data", tmp_path / "none", "--folder", tmp_path]
    printed = scale(*options)
    assert any("is missing: the text is invented" in line for line in printed)
    measured = records(printed)
    assert [record["stage"] for record in measured] == STAGES
    by_stage = {record["stage"]: record for record in measured}
    assert by_stage["search"]["recall"] == by_stage["merged-search"]["recall"] == 1
    assert all(record["peak_rss"] > 1e7 and record["seconds"] > 0 for record in measured)
    assert set(tmp_path.iterdir()) == {page, log}

    again = scale(*options, "--rates-out", rates, "--page", page)
    assert records(again) == []
    text_bytes = by_stage["build"]["text_bytes"]
    task = Task(passages=1_000, kind="bm25", text_bytes=text_bytes, cores=2)
    plan = make_plan(task, load_rates(rates))
    assert plan.disk == pytest.approx(by_stage["build"]["bytes"], rel=0.01)
    written = page.read_text()
    assert "old" not in written
    assert "| bm25 |" in written
    assert "9 passages, BM25; 1 machine with 2 cores" in written


def test_a_merge_by_links_writes_less_than_one_that_computes(tmp_path):
    pytest.importorskip("ragcore_bm25", reason="ragcore-bm25 is not installed")
    pytest.importorskip("ragcore_faiss", reason="ragcore-faiss is not installed")
    log = tmp_path / "log.jsonl"
    options = ["--shards", 3, "--size", 100, "--dim", 32, "--kinds", "hnsw", "bm25"]
    options += ["--verify", "sampled", "--json", log, "--folder", tmp_path, "--data", tmp_path]
    scale(*options, script="merge_shards.py")
    graphs, words = map(json.loads, log.read_text().splitlines())
    assert (graphs["kind"], graphs["segments"]) == ("hnsw", 3)
    assert (words["kind"], words["segments"]) == ("bm25", 1)
    # The records of the manifest alone, against words, counts and scores.
    assert graphs["written"] < 10_000 < words["written"] < words["bytes"]
    for row in (graphs, words):
        assert row["checking"] + row["rest"] == pytest.approx(row["seconds"], abs=1e-5)
    assert list(tmp_path.iterdir()) == [log]


@given(
    fixed=st.floats(0, 1e3),
    slope=st.floats(1e-9, 1e3),
    works=st.lists(st.integers(1, 10**12), min_size=2, max_size=5, unique=True),
)
def test_a_fit_finds_the_law_that_it_was_made_from(fixed, slope, works):
    fitting = importlib.import_module("scaling.fitting")
    if max(works) < 2 * min(works):
        works = [1, *works, 2 * max(works)]
    values = [fixed + slope * work for work in works]
    found = fitting.fitted(works, values)
    said = [found[0] + found[1] * work for work in works]
    assert said == pytest.approx(values, rel=1e-3)


@given(
    points=st.lists(st.tuples(st.integers(1, 10**12), st.floats(0, 1e9)), min_size=1, max_size=5)
)
def test_a_fit_is_never_negative(points):
    fitting = importlib.import_module("scaling.fitting")
    works, values = zip(*points, strict=True)
    assert min(fitting.fitted(works, values)) >= 0


def test_a_smaller_corpus_is_the_beginning_of_a_larger_one(tmp_path):
    passages = importlib.import_module("scaling.passages")
    words = [[f"{number}-{at}" for at in range(60)] for number in range(7)]
    text = passages.Text("invented", [f"title {number}" for number in range(7)], words)
    passages.write_corpus(tmp_path / "large", text, 40)
    passages.write_corpus(tmp_path / "small", text, 20)
    lines = (tmp_path / "large").read_text().splitlines()
    assert (tmp_path / "small").read_text().splitlines() == lines[:20]
    rows = list(map(json.loads, lines))
    assert [row["text"].split() for row in rows[:7]] == words
    assert len({row["text"] for row in rows}) == 40


def test_a_drawn_vector_depends_on_the_number_alone():
    drawing = importlib.import_module("scaling.drawing")
    np = pytest.importorskip("numpy")
    encoder = drawing.Drawing(drawing.DrawingConfig(dim=384))
    vectors = encoder.drawn(np.arange(100, dtype=np.uint64))
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    assert (encoder.drawn(np.array([7, 99], np.uint64)) == vectors[[7, 99]]).all()
    assert len(np.unique(vectors, axis=0)) == 100
    # A question is a further point of its passage's topic.
    products = encoder.encode_questions(list(map(str, range(100)))) @ vectors.T
    assert np.diag(products).mean() > products.mean() + 0.3


def test_a_line_that_a_kill_cut_short_is_measured_again(tmp_path):
    module = importlib.import_module("scaling.records")
    path = tmp_path / "log.jsonl"
    record = {"stage": "build", "kind": "flat", "passages": 5}
    module.Log(path).add(record)
    path.write_text(path.read_text() + '{"stage": "open", "ki')
    log = module.Log(path)
    assert log.all() == [record]
    log.add({**record, "stage": "open"})
    assert len(module.Log(path).all()) == 2


def test_adding_is_measured_after_training_and_never_takes_no_time():
    fitting = importlib.import_module("scaling.fitting")
    common = {"dim": 384, "cores": 2, "busy": False, "commit": "abc", "text": "invented"}
    common |= {"passages": 10_000, "text_bytes": 600.0, "processor_seconds": 9.0}
    build = [
        {**common, "stage": "build", "kind": kind, "seconds": 5.0, "peak_rss": 1e8}
        for kind in ("flat", "sq8", "hnsw")
    ]
    train = {**common, "stage": "train", "kind": "sq8", "seconds": 0.1}
    named = {rate.name for rate in fitting.fitted_rates([*build, train])}
    assert "train.sq8" in named
    # Its build took as long as that of a flat index, which says nothing of adding.
    assert not {"add.sq8", "add.hnsw"} & named
    train |= {"added": 5_000, "adding_seconds": 0.5, "adding_processor_seconds": 3.0}
    for busy, seconds in ((False, 1.0), (True, 3.0)):
        rates = fitting.fitted_rates([*build, {**train, "busy": busy}])
        (adding,) = (rate for rate in rates if rate.name == "add.sq8")
        assert adding.slope * 10_000 * 384 == pytest.approx(seconds, rel=1e-3)


def test_no_time_of_the_rates_is_nothing():
    rates = load_rates()
    for kind in ("sq8", "ivf", "ivf-pq", "hnsw"):
        rate = rates[f"add.{kind}"]
        assert rate.fixed + rate.slope > 0, rate


def test_a_busy_machine_counts_the_processors_time():
    module = importlib.import_module("scaling.records")
    record = {"stage": "build", "seconds": 9.0, "processor_seconds": 2.0, "cores": 2}
    assert module.time_of({**record, "busy": False}) == 9
    assert module.time_of({**record, "busy": True}) == 2
    assert module.time_of({**record, "busy": True, "stage": "encode"}) == 1

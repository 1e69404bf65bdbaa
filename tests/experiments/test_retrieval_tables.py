"""The script `experiments/retrieval.py`: collections, the choice of weights, and its table."""

from __future__ import annotations

import sys

import pytest

import ragcore
from ragcore.questions.sources import read_questions
from tests.helpers.development_data import write_development_data

PIPELINE = """\
ragcore: 1
memory:
  store: store
  corpus: {use: jsonl, preset: beir, path: cranfield}
  retriever: {use: bm25}
"""
EXPERIMENT = """\
experiment: 1
questions: cranfield
systems:
  BM25: pipeline.yaml
  MiniLM: {pipeline: pipeline.yaml, set: {memory.retriever.b: 0}}
  convex:
    pipeline: pipeline.yaml
    set:
      memory.retriever: {use: hybrid, retrievers: [{use: bm25}, {use: bm25, k1: 0.5}], fuse: convex}
    grid: {memory.retriever.weights: [[0.3, 0.7], [0.6, 0.4]]}
metrics: [nDCG@10]
retrieval: true
build: true
cost: 0
"""


@pytest.fixture
def collections(tmp_path, script):
    """A folder with the collections of a few rows."""
    write_development_data(tmp_path / "data")
    script("data").write_retrieval(tmp_path / "data", tmp_path)
    return tmp_path


def test_grade_0_is_left_out(collections):
    grades = [dict(question.relevance) for question in read_questions(collections / "cranfield")]
    assert grades == [{"1": 3}, {"2": 1, "4": 1}]


def test_the_passage_that_people_marked_is_relevant(collections):
    grades = [dict(question.relevance) for question in read_questions(collections / "nq")]
    assert grades == [{"1": 1}, {"2": 1}]


def test_a_passage_without_words_is_left_out(collections):
    corpus = (collections / "cranfield" / "corpus.jsonl").read_text("utf-8").splitlines()
    assert len(corpus) == 3


def test_a_collection_does_not_choose_its_own_weights(script):
    low, high = (0.3, 0.7), (0.6, 0.4)
    figures = {
        "a": {low: 0.9, high: 0.1},
        "b": {low: 0.3, high: 0.5},
        "c": {low: 0.4, high: 0.5},
    }
    assert script("retrieval").chosen_weights(figures) == {"a": high, "b": low, "c": low}


def test_one_collection_chooses_nothing(script):
    assert script("retrieval").chosen_weights({"a": {(0.3, 0.7): 0.9}}) == {}


def test_the_table_has_figures_and_marks_the_weights(collections, script):
    (collections / "pipeline.yaml").write_text(PIPELINE, "utf-8")
    (collections / "experiment.yaml").write_text(EXPERIMENT, "utf-8")
    results = [
        ragcore.experiment(collections / "experiment.yaml", baseline=baseline)
        for baseline in ("BM25", "MiniLM")
    ]
    retrieval = script("retrieval")
    table = retrieval.comparison_table(results, ("BM25", "MiniLM"), (0.6, 0.4)).splitlines()
    figure = f"{results[0].systems[0].figures['nDCG@10'].value:.3f}"
    assert table[0] == (
        "| system | nDCG@10 | p, BM25 | p, MiniLM | CPU, ms a question | peak memory, MB |"
    )
    assert table[2] == f"| BM25 | {figure} | – | 1.000 | – | – |"
    marked = [line for line in table if "(chosen)" in line]
    assert len(marked) == 1
    assert marked[0].startswith("| convex, weights=[0.6, 0.4] (chosen) |")
    assert set(retrieval.by_weights(results[0])) == {(0.3, 0.7), (0.6, 0.4)}


def test_without_data_it_says_so(tmp_path, script, monkeypatch, capsys):
    retrieval = script("retrieval")
    monkeypatch.setattr(retrieval, "WORK", tmp_path / "work")
    monkeypatch.setattr(sys, "argv", ["retrieval.py", "--data", str(tmp_path / "missing")])
    assert retrieval.main() == 0
    assert capsys.readouterr().out.startswith("skipped: no collections in ")

"""The journal of a run, and predictions read back from their lines."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragcore.errors import ConfigError
from ragcore.evaluation.prediction import Prediction, RankedPassage, Ranking
from ragcore.evaluation.runs import read_predictions
from ragcore.experiments.blocks import Block, Journal, blocks_of

texts = st.text(max_size=8)
numbers = st.floats(allow_nan=False)


@st.composite
def rankings(draw: st.DrawFn) -> Ranking:
    ids = draw(st.lists(texts, max_size=4, unique=True))
    scores = draw(st.lists(numbers, min_size=len(ids), max_size=len(ids)))
    grades = draw(st.dictionaries(texts, st.integers(0, 9), max_size=3))
    return Ranking(tuple(ids), tuple(scores), draw(st.integers(1, 9)), grades, draw(st.booleans()))


predictions = st.builds(
    Prediction,
    id=texts,
    question=texts,
    right=st.lists(texts, max_size=3).map(tuple),
    regex=st.booleans(),
    relevant=st.lists(texts, max_size=3).map(tuple),
    answer=st.none() | texts,
    log_prob=st.none() | numbers,
    correct=st.none() | st.booleans(),
    passages=st.lists(
        st.builds(RankedPassage, texts, texts, numbers, numbers, numbers, st.booleans()),
        max_size=3,
    ).map(tuple),
    unanswerable=st.booleans(),
    abstained=st.booleans(),
    ranking=st.none() | rankings(),
    confidence=st.none() | numbers,
)


@given(predictions)
def test_a_prediction_is_the_same_after_a_round_trip(prediction):
    assert Prediction.from_dict(prediction.to_dict()) == prediction
    line = json.dumps({**prediction.to_dict(), "scores": {"f1": [0.5]}}, ensure_ascii=False)
    assert Prediction.from_json(line) == prediction


def prediction(**values: object) -> Prediction:
    row = {
        "id": "a",
        "question": "who",
        "right": ("x",),
        "regex": False,
        "relevant": (),
        "answer": "x",
        "log_prob": -1.0,
        "correct": True,
        "passages": (),
        **values,
    }
    return Prediction(**row)  # type: ignore[arg-type]


def test_a_run_of_an_earlier_release_has_no_confidence():
    row = prediction(confidence=0.5).to_dict()
    del row["confidence"]
    assert Prediction.from_dict(row) == prediction()


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("right", "x", "right"),
        ("log_prob", "-1", "log_prob"),
        ("regex", 0, "regex"),
        ("ranking", {"ids": ["a"], "scores": [], "depth": 1}, "1 ids and 0 scores"),
        ("passages", [{"id": "a"}], "passages.0"),
    ],
)
def test_a_damaged_prediction_names_file_line_and_key(tmp_path, key, value, named):
    good = json.dumps(prediction().to_dict())
    bad = json.dumps({**prediction().to_dict(), key: value})
    path = tmp_path / "predictions.jsonl"
    path.write_text(f"{good}\n{bad}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"predictions\.jsonl:2: .*{named}"):
        read_predictions(path)
    path.write_text(f"{good}\n{bad[:-9]}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"predictions\.jsonl:2: "):
        read_predictions(path)


@given(st.integers(0, 400))
def test_blocks_have_each_question_once(count):
    numbers = [n for block in blocks_of(count) for n in range(block.begin, block.end)]
    assert numbers == list(range(count))
    assert all(block.begin % 32 == 0 and 0 < block.size <= 64 for block in blocks_of(count))


def test_a_journal_has_what_was_written(tmp_path: Path):
    journal, block = Journal(tmp_path), Block(64, 66)
    written = [prediction(log_prob=-math.inf), prediction(id="b")]
    assert not journal.has(block)
    journal.write(block, written, ("generator.date=2020-01-01",))
    assert journal.has(block)
    assert not journal.has(Block(64, 67))
    assert journal.read(block) == (written, ("generator.date=2020-01-01",))
    journal.remove()
    journal.remove()
    assert not list(tmp_path.iterdir())


def test_a_damaged_block_is_named(tmp_path: Path):
    journal, block = Journal(tmp_path), Block(0, 2)
    journal.write(block, [prediction()])
    with pytest.raises(ConfigError, match=r"0000002\.jsonl: 1 predictions, expected 2"):
        journal.read(block)
    (path,) = (tmp_path / "blocks").iterdir()
    path.write_text("[]\n" + json.dumps(asdict(prediction())), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"0000002\.jsonl:1: the block is damaged"):
        journal.read(Block(0, 2))

"""What a filter's user is told: fields that no passage has, and that nothing is left."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragcore.cli import main
from ragcore.filters.columns import ColumnBuilder
from ragcore.filters.evaluation import MOST_FIELDS, RowFilter
from ragcore.filters.expressions import read_where
from ragcore.memory.passages import Passages, PassageWriter
from ragcore.types import Passage


class CountedPassages(Passages):
    """Passages that count how often all metadata are read."""

    reads = 0

    def metadata(self) -> Any:
        self.reads += 1
        return super().metadata()


def passages_of(folder: Path, *data: dict[str, Any]) -> CountedPassages:
    with PassageWriter(folder / "p.arrow") as writer:
        writer.write([Passage(str(row), f"T{row}", "", fields) for row, fields in enumerate(data)])
    return CountedPassages(folder / "p.arrow")


DATA = ({"country": "Chad", "tags": ["a", "b"]}, {"year": 2018})


@pytest.mark.parametrize(
    ("expression", "notes"),
    [
        ({"country": "Chad"}, []),
        ({"$id": "0", "$title": {"prefix": "T"}}, []),
        (
            {"contry": "Chad"},
            [
                "no passage has the field 'contry': did you mean 'country'?",
                "the filter allows none of the 2 passages",
            ],
        ),
        (
            {"not": {"qqqqq": 1}},
            ["no passage has the field 'qqqqq': there are 'country', 'tags', 'year'"],
        ),
        (
            {"contry": {"exists": False}},
            ["no passage has the field 'contry': did you mean 'country'?"],
        ),
        (
            {"or": [{"title": "T0"}, {"year": 2018}]},
            ["no passage has the field 'title': the passage's own title is '$title'"],
        ),
        (
            {"not": {"$titel": 1}},
            ["no passage has the field '$titel': did you mean '$title'?"],
        ),
        (
            {"year": "2018"},
            [
                "'year' is a number in 1 of 2 passages, and the filter has text",
                "the filter allows none of the 2 passages",
            ],
        ),
        ({"year": {"ne": "2018", "gt": 2018}}, ["the filter allows none of the 2 passages"]),
        ({"year": 2019}, ["the filter allows none of the 2 passages"]),
        (
            {"or": [{"tags": "a"}, {"tags": {"any": [1, True]}}, {"tags": "b"}]},
            [
                "'tags' is a list in 1 of 2 passages, and the filter has text",
                "'tags' is text in 1 of 2 passages, and the filter has true or false or a number",
                "the filter allows none of the 2 passages",
            ],
        ),
        (
            {"country": {"prefix": "Ch", "lt": 3}},
            [
                "'country' is text in 1 of 2 passages, and the filter has a number",
                "the filter allows none of the 2 passages",
            ],
        ),
    ],
)
def test_notes_say_what_is_unknown_and_that_nothing_is_left(expression, notes, tmp_path):
    rows = RowFilter(passages_of(tmp_path, *DATA))
    assert rows.notes(read_where(expression)) == tuple(notes)


def test_a_prefix_that_no_value_has_is_told_with_some_that_there_are(tmp_path):
    paths = ["b/1.md", "a/2.md", "a/3.md"]
    rows = RowFilter(passages_of(tmp_path, *({"path": path, "n": "7"} for path in paths)))
    assert rows.notes(read_where({"path": {"prefix": "./a"}})) == (
        "no value of 'path' begins with './a': there are 'b/1.md', 'a/2.md', …",
        "the filter allows none of the 3 passages",
    )
    assert rows.notes(read_where({"path": {"prefix": "a/"}, "n": {"gte": 7}})) == (
        "'n' is text in all 3 passages, and the filter has a number",
        "the filter allows none of the 3 passages",
    )
    assert rows.notes(read_where({"path": {"prefix": "a/"}})) == ()
    few = {"path": {"prefix": "x"}, "n": {"prefix": "8"}}
    assert rows.notes(read_where(few))[1] == "no value of 'n' begins with '8': there are '7'"


def test_a_key_of_metadata_with_the_name_of_an_own_field_stays_a_key(tmp_path):
    rows = RowFilter(passages_of(tmp_path, {"title": "of the file"}, {"$title": "odd"}))
    assert rows.rows(read_where({"title": "of the file"})).tolist() == [0]
    assert rows.rows(read_where({"$title": "odd"})).tolist() == []
    assert rows.rows(read_where({"$title": "T1"})).tolist() == [1]
    assert rows.notes(read_where({"title": "of the file"})) == ()


def test_metadata_are_read_once_for_a_field_and_never_for_an_unknown_one(tmp_path):
    passages = passages_of(tmp_path, *DATA)
    rows = RowFilter(passages)
    rows.rows(read_where({"$id": {"in": ["0", "1"]}}))
    assert passages.reads == 0
    for _ in range(3):
        rows.rows(read_where({"country": "Chad"}))
        rows.notes(read_where({"country": "Chad"}))
    assert passages.reads == 1
    for number in range(20):
        rows.notes(read_where({f"unknown{number}": 1}))
    assert passages.reads == 1


def test_metadata_that_are_keyed_by_data_keep_no_names(tmp_path):
    data = [{f"key{row}": row} for row in range(MOST_FIELDS + 5)]
    rows = RowFilter(passages_of(tmp_path, *data))
    assert rows.rows(read_where({"key7": 7})).tolist() == [7]
    assert rows.rows(read_where({f"key{MOST_FIELDS + 2}": {"exists": True}})).tolist() == [
        MOST_FIELDS + 2
    ]
    (note,) = rows.notes(read_where({"not": {"zzz": 1}}))
    assert note.startswith("no passage has the field 'zzz'")


def test_long_names_are_cut(tmp_path):
    rows = RowFilter(passages_of(tmp_path, {"x" * 10_000: 1}))
    (note,) = rows.notes(read_where({"not": {"y" * 10_000: 1}}))
    assert len(note) < 500


ITEMS = [None, True, False, 0, 1, 1.0, "a", "b", [1], {"a": 1}]


@settings(max_examples=100, deadline=None)
@given(
    data=st.lists(st.lists(st.sampled_from(ITEMS), max_size=5) | st.sampled_from(ITEMS)),
    sought=st.lists(st.sampled_from(ITEMS[:-2]), min_size=1, max_size=3),
    word=st.sampled_from(["any", "all", "ne", "exists"]),
)
def test_a_column_holds_what_each_value_holds(data, sought, word):
    builder = ColumnBuilder(len(data))
    for row, value in enumerate(data):
        builder.put(row, value)
    operand = {"ne": sought[0], "exists": True}.get(word, sought)
    condition = read_where({"f": {word: operand}})
    mask = builder.build().mask(condition)
    assert mask.tolist() == [condition.holds(value) for value in data]


def test_equal_lists_are_stored_once():
    builder = ColumnBuilder(1000)
    for row in range(1000):
        builder.put(row, ["b", "a", "b"] if row % 2 else ["a", "b"])
    column = builder.build()
    assert column.ends.tolist() == [2]
    assert len(column.values) == 3
    assert np.unique(column.numbers).tolist() == [-1]


PIPELINE = """\
ragcore: 1
memory:
  store: store
  corpus: {use: jsonl, path: passages.jsonl}
  retriever: {use: bm25}
rag: {k: 2}
"""


@pytest.fixture
def pipeline(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [
        {"id": "a", "title": "Chad", "text": "capital of Chad", "country\x1b[31m": "Chad"},
        {"id": "b", "title": "Mali", "text": "capital of Mali", "year": 2018},
    ]
    Path("passages.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("p.yaml").write_text(PIPELINE)
    assert main(["memory", "build", "p.yaml", "--version", "v"]) == 0
    return "p.yaml"


def test_a_search_says_what_is_wrong_with_its_filter_once(pipeline, capsys):
    capsys.readouterr()
    assert main(["memory", "search", pipeline, "capital", "--where", '{"contry": "Chad"}']) == 0
    out, errors = capsys.readouterr()
    assert "no passage has the field 'contry': did you mean 'country" in out
    assert "the filter allows none of the 2 passages\n0 passages from memory v" in out
    assert "\x1b" not in out
    assert errors == ""


def test_a_search_as_json_says_it_in_the_log(pipeline, caplog, capsys):
    capsys.readouterr()
    arguments = ["memory", "search", pipeline, "capital", "--json"]
    assert main([*arguments, "--where", '{"or": [{"id": "a"}, {"year": 2018}]}']) == 0
    (row,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert row["id"] == "b"
    (record,) = (record for record in caplog.records if record.name == "ragcore.retrieval.filters")
    assert record.levelno == logging.WARNING
    assert "no passage has the field 'id': the passage's own id is '$id'" in record.getMessage()


def test_ids_and_titles_are_those_of_the_rows_that_a_version_keeps(tmp_path):
    passages_of(tmp_path, *({"n": row} for row in range(6))).close()
    kept = np.array([1, 2, 5], np.int64)
    with Passages(tmp_path / "p.arrow", kept=kept) as passages:
        rows = RowFilter(passages)
        assert rows.rows(read_where({"$id": {"in": ["0", "2", "5"]}})).tolist() == [1, 2]
        assert rows.rows(read_where({"$title": {"ne": "T2"}})).tolist() == [0, 2]
        assert rows.rows(read_where({"$id": "5", "n": 5})).tolist() == [2]
        assert rows.notes(read_where({"$id": "0"})) == ("the filter allows none of the 3 passages",)


def test_filters_by_id_of_no_passages_allow_none(tmp_path):
    rows = RowFilter(passages_of(tmp_path))
    assert rows.rows(read_where({"$id": "0"})).tolist() == []
    assert rows.rows(read_where({"$id": {"prefix": "\ud800"}})).tolist() == []

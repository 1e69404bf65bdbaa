"""Tables: CSV, TSV, Parquet and data sets give the passages that their rows say."""

from __future__ import annotations

import csv
import gzip
import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from operator import length_hint
from pathlib import Path
from time import process_time
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ragcore.corpora.arrow_rows import BATCH
from ragcore.corpora.json_values import json_value
from ragcore.corpora.jsonl import Jsonl
from ragcore.corpora.parquet import Parquet
from ragcore.corpora.tables import Csv, Tsv
from ragcore.errors import CorpusError
from ragcore.types import Passage


def csv_of(path: Path, **config: Any) -> Csv:
    return Csv(Csv.Config(path=path, **config))


def parquet(path: Any, **config: Any) -> Parquet:
    return Parquet(Parquet.Config(path=path, **config))


def saved(path: Path, rows: Any, **options: Any) -> Path:
    pq.write_table(
        rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows), path, **options
    )
    return path


def text_file(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(str.strip)
rows = st.lists(
    st.fixed_dictionaries({"id": texts, "title": texts, "text": texts, "note": texts}),
    min_size=1,
    max_size=5,
    unique_by=lambda row: row["id"],
)


@given(rows)
def test_all_formats_give_the_same_passages(tmp_path_factory, rows: list[dict[str, str]]) -> None:
    folder = tmp_path_factory.mktemp("formats")
    expected = [
        Passage(row["id"], row["title"], row["text"], {"note": row["note"]}) for row in rows
    ]
    for name, delimiter, terminator in (("c.csv", ",", "\r\n"), ("c.tsv", "\t", "\n")):
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0], delimiter=delimiter, lineterminator=terminator)
            writer.writeheader()
            writer.writerows(rows)
    assert list(csv_of(folder / "c.csv")) == expected
    assert list(Tsv(Tsv.Config(path=folder / "c.tsv"))) == expected
    assert list(parquet(saved(folder / "c.parquet", rows))) == expected
    text_file(folder / "c.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert list(Jsonl(Jsonl.Config(path=folder / "c.jsonl"))) == expected


def test_a_csv_as_programs_write_it(tmp_path: Path) -> None:
    """A byte order mark, quotes, line breaks in fields, and empty fields."""
    content = (
        '\ufeffid,title,text,url\r\n1,"Chad, the ""land""","one\r\ntwo",\r\n\r\n2,,three,u\r\n'
    )
    path = text_file(tmp_path / "c.csv", content)
    assert list(csv_of(path)) == [
        Passage("1", 'Chad, the "land"', "one\r\ntwo"),
        Passage("2", "", "three", {"url": "u"}),
    ]


def test_a_row_is_named_by_its_first_line(tmp_path: Path) -> None:
    path = text_file(tmp_path / "c.csv", 'text\n"one\ntwo"\nthree\n""\n"four\nfive"\n')
    assert [each.id for each in csv_of(path, on_error="skip")] == ["2", "4", "6"]
    (_, third, *_) = csv_of(path, on_error="skip", source=True)
    assert third.metadata == {"path": "c.csv", "line": 4}
    with pytest.raises(CorpusError, match=r"c\.csv:5: the text is empty"):
        list(csv_of(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"c\.csv: the file is empty"),
        ("id,text,id\n", r"c\.csv:1: two columns have the name 'id'"),
        ("id,text\n1,a\n2,b,c\n", r"c\.csv:3: 3 fields, expected 2 \(id, text\)"),
        ('id,text\n1,"a\nb"\n2\n', r"c\.csv:4: 1 fields, expected 2"),
        ('id,text\n1,"a" b\n', r"c\.csv:2: .*quoting: none"),
        ('id,text\n1,a\n2,"open\nto the\nend\n', r"c\.csv:3: unexpected end of data"),
        ("id,body\n1,a\n", r"c\.csv:2: no column 'text' among \['body', 'id'\].*`text`"),
        ("id,text\n,a\n", r"c\.csv:2: id is '', expected"),
        (b"id,text\n1,caf\xe9\n", r"c\.csv:2: not UTF-8 .*encoding: cp1252"),
        (b"\xff\xfei\x00d\x00", r"c\.csv:1: not UTF-8 .*name its encoding"),
    ],
)
def test_a_bad_row_of_a_csv_is_named(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        list(csv_of(text_file(tmp_path / "c.csv", content)))


def test_a_wrong_row_of_a_csv_may_be_skipped(tmp_path: Path) -> None:
    content = 'id,text\n1,one\n2,"a" b\n3,three\n4\n5,five\n6,"open\n'
    path = text_file(tmp_path / "c.csv", content)
    assert [each.id for each in csv_of(path, on_error="skip")] == ["1", "3", "5"]


def test_options_of_a_csv(tmp_path: Path) -> None:
    path = text_file(tmp_path / "c.csv", '7;"Say";2018;1.5\n8;x;;\n')
    options = {"columns": ("nr", "body", "year", "size"), "id": "nr", "text": "body"}
    table = csv_of(path, delimiter=";", quoting="none", numbers=("year", "size"), **options)
    assert list(table) == [
        Passage("7", "", '"Say"', {"year": 2018, "size": 1.5}),
        Passage("8", "", "x"),
    ]
    with pytest.raises(CorpusError, match=r"c\.csv:1: body is .*expected a number"):
        list(csv_of(path, delimiter=";", numbers=("body",), **options))
    for option in ({"delimiter": '"'}, {"delimiter": "::"}, {"columns": ("a", "a")}):
        with pytest.raises(ValidationError):
            Csv.Config(path=path, **option)
    with pytest.raises(ValidationError, match="there is no encoding 'klingon'"):
        Csv.Config(path=path, encoding="klingon")


@pytest.mark.parametrize("encoding", ["utf-16", "cp1252", "UTF8"])
def test_a_csv_in_another_encoding(tmp_path: Path, encoding: str) -> None:
    content = "id,text\r\n1,Gen\u00e8ve\r\n2,\u20ac\r\n".encode(encoding)
    path = text_file(tmp_path / "c.csv.gz", gzip.compress(content))
    assert [each.text for each in csv_of(path, encoding=encoding)] == ["Gen\u00e8ve", "\u20ac"]
    text_file(path, b"id,text\r\n1,a\r\n2,\x81\r\n")
    with pytest.raises(CorpusError, match=r"c\.csv\.gz:\d: not in the encoding cp1252"):
        list(csv_of(path, encoding="cp1252"))


def test_a_quote_that_is_never_closed_does_not_fill_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = csv.field_size_limit()
    path = text_file(tmp_path / "c.csv", 'text\n"open\n' + "x" * 99 + "\n" + "line\n" * 100_000)
    monkeypatch.setattr("ragcore.corpora.dpr_tsv.LONGEST_LINE", 1 << 16)
    csv.field_size_limit(1 << 16)
    try:
        with pytest.raises(CorpusError, match=r"c\.csv:2: field larger than field limit"):
            list(csv_of(path))
    finally:
        csv.field_size_limit(limit)


def test_values_of_a_parquet_file_become_those_of_json(tmp_path: Path) -> None:
    row = {
        "id": 7,
        "text": ["One.", "Two."],
        "when": datetime(2018, 12, 20, 8, 30, tzinfo=UTC),
        "day": date(2018, 12, 20),
        "clock": time(8, 30),
        "took": timedelta(minutes=1),
        "price": Decimal("1.50"),
        "count": Decimal("3"),
        "empty": None,
        "nan": float("nan"),
        "nested": {"list": [1, 2], "day": date(2018, 1, 1)},
    }
    (passage,) = parquet(saved(tmp_path / "c.parquet", [row]))
    assert (passage.id, passage.text) == ("7", "One.\n\nTwo.")
    assert passage.metadata == {
        "when": "2018-12-20T08:30:00+00:00",
        "day": "2018-12-20",
        "clock": "08:30:00",
        "took": 60.0,
        "price": 1.5,
        "count": 3,
        "empty": None,
        "nan": None,
        "nested": {"list": [1, 2], "day": "2018-01-01"},
    }
    assert json.loads(json.dumps(passage.metadata, allow_nan=False)) == passage.metadata


@pytest.mark.parametrize("value", [b"image", float("inf"), object(), [b"image"]])
def test_values_that_json_lacks_are_refused(value: object) -> None:
    with pytest.raises(CorpusError, match="c: row 1: picture is"):
        json_value(value, "picture", "c: row 1")
    assert json_value(UUID(int=1), "id", "") == "00000000-0000-0000-0000-000000000001"


def test_columns_of_a_parquet_file_may_be_left_out(tmp_path: Path) -> None:
    path = saved(tmp_path / "c.parquet", [{"text": "t", "picture": b"\x89PNG", "url": "u"}])
    with pytest.raises(CorpusError, match=r"c\.parquet: row 1: picture is bytes.*metadata: \["):
        list(parquet(path))
    assert list(parquet(path, metadata=["url"])) == [Passage("1", "", "t", {"url": "u"})]


def test_shards_of_parquet_are_read_in_batches(tmp_path: Path) -> None:
    count = 2 * BATCH + 7
    for shard in range(2):
        rows = [{"doc": f"{shard}-{row}", "text": f"text {row}"} for row in range(count)]
        saved(tmp_path / f"{shard}.parquet", rows, row_group_size=300)
    corpus = parquet(tmp_path, id="doc")
    assert length_hint(corpus) == 2 * count
    assert [each.id for each in corpus] == [f"{s}-{row}" for s in range(2) for row in range(count)]
    assert [each.id for each in parquet(tmp_path)][count] == "1.parquet:1"
    assert length_hint(parquet(tmp_path, words=5)) == 0, "how many pieces is not known"
    (first, *_) = parquet(tmp_path, source=True, metadata=[])
    assert first.metadata == {"path": "0.parquet", "row": 1}


def test_a_bad_parquet_file_is_named(tmp_path: Path) -> None:
    path = saved(tmp_path / "c.parquet", [{"text": f"{row} " * 40} for row in range(3000)])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorpusError, match=r"c\.parquet: cannot be read as Parquet"):
        list(parquet(path))
    path.write_bytes(whole[:200] + bytes(2000) + whole[2200:])
    with pytest.raises(CorpusError, match=r"c\.parquet: row 1 or one of the next"):
        list(parquet(path))
    path.write_bytes(b"")
    with pytest.raises(CorpusError, match=r"begins with the bytes of no content"):
        list(parquet(path))
    path.write_bytes(b'{"text": 1}')
    with pytest.raises(CorpusError, match=r"begins with the bytes 7b 22 74 65: expected a Parquet"):
        list(parquet(path))
    table = pa.table([["a"], ["b"]], names=["text", "text"])
    with pytest.raises(CorpusError, match="two columns have the name 'text'"):
        list(parquet(saved(path, table)))
    invalid = pa.Array.from_buffers(
        pa.utf8(), 1, [None, pa.py_buffer(bytes([0, 0, 0, 0, 1, 0, 0, 0])), pa.py_buffer(b"\xff")]
    )
    with pytest.raises(CorpusError, match=r"c\.parquet: row 1 or .*can't decode byte 0xff"):
        list(parquet(saved(path, pa.table({"text": invalid}))))


def test_rows_of_a_parquet_file_without_text(tmp_path: Path) -> None:
    rows = [
        {"text": "one", "title": None},
        {"text": None, "title": None},
        {"text": None, "title": "T"},
    ]
    path = saved(tmp_path / "c.parquet", rows)
    with pytest.raises(CorpusError, match=r"c\.parquet: row 2: the text is empty"):
        list(parquet(path))
    assert [each.text for each in parquet(path, on_error="skip")] == ["one", "T"]
    with pytest.raises(CorpusError, match=r"row 1: no column 'contents' or 'text' among \['b'\]"):
        list(parquet(saved(path, [{"b": 1}]), preset="pyserini"))


def test_a_header_of_very_many_columns_is_checked_at_once(tmp_path: Path) -> None:
    names = ",".join(f"c{number}" for number in range(100_000))
    path = text_file(tmp_path / "t.csv", f"id,text,{names}\n1,a\n")
    before = process_time()
    with pytest.raises(CorpusError) as caught:
        list(csv_of(path))
    assert process_time() - before < 20  # comparing each with each takes minutes
    assert "2 fields, expected 100002 (id, text, c0, " in str(caught.value)
    assert "and 99,962 more" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "config"),
    [
        ("id,text," + ",".join(f"c{number}" for number in range(9_000)) + "\n1,a\n", {}),
        ("id,text," + "x" * 90_000 + "\n1,a\n", {}),
        ("x" * 90_000 + "," + "x" * 90_000 + "\n", {}),
        ("id,text,n\n1,a," + "z" * 90_000 + "\n", {"numbers": ["n"]}),
    ],
)
def test_errors_quote_little_of_a_file(tmp_path: Path, content: str, config: Any) -> None:
    with pytest.raises(CorpusError) as caught:
        list(csv_of(text_file(tmp_path / "t.csv", content), **config))
    assert len(str(caught.value)) < 10_000


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16", "utf-32-le", "utf-8-sig"])
def test_a_byte_order_mark_is_not_part_of_the_first_column(tmp_path: Path, encoding: str) -> None:
    mark = "\ufeff" if encoding.endswith("e") else ""
    path = text_file(tmp_path / "t.csv", f"{mark}id,text\n7,a\n".encode(encoding))
    assert list(csv_of(path, encoding=encoding)) == [Passage("7", "", "a")]


def test_times_with_nanoseconds_are_read(tmp_path: Path) -> None:
    moment = pa.timestamp("ns", "UTC")
    table = pa.table(
        {
            "text": ["a"],
            "at": pa.array([1_600_000_000_123_456_789], moment),
            "time": pa.array([1_001], pa.time64("ns")),
            "lasted": pa.array([2_500_001_001], pa.duration("ns")),
            "all": pa.array([[{"at": 1_001}]], pa.list_(pa.struct([("at", moment)]))),
        }
    )
    (passage,) = parquet(saved(tmp_path / "t.parquet", table))
    assert passage.metadata == {
        "at": "2020-09-13T12:26:40.123456789+00:00",
        "time": "00:00:00.000001001",
        "lasted": 2.500001,
        "all": [{"at": "1970-01-01T00:00:00.000001+00:00"}],
    }


def test_a_date_that_python_does_not_have_is_named_by_its_column(tmp_path: Path) -> None:
    table = pa.table({"text": ["a"], "day": pa.array([2**31 - 1], pa.date32())})
    path = saved(tmp_path / "t.parquet", table)
    with pytest.raises(CorpusError, match=r"row 1 or .*: the column 'day' of type date32\[day\]"):
        list(parquet(path))
    assert [passage.text for passage in parquet(path, metadata=[])] == ["a"]

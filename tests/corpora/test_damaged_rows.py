"""What is damaged, misspelt or left out is said: packed files, tables, presets, settings."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import logging
import lzma
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ragcore.corpora import csv_records
from ragcore.corpora.dpr_tsv import DprTsv
from ragcore.corpora.jsonl import Jsonl
from ragcore.corpora.parquet import Parquet
from ragcore.corpora.tables import Csv
from ragcore.errors import CorpusError, EmptyCorpusError
from ragcore.store.comparing import has_moved, same_text
from ragcore.types import Passage, Source
from ragcore.views.source import source_parts


def ids(corpus: Any) -> list[str]:
    return [passage.id for passage in corpus]


def jsonl(path: Any, **config: Any) -> Jsonl:
    return Jsonl(Jsonl.Config(path=path, **config))


def csv_of(path: Any, content: str | bytes, **config: Any) -> Csv:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return Csv(Csv.Config(path=path, **config))


def lines_of(*rows: Any) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


ROWS = [{"id": str(number), "text": f"text {number}"} for number in range(2000)]
PACKINGS: Any = {"bz2": bz2.compress, "gz": gzip.compress, "xz": lzma.compress}


@pytest.mark.parametrize("kind", PACKINGS)
@pytest.mark.parametrize("fault", ["first byte", "garbage", "cut", "middle"])
def test_a_damaged_second_stream_is_no_end(tmp_path: Path, kind: str, fault: str) -> None:
    pack = PACKINGS[kind]
    second = bytearray(pack(lines_of(*ROWS[1000:])))
    if fault == "first byte":
        second[0] ^= 0xFF
    elif fault == "garbage":
        second += b"garbage behind the last stream"
    elif fault == "cut":
        del second[len(second) // 2 :]
    else:
        second[len(second) // 2 : len(second) // 2 + 8] = bytes(8)
    path = tmp_path / "rows.jsonl"
    path.write_bytes(pack(lines_of(*ROWS[:1000])) + second)
    with pytest.raises(CorpusError, match=r"rows\.jsonl:\d+: cannot be read .* are damaged"):
        ids(jsonl(path, on_error="skip"))


@pytest.mark.parametrize("kind", PACKINGS)
def test_zeros_behind_a_stream_are_its_padding(tmp_path: Path, kind: str) -> None:
    pack = PACKINGS[kind]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(pack(lines_of(*ROWS[:1000])) + bytes(100_000) + pack(lines_of(*ROWS[1000:])))
    assert ids(jsonl(path)) == [row["id"] for row in ROWS]
    path.write_bytes(pack(lines_of(*ROWS)) + bytes(512))
    assert ids(jsonl(path)) == [row["id"] for row in ROWS]


@pytest.mark.parametrize("packing", ["", "gz", "bz2", "xz"])
def test_a_tar_archive_is_no_text(tmp_path: Path, packing: str) -> None:
    path = tmp_path / "collection.tsv"
    with tarfile.open(path, f"w:{packing}") as archive:
        entry = tarfile.TarInfo("collection.tsv")
        entry.size = 6
        archive.addfile(entry, io.BytesIO(b"0\ttext"))
    with pytest.raises(CorpusError, match="found a tar archive: unpack it"):
        list(DprTsv(DprTsv.Config(path=path, preset="msmarco", on_error="skip")))


def test_a_stray_quote_takes_no_other_row_along(tmp_path: Path) -> None:
    lines = ["id,text", *(f"{number},text {number}" for number in range(2, 100))]
    lines[10] = '11,"open'
    lines[50] = '51,"closed, and more"'
    lines[98] = '99,"open to the end'
    path = tmp_path / "c.csv"
    corpus = csv_of(path, "\n".join(lines) + "\n", on_error="skip")
    assert ids(corpus) == [str(number) for number in range(2, 100) if number not in (11, 99)]
    assert corpus.summary() == ("2 of 98 rows were skipped",)


def test_a_stray_quote_before_too_many_lines_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such rows cannot be read again, and are not left out without a word."""
    monkeypatch.setattr(csv_records, "_MOST_LINES", 20)
    content = 'id,text\n1,one\n2,"open\n' + "".join(f"{n},text\n" for n in range(3, 40))
    with pytest.raises(CorpusError, match=r"c\.csv:3: unexpected end of data: .*close its quote"):
        ids(csv_of(tmp_path / "c.csv", content, on_error="skip"))
    # A field of as many lines that is closed is one.
    rows = csv_of(tmp_path / "c.csv", content + '"\n40,last\n', on_error="skip")
    assert ids(rows) == ["1", "2", "40"]


def test_lines_that_open_a_quote_from_any_of_them_take_bounded_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read from any of these lines on, a quote is open up to the end."""
    monkeypatch.setattr(csv_records, "_MOST_AGAIN", 1 << 20)
    corpus = csv_of(tmp_path / "c.csv", "id,text\n" + 'a","c\n' * 5000, on_error="skip")
    with pytest.raises(CorpusError, match=r"c\.csv:\d: .* too many rows with wrong quotes"):
        ids(corpus)


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "shift_jis"])
def test_a_row_in_another_encoding_may_be_skipped(tmp_path: Path, encoding: str) -> None:
    bad = {"utf-8": b"\xff", "cp1252": b"\x81", "shift_jis": b"\xff"}[encoding]
    rows = [b"%d,text\n" % number for number in range(2, 400)]
    rows[298] = b"300," + bad + b"\n"
    path = tmp_path / "c.csv"
    content = b"id,text\n" + b"".join(rows)
    corpus = csv_of(path, content, encoding=encoding, on_error="skip")
    assert ids(corpus) == [str(number) for number in range(2, 400) if number != 300]
    with pytest.raises(CorpusError, match=r"c\.csv:300: not "):
        ids(csv_of(path, content, encoding=encoding))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32", "utf-7"])
def test_an_error_in_a_wide_encoding_names_its_line(tmp_path: Path, encoding: str) -> None:
    rows = [f"{number},text é {number}\r\n" for number in range(2, 400)]
    content = ("id,text\r\n" + "".join(rows)).encode(encoding)
    path = tmp_path / "c.csv"
    assert ids(csv_of(path, content, encoding=encoding)) == [str(n) for n in range(2, 400)]
    bad = {"utf-16": b"\x00\xdc", "utf-16-be": b"\xdc\x00", "utf-32": b"\xff" * 4, "utf-7": b"\xff"}
    # Without the byte order mark that these two put first.
    plain = f"{encoding}-le" if encoding in ("utf-16", "utf-32") else encoding
    position = content.index("300,text".encode(plain))
    cut = content[:position] + bad[encoding] + content[position:]
    with pytest.raises(CorpusError, match=rf"c\.csv:300: not in the encoding {encoding}"):
        ids(csv_of(path, cut, encoding=encoding, on_error="skip"))


def test_lines_that_a_carriage_return_ends_are_named(tmp_path: Path) -> None:
    for number, content in ((2, "id,text\n1,a\r2,b\n"), (1, "id,text\r1,a\r")):
        message = rf"c\.csv:{number}: a carriage return without a line feed"
        with pytest.raises(CorpusError, match=message):
            ids(csv_of(tmp_path / "c.csv", content))


def test_a_wrong_delimiter_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"c\.csv:1: one column, 'id;text'.*delimiter: ';'"):
        ids(csv_of(tmp_path / "c.csv", "id;text\n1;a\n"))


@pytest.mark.parametrize(
    "number", ["1_000", "٣", "nan", "inf", "1e400", "", "0x1", "9" * 5000, "1 2"]
)
def test_what_is_no_number_is_refused(tmp_path: Path, number: str) -> None:
    content = f"id,text,year\n1,a, {number} \n"
    with pytest.raises(CorpusError, match=r"c\.csv:2: year is .*expected a number"):
        ids(csv_of(tmp_path / "c.csv", content, numbers=("year",)))


@pytest.mark.parametrize(
    ("text", "number"), [("7", 7), ("-7", -7), (" +7 ", 7), ("1.5", 1.5), (".5", 0.5), ("1e3", 1e3)]
)
def test_numbers_are_whole_where_they_are_written_so(
    tmp_path: Path, text: str, number: float
) -> None:
    corpus = csv_of(tmp_path / "c.csv", f"id,text,year\n1,a,{text}\n", numbers=("year",))
    (passage,) = corpus
    assert passage.metadata == {"year": number}
    assert type(passage.metadata["year"]) is type(number)


def test_a_misspelt_column_is_named(tmp_path: Path) -> None:
    content = "id,text,year\n1,a,2\n"
    for option in ("metadata", "numbers"):
        with pytest.raises(CorpusError, match=rf"no column 'yaer', which `{option}` names: .*year"):
            ids(csv_of(tmp_path / "c.csv", content, **{option: ("yaer",)}))
    pq.write_table(pa.table({"text": ["a"], "year": [1]}), tmp_path / "c.parquet")
    with pytest.raises(CorpusError, match=r"c\.parquet: no column 'yaer', which `metadata` names"):
        ids(Parquet(Parquet.Config(path=tmp_path / "c.parquet", metadata=("yaer",))))


def test_a_misspelt_key_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "c.jsonl"
    path.write_bytes(lines_of({"text": "a", "year": 1}, {"text": "b", "place": "x"}))
    with caplog.at_level(logging.WARNING, "ragcore.corpora"):
        ids(jsonl(path, metadata=("year", "place")))
        assert caplog.messages == []
        ids(jsonl(path, metadata=("yaer", "place")))
    assert caplog.messages == ["metadata: no line has the key 'yaer'"]


def test_skipped_rows_are_counted_in_the_summary(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_bytes(lines_of({"text": "a"}, {"text": ""}))
    corpus = jsonl(path, on_error="skip")
    assert corpus.summary() == ()
    assert ids(corpus) == ["1"]
    assert corpus.summary() == ("1 of 2 lines were skipped",)
    path.write_bytes(lines_of({"text": "a"}))
    assert ids(corpus) == ["1"]
    assert corpus.summary() == ()


class Room:
    """A tokenizer of an encoder that reads 30 tokens; no text of these tests comes so far."""

    def room(self, title: str) -> int:
        return 30

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


def test_faults_of_the_settings_are_not_skipped(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_bytes(lines_of(*ROWS[:3]))
    corpus: Any = jsonl(path, on_error="skip", split={"by": "tokens", "size": 500})
    corpus.use_tokenizer(Room())
    with pytest.raises(CorpusError, match=r"^split\.size is 500 tokens"):
        ids(corpus)
    for option in ("id", "title", "text"):
        with pytest.raises(EmptyCorpusError, match=r"no line of 3 is a passage; .*no key 'typo'"):
            ids(jsonl(path, on_error="skip", **{option: "typo"}))


def test_a_preset_reads_no_questions_in_place_of_passages(tmp_path: Path) -> None:
    (tmp_path / "queries.jsonl").write_bytes(lines_of({"_id": "q", "text": "who?"}))
    with pytest.raises(EmptyCorpusError, match=r"a name like corpus\.jsonl: name the files"):
        ids(jsonl(tmp_path, preset="beir"))
    pq.write_table(pa.table({"_id": ["q"], "text": ["who?"]}), tmp_path / "queries-0.parquet")
    with pytest.raises(EmptyCorpusError, match=r"a name like corpus\*\.parquet"):
        ids(Parquet(Parquet.Config(path=tmp_path, preset="beir")))
    pq.write_table(pa.table({"_id": ["d"], "text": ["text"]}), tmp_path / "corpus-0.parquet")
    assert ids(Parquet(Parquet.Config(path=tmp_path, preset="beir"))) == ["d"]


def test_a_file_that_is_there_twice_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines_of({"text": "x"}))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines_of({"text": "x"})))
    for path in (tmp_path, tmp_path / "*"):
        with pytest.raises(CorpusError, match=r"a\.jsonl and a\.jsonl\.gz: two files whose names"):
            ids(jsonl(path))
    assert len(ids(jsonl([tmp_path / "a.jsonl", tmp_path / "a.jsonl.gz"]))) == 2


def test_capitals_in_a_files_name_make_no_difference(tmp_path: Path) -> None:
    (tmp_path / "A.JSONL").write_bytes(lines_of({"text": "x"}))
    (tmp_path / "b.jsonl").write_bytes(lines_of({"text": "y"}))
    assert ids(jsonl(tmp_path)) == ["A.JSONL:1", "b.jsonl:1"]


@pytest.mark.parametrize(
    ("row", "title", "text"),
    [
        ({"title": "A", "contents": "first line\nsecond"}, "A", "first line\nsecond"),
        ({"title": "A", "contents": '"A"\nsecond'}, "A", "second"),
        ({"title": "A", "contents": "A\nsecond"}, "A", "second"),
        ({"title": None, "contents": "A\nsecond"}, "A", "second"),
        ({"title": "", "contents": "A\nsecond"}, "A", "second"),
        ({"title": "A", "contents": "only"}, "A", "only"),
    ],
)
def test_flashrag_cuts_no_line_that_is_no_title(
    tmp_path: Path, row: dict[str, Any], title: str, text: str
) -> None:
    path = tmp_path / "c.jsonl"
    path.write_bytes(lines_of({"id": "0", **row}))
    assert list(jsonl(path, preset="flashrag")) == [Passage("0", title, text)]


def test_kilt_keeps_characters_that_are_no_marks(tmp_path: Path) -> None:
    paragraphs = [
        "Inc.\n",
        "Section::::Acme Inc..:U.S.A..\n",
        "BULLET::::- \n",
        "BULLET::::-5 degrees\n",
        "BULLET::::- - dash\n",
    ]
    row = {"wikipedia_id": "1", "wikipedia_title": "Inc.", "text": paragraphs}
    path = tmp_path / "c.jsonl"
    path.write_bytes(lines_of(row))
    (page,) = jsonl(path, preset="kilt")
    assert page.text == "U.S.A.\n\n- -5 degrees\n- - dash"
    path.write_bytes(lines_of(row | {"text": ["Inc.\n", "Section::::Acme Inc..\n", "x\n"]}))
    (page,) = jsonl(path, preset="kilt", split={"by": "headings"})
    assert page.metadata["heading"] == "Acme Inc."


def test_a_preset_stays_one_with_a_text_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    row = {
        "wikipedia_id": "1",
        "wikipedia_title": "A",
        "text": ["A\n", "Lead.\n"],
        "abstract": "short",
        "categories": "x,y",
    }
    path.write_bytes(lines_of(row))
    (page,) = jsonl(path, preset="kilt", text="text")
    assert (page.text, page.metadata["categories"]) == ("Lead.", ["x", "y"])
    (page,) = jsonl(path, preset="kilt", text="abstract")
    assert (page.text, page.metadata["text"]) == ("short", ["A\n", "Lead.\n"])
    path.write_bytes(lines_of({"id": "0", "contents": '"T"\nlong', "abstract": "short"}))
    assert list(jsonl(path, preset="flashrag", text="abstract")) == [Passage("0", "T", "short")]


@pytest.mark.parametrize("columns", [2, 4])
def test_a_file_of_ms_marco_has_one_layout(tmp_path: Path, columns: int) -> None:
    rows = {2: "1\ttext", 4: "1\turl\ttitle\ttext"}
    path = tmp_path / "collection.tsv"
    path.write_text(f"{rows[columns]}\n\n{rows[6 - columns]}\n")
    corpus = DprTsv(DprTsv.Config(path=path, preset="msmarco"))
    with pytest.raises(CorpusError, match=rf"tsv:3: {6 - columns} fields, expected {columns} \(id"):
        list(corpus)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_empty_lines_of_a_tsv_are_skipped(tmp_path: Path, end: str) -> None:
    path = tmp_path / "p.tsv"
    path.write_bytes(end.join(["id\ttext\ttitle", "", "1\tone\tA", "", ""]).encode())
    assert list(DprTsv(DprTsv.Config(path=path))) == [Passage("1", "A", "one")]


def test_rows_are_cited_by_their_number(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a", "b"]}), tmp_path / "c.parquet")
    (_, second) = Parquet(Parquet.Config(path=tmp_path / "c.parquet", source=True))
    source = Source.of(second)
    assert source.to_dict() == {"path": "c.parquet", "row": 2}
    assert source_parts(source) == ["c.parquet: row 2"]
    moved = Passage(second.id, second.title, second.text, {"path": "c.parquet", "row": 3})
    assert same_text(second, moved)
    assert has_moved(second, moved)


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_nanoseconds_become_text(tmp_path: Path, zone: str | None) -> None:
    whole = 1_545_294_600_000_000_000
    kinds = pa.timestamp("ns", zone)
    table = pa.table(
        {
            "text": ["a", "b"],
            "day": pa.array([whole, None], kinds),
            "when": pa.array([whole + 1, None], kinds),
            "took": pa.array([1_500_000_001, 0], pa.duration("ns")),
            "clock": pa.array([1, 0], pa.time64("ns")),
            "nested": pa.array([{"at": [whole]}, None], pa.struct([("at", pa.list_(kinds))])),
        }
    )
    pq.write_table(table, tmp_path / "c.parquet")
    (first, second) = Parquet(Parquet.Config(path=tmp_path / "c.parquet"))
    end = "" if zone is None else "+00:00"
    assert first.metadata == {
        "day": f"2018-12-20T08:30:00{end}",
        "when": f"2018-12-20T08:30:00.000000001{end}",
        "took": 1.5,
        "clock": "00:00:00.000000001",
        "nested": {"at": [f"2018-12-20T08:30:00{end}"]},
    }
    assert second.metadata["when"] is None
    # As Python writes the same time.
    assert (
        first.metadata["day"]
        == datetime(2018, 12, 20, 8, 30, tzinfo=None if zone is None else UTC).isoformat()
    )


def test_words_split_otherwise_than_split_by_words(tmp_path: Path) -> None:
    """As the reference says: `words` knows no language and no heading."""
    path = tmp_path / "c.jsonl"
    path.write_text(json.dumps({"text": "東京は日本の首都である。" * 20}, ensure_ascii=False))
    assert len(ids(jsonl(path, words=10))) == 1
    assert len(ids(jsonl(path, split={"by": "words", "size": 10}))) > 5

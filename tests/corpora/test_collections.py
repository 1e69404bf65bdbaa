"""Known collections in their original form, shards, and rows that are not as one would like."""

from __future__ import annotations

import bz2
import gzip
import json
import logging
import lzma
import re
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ragcore.corpora import lines
from ragcore.corpora.dpr_tsv import DprTsv
from ragcore.corpora.jsonl import Jsonl
from ragcore.errors import CorpusError, EmptyCorpusError
from ragcore.store.checking import checked_passages
from ragcore.types import Passage, Source

ROWS = [{"id": str(number), "title": f"T{number}", "text": f"text {number}"} for number in range(5)]
PASSAGES = [Passage(row["id"], row["title"], row["text"]) for row in ROWS]


def jsonl(path: Any, **config: Any) -> Jsonl:
    return Jsonl(Jsonl.Config(path=path, **config))


def dumped(*rows: Any) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def written(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(dumped(*rows))
    return path


def zstd(data: bytes) -> bytes:
    return pytest.importorskip("backports.zstd", reason="packs Zstandard").compress(data)


PACKINGS: Any = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstd,
    "plain": bytes,
}


@pytest.mark.parametrize("kind", PACKINGS)
def test_packed_files_are_told_by_their_first_bytes(tmp_path: Path, kind: str) -> None:
    pack = PACKINGS[kind]
    path = tmp_path / "rows.jsonl"
    # Two streams that follow each other, as programs that pack in parallel write them.
    path.write_bytes(pack(dumped(*ROWS[:2])) + pack(dumped(*ROWS[2:])))
    assert list(jsonl(path)) == PASSAGES


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zst"])
@pytest.mark.parametrize("fault", ["cut", "damaged"])
def test_packed_data_that_are_damaged_are_named(tmp_path: Path, kind: str, fault: str) -> None:
    rows = [{"text": f"{number} " * 50} for number in range(3000)]
    data = bytearray(PACKINGS[kind](dumped(*rows)))
    middle = len(data) // 2
    if fault == "cut":
        del data[middle:]
    else:
        data[middle : middle + 64] = bytes(64)
    path = tmp_path / f"rows.jsonl.{kind}"
    path.write_bytes(data)
    with pytest.raises(CorpusError, match=rf"{path.name}:\d+: cannot be read .*fetch the file"):
        list(jsonl(path))
    with pytest.raises(CorpusError, match="cannot be read"):
        # Such a fault is none of a row.
        list(jsonl(path, on_error="skip"))


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zst"])
def test_a_line_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE", 4 << 20)
    path = tmp_path / "bomb.jsonl"
    path.write_bytes(PACKINGS[kind](dumped(ROWS[0]) + b'{"text": "' + bytes(200 << 20)))
    assert path.stat().st_size < 1 << 20
    tracemalloc.start()
    try:
        with pytest.raises(CorpusError, match=r"bomb\.jsonl:2: the line is longer than 4 MiB"):
            list(jsonl(path))
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def test_a_file_of_another_kind_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"PK\x03\x04" + bytes(40))
    with pytest.raises(CorpusError, match=r"rows\.jsonl: expected a file of text, found a ZIP"):
        list(jsonl(path))
    path.write_bytes(b"PAR1" + bytes(40))
    with pytest.raises(CorpusError, match=r"found Parquet: read it with \{use: parquet\}"):
        list(jsonl(path))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=6), st.integers(1, 9))
def test_lines_are_those_of_the_file(tmp_path_factory, texts: list[str], block: int) -> None:
    """Wherever a block ends, lines are split at line feeds alone."""
    data = "\n".join(texts).encode()
    path = tmp_path_factory.mktemp("lines") / "file"
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "_BLOCK", block)
        # A packed or binary head is another test's.
        if not data.startswith((b"BZh", b"PK", b"PAR1", b"ARROW1", b"%PDF-")):
            numbers, content = zip(*lines.raw_lines(path), strict=True) if data else ((), ())
            assert b"".join(content) == data
            assert list(numbers) == list(range(1, len(content) + 1))
            assert all(line.count(b"\n") == line.endswith(b"\n") for line in content)


def test_shards_are_read_in_order(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    for number in (2, 0, 1):
        written(folder / f"{number}.jsonl", {"text": f"{number} one"}, {"text": f"{number} two"})
    (folder / "3.jsonl.gz").write_bytes(gzip.compress(dumped({"text": "three"})))
    written(folder / ".hidden" / "4.jsonl", {"text": "hidden"})
    (folder / "README.md").write_text("no passages")
    expected = [
        *(
            (f"{number}.jsonl:{line}", f"{number} {word}")
            for number in range(3)
            for line, word in ((1, "one"), (2, "two"))
        ),
        ("3.jsonl.gz:1", "three"),
    ]
    assert [(each.id, each.text) for each in jsonl(folder)] == expected
    assert [(each.id, each.text) for each in jsonl(folder / "*.jsonl*")] == expected
    assert [(each.id, each.text) for each in jsonl(tmp_path / "*" / "[01].jsonl")] == [
        (f"shards/{name}", text) for name, text in expected[:4]
    ]
    # A list is read as it is written, each file once.
    listed = [folder / "1.jsonl", folder / "0.jsonl", folder]
    assert [each.id for each in jsonl(listed)][:5] == [
        "1.jsonl:1",
        "1.jsonl:2",
        "0.jsonl:1",
        "0.jsonl:2",
        "2.jsonl:1",
    ]


def test_row_ids_of_files_with_the_same_name_differ(tmp_path: Path) -> None:
    paths = [written(tmp_path / part / "rows.jsonl", {"text": part}) for part in ("a", "b")]
    assert [each.id for each in jsonl(paths)] == ["a/rows.jsonl:1", "b/rows.jsonl:1"]
    # A file that is named alone has bare numbers.
    assert [each.id for each in jsonl(paths[0])] == ["1"]


def test_a_path_without_files_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_text("{}")
    with pytest.raises(EmptyCorpusError, match=r"no file in it .*\*\.jsonl"):
        list(jsonl(tmp_path))
    with pytest.raises(EmptyCorpusError, match="no file has a name like this"):
        list(jsonl(tmp_path / "*.jsonl"))
    with pytest.raises(CorpusError, match="no such file or folder"):
        list(jsonl([tmp_path / "rows.txt", tmp_path / "none"]))


def test_keys_are_named_by_options(tmp_path: Path) -> None:
    row = {"key": 7, "head": "H", "contents": ["One.", " ", "Two. "], "url": "u", "year": 1}
    path = written(tmp_path / "c.jsonl", row)
    options = {"id": "key", "title": "head", "text": "contents"}
    text = "One.\n\nTwo."
    assert list(jsonl(path, **options)) == [Passage("7", "H", text, {"url": "u", "year": 1})]
    assert list(jsonl(path, **options, metadata=["year", "other"])) == [
        Passage("7", "H", text, {"year": 1})
    ]
    assert list(jsonl(path, id=False, title=False, text="contents", metadata=[])) == [
        Passage("1", "", text)
    ]
    for option in ("id", "title", "text"):
        with pytest.raises(CorpusError, match=r"c\.jsonl:1: no key 'no' among .*`" + option):
            list(jsonl(path, **options | {option: "no"}))


def test_titles_may_be_null_and_may_be_all_there_is(tmp_path: Path) -> None:
    path = written(
        tmp_path / "c.jsonl",
        {"title": None, "text": "t"},
        {"title": "Only", "text": ""},
        {"title": "None", "text": None},
        {"title": "List", "text": []},
    )
    assert [(each.title, each.text) for each in jsonl(path)] == [
        ("", "t"),
        ("Only", "Only"),
        ("None", "None"),
        ("List", "List"),
    ]


def test_wrong_rows_are_skipped_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "c.jsonl"
    path.write_bytes(
        dumped(ROWS[0])
        + b"{cut\n"
        + b'{"text": "\xff"}\n'
        + dumped({"text": ""}) * 30
        + dumped(ROWS[1])
    )
    with pytest.raises(CorpusError, match=r"c\.jsonl:2: not JSON .*on_error: skip leaves such"):
        list(jsonl(path))
    corpus = jsonl(path, on_error="skip")
    with caplog.at_level(logging.WARNING, "ragcore.corpora"):
        assert list(corpus) == PASSAGES[:2]
    assert len(caplog.messages) == 21, "twenty rows, and how many there are"
    assert re.search(r"c\.jsonl:2: not JSON", caplog.messages[0])
    assert re.search(r"c\.jsonl:3: not UTF-8", caplog.messages[1])
    assert caplog.messages[-1] == "32 of 34 lines were skipped"


def test_both_places_of_an_id_are_named(tmp_path: Path) -> None:
    written(tmp_path / "a.jsonl", ROWS[0], ROWS[1])
    written(tmp_path / "b.jsonl", ROWS[2], "", ROWS[1])
    with pytest.raises(CorpusError, match=r"'1', .*a\.jsonl:2 and .*b\.jsonl:3\): ids must"):
        list(checked_passages(jsonl(tmp_path, on_error="skip"), "jsonl"))


def test_rows_can_be_cited(tmp_path: Path) -> None:
    written(tmp_path / "c" / "a.jsonl", ROWS[0], ROWS[1])
    second = list(jsonl(tmp_path / "c", source=True))[1]
    source = Source.of(second)
    assert (source.path, source.line) == ("a.jsonl", 2)


def test_two_ways_to_split_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="expected one of words and split"):
        jsonl(tmp_path, words=3, split={"by": "sentences"})


BEIR = (
    {
        "_id": "4983",
        "title": "Microstructural development",
        "text": "Alterations of the cerebral white matter.",
        "metadata": {},
    },
    {"_id": "MED-10", "title": "", "text": "Recent studies.", "metadata": {"url": "http://x/10"}},
    {"_id": "5836", "title": "Only a title", "text": "", "metadata": {}},
)


def test_beirs_folder_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "scifact"
    written(folder / "corpus.jsonl", *BEIR)
    written(folder / "queries.jsonl", {"_id": "1", "text": "A question?", "metadata": {}})
    (folder / "qrels").mkdir()
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n1\t4983\t1\n")
    assert list(jsonl(folder, preset="beir")) == [
        Passage("4983", BEIR[0]["title"], BEIR[0]["text"]),
        Passage("MED-10", "", "Recent studies.", {"url": "http://x/10"}),
        Passage("5836", "Only a title", "Only a title"),
    ]
    message = r"scifact: it has the files of a collection of BEIR.* write preset: beir"
    with pytest.raises(CorpusError, match=message):
        list(jsonl(folder))
    # Its folder's folder has no other passages; a list of files is what it says.
    with pytest.raises(CorpusError, match=message):
        list(jsonl(tmp_path))
    files = (folder / "queries.jsonl", folder / "corpus.jsonl")
    assert len(list(Jsonl(Jsonl.Config(path=files)))) == 4
    with pytest.raises(CorpusError, match=r"corpus\.jsonl:1: no key 'pid' or 'docid'"):
        list(jsonl(folder / "corpus.jsonl", preset="msmarco", text="text"))


KILT = {
    "_id": "290",
    "wikipedia_id": "290",
    "wikipedia_title": "A",
    "text": [
        "A\n",
        "A is the first letter.\n",
        "Section::::History.\n",
        "It is old.\n",
        "Section::::History.:Typography.\n",
        "BULLET::::- Two shapes\n",
        "BULLET::::- Three\n",
        "Section::::Use.\n",
        "In English.\n",
    ],
    "anchors": [{"text": "letter", "href": "Letter", "paragraph_id": 1, "start": 15, "end": 21}],
    "categories": "Vowel letters,ISO basic Latin letters",
    "history": {
        "pageid": 290,
        "parentid": "9077",
        "revid": 9086769,
        "pre_dump": True,
        "timestamp": "2019-07-31T12:00:00Z",
        "url": "https://en.wikipedia.org/w/i?oldid=9",
    },
    "wikidata_info": {"wikidata_id": "Q9659", "wikipedia_id": "290", "aliases": {"alias": ["a"]}},
}
KILT_TEXT = (
    "A is the first letter.\n\nHistory\n\nIt is old.\n\nTypography\n\n- Two shapes\n- Three\n\n"
    "Use\n\nIn English."
)


def test_kilts_pages_are_read(tmp_path: Path) -> None:
    written(tmp_path / "kilt" / "kilt_knowledgesource.json", KILT)
    written(tmp_path / "kilt" / "nq-dev-kilt.jsonl", {"id": "1", "input": "q", "output": []})
    (page,) = jsonl(tmp_path / "kilt", preset="kilt")
    assert (page.id, page.title, page.text) == ("290", "A", KILT_TEXT)
    assert page.metadata == {
        "categories": ["Vowel letters", "ISO basic Latin letters"],
        "url": "https://en.wikipedia.org/w/i?oldid=9",
        "revision": 9086769,
        "timestamp": "2019-07-31T12:00:00Z",
        "wikidata_id": "Q9659",
    }
    assert Source.of(page).revision == "9086769"


@pytest.mark.parametrize(
    ("contents", "title", "text"),
    [
        ('"Aaron"\nAaron is a prophet.\nHe', "Aaron", "Aaron is a prophet.\nHe"),
        ("Aaron\nis a prophet.", "Aaron", "is a prophet."),
        ("\nno title", "", "no title"),
        ("no line break", "", "no line break"),
        ('"A" and "B"\ntext', '"A" and "B"', "text"),
    ],
)
def test_flashrags_contents_are_split(tmp_path: Path, contents: str, title: str, text: str) -> None:
    path = written(tmp_path / "c.jsonl", {"id": "0", "contents": contents})
    assert list(jsonl(path, preset="flashrag")) == [Passage("0", title, text)]
    both = {"id": "0", "title": "T", "text": "t", "contents": contents}
    assert list(jsonl(written(path, both), preset="flashrag")) == [Passage("0", "T", "t")]


def test_pyserinis_contents_are_read(tmp_path: Path) -> None:
    path = written(tmp_path / "c.jsonl", {"id": "doc1", "contents": "one\ntwo", "NER": {"X": []}})
    assert list(jsonl(path, preset="pyserini")) == [
        Passage("doc1", "", "one\ntwo", {"NER": {"X": []}})
    ]


def test_ms_marcos_first_collections_are_read(tmp_path: Path) -> None:
    path = tmp_path / "collection.tsv"
    path.write_text('0\tThe "presence" of\n1\t"Quoted at its start\n')
    (tmp_path / "queries.dev.tsv").write_text("2\twhat is this")
    for where in (path, tmp_path):
        corpus = DprTsv(DprTsv.Config(path=where, preset="msmarco"))
        assert list(corpus) == [
            Passage("0", "", 'The "presence" of'),
            Passage("1", "", '"Quoted at its start'),
        ]
    documents = tmp_path / "docs" / "msmarco-docs.tsv.gz"
    documents.parent.mkdir()
    documents.write_bytes(gzip.compress(b"D1\thttp://x\tA title\tA body\nD2\thttp://y\t\tBody\n"))
    assert list(DprTsv(DprTsv.Config(path=documents, preset="msmarco"))) == [
        Passage("D1", "A title", "A body", {"url": "http://x"}),
        Passage("D2", "", "Body", {"url": "http://y"}),
    ]
    documents.write_bytes(b"D1\thttp://x\tA title\n")
    with pytest.raises(CorpusError, match=r"gz:1: 3 fields, expected 2 \(id, text\)"):
        list(DprTsv(DprTsv.Config(path=documents, preset="msmarco")))
    with pytest.raises(CorpusError, match=r"\{use: dpr-tsv, preset: msmarco\}"):
        list(jsonl(path, preset="msmarco"))


def test_ms_marcos_second_collections_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "msmarco_v2_passage"
    folder.mkdir()
    row = {
        "pid": "msmarco_passage_00_0",
        "passage": "0-60 Times",
        "spans": "(0,10)",
        "docid": "msmarco_doc_00_0",
    }
    (folder / "msmarco_passage_00.gz").write_bytes(gzip.compress(dumped(row)))
    assert list(jsonl(folder, preset="msmarco")) == [
        Passage(row["pid"], "", "0-60 Times", {"spans": "(0,10)", "docid": "msmarco_doc_00_0"})
    ]
    page = {"url": "http://x", "title": "T", "headings": "H\n", "body": "B", "docid": "D_0"}
    assert list(jsonl(written(tmp_path / "msmarco_doc_00", page), preset="msmarco")) == [
        Passage("D_0", "T", "B", {"url": "http://x", "headings": "H\n"})
    ]


@pytest.mark.parametrize("first", [0x50, 0x5F])
def test_zstandard_that_begins_with_a_frame_to_skip_is_read(tmp_path: Path, first: int) -> None:
    frame = bytes((first,)) + b"\x2a\x4d\x18\x04\x00\x00\x00skip"
    path = tmp_path / "c.jsonl.zst"
    path.write_bytes(frame + zstd(dumped({"id": "1", "text": "a"})))
    assert list(jsonl(path)) == [Passage("1", "", "a")]


def test_a_number_that_is_too_large_is_a_fault_of_its_row(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text('{"text": "a", "x": 1e400}\n{"text": "b", "x": 1.5}\n')
    with pytest.raises(CorpusError, match=r"c\.jsonl:1: not JSON \(1e400 is too large"):
        list(jsonl(path))
    assert list(jsonl(path, on_error="skip")) == [Passage("2", "", "b", {"x": 1.5})]


def test_a_header_of_a_table_of_tabs_is_not_quoted_whole(tmp_path: Path) -> None:
    path = tmp_path / "c.tsv"
    path.write_text("x\t" * 90_000 + "\n")
    with pytest.raises(
        CorpusError, match=r"found the columns \['x', .* and 89,961 more\]"
    ) as error:
        list(DprTsv(DprTsv.Config(path=path)))
    assert len(str(error.value)) < 10_000

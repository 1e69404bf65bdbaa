"""The core's corpora: what each reads, and that a fault is named by file and line."""

from __future__ import annotations

import csv
import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ragcore.corpora.dpr_tsv import DprTsv
from ragcore.corpora.fields import ID_ALIASES
from ragcore.corpora.jsonl import Jsonl
from ragcore.corpora.text_folder import TextFolder
from ragcore.errors import CorpusError, EmptyCorpusError
from ragcore.types import Passage


def jsonl(path: Path, **config: Any) -> Jsonl:
    return Jsonl(Jsonl.Config(path=path, **config))


def written(path: Path, *lines: str | bytes | dict[str, Any]) -> Path:
    def to_bytes(line: str | bytes | dict[str, Any]) -> bytes:
        text = json.dumps(line) if isinstance(line, dict) else line
        return text.encode() if isinstance(text, str) else text

    data = b"".join(to_bytes(line) + b"\n" for line in lines)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("key", ID_ALIASES)
def test_an_alias_alone_is_the_id(tmp_path: Path, key: str) -> None:
    path = written(tmp_path / "c.jsonl", {key: "D7", "text": "t"}, {key: 8, "text": "u"})
    assert list(jsonl(path)) == [Passage("D7", "", "t"), Passage("8", "", "u")]


def test_an_alias_beside_an_id_is_metadata(tmp_path: Path) -> None:
    path = written(tmp_path / "c.jsonl", {"id": "1", "doc_id": "D", "text": "t"})
    assert list(jsonl(path)) == [Passage("1", "", "t", {"doc_id": "D"})]


def test_one_of_several_aliases_must_be_named(tmp_path: Path) -> None:
    row = {"docid": "D", "pid": 3, "text": "t"}
    path = written(tmp_path / "c.jsonl", {"text": "first"}, row)
    message = r"c\.jsonl:2: .*'docid' or 'pid'.*option `id`.* id: docid"
    with pytest.raises(CorpusError, match=message):
        list(jsonl(path))
    written(path, row)
    assert list(jsonl(path, id="pid")) == [Passage("3", "", "t", {"docid": "D"})]


def test_the_key_of_the_id_may_be_named(tmp_path: Path) -> None:
    path = written(tmp_path / "c.jsonl", {"id": 1, "url": "x/1", "text": "t"})
    assert list(jsonl(path, id="url")) == [Passage("x/1", "", "t", {"id": 1})]
    assert list(jsonl(path, id="text")) == [Passage("t", "", "t", {"id": 1, "url": "x/1"})]
    with pytest.raises(
        CorpusError, match=r"c\.jsonl:1: no key 'uri' among \['id', 'text', 'url'\]"
    ):
        list(jsonl(path, id="uri"))


def test_passages_of_one_document_may_be_numbered(tmp_path: Path) -> None:
    path = written(tmp_path / "c.jsonl", {"doc_id": "D", "text": "t"}, {"doc_id": "D", "text": "u"})
    assert [passage.id for passage in jsonl(path)] == ["D", "D"]
    assert list(jsonl(path, id=False)) == [
        Passage("1", "", "t", {"doc_id": "D"}),
        Passage("2", "", "u", {"doc_id": "D"}),
    ]


@pytest.mark.parametrize("name", ["c.jsonl", "c.jsonl.gz"])
def test_jsonl_reads_every_field(tmp_path: Path, name: str) -> None:
    path = written(
        tmp_path / name,
        {"id": "a", "title": "Chad", "text": "N’Djamena", "year": 2018, "metadata": {"by": "x"}},
        "",
        {"id": 7, "text": "second"},
        {"text": "third"},
    )
    expected = [
        Passage("a", "Chad", "N’Djamena", {"year": 2018, "by": "x"}),
        Passage("7", "", "second"),
        Passage("4", "", "third"),
    ]
    corpus = jsonl(path)
    assert list(corpus) == expected
    assert list(corpus) == expected, "each iteration starts again"


def test_jsonl_splits_texts_and_keeps_the_title(tmp_path: Path) -> None:
    path = written(tmp_path / "c.jsonl", {"id": "a", "title": "T", "text": "1 2 3 4 5", "y": 1})
    assert list(jsonl(path, words=2)) == [
        Passage("a-1", "T", "1 2", {"y": 1}),
        Passage("a-2", "T", "3 4", {"y": 1}),
        Passage("a-3", "T", "5", {"y": 1}),
    ]


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    path = written(tmp_path / "c.jsonl", b"\xef\xbb\xbf" + b'{"text": "one"}')
    assert [passage.text for passage in jsonl(path)] == ["one"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "cut', "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('["text"]', "found list, expected an object"),
        ({"title": "T", "id": "1"}, r"no key 'text' among \['id', 'title'\]"),
        ({"text": " \n "}, "the text is empty"),
        ({"text": 5}, "text is int, expected a string"),
        ({"text": "t", "title": ["T"]}, "title is list"),
        ({"text": ["t", 5]}, "text is a list with int in it"),
        ({"text": None, "title": " "}, "the text is empty"),
        ({"text": "t", "title": "\ud800"}, r"the title is not text: .*U\+D800"),
        ({"text": "t", "id": 1.5}, "id is 1.5"),
        ({"text": "t", "id": ""}, "id is ''"),
        ({"text": "t", "_id": None}, "_id is None"),
        ({"text": "t", "metadata": [1]}, "metadata is list"),
        (b'{"text": "\xff"}', "not UTF-8 .byte 0xFF at 11"),
    ],
)
def test_a_bad_line_of_jsonl_is_named(tmp_path: Path, line: Any, message: str) -> None:
    path = written(tmp_path / "c.jsonl", {"text": "good"}, "", line)
    passages = iter(jsonl(path))
    assert next(passages).text == "good"
    with pytest.raises(CorpusError, match=rf"c\.jsonl:3: .*{message}"):
        list(passages)


@pytest.mark.parametrize("corpus", [Jsonl, DprTsv])
def test_a_missing_file_is_named(tmp_path: Path, corpus: Any) -> None:
    path = tmp_path / "none.gz"
    with pytest.raises(CorpusError, match=rf"{path}: no such file"):
        list(corpus(corpus.Config(path=path)))


def test_a_gzip_that_was_cut_off_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "c.jsonl.gz", *({"text": f"line {n}"} for n in range(2000)))
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(CorpusError, match=r"c\.jsonl\.gz:\d+: cannot be read"):
        list(jsonl(path))
    path.write_bytes(b'{"text": "not packed"}\n')
    assert [passage.text for passage in jsonl(path)] == ["not packed"], "the name says nothing"


def test_jsonl_streams(tmp_path: Path) -> None:
    path = written(tmp_path / "c.jsonl", *({"text": "long" * 4000} for _ in range(600)))
    tracemalloc.start()
    count = sum(1 for _ in jsonl(path, words=100))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 600
    assert path.stat().st_size > 9_000_000
    assert peak < 1_000_000


DPR = [["id", "text", "title"], ["1", 'He said "no"\tand left', "A"], ["2", "plain", 'The "B"']]


@pytest.mark.parametrize("name", ["psgs_w100.tsv", "psgs_w100.tsv.gz"])
def test_dprs_quoting_is_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    opened: Any = gzip.open if name.endswith(".gz") else open
    with opened(path, "wt", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter="\t").writerows(DPR)
    assert list(DprTsv(DprTsv.Config(path=path))) == [
        Passage("1", "A", 'He said "no"\tand left'),
        Passage("2", 'The "B"', "plain"),
    ]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], r"p\.tsv:1: found the columns None, expected id, text, title"),
        (["id\ttitle\ttext"], r"p\.tsv:1: found the columns .*'title', 'text'"),
        (["id\ttext\ttitle", "1\tone\tA", "2\ttwo"], r"p\.tsv:3: 2 fields, expected 3"),
        (["id\ttext\ttitle", "1\t\t"], r"p\.tsv:2: the text is empty"),
        (["id\ttext\ttitle", '1\t"open\tA', "2\ttwo\tB"], r"p\.tsv:2: .*quoting: none"),
        (["id\ttext\ttitle", '1\t"open\tA', '2\ttwo"\tB'], r"p\.tsv:2: .*quoting: none"),
        (["id\ttext\ttitle", '1\t"one" two\tA'], r"p\.tsv:2: .*quoting: none"),
        (["id\ttext\ttitle", "1\tone\tA\tB"], r"p\.tsv:2: 4 fields, expected 3"),
        (["id\ttext\ttitle", "\tone\tA"], r"p\.tsv:2: the id is empty"),
    ],
)
def test_a_bad_line_of_dprs_file_is_named(tmp_path: Path, lines: list[str], message: str) -> None:
    path = written(tmp_path / "p.tsv", *lines)
    with pytest.raises(CorpusError, match=message):
        list(DprTsv(DprTsv.Config(path=path)))


RAW = ['1\t"Yes" he said', '2\t"and left', '3\this 5" gun', '4\tin the "room"', "5\t'a'", '6\t"b"']


def test_quotes_are_letters_without_quoting(tmp_path: Path) -> None:
    """MS MARCO's collection.tsv: quotes as they are, two columns, no header."""
    path = written(tmp_path / "collection.tsv", *RAW)
    corpus = DprTsv(DprTsv.Config(path=path, quoting="none", columns=("id", "text")))
    assert [(each.id, each.text) for each in corpus] == [tuple(row.split("\t")) for row in RAW]
    with pytest.raises(CorpusError, match=r"collection\.tsv:1: .*quoting: none"):
        list(DprTsv(DprTsv.Config(path=path, columns=("id", "text"))))
    written(path, *RAW[:2], "3\tone\ttwo")
    with pytest.raises(CorpusError, match=r"collection\.tsv:3: 3 fields, expected 2 \(id, text\)"):
        list(corpus)


def test_lines_end_as_windows_ends_them_and_not_within(tmp_path: Path) -> None:
    path = tmp_path / "p.tsv"
    path.write_bytes("id\ttext\ttitle\r\n1\tone\u2028\x85two\tA\r\n".encode())
    for quoting in ("csv", "none"):
        corpus = DprTsv(DprTsv.Config(path=path, quoting=quoting))
        assert list(corpus) == [Passage("1", "A", "one\u2028\x85two")]


def test_the_id_of_a_table_may_have_an_alias(tmp_path: Path) -> None:
    path = written(tmp_path / "p.tsv", "docid\ttext\ttitle", "1\tone\tA")
    assert list(DprTsv(DprTsv.Config(path=path))) == [Passage("1", "A", "one")]


def test_other_columns_become_metadata(tmp_path: Path) -> None:
    columns = ("id", "url", "title", "text")
    path = written(tmp_path / "docs.tsv", "\t".join(columns), "D1\thttp://x\tA\tone")
    corpus = DprTsv(DprTsv.Config(path=path, columns=columns))
    assert list(corpus) == [Passage("D1", "A", "one", {"url": "http://x"})]


@pytest.mark.parametrize("columns", [("id",), ("text", "title"), ("id", "text", "text")])
def test_columns_without_id_or_text_are_refused(tmp_path: Path, columns: Any) -> None:
    with pytest.raises(ValidationError, match="with id and text among them"):
        DprTsv.Config(path=tmp_path, columns=columns)


def test_a_folder_is_read_in_order_of_paths(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    written(tmp_path / "b" / "two.md", "intro", "```sh", "# no heading", "```", "## The *Two* ##")
    written(tmp_path / "a.txt", "one two three")
    written(tmp_path / "c.MD", "# Sea", "# Land")
    written(tmp_path / "d.md", "text without one")
    written(tmp_path / "empty.txt")
    written(tmp_path / "e.rst", "not read")
    passages = list(TextFolder(TextFolder.Config(path=tmp_path, words=2)))
    assert [(p.id, p.title, p.text) for p in passages] == [
        ("a.txt-1", "a", "one two"),
        ("a.txt-2", "a", "three"),
        ("b/two.md-1", "The *Two*", "intro ```sh"),
        ("b/two.md-2", "The *Two*", "# no"),
        ("b/two.md-3", "The *Two*", "heading ```"),
        ("b/two.md-4", "The *Two*", "## The"),
        ("b/two.md-5", "The *Two*", "*Two* ##"),
        ("c.MD-1", "Sea", "# Sea"),
        ("c.MD-2", "Sea", "# Land"),
        ("d.md-1", "d", "text without"),
        ("d.md-2", "d", "one"),
    ]


def test_a_folder_without_texts_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EmptyCorpusError, match=r"no \.txt or \.md"):
        list(TextFolder(TextFolder.Config(path=tmp_path)))
    with pytest.raises(CorpusError, match="no such folder"):
        list(TextFolder(TextFolder.Config(path=tmp_path / "none")))


def test_a_text_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    written(tmp_path / "a.txt", "fine", b"caf\xe9")
    with pytest.raises(CorpusError, match=r"a\.txt:2: not UTF-8 .byte 0xE9 at 4"):
        list(TextFolder(TextFolder.Config(path=tmp_path)))


def test_ids_of_content_stay_when_others_change(tmp_path: Path) -> None:
    rows = [{"text": "one"}, {"title": "T", "text": "two"}, {"text": "one"}, {"id": 7, "text": "x"}]
    path = written(tmp_path / "c.jsonl", *rows)
    first = {each.id: (each.title, each.text) for each in jsonl(path, ids="content")}
    assert len(first) == 4
    twice = [name for name, (_, text) in first.items() if text == "one"]
    assert (twice[1], first["7"]) == (f"{twice[0]}-2", ("", "x"))
    written(path, {"text": "new"}, *rows[1:], {"title": "", "text": "new"}, rows[0])
    second = {each.id: (each.title, each.text) for each in jsonl(path, ids="content")}
    assert second.items() >= first.items()
    assert len(second) == 6
    # The same in each iteration, and not without the setting.
    corpus = jsonl(path, ids="content")
    assert list(corpus) == list(corpus)
    assert [each.id for each in jsonl(path)][:2] == ["1", "2"]


def test_ids_of_content_tell_title_and_text_apart(tmp_path: Path) -> None:
    rows = [{"title": "ab", "text": "c"}, {"title": "a", "text": "bc"}]
    ids = [each.id for each in jsonl(written(tmp_path / "c.jsonl", *rows), ids="content")]
    assert len(set(ids)) == 2
    assert not any(name.endswith("-2") for name in ids)


def test_pieces_have_ids_of_content_too(tmp_path: Path) -> None:
    path = written(tmp_path / "c.jsonl", {"id": "d", "text": "a b c d"}, {"text": "a b c d"})
    before = [each.id for each in jsonl(path, words=2, ids="content")]
    written(path, {"id": "d", "text": "x y c d"}, {"text": "a b c d"})
    after = [each.id for each in jsonl(path, words=2, ids="content")]
    assert [old == new for old, new in zip(before, after, strict=True)] == [False, True, True, True]
    assert before[1].startswith("d-")
    assert len(set(before)) == 4
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").write_text("a b c d a b")
    config = TextFolder.Config(path=tmp_path / "folder", words=2, ids="content")
    first, second, third = (each.id for each in TextFolder(config))
    assert third == f"{first}-2"
    assert first != second
    assert first.startswith("a.txt-")


def test_a_table_without_ids(tmp_path: Path) -> None:
    path = written(tmp_path / "c.tsv", "one\tT", "two\tU", "one\tT")
    config = {"path": path, "quoting": "none", "columns": ("text", "title")}
    first, second, third = DprTsv(DprTsv.Config(**config, ids="content"))
    assert (first.text, first.title, second.text) == ("one", "T", "two")
    assert (third.id, first.id == second.id) == (f"{first.id}-2", False)
    with pytest.raises(ValidationError, match="text alone with ids: content"):
        DprTsv.Config(**config)
    with pytest.raises(ValidationError, match="id and text among them"):
        DprTsv.Config(path=path, columns=("title",), ids="content")

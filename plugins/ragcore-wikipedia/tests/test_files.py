"""What names of files say, and which files a pattern finds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ragcore_wikipedia.dumps.files import DumpFile, check_parts, find_files, index_of

from ragcore.errors import CorpusError

BASE = "enwiki-20240920-pages-articles"


def parts(*ranges: str, kind: str = BASE) -> list[DumpFile]:
    return [DumpFile.of(Path(f"{kind}{n}.xml-{pages}.bz2")) for n, pages in enumerate(ranges, 1)]


@pytest.mark.parametrize(
    "name",
    [
        f"{BASE}.xml.bz2",
        f"{BASE}-multistream.xml.bz2",
        "fatwiki-20240920-pages-meta-current.xml",
        "be_x_oldwiki-20240920-pages-meta-history.xml.7z",
    ],
)
def test_the_name_of_a_whole_dump_says_so(name: str) -> None:
    file = DumpFile.of(Path("folder") / name)
    assert file.whole
    assert file.date == "2024-09-20"


@pytest.mark.parametrize(
    "name",
    [
        "old.xml.bz2",
        f"{BASE}1.xml.bz2",
        f"{BASE}.xml.bz2.part",
        "enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2",
        "enwiki-20240920-stub-articles.xml.gz",
        "wikidatawiki-20140220-pages-meta-hist-incr.xml.bz2",
    ],
)
def test_any_other_file_is_no_whole_wiki(name: str) -> None:
    file = DumpFile.of(Path(name))
    assert not file.whole
    assert file.pages is None


def test_the_name_of_a_part_says_its_pages() -> None:
    part = DumpFile.of(Path(f"{BASE}-multistream27.xml-p68475910p69975909.bz2"))
    assert (part.whole, part.number, part.pages) == (False, 27, (68475910, 69975909))
    old = DumpFile.of(Path("enwiki-latest-pages-articles1.xml-p000000010p000030302.bz2"))
    assert (old.pages, old.date) == ((10, 30302), "")


def test_a_pattern_finds_parts_in_the_order_of_their_pages(dumps: Any) -> None:
    names = [
        f"{BASE}-multistream1.xml-p1p9.bz2",
        f"{BASE}-multistream2.xml-p10p99.bz2",
        f"{BASE}-multistream10.xml-p100p200.bz2",
        f"{BASE}-multistream-index1.txt-p1p9.bz2",
    ]
    for name in names:
        (dumps.folder / name).write_bytes(b"")
    (dumps.folder / f"{BASE}-folder").mkdir()
    files = find_files([dumps.folder / "*articles*"])
    assert [file.path.name for file in files] == names[:3]
    assert files == find_files([dumps.folder / name for name in reversed(names[:3])])


def test_a_name_with_the_signs_of_a_pattern_is_a_file_where_it_exists(dumps: Any) -> None:
    path = dumps.folder / "dump[1].xml"
    path.write_bytes(b"")
    assert [file.path for file in find_files([path])] == [path]


@pytest.mark.parametrize("name", ["missing.xml.bz2", "missing-*.bz2", ".", "a\0b"])
def test_what_is_not_there_is_an_error(dumps: Any, name: str) -> None:
    with pytest.raises(CorpusError):
        find_files([dumps.folder / name])


@pytest.mark.parametrize(
    "ranges", [["p1p9"], ["p10p99"], ["p1p9", "p10p99"], ["p10p30302", "p30303p88444"]]
)
def test_parts_that_follow_each_other_are_accepted(ranges: list[str]) -> None:
    check_parts(parts(*ranges))


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        (["p1p9", "p20p99"], "pages 10 to 19 of the dump: no file with them after .*p1p9"),
        (["p1p9", "p5p99"], "begins at page 5, and .*p1p9.bz2 ends at page 9"),
        (["p9p1"], "pages 9 to 1: check the file's name"),
    ],
)
def test_parts_with_a_gap_or_a_page_twice_are_an_error(ranges: list[str], message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        check_parts(parts(*ranges))


def test_a_missing_first_part_is_an_error_where_there_are_several() -> None:
    with pytest.raises(CorpusError, match="part 1 of the dump"):
        check_parts(parts("p1p9", "p10p19", "p20p29")[1:])
    check_parts(parts("p1p9", "p10p19")[1:])


def test_a_whole_dump_is_read_alone() -> None:
    with pytest.raises(CorpusError, match=r"a whole wiki, and .* is read with it"):
        check_parts([DumpFile.of(Path(f"{BASE}.xml.bz2")), *parts("p1p9")])


@pytest.mark.parametrize(
    ("dump", "index"),
    [
        (f"{BASE}-multistream.xml.bz2", f"{BASE}-multistream-index.txt.bz2"),
        (f"{BASE}-multistream.xml.bz2", f"{BASE}-multistream-index.txt"),
        (f"{BASE}-multistream3.xml-p5p7.bz2", f"{BASE}-multistream-index3.txt-p5p7.bz2"),
    ],
)
def test_the_index_of_a_dump_is_known_by_its_name(dumps: Any, dump: str, index: str) -> None:
    assert index_of(dumps.folder / dump) is None
    (dumps.folder / index).write_bytes(b"")
    assert index_of(dumps.folder / dump) == dumps.folder / index


def test_only_a_multistream_dump_has_an_index(dumps: Any) -> None:
    path = dumps.folder / f"{BASE}.xml.bz2"
    path.write_bytes(b"")
    assert index_of(path) is None


@pytest.mark.parametrize("digits", ["99999999", "20240931", "00000101", "latest"])
def test_a_date_that_does_not_exist_is_none(digits: str) -> None:
    file = DumpFile.of(Path(f"enwiki-{digits}-pages-articles.xml.bz2"))
    assert (file.whole, file.date) == (True, "")

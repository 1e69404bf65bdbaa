"""Multistream dumps, with and without an index, whole and damaged, in one process and in two."""

from __future__ import annotations

import bz2
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from ragcore_wikipedia.dumps import lanes, reading
from ragcore_wikipedia.dumps.counts import Counts
from ragcore_wikipedia.dumps.faults import BrokenDumpError
from ragcore_wikipedia.dumps.files import DumpFile, index_of
from ragcore_wikipedia.dumps.job import Job
from ragcore_wikipedia.dumps.multistream import (
    head_of,
    streams_by_index,
    streams_by_scan,
    streams_within,
)
from ragcore_wikipedia.dumps.reader import read_pages, read_site
from ragcore_wikipedia.dumps.reading import PageReader
from ragcore_wikipedia.pages import Page, Site

from ragcore.errors import CorpusError

NAME = "testwiki-20240920-pages-articles-multistream.xml.bz2"


def same(page: Page, counts: Counts) -> Page:
    return page


def die(page: Page, counts: Counts) -> Page:
    os._exit(1)


def streams_of(dumps: Any, count: int = 6, pages: int = 4) -> list[list[str]]:
    # Titles with colons and entities, as an index has them.
    return [
        [
            dumps.page(id_, f"Category: a & b: {id_}", text=f"Text\n\n{'word ' * id_}")
            for id_ in range(first, first + pages)
        ]
        for first in range(1, count * pages, pages)
    ]


def read(path: Path, workers: int = 1, **options: Any) -> list[Page]:
    return list(reader_of(path, workers, **options))


def reader_of(path: Path, workers: int = 1, *, stop: bool = False) -> PageReader[Page]:
    job = Job(same, Site())
    return PageReader([DumpFile.of(path)], job, workers=workers, stop_at_faults=stop)


def fault(path: Path, workers: int = 1) -> tuple[list[int], str]:
    """Return the pages before a fault, and the error."""
    ids: list[int] = []
    with pytest.raises(CorpusError) as caught:
        ids.extend(page.id for page in reader_of(path, workers))
    return ids, str(caught.value)


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("workers", [1, 2])
def test_streams_are_read_as_the_whole_file_is(dumps: Any, index: bool, workers: int) -> None:
    path = dumps.multistream(NAME, *streams_of(dumps), index=index)
    assert read(path, workers) == list(read_pages(path))
    assert len(read(path, workers)) == 24


@pytest.mark.parametrize("workers", [1, 2])
def test_parts_have_the_pages_of_the_whole(dumps: Any, workers: int) -> None:
    files = [
        DumpFile(dumps.multistream("a-" + NAME, *streams_of(dumps, 3))),
        DumpFile(dumps.write("b.xml.gz", dumps.page(91, "B"))),
        DumpFile(dumps.write("c.xml", dumps.page(92, "C"), dumps.page(93, "D"))),
        DumpFile(dumps.multistream("d-" + NAME, *streams_of(dumps, 5), index=True)),
    ]

    def pages_of(part: tuple[int, int] | None) -> list[Page]:
        job = Job(same, Site())
        return list(PageReader(files, job, workers=workers, stop_at_faults=False, part=part))

    whole = pages_of(None)
    assert len(whole) == 35
    for of in (1, 2, 3, 5, 40) if workers == 1 else (3,):
        parts = [pages_of((number, of)) for number in range(of)]
        assert [page for part in parts for page in part] == whole
        assert of > 5 or sum(map(bool, parts)) >= of - 1


def test_a_boundary_may_be_where_a_stream_begins(dumps: Any) -> None:
    path = dumps.multistream(NAME, *streams_of(dumps))
    first, size = head_of(path).end, path.stat().st_size
    whole = list(streams_by_scan(path, first))
    for start in {stream.start + move for stream in whole for move in (-1, 0, 1)}:
        before, after = (
            list(streams_within(path, first, bounds)) for bounds in ((0, start), (start, size))
        )
        assert before + after == whole
        assert all(stream.start < start for stream in before)


def test_a_fault_in_a_part_names_its_stream(dumps: Any) -> None:
    path = dumps.multistream(NAME, *streams_of(dumps))
    *_, before, _ = streams_by_scan(path, head_of(path).end)
    packed = bytearray(path.read_bytes())
    packed[before.start : before.end] = bz2.compress(b"<page>\n<wrong>\n")
    path.write_bytes(packed)
    reader = PageReader(
        [DumpFile(path)], Job(same, Site()), workers=1, stop_at_faults=False, part=(1, 2)
    )
    with pytest.raises(BrokenDumpError, match=rf"bz2 \(stream at byte {before.start:,}\):\d: "):
        list(reader)


def test_the_last_part_notices_that_a_dump_is_cut_short(dumps: Any) -> None:
    path = dumps.multistream(NAME, *streams_of(dumps))
    *_, last = streams_by_scan(path, head_of(path).end)
    path.write_bytes(path.read_bytes()[: last.start])
    for part in ((0, 2), (1, 2)):
        reader = PageReader(
            [DumpFile(path)], Job(same, Site()), workers=1, stop_at_faults=False, part=part
        )
        if part == (0, 2):
            assert list(reader)
            continue
        with pytest.raises(BrokenDumpError, match="cut short"):
            list(reader)


def test_any_other_file_is_read_the_same_in_processes(
    dumps: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "_BATCH_PAGES", 3)
    path = dumps.write("d.xml.gz", *(page for pages in streams_of(dumps) for page in pages))
    one, two = reader_of(path), reader_of(path, 2)
    assert list(one) == list(two) == list(read_pages(path))
    assert one.counts == two.counts
    assert (one.counts.pages, one.counts.lowest_id, one.counts.highest_id) == (24, 1, 24)


@pytest.mark.parametrize("workers", [1, 2])
def test_parts_without_streams_are_read_in_turns_in_the_same_order(
    dumps: Any, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(lanes, "_BATCH_PAGES", 2)
    monkeypatch.setattr(lanes, "_LANES", 2)
    files = []
    for part, count in enumerate((3, 6, 1, 2)):
        pages = [dumps.page(10 * part + n, f"P{part}.{n}") for n in range(1, count + 1)]
        files.append(DumpFile.of(dumps.write(f"{part}.xml.bz2", *pages)))
    reader = PageReader(files, Job(same, Site()), workers=workers, stop_at_faults=False)
    assert [page.id for page in reader] == [1, 2, 11, 12, 3, 13, 14, 15, 16, 21, 31, 32]
    assert reader.ended == files


@pytest.mark.parametrize("workers", [1, 2])
def test_a_fault_in_one_of_several_parts_comes_after_its_pages(dumps: Any, workers: int) -> None:
    files = [
        DumpFile.of(dumps.write(f"{part}.xml", dumps.page(part, f"P{part}"))) for part in (1, 2, 3)
    ]
    second = files[1].path
    second.write_text(second.read_text().replace("</mediawiki>", ""))
    ids: list[int] = []
    reader = PageReader(files, Job(same, Site()), workers=workers, stop_at_faults=False)
    with pytest.raises(BrokenDumpError, match=r"2\.xml:\d+: the file is cut short"):
        ids.extend(page.id for page in reader)
    assert ids == [1, 2, 3]
    reader = PageReader(files, Job(same, Site()), workers=workers, stop_at_faults=True)
    assert [page.id for page in reader] == [1, 2, 3]
    assert reader.ended == [files[0], files[2]]


def test_reading_that_is_left_early_leaves_no_thread(dumps: Any) -> None:
    pages = [dumps.page(n, f"P{n}", text="word " * 200_000) for n in range(1, 9)]
    files = [DumpFile.of(dumps.write(f"{part}.xml.gz", *pages)) for part in (1, 2)]
    before = threading.active_count()
    lane = [lanes.Lane(file, Job(same, Site()), ahead=True) for file in files]
    turns = lanes.in_turns(lane, stop_at_faults=False)
    for _ in range(2):
        next(turns)
    assert threading.active_count() == before + 2
    turns.close()
    assert threading.active_count() == before


def test_an_error_in_one_part_stops_the_threads_of_the_others(dumps: Any) -> None:
    pages = [dumps.page(n, f"P{n}", text="word " * 200_000) for n in range(1, 9)]
    names = dumps.write("a.xml.gz", *pages), dumps.pack("b.xml", b"<html></html>")
    lane = [lanes.Lane(DumpFile.of(name), Job(same, Site()), ahead=True) for name in names]
    before = threading.active_count()
    turns = lanes.in_turns(lane, stop_at_faults=True)
    next(turns)
    # The error holds the frames that hold the other part.
    with pytest.raises(CorpusError, match="found <html>") as caught:
        next(turns)
    assert caught.value.__traceback__ is not None
    assert threading.active_count() == before


def test_scan_and_index_find_the_same_streams(dumps: Any) -> None:
    path = dumps.multistream(NAME, *streams_of(dumps))
    head, index = head_of(path), index_of(path)
    assert head is not None
    assert index is not None
    scanned = [stream.start for stream in streams_by_scan(path, head.end)]
    listed = list(streams_by_index(path, index, head.end))
    assert [stream.start for stream in listed] == scanned[:-1]
    assert [stream.expected.ids for stream in listed][1] == (5, 6, 7, 8)


def test_a_stream_is_found_across_the_blocks_of_a_scan(
    dumps: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = dumps.multistream(NAME, *streams_of(dumps))
    head = head_of(path)
    assert head is not None
    whole = list(streams_by_scan(path, head.end))
    for size in (11, 16, 97):
        monkeypatch.setattr("ragcore_wikipedia.dumps.multistream._SCAN", size)
        assert list(streams_by_scan(path, head.end)) == whole


def test_a_file_packed_in_blocks_is_no_multistream_dump(dumps: Any) -> None:
    data = dumps.xml(*(page for pages in streams_of(dumps) for page in pages)).encode()
    path = dumps.folder / NAME
    path.write_bytes(b"".join(bz2.compress(data[n : n + 700]) for n in range(0, len(data), 700)))
    assert read(path, 2) == list(read_pages(path))
    assert len(read(path)) == 24


def test_the_site_of_a_multistream_dump_is_in_its_head(dumps: Any) -> None:
    assert read_site(dumps.multistream(NAME, *streams_of(dumps))).database == "testwiki"


@pytest.mark.parametrize(("workers", "index"), [(1, True), (1, False), (2, False)])
def test_a_damaged_stream_is_a_fault_after_the_pages_before_it(
    dumps: Any, workers: int, index: bool
) -> None:
    path = dumps.multistream(NAME, *streams_of(dumps), index=index)
    data = bytearray(path.read_bytes())
    start = list(streams_by_scan(path, head_of(path).end))[3].start
    data[start + 20 : start + 40] = bytes(20)
    path.write_bytes(data)
    ids, message = fault(path, workers)
    assert ids == list(range(1, 13))
    assert f"{NAME}: damaged before byte" in message


@pytest.mark.parametrize("workers", [1, 2])
def test_broken_xml_in_a_stream_is_named_by_its_line_in_the_file(dumps: Any, workers: int) -> None:
    streams = streams_of(dumps)
    streams[3][1] = streams[3][1].replace("Text", "Text &times;")
    path = dumps.multistream(NAME, *streams, index=False)
    lines = bz2.decompress(path.read_bytes()).decode().split("\n")
    line = next(number for number, text in enumerate(lines, 1) if "&times;" in text)
    ids, message = fault(path, workers)
    assert ids == list(range(1, 14))
    assert f"{NAME}:{line}: broken XML, undefined entity (in page 'Category: a & b: 14')" in message
    assert message == fault(path, 1)[1]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("cut", [-1, 0, 30])
def test_a_dump_that_is_cut_short_is_a_fault(dumps: Any, workers: int, cut: int) -> None:
    path = dumps.multistream(NAME, *streams_of(dumps), index=False)
    *_, before, last = streams_by_scan(path, head_of(path).end)
    # Between two streams, within one, and within the last.
    size = {-1: before.start, 0: before.start + 40, 30: last.start + 15}[cut]
    path.write_bytes(path.read_bytes()[:size])
    ids, message = fault(path, workers)
    assert ids == list(range(1, 25 if cut == 30 else 21))
    assert "cut short" in message


@pytest.mark.parametrize("workers", [1, 2])
def test_two_dumps_in_one_file_are_an_error(dumps: Any, workers: int) -> None:
    path = dumps.multistream(NAME, *streams_of(dumps), index=False)
    path.write_bytes(path.read_bytes() * 2)
    ids, message = fault(path, workers)
    assert ids == list(range(1, 25))
    assert "after </mediawiki>" in message


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stream_too_large_for_a_process_is_read_here(
    dumps: Any, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = dumps.multistream(NAME, *streams_of(dumps))
    monkeypatch.setattr(reading, "_MOST_STREAM", 100)
    task = reading._StreamTask(path, next(iter(streams_by_scan(path, head_of(path).end))))
    assert reading._read_stream(Job(same, Site()), task).again
    assert read(path, workers) == list(read_pages(path))


def index_lines(path: Path) -> list[str]:
    return bz2.decompress(index_of(path).read_bytes()).decode().splitlines(keepends=True)


@pytest.mark.parametrize(
    ("change", "line", "message"),
    [
        (lambda lines: [lines[0].replace(":1:", ":7:"), *lines[1:]], 1, "the dump has page 1"),
        (lambda lines: lines[:6] + lines[7:], 7, "the dump has page 7"),
        (lambda lines: lines[:-1], 24, "the dump has page 24"),
        (lambda lines: [*lines, lines[-1].replace(":24:", ":25:")], 25, "no further page"),
        (lambda lines: [f"{int(lines[0].split(':')[0]) + 1}:1:a\n"], 1, "no stream of"),
        (lambda lines: [*lines, "99999999:25:far\n"], 25, "no stream of"),
        (lambda lines: [*lines, lines[0]], 25, "no stream of"),
        (lambda lines: [lines[0], "Chad\n"], 2, "found b'Chad'"),
        (lambda lines: [*lines, "12:3"], 25, "without an end"),
    ],
)
def test_a_wrong_index_is_named_by_its_line(
    dumps: Any, change: Any, line: int, message: str
) -> None:
    path = dumps.multistream(NAME, *streams_of(dumps))
    index = index_of(path)
    lines = change(index_lines(path))
    index.write_bytes(bz2.compress("".join(lines).encode()))
    _, error = fault(path)
    assert f"{index}:{line}: " in error
    assert message in error
    index.unlink()
    assert len(read(path)) == 24


def test_a_wrong_index_is_an_error_in_processes_too(dumps: Any) -> None:
    path = dumps.multistream(NAME, *streams_of(dumps))
    index_of(path).write_text("".join(index_lines(path)).replace(":14:", ":15:"))
    assert f"{index_of(path)}:14: the dump has page 14" in fault(path, 2)[1]


def test_an_index_that_is_cut_short_is_named(dumps: Any) -> None:
    path = dumps.multistream(NAME, *streams_of(dumps))
    index = index_of(path)
    index.write_bytes(index.read_bytes()[:-10])
    assert f"{index}: cut short" in fault(path)[1]


def test_at_a_fault_reading_can_go_on_with_the_next_file(
    dumps: Any, caplog: pytest.LogCaptureFixture
) -> None:
    pages = dumps.page(1, "A"), dumps.page(2, "B").replace(">B<", ">B &times;<")
    first = dumps.write("a.xml", *pages)
    second = dumps.write("b.xml", dumps.page(3, "C"))
    files = [DumpFile.of(first), DumpFile.of(second)]
    reader = PageReader(files, Job(same, Site()), workers=1, stop_at_faults=True)
    assert [page.id for page in reader] == [1, 3]
    assert reader.ended == files[1:]
    (message,) = reader.faults
    assert "a.xml:" in message
    assert message in caplog.text


def test_a_process_that_dies_is_an_error(dumps: Any) -> None:
    path = dumps.multistream(NAME, *streams_of(dumps))
    reader = PageReader([DumpFile.of(path)], Job(die, Site()), workers=2, stop_at_faults=True)
    with pytest.raises(CorpusError, match="a process that reads the dump was killed"):
        list(reader)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell that a parent died")
def test_processes_end_soon_after_one_that_is_killed(dumps: Any) -> None:
    path = dumps.multistream(NAME, *streams_of(dumps, 50), index=False)
    script = dumps.folder / "script.py"
    script.write_text(
        "import operator, signal\n"
        "from pathlib import Path\n"
        "from ragcore_wikipedia.dumps.files import DumpFile\n"
        "from ragcore_wikipedia.dumps.job import Job\n"
        "from ragcore_wikipedia.dumps.reading import PageReader\n"
        "from ragcore_wikipedia.pages import Site\n"
        f"files = [DumpFile.of(Path({str(path)!r}))]\n"
        "job = Job(operator.is_not, Site())\n"
        "items = iter(PageReader(files, job, workers=2, stop_at_faults=False))\n"
        "print(next(items), flush=True)\n"
        "signal.pause()\n"
    )
    process = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"True\n"
    process.kill()
    # The pipe ends when the last process that can write to it has ended.
    process.communicate(timeout=60)


def test_a_script_without_a_main_guard_can_read_in_processes(dumps: Any) -> None:
    path = dumps.multistream(NAME, *streams_of(dumps))
    script = dumps.folder / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from ragcore_wikipedia.dumps.files import DumpFile\n"
        "from ragcore_wikipedia.dumps.job import Job\n"
        "from ragcore_wikipedia.dumps.reading import PageReader\n"
        "from ragcore_wikipedia.pages import Site\n"
        "print('once')\n"
        f"files = [DumpFile.of(Path({str(path)!r}))]\n"
        "job = Job(print, Site())\n"
        "reader = PageReader(files, job, workers=2, stop_at_faults=False)\n"
        "list(reader)\n"
        "print(reader.counts.pages)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines.count("once") == 1
    assert lines[-1] == "24"


def test_a_stream_that_ends_within_a_page_is_a_fault(dumps: Any) -> None:
    streams = streams_of(dumps)
    streams[2][-1] = streams[2][-1].replace("</page>", "")
    path = dumps.multistream(NAME, *streams, index=False)
    ids, message = fault(path)
    assert ids == list(range(1, 12))
    assert "(in page 'Category: a & b: 12')" in message

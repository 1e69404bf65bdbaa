"""Packed dumps: each container, and what is damaged, cut short or grows without bound."""

from __future__ import annotations

import bz2
import gzip
import random
import sys
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import py7zr
import pytest
from backports import zstd
from ragcore_wikipedia.dumps.containers import CHUNK, chunks_of
from ragcore_wikipedia.dumps.faults import BrokenDumpError
from ragcore_wikipedia.dumps.reader import read_pages

from ragcore.errors import CorpusError

ENDS = ("xml", "xml.bz2", "xml.gz", "xml.zst", "xml.7z")
PACKED = ENDS[1:]


def noise(count: int, seed: int = 0) -> bytes:
    """Letters that hardly any packer makes shorter than half, the same each time."""
    return random.Random(seed).randbytes(count // 2).hex().encode()


def pages(dumps: Any, count: int = 40) -> list[str]:
    texts = [noise(10_000, id_).decode() for id_ in range(1, count + 1)]
    return [dumps.page(id_, f"P{id_}", text=text) for id_, text in enumerate(texts, 1)]


def read(path: Path) -> bytes:
    return b"".join(chunks_of(path))


@pytest.mark.parametrize("end", ENDS)
def test_each_container_is_read_in_small_chunks(dumps: Any, end: str) -> None:
    data = noise(1_000_000)
    path = dumps.pack(f"d.{end}", b"<" + data)
    chunks = list(chunks_of(path))
    assert b"".join(chunks) == b"<" + data
    assert max(map(len, chunks)) <= CHUNK


@pytest.mark.parametrize("end", ENDS)
def test_the_first_bytes_tell_the_container_whatever_the_name(dumps: Any, end: str) -> None:
    path = dumps.write(f"d.{end}", dumps.page(1, "A"))
    other = path.rename(path.with_name("d.xml.bz2" if end != "xml.bz2" else "d.xml"))
    assert [page.title for page in read_pages(other)] == ["A"]


@pytest.mark.parametrize("pack", [bz2.compress, gzip.compress, zstd.compress])
@pytest.mark.parametrize("padding", [b"", b"\0" * 700])
def test_several_streams_are_read_as_one(dumps: Any, pack: Any, padding: bytes) -> None:
    path = dumps.folder / "d"
    path.write_bytes(pack(b"<a>") + padding + pack(b"") + pack(b"</a>") + padding)
    assert read(path) == b"<a></a>"


@pytest.mark.parametrize("end", PACKED)
def test_a_file_that_is_cut_short_is_a_fault_after_its_pages(dumps: Any, end: str) -> None:
    path = dumps.write(f"d.{end}", *pages(dumps))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 3 // 4])
    titles = []
    with pytest.raises(BrokenDumpError, match=f"d.{end}: .*cut short"):
        titles.extend(page.title for page in read_pages(path))
    # 7z has its list of files at its end, and a block of bzip2 is 900 KB.
    assert titles == [f"P{n}" for n in range(1, len(titles) + 1)]
    assert titles or end in ("xml.7z", "xml.bz2")


@pytest.mark.parametrize("end", PACKED)
def test_a_damaged_file_is_a_fault(dumps: Any, end: str) -> None:
    path = dumps.write(f"d.{end}", *pages(dumps))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 64] = bytes(64)
    path.write_bytes(data)
    with pytest.raises(BrokenDumpError, match=f"d.{end}"):
        list(read_pages(path))


@pytest.mark.parametrize("pack", [bz2.compress, gzip.compress, zstd.compress])
def test_garbage_after_a_stream_is_a_fault(dumps: Any, pack: Any) -> None:
    path = dumps.folder / "d"
    path.write_bytes(pack(b"<a></a>") + b"garbage that is no stream")
    with pytest.raises(BrokenDumpError, match="damaged before byte"):
        read(path)


# py7zr unpacks up to 128 MB at a time.
@pytest.mark.parametrize("end", ["xml.bz2", "xml.gz", "xml.zst"])
def test_a_file_that_grows_takes_no_memory(dumps: Any, end: str) -> None:
    size = 1 << 24
    path = dumps.pack(f"d.{end}", b"<" + b" " * size)
    assert path.stat().st_size < size / 500
    tracemalloc.start()
    total = sum(map(len, chunks_of(path)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == size + 1
    assert peak < size / 4


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 a zip", b"\x89PNG"])
def test_another_kind_of_file_is_refused(dumps: Any, data: bytes) -> None:
    path = dumps.pack("d.xml", data)
    with pytest.raises(CorpusError, match=r"d\.xml: (begins with the bytes|the file is empty)"):
        list(read_pages(path))


def test_a_missing_file_and_a_folder_are_errors(dumps: Any) -> None:
    for path in (dumps.folder / "missing.xml", dumps.folder):
        with pytest.raises(CorpusError, match=path.name):
            list(read_pages(path))


def test_an_archive_must_have_one_file(dumps: Any) -> None:
    path = dumps.folder / "d.7z"
    with py7zr.SevenZipFile(path, "w") as archive:
        archive.writestr(b"<a/>", "a.xml")
        archive.writestr(b"<b/>", "b.xml")
    with pytest.raises(CorpusError, match=r"d\.7z: an archive of 2 files"):
        read(path)


def test_an_archive_with_a_password_is_refused(dumps: Any) -> None:
    path = dumps.folder / "d.7z"
    with py7zr.SevenZipFile(path, "w", password="secret") as archive:
        archive.writestr(b"<a/>", "a.xml")
    with pytest.raises(CorpusError, match=r"d\.7z: the archive has a password"):
        read(path)


def test_without_py7zr_the_error_says_how_to_install_it(
    dumps: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = dumps.pack("d.7z", b"<a/>")
    monkeypatch.setitem(sys.modules, "py7zr", None)
    with pytest.raises(CorpusError, match=r"py7zr.*ragcore-wikipedia\[7z\]"):
        read(path)


def test_an_archive_that_is_left_early_leaves_no_thread(dumps: Any) -> None:
    path = dumps.pack("d.7z", b"<" + noise(8_000_000))
    before = threading.active_count()
    chunks = chunks_of(path)
    next(chunks)
    assert threading.active_count() > before
    chunks.close()
    assert threading.active_count() == before

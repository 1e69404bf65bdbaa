"""Find the bzip2 streams of a multistream dump, which can be read independently.

Such a dump is a stream with the head, streams of a hundred pages, and one with the closing tag. An
index lists `offset:page id:title` of every page. The streams are found by it where it lies next to
the dump, and else by the bytes that a stream begins with. Knows offsets; knows no pages.
"""

from __future__ import annotations

import bz2
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from ragcore.errors import CorpusError
from ragcore_wikipedia.dumps.containers import CHUNK, chunks_of, open_dump

__all__ = [
    "Expected",
    "Head",
    "Stream",
    "head_of",
    "streams_by_index",
    "streams_by_scan",
    "streams_within",
]

_STREAM: Final = re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)")
"""Head of a stream: its first block, or the end where it is empty."""

_STREAM_BYTES: Final = 10
_MOST_HEAD: Final = 1 << 20
_SCAN: Final = 1 << 20
_MOST_PAGES: Final = 100_000
_MOST_LINE: Final = 1 << 12
_ENTRY: Final = re.compile(rb"([0-9]{1,18}):([0-9]{1,18}):")


class Head(NamedTuple):
    """The first stream.

    Attributes:
        data: its XML, from the root's tag to the first page.
        end: where the second stream begins.
    """

    data: bytes
    end: int


@dataclass(frozen=True, slots=True)
class Expected:
    """The pages that an index lists for a stream.

    Attributes:
        index: the file.
        line: of the first page, from 1.
        ids: page ids, in order.
    """

    index: Path
    line: int
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream, or neighbours that the index does not part.

    Attributes:
        start: where it begins.
        end: where the next begins, or the file ends.
        expected: what the index says of it.
    """

    start: int
    end: int
    expected: Expected | None = None

    def blocks(self, path: Path) -> Iterator[bytes]:
        """Yield the packed bytes."""
        with open_dump(path) as file:
            file.seek(self.start)
            left = self.end - self.start
            while left and (block := file.read(min(CHUNK, left))):
                left -= len(block)
                yield block


def head_of(path: Path) -> Head | None:
    """Return the first stream of a multistream dump; None for any other file.

    A file that was packed in parallel has streams, too, but they end within pages; its first stream
    is longer than a head.
    """
    data = bytearray()
    decompressor = bz2.BZ2Decompressor()
    with open_dump(path) as file:
        if file.read(3) != b"BZh":
            return None
        file.seek(0)
        while not decompressor.eof and len(data) < _MOST_HEAD:
            block = file.read(CHUNK) if decompressor.needs_input else b""
            if not block and decompressor.needs_input:
                return None
            try:
                data += decompressor.decompress(block, _MOST_HEAD)
            except OSError:
                # Reading it as one file reports the damage.
                return None
        end = file.tell() - len(decompressor.unused_data)
        file.seek(end)
        follows = _STREAM.match(file.read(_STREAM_BYTES)) is not None
    is_head = b"<mediawiki" in data and b"</siteinfo>" in data and b"<page" not in data
    return Head(bytes(data), end) if decompressor.eof and follows and is_head else None


def streams_by_scan(path: Path, first: int) -> Iterator[Stream]:
    """Yield the streams from an offset on, found by the bytes that they begin with.

    Those ten bytes occur within a stream once in 2^77 bytes.
    """
    start = first
    with open_dump(path) as file:
        file.seek(first)
        window, position = b"", first
        while block := file.read(_SCAN):
            window += block
            for match in _STREAM.finditer(window):
                offset = position + match.start()
                if offset > start:
                    yield Stream(start, offset)
                    start = offset
            tail = window[-(_STREAM_BYTES - 1) :]
            position += len(window) - len(tail)
            window = tail
        end = file.tell()
    if end > start:
        yield Stream(start, end)


def streams_within(path: Path, first: int, bounds: tuple[int, int]) -> Iterator[Stream]:
    """Yield the streams that begin in a range of bytes; reads little more than these.

    Args:
        path: the dump.
        first: where its second stream begins.
        bounds: the first byte of the range, and that after its last.
    """
    start = max(first, bounds[0])
    if start >= bounds[1]:
        return
    # The first stream ends where a stream begins, but begins there only if the range does.
    streams = streams_by_scan(path, start)
    if start > first and not _begins(path, start):
        next(streams, None)
    for stream in streams:
        if stream.start >= bounds[1]:
            return
        yield stream


def _begins(path: Path, offset: int) -> bool:
    """Return whether a stream begins at a byte."""
    with open_dump(path) as file:
        file.seek(offset)
        return _STREAM.match(file.read(_STREAM_BYTES)) is not None


def streams_by_index(path: Path, index: Path, first: int) -> Iterator[Stream]:
    """Yield the streams that an index lists.

    Args:
        path: the dump.
        index: plain text, or packed.
        first: where the second stream of the dump begins.

    Raises:
        CorpusError: the index is of another dump, or damaged; names its line.
    """
    size = path.stat().st_size
    start, line, ids = first, 1, list[int]()
    with open_dump(path) as file:
        for number, offset, page in _entries(index):
            if offset != start or not ids:
                file.seek(offset)
                begins = _STREAM.match(file.read(_STREAM_BYTES)) is not None
                ordered = offset > start if ids else offset == first
                if not begins or not ordered or offset >= size:
                    raise _wrong(index, number, f"no stream of {path} begins at byte {offset:,}")
                if ids:
                    yield Stream(start, offset, Expected(index, line, tuple(ids)))
                start, line, ids = offset, number, []
            ids.append(page)
            if len(ids) > _MOST_PAGES:
                raise _wrong(index, number, f"more than {_MOST_PAGES:,} pages in one stream")
    yield Stream(start, size, Expected(index, line, tuple(ids)))


def _entries(index: Path) -> Iterator[tuple[int, int, int]]:
    """Yield number, offset and page id of each line."""
    number, rest = 0, b""
    for chunk in chunks_of(index, text=True):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in [*lines, *([rest] if len(rest) > _MOST_LINE else [])]:
            number += 1
            match = _ENTRY.match(line)
            if match is None:
                raise _wrong(index, number, f"found {line[:80]!r}")
            yield number, int(match[1]), int(match[2])
    if rest:
        raise _wrong(index, number + 1, f"found {rest[:80]!r} without an end of the line")


def _wrong(index: Path, line: int, what: str) -> CorpusError:
    return CorpusError(
        f"{index}:{line}: {what}: expected offset:page id:title of every page; get the index of "
        "this very dump, or remove it, since it is not needed"
    )

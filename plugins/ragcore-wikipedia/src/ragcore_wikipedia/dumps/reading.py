"""Read files of a dump, apply a function to each page, and return what it returns, in order.

The streams of a multistream dump are read in processes of their own. Any other file is unpacked in
a thread and its XML read here, a few files in turns, and batches of their pages are sent to
processes. The results and their order are the same whatever the number of processes. In memory are,
for each process, two streams or batches of at most `_MOST_STREAM` bytes: larger ones are read here,
page by page.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from operator import itemgetter
from pathlib import Path
from typing import Final, Generic, NamedTuple, TypeVar

from ragcore.corpora.ranges import Part, bounds_of
from ragcore.errors import CorpusError
from ragcore_wikipedia.dumps.containers import unpack_bzip2
from ragcore_wikipedia.dumps.counts import Counts
from ragcore_wikipedia.dumps.faults import BrokenDumpError
from ragcore_wikipedia.dumps.files import DumpFile, index_of
from ragcore_wikipedia.dumps.job import Job
from ragcore_wikipedia.dumps.lanes import Lane, in_turns, make_batch
from ragcore_wikipedia.dumps.multistream import (
    Head,
    Stream,
    head_of,
    streams_by_index,
    streams_by_scan,
    streams_within,
)
from ragcore_wikipedia.dumps.reader import pages_in
from ragcore_wikipedia.dumps.workers import Pool
from ragcore_wikipedia.dumps.xml import PageParser
from ragcore_wikipedia.pages import Page

__all__ = ["PageReader"]

Item = TypeVar("Item")

_LOGGER: Final = logging.getLogger("ragcore_wikipedia")
_MOST_STREAM: Final = 1 << 25
"""Bytes of XML up to which a stream is read by a process."""


class _StreamTask(NamedTuple):
    """A stream to read.

    Attributes:
        path: of the dump.
        stream: where it is in it.
        by_line: whether errors name the dump's line; else the stream's first byte and its line.
    """

    path: Path
    stream: Stream
    by_line: bool = True

    @property
    def place(self) -> str:
        """What errors call the file, before the line."""
        if self.by_line:
            return str(self.path)
        return f"{self.path} (stream at byte {self.stream.start:,})"


class _StreamResult(NamedTuple, Generic[Item]):
    """What a process made of a stream.

    Attributes:
        items: what became of the pages.
        counts: of them.
        lines: how many line breaks are in the stream.
        closed: whether the dump's last tag is in it.
        again: the stream must be read here: it is damaged, so that the line must be found out, or
            too large for a result.
    """

    items: list[Item]
    counts: Counts
    lines: int
    closed: bool
    again: bool


class PageReader(Generic[Item]):
    """Read the pages of some files, once.

    Attributes:
        files: in the order in which they are read.
        counts: of the pages read so far.
        ended: files that were read to their ends without a fault.
        strays: files of a range of pages that have pages outside of it.
        faults: of files that were left at a fault.
    """

    def __init__(
        self,
        files: Sequence[DumpFile],
        job: Job[Item],
        *,
        workers: int,
        stop_at_faults: bool,
        part: Part | None = None,
    ) -> None:
        """Read nothing yet.

        Args:
            files: are read in this order.
            job: what is done with each page.
            workers: processes; with 1 everything is done in this one.
            stop_at_faults: at a fault go on with the next file, and log a warning; raise an error
                where False.
            part: read only the streams that begin in this part of all bytes; files without streams
                that follow each other belong to the part that the first of them begins in.
        """
        self.counts = Counts()
        self.ended: list[DumpFile] = []
        self.strays: list[DumpFile] = []
        self.faults: list[str] = []
        self.files = files
        self._job = job
        self._workers = workers
        self._stop_at_faults = stop_at_faults
        self._part = part

    def __iter__(self) -> Iterator[Item]:
        """Yield what becomes of the pages; those of files without streams come in turns.

        Raises:
            BrokenDumpError: a file is cut short, damaged or not well-formed; after what became of
                the pages before the fault.
            CorpusError: a file is no dump, or its index is of another one.
        """
        with ExitStack() as stack:
            pool = None
            if self._workers > 1:
                pool = stack.enter_context(Pool(self._workers, self._job))
            plain: list[DumpFile] = []
            is_own = True
            for file, bounds in self._ranges():
                head = head_of(file.path)
                if head is None:
                    if not plain:
                        is_own = bounds is None or bounds[0] <= 0 < bounds[1]
                    plain.append(file)
                    continue
                yield from self._read_plain(plain if is_own else [], pool)
                plain.clear()
                if bounds is None or bounds[0] < bounds[1]:
                    yield from self._read_streams(file, head, pool, bounds)
            yield from self._read_plain(plain if is_own else [], pool)

    def _ranges(self) -> Iterator[tuple[DumpFile, tuple[int, int] | None]]:
        """Yield all files, each with the range of its bytes that is read; None for all."""
        if self._part is None:
            yield from ((file, None) for file in self.files)
            return
        sizes = [file.path.stat().st_size for file in self.files]
        start, stop = bounds_of(self._part, sum(sizes))
        begin = 0
        for file, size in zip(self.files, sizes, strict=True):
            yield file, (max(start - begin, 0), min(stop - begin, size))
            begin += size

    def _end(self, file: DumpFile, counts: Counts, fault: BrokenDumpError | None) -> None:
        """Add what was read of a file, and raise its fault where that is asked for."""
        self.counts.add(counts)
        if fault is not None:
            if not self._stop_at_faults:
                raise fault
            _LOGGER.warning("%s; the rest of this file is not read", fault)
            self.faults.append(str(fault))
            return
        self.ended.append(file)
        if file.pages is not None and counts.pages:
            first, last = file.pages
            if counts.lowest_id < first or counts.highest_id > last:
                self.strays.append(file)

    def _read_plain(
        self, files: Sequence[DumpFile], pool: Pool[Job[Item]] | None
    ) -> Iterator[Item]:
        """Read files that have no streams, `_LANES` in turns."""
        lanes = [Lane(file, self._job, ahead=pool is not None) for file in files]
        batches = in_turns(lanes, stop_at_faults=self._stop_at_faults)
        if pool is None:
            for lane, pages in batches:
                yield from self._job.apply(pages, lane.counts)
        else:
            for (lane, _), (items, counts) in pool.map(make_batch, batches, of=itemgetter(1)):
                lane.counts.add(counts)
                yield from items
        for lane in lanes:
            lane.counts.oversized += lane.parser.oversized
            self._end(lane.file, lane.counts, lane.fault)
            if lane.parser.rest:
                _LOGGER.warning("%s: text after </mediawiki> is ignored", lane.file.path)

    def _read_streams(
        self,
        file: DumpFile,
        head: Head,
        pool: Pool[Job[Item]] | None,
        bounds: tuple[int, int] | None,
    ) -> Iterator[Item]:
        counts, fault = Counts(), None
        try:
            yield from self._items_of_streams(file.path, head, pool, bounds, counts)
        except BrokenDumpError as error:
            fault = error
        self._end(file, counts, fault)

    def _items_of_streams(
        self,
        path: Path,
        head: Head,
        pool: Pool[Job[Item]] | None,
        bounds: tuple[int, int] | None,
        counts: Counts,
    ) -> Iterator[Item]:
        index = index_of(path)
        if bounds is not None:
            streams = streams_within(path, head.end, bounds)
        elif index is None:
            streams = streams_by_scan(path, head.end)
        else:
            streams = streams_by_index(path, index, head.end)
        line = 1 + head.data.count(b"\n")
        closed, end = False, 0
        # The lines before a part are not counted: its streams are named by their first bytes.
        by_line = bounds is None or not bounds[0]
        tasks = (_StreamTask(path, stream, by_line) for stream in streams)
        for task, result in self._results(tasks, pool):
            if closed:
                raise BrokenDumpError(
                    f"{path}:{line}: found another stream after </mediawiki>: if these are several "
                    "dumps in one file, use them as several files"
                )
            if result is None or result.again:
                reading = _StreamReading(self._job, task, line if by_line else 1)
                try:
                    yield from self._job.apply(reading, counts)
                finally:
                    counts.oversized += reading.parser.oversized
                line, closed = line + reading.lines, reading.parser.closed
            else:
                yield from result.items
                counts.add(result.counts)
                line, closed = line + result.lines, result.closed
            end = task.stream.end
        is_last = bounds is None or end == path.stat().st_size
        if is_last and not closed:
            raise BrokenDumpError(
                f"{path}:{line}: the file is cut short, it ends before </mediawiki>: download it "
                "again"
            )

    def _results(
        self, tasks: Iterator[_StreamTask], pool: Pool[Job[Item]] | None
    ) -> Iterator[tuple[_StreamTask, _StreamResult[Item] | None]]:
        """Yield streams with their results; without one where the stream is read here."""
        if pool is None:
            for task in tasks:
                yield task, None
        else:
            yield from pool.map(_read_stream, tasks, of=lambda task: task)


class _StreamReading:
    """Yield the pages of one stream.

    Attributes:
        parser: of its XML.
        lines: line breaks so far.
        bytes: of XML so far.
    """

    def __init__(self, job: Job[Item], task: _StreamTask, first_line: int) -> None:
        self._task = task
        self.parser = PageParser(
            task.place,
            namespaces=job.namespaces,
            needs_text=job.needs_text,
            site=job.site,
            first_line=first_line,
        )
        self.lines = self.bytes = 0

    def __iter__(self) -> Iterator[Page]:
        """Yield the pages.

        Raises:
            BrokenDumpError: the stream is damaged, or does not end with a page; after the last
                page before the fault.
            CorpusError: the pages are not those of the index.
        """
        path, stream = self._task.path, self._task.stream
        chunks = unpack_bzip2(stream.blocks(path), path, stream.start)
        expected = stream.expected
        ids: list[int] = []
        for page in pages_in(self._counted(chunks), self.parser, whole=False):
            ids.append(page.id)
            yield page
        if expected is not None and tuple(ids) != expected.ids:
            offset = next(
                (
                    offset
                    for offset, pair in enumerate(zip(ids, expected.ids, strict=False))
                    if pair[0] != pair[1]
                ),
                min(len(ids), len(expected.ids)),
            )
            actual = f"page {ids[offset]}" if offset < len(ids) else "no further page"
            raise CorpusError(
                f"{expected.index}:{expected.line + offset}: the dump has {actual} there, in the "
                f"stream at byte {stream.start:,} of {path}: the index is of another dump; get the "
                "right one, or remove it, since it is not needed"
            )

    def _counted(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self.lines += chunk.count(b"\n")
            self.bytes += len(chunk)
            yield chunk


def _read_stream(job: Job[Item], task: _StreamTask) -> _StreamResult[Item]:
    """In a process: read a stream; let the caller read it if it is damaged or too large."""
    reading = _StreamReading(job, task, 1)
    counts = Counts()
    items: list[Item] = []
    try:
        for item in job.apply(reading, counts):
            items.append(item)
            if reading.bytes > _MOST_STREAM:
                return _StreamResult([], Counts(), 0, False, True)
    except BrokenDumpError:
        return _StreamResult([], Counts(), 0, False, True)
    counts.oversized += reading.parser.oversized
    return _StreamResult(items, counts, reading.lines, reading.parser.closed, False)

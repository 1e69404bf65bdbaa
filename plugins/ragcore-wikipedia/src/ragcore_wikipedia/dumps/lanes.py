"""Read files that have no streams in batches of pages, a few files in turns.

Each file can be unpacked in a thread of its own, which takes most of the time of reading bzip2.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from typing import Any, Final, TypeVar

from ragcore_wikipedia.dumps.ahead import read_ahead
from ragcore_wikipedia.dumps.containers import chunks_of
from ragcore_wikipedia.dumps.counts import Counts
from ragcore_wikipedia.dumps.faults import BrokenDumpError
from ragcore_wikipedia.dumps.files import DumpFile
from ragcore_wikipedia.dumps.job import Job
from ragcore_wikipedia.dumps.reader import pages_in
from ragcore_wikipedia.pages import Page

__all__ = ["Lane", "in_turns", "make_batch"]

Item = TypeVar("Item")

_LANES: Final = 4
"""Files that are read in turns; a constant, so that the order is always the same."""

_BATCH_PAGES: Final = 200
_BATCH_TEXT: Final = 1 << 20


class Lane:
    """Read one file in batches of pages.

    Attributes:
        file: what is read.
        parser: of its XML.
        counts: of its pages.
        fault: where the file is broken, once that has been reached.
    """

    def __init__(self, file: DumpFile, job: Job[Any], *, ahead: bool) -> None:
        """Read nothing yet; with `ahead` the file is unpacked in a thread."""
        self.file = file
        self.parser = job.parser(file.path)
        self.counts = Counts()
        self.fault: BrokenDumpError | None = None
        self._ahead = ahead

    def __iter__(self) -> Generator[list[Page], None, None]:
        """Yield batches of pages, up to the fault if there is one.

        Raises:
            CorpusError: it is no dump.
        """
        chunks = chunks_of(self.file.path)
        pages = pages_in(read_ahead(chunks) if self._ahead else chunks, self.parser)
        batch: list[Page] = []
        length = 0
        try:
            for page in pages:
                batch.append(page)
                length += len(page.text or "")
                if len(batch) >= _BATCH_PAGES or length >= _BATCH_TEXT:
                    yield batch
                    batch, length = [], 0
        except BrokenDumpError as error:
            self.fault = error
        if batch:
            yield batch


def in_turns(
    lanes: Sequence[Lane], *, stop_at_faults: bool
) -> Generator[tuple[Lane, list[Page]], None, None]:
    """Yield a batch of each of the first lanes in turn; where one ends, the next takes its turn.

    Ends at the first fault, unless the other files are to be read all the same.

    Raises:
        CorpusError: a file is no dump.
    """
    waiting = deque(lanes)
    running: deque[tuple[Lane, Generator[list[Page], None, None]]] = deque()
    try:
        while waiting or running:
            while waiting and len(running) < _LANES:
                lane = waiting.popleft()
                running.append((lane, iter(lane)))
            lane, batches = running[0]
            batch = next(batches, None)
            running.rotate(-1)
            if batch is not None:
                yield lane, batch
                continue
            running.pop()
            if lane.fault is not None and not stop_at_faults:
                return
    finally:
        for _, batches in running:
            batches.close()


def make_batch(job: Job[Item], pages: list[Page]) -> tuple[list[Item], Counts]:
    """In a process: return what becomes of a batch of pages, and their counts."""
    counts = Counts()
    return list(job.apply(pages, counts)), counts

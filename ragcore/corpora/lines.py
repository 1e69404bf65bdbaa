"""Read the lines of a file, packed or not, and name the line of each fault.

A line is bounded: a file that is one line, such as a JSON array of a gigabyte, is an error and no
lack of memory. Knows nothing of what a line holds.
"""

from __future__ import annotations

import codecs
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ragcore.corpora.compression import damage_error, damages, unpacked
from ragcore.errors import CorpusError

__all__ = ["LONGEST_LINE", "ByteRange", "decoded", "lines_of", "raw_lines"]

LONGEST_LINE: Final = 64 << 20
"""Bytes of the longest line; the longest page of a Wikipedia has some 2 MB of text."""

_BLOCK: Final = 1 << 18
"""Bytes that are read at a time."""


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file, their ends included, with their numbers from 1.

    Raises:
        CorpusError: the file cannot be read, is not UTF-8, or has a line that is too long.
    """
    for number, line in raw_lines(path):
        yield number, decoded(line, where=f"{path}:{number}", is_first=number == 1)


def decoded(line: bytes, *, where: str, is_first: bool) -> str:
    """Decode a line.

    Args:
        line: in UTF-8.
        where: file and line, for errors.
        is_first: whether it is its file's first, which may begin with a byte order mark, as editors
            of Windows write it.

    Raises:
        CorpusError: it is not UTF-8.
    """
    try:
        return line.decode("utf-8-sig" if is_first else "utf-8")
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{where}: not UTF-8 (byte 0x{error.object[error.start]:02X} at {error.start + 1}): "
            "save the file as UTF-8"
        ) from None


class ByteRange:
    """A range of a plain file's bytes, and the lines that begin in it.

    Attributes:
        start: the first byte.
        stop: the byte after the last.
    """

    def __init__(self, path: Path, start: int, stop: int) -> None:
        self._path = path
        self.start = start
        self.stop = stop

    @functools.cached_property
    def lines_before(self) -> int:
        """The number of lines that begin before the range; reads the file up to there.

        Only errors, and rows without ids, need it.
        """
        if not self.start:
            return 0
        # The line that the byte before the range is in begins before it, and ends in it or before.
        count, left = 1, self.start - 1
        with self._path.open("rb") as file:
            while left and (block := file.read(min(left, _BLOCK))):
                count += block.count(b"\n")
                left -= len(block)
        return count


def raw_lines(
    path: Path, encoding: str | None = None, within: ByteRange | None = None
) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file as bytes, their ends included, with their numbers from 1.

    Args:
        path: of the file.
        encoding: in which a line feed may be other bytes than in UTF-8, such as UTF-16; the lines
            are then yielded in UTF-8. None yields bytes as they are.
        within: yield only the lines that begin in this range of a file that is not packed; their
            numbers count from its first.

    Raises:
        CorpusError: the file cannot be read, packed data end too soon or are damaged, a line is
            longer than `LONGEST_LINE`, or bytes are not in the encoding.
    """
    # Within a range, the line that began before it is number 0, and is not yielded.
    number = 1 if within is None or not within.start else 0
    position = 0 if number or within is None else within.start - 1

    def place() -> str:
        return f"{path}:{number + (within.lines_before if within is not None else 0)}"

    recoder = None if encoding is None else _Recoder(encoding)
    # Parts of a line that is not complete yet; joined once, so that a long one is not copied often.
    parts: list[bytes] = []
    length = 0
    with unpacked(path) as (file, kind):
        if position:
            file.seek(position)
        while True:
            try:
                block = file.read(_BLOCK)
            except damages() as error:
                raise damage_error(path, number, kind, error) from None
            is_end = not block
            if recoder is not None:
                block = recoder.recoded(block)
            start = 0
            while end := block.find(b"\n", start) + 1:
                line = block[start:end]
                if parts:
                    line, parts, length = b"".join((*parts, line)), [], 0
                if within is not None and number and position >= within.stop:
                    return
                if number:
                    yield number, line
                position += len(line)
                number += 1
                start = end
            if start < len(block):
                parts.append(block[start:])
                length += len(block) - start
                if length > LONGEST_LINE:
                    raise CorpusError(
                        f"{place()}: the line is longer than {LONGEST_LINE >> 20} MiB: "
                        "expected one row a line; write a JSON array as lines, with `jq -c '.[]'` "
                        "for example"
                    )
            if recoder is not None and recoder.fault is not None:
                raise CorpusError(
                    f"{path}:{number}: not in the encoding {encoding} ({recoder.fault}): name the "
                    "right one with `encoding`"
                )
            if is_end:
                break
    if parts and number and (within is None or position < within.stop):
        yield number, b"".join(parts)


class _Recoder:
    """Turns the blocks of a file in some encoding into UTF-8.

    Attributes:
        fault: why no more can be turned; the last block was turned up to the fault.
    """

    def __init__(self, encoding: str) -> None:
        self.fault: UnicodeError | None = None
        self._decoder = codecs.getincrementaldecoder(encoding)()

    def recoded(self, block: bytes) -> bytes:
        """Return a block in UTF-8; one of no bytes is the end."""
        state = self._decoder.getstate()
        try:
            return self._decoder.decode(block, final=not block).encode()
        except UnicodeError as error:
            self.fault = error
        # Byte by byte, as it is not said how much of the block comes before the fault.
        self._decoder.setstate(state)
        texts = []
        for position in range(len(block)):
            try:
                texts.append(self._decoder.decode(block[position : position + 1]))
            except UnicodeError:
                break
        return "".join(texts).encode("utf-8", "replace")

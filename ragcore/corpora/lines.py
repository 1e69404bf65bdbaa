"""Read the lines of a file, packed or not, and name the line of each fault.

A line is bounded: a file that is one line, such as a JSON array of a gigabyte, is an error and no
lack of memory. Knows nothing of what a line holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ragcore.corpora.compression import damages, unpacked
from ragcore.errors import CorpusError

__all__ = ["LONGEST_LINE", "decoded", "lines_of", "raw_lines"]

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
        yield number, decoded(line, number, f"{path}:{number}")


def decoded(line: bytes, number: int, where: str) -> str:
    """Decode a line.

    Args:
        line: in UTF-8.
        number: of it; the first may begin with a byte order mark, as editors of Windows write it.
        where: file and line, for errors.

    Raises:
        CorpusError: it is not UTF-8.
    """
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{where}: not UTF-8 (byte 0x{error.object[error.start]:02X} at {error.start + 1}): "
            "save the file as UTF-8"
        ) from None


def raw_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file as bytes, their ends included, with their numbers from 1.

    Raises:
        CorpusError: the file cannot be read, packed data end too soon or are damaged, or a line is
            longer than `LONGEST_LINE`.
    """
    number = 1
    # Parts of a line that is not complete yet; joined once, so that a long one is not copied often.
    parts: list[bytes] = []
    length = 0
    with unpacked(path) as (file, kind):
        while True:
            try:
                block = file.read(_BLOCK)
            except damages() as error:
                packed = f": its {kind} data are damaged or end too soon" if kind else ""
                raise CorpusError(
                    f"{path}:{number}: cannot be read ({error}){packed}: fetch the file again"
                ) from None
            if not block:
                break
            start = 0
            while end := block.find(b"\n", start) + 1:
                line = block[start:end]
                if parts:
                    line, parts, length = b"".join((*parts, line)), [], 0
                yield number, line
                number += 1
                start = end
            if start < len(block):
                parts.append(block[start:])
                length += len(block) - start
                if length > LONGEST_LINE:
                    raise CorpusError(
                        f"{path}:{number}: the line is longer than {LONGEST_LINE >> 20} MiB: "
                        "expected one row a line; write a JSON array as lines, with `jq -c '.[]'` "
                        "for example"
                    )
    if parts:
        yield number, b"".join(parts)

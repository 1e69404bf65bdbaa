"""Borders of chunks that an edit elsewhere does not move (content-defined chunking).

A chunk ends behind a part whose digest is the least of those around it: whether a border is one
depends on what is near it, not on where the chunk began.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import accumulate
from zlib import crc32

__all__ = ["chunk_ends", "digest_of_start"]


def chunk_ends(digests: Sequence[int], lengths: Sequence[int], reach: int) -> set[int]:
    """Return the numbers of the parts after which a chunk may end.

    They are those whose digest is the least within `reach` on both sides, the first of several.

    Args:
        digests: of the parts.
        lengths: of the parts, such as in words.
        reach: in the unit of the lengths.
    """
    count = len(digests)
    starts = [0, *accumulate(lengths)]  # of each part, and the end of the last
    # Numbers of parts within reach whose digest no later part's is below, in order: the first has
    # the least digest. Each part is appended and removed once.
    least: deque[int] = deque()
    ends = set()
    last = 0
    for number in range(count):
        behind = starts[number + 1] + reach
        while last < count and (last <= number or starts[last] < behind):
            digest = digests[last]
            while least and digests[least[-1]] > digest:
                least.pop()
            least.append(last)
            last += 1
        before = starts[number] - reach
        while starts[least[0]] < before:
            least.popleft()
        if least[0] == number:
            ends.add(number)
    return ends


def digest_of_start(text: str, start: int = 0, end: int | None = None) -> int:
    """Return a digest of a text's first four words, so that another value in its rest is one.

    Args:
        text: of which a part is looked at, 80 characters at most.
        start: where the part starts.
        end: behind it; None is the text's end.
    """
    start_of_part = text[start : start + 80 if end is None or end > start + 80 else end]
    words = start_of_part.split(None, 4)
    return crc32(" ".join(words[:4]).encode("utf-8", "surrogatepass"))

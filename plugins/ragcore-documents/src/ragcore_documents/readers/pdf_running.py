"""Running headers, footers and numbers of a PDF's pages, by what repeats at the pages' edges.

Knows lines and their places; knows nothing of paragraphs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from ragcore_documents.readers.pdf_layout import Line

__all__ = ["drop_running"]

_NUMBER: Final = re.compile(r"\d+")
# A running line stands in this part of the page's height, at its top or bottom (a body with margins
# of an inch begins below), on more than this share of at least so many pages.
_MARGIN: Final = 0.09
_SHARE: Final = 0.6
_FEWEST_PAGES: Final = 5
_MARGIN_LINES: Final = 3


def drop_running(pages: Sequence[Sequence[Line]], heights: Sequence[float]) -> list[list[Line]]:
    """Return the pages without running headers, footers and page numbers.

    A line goes only if the same stands at the top or bottom of more than 60 % of the pages, or of
    the pages on the left or right; numbers in it may count the pages. Documents of fewer than five
    pages stay as they are.

    Args:
        pages: lines of each.
        heights: of the pages.
    """
    if len(pages) < _FEWEST_PAGES:
        return [list(lines) for lines in pages]
    counts: Counter[tuple[object, ...]] = Counter()
    margins: list[dict[int, set[tuple[object, ...]]]] = []
    for number, (lines, height) in enumerate(zip(pages, heights, strict=True)):
        margin = {
            index: _running_keys(lines[index].text, zone, number)
            for zone, index in _margin_lines(lines, height)
        }
        margins.append(margin)
        for key in set().union(*margin.values()) if margin else ():
            counts[key] += 1
            counts[(number % 2, *key)] += 1
    sides = [(len(pages) + 1) // 2, len(pages) // 2]
    # The first page of a chapter has its number elsewhere.
    offsets = {key[-1] for key, count in counts.items() if count > _SHARE * len(pages)}

    def is_running(key: tuple[object, ...], number: int) -> bool:
        if len(key) == 3 and key[1] == "\0" and key[2] in offsets:
            return True
        side = sides[number % 2]
        return counts[key] > _SHARE * len(pages) or (
            side >= _FEWEST_PAGES and counts[(number % 2, *key)] > _SHARE * side
        )

    return [
        [
            line
            for index, line in enumerate(lines)
            if not any(is_running(key, number) for key in margins[number].get(index, ()))
        ]
        for number, lines in enumerate(pages)
    ]


def _margin_lines(lines: Sequence[Line], height: float) -> Iterator[tuple[str, int]]:
    """Yield (top or bottom, index) of the lines nearest to the page's edges."""
    top = [i for i, line in enumerate(lines) if line.first > (1 - _MARGIN) * height]
    bottom = [i for i, line in enumerate(lines) if line.first < _MARGIN * height]
    for index in sorted(top, key=lambda i: -lines[i].first)[:_MARGIN_LINES]:
        yield "top", index
    for index in sorted(bottom, key=lambda i: lines[i].first)[:_MARGIN_LINES]:
        yield "bottom", index


def _running_keys(text: str, zone: str, number: int) -> set[tuple[object, ...]]:
    """Return what a running line has in common on all pages.

    A number may differ only as the page's own does, so that a table's lines of numbers differ.
    """
    keys: set[tuple[object, ...]] = {(zone, text)}
    for match in list(_NUMBER.finditer(text))[:4]:
        if len(match.group()) <= 6:
            rest = text[: match.start()] + "\0" + text[match.end() :]
            offset = int(match.group()) - number
            keys.add((zone, rest, offset))
            # "Chapter 2: Names 17": the chapter differs, that the page's number ends it does not.
            if rest[0] == "\0" or rest[-1] == "\0":
                keys.add((zone, rest[0] == "\0", rest[-1] == "\0", offset))
    return keys

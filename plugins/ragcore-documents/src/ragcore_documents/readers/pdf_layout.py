"""Lines of a PDF's pages to paragraphs, lists and headings, by where they stand.

Knows lines and their places; knows nothing of PDFium. Lengths are points, 1/72 inch; heights grow
upwards, as in PDF.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from ragcore.corpora.structure import BlockKind

__all__ = [
    "HYPHEN",
    "Line",
    "Outline",
    "PageBlock",
    "Words",
    "common_gaps",
    "find_headings",
    "page_blocks",
    "prominent_title",
]

# PDFium's mark of a hyphen at which it joined two lines.
HYPHEN: Final = "\ufffe"

_BULLET: Final = re.compile(r"^[•‣▪▫◦●○■□–—∙·*-][ \t]+(?=\S)")
_ENDS: Final = (".", "!", "?", ":", "…", "。", "！", "？", "：")
_NUMBERING: Final = re.compile(
    r"^(?:(?:chapter|section|appendix|part|kapitel|chapitre)\s+)?(?:\d+|[a-z]|[ivxlc]+)"
    r"(?:\.\d+)*[.:)]?\s+",
    re.IGNORECASE,
)
_DOTS: Final = " … "
_NO_LETTER: Final = re.compile(r"[\W_]+")
_LEADERS: Final = re.compile(r"(?: ?\.){5,} ?(?=\S+$)")  # "Names . . . . . . 17"
_WORD: Final = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_BROKEN_WORD: Final = re.compile(rf"([^\W\d_]+){HYPHEN}([^\W\d_]+)")

_SAME_SIZE: Final = 0.15  # of two lines' sizes, relative
_LOOSE: Final = 1.2  # times the common gap, behind which a paragraph ends
_RARE: Final = 0.1  # share of a size's gaps below which a gap is not its lines'
_INDENT: Final = 0.7  # of a line's size
_HEADING_LINES: Final = 3
_LONGEST_TITLE: Final = 200
_PROMINENT: Final = 1.25


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a page.

    Attributes:
        text: of it, without white space around.
        left: of its first character.
        right: of its last character.
        first: bottom of its first character.
        last: bottom of its last character; lower where two lines were joined at a hyphen.
        size: of its font.
        level: of the heading that it begins; 0 of others.
    """

    text: str
    left: float
    right: float
    first: float
    last: float
    size: float
    level: int = 0


@dataclass(frozen=True, slots=True)
class Outline:
    """An entry of a document's outline.

    Attributes:
        title: of a section.
        level: from 1.
        page: index of it, from 0.
    """

    title: str
    level: int
    page: int


@dataclass(frozen=True, slots=True)
class PageBlock:
    """A block of a page: its kind, text and, for a heading, level."""

    kind: BlockKind
    text: str
    level: int = 0


class Words:
    """The words of a document, which say whether a hyphen at a line's end belongs to its word.

    Args:
        pages: of the document.
    """

    def __init__(self, pages: Sequence[Sequence[Line]]) -> None:
        texts = [line.text for lines in pages for line in lines]
        self._words: frozenset[str] = frozenset()
        if any(HYPHEN in text or text.endswith("-") for text in texts):
            self._words = frozenset(
                word.casefold() for text in texts for word in _WORD.findall(text)
            )

    def join(self, text: str) -> str:
        """Return a text without marks of hyphens at which lines were joined.

        Args:
            text: with `HYPHEN` within words.
        """
        if HYPHEN not in text:
            return text
        return _BROKEN_WORD.sub(self._joined, text).replace(HYPHEN, "-")

    def _joined(self, match: re.Match[str]) -> str:
        head, tail = match.groups()
        with_hyphen = f"{head}-{tail}"
        if (head + tail).casefold() in self._words:
            return head + tail
        if with_hyphen.casefold() in self._words or not tail[0].islower():
            return with_hyphen
        return head + tail


def _key(text: str) -> str:
    """Return what two writings of a heading have in common."""
    return _NO_LETTER.sub("", text.casefold())


def _title_keys(text: str) -> list[str]:
    """Return the keys of a title as it is, and without its number."""
    keys = (_key(text), _key(_NUMBERING.sub("", text)))
    return [key for key in dict.fromkeys(keys) if key]


def _title_spans(lines: Sequence[Line], titles: set[str]) -> dict[str, list[tuple[int, int]]]:
    """Return where the lines are titles, by the titles' keys."""
    longest = max(map(len, titles), default=0)
    keys = [_key(line.text) for line in lines]
    spans: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for start, line in enumerate(lines):
        for joined in _title_keys(line.text):
            for end in range(start + 1, min(start + _HEADING_LINES, len(lines)) + 1):
                if joined in titles:
                    spans[joined].append((start, end))
                if end == len(lines) or len(joined) > longest:
                    break
                joined += keys[end]
    return spans


def find_headings(pages: Sequence[Sequence[Line]], outline: Sequence[Outline]) -> list[list[Line]]:
    """Return the pages with their lines that are titles of the outline marked as headings.

    A title that is not on its page is left out. Lines of a title that is broken are joined.

    Args:
        pages: lines of each.
        outline: of the document.
    """
    marked = [list(lines) for lines in pages]
    by_page: defaultdict[int, list[Outline]] = defaultdict(list)
    for entry in outline:
        if 0 <= entry.page < len(marked):
            by_page[entry.page].append(entry)
    for number, entries in by_page.items():
        lines = marked[number]
        keys = _title_spans(lines, {key for entry in entries for key in _title_keys(entry.title)})
        headings: dict[int, tuple[int, int]] = {}
        taken: set[int] = set()
        for entry in entries:
            spans = [
                span
                for key in _title_keys(entry.title)
                for span in keys.get(key, ())
                if taken.isdisjoint(range(*span))
            ]
            if spans:
                start, end = max(spans, key=lambda span: (lines[span[0]].size, -span[0]))
                headings[start] = (end, entry.level)
                taken.update(range(start, end))
        marked[number] = list(_with_headings(lines, headings, taken))
    return marked


def _with_headings(
    lines: Sequence[Line], headings: dict[int, tuple[int, int]], taken: set[int]
) -> Iterator[Line]:
    for index, line in enumerate(lines):
        if index in headings:
            end, level = headings[index]
            text = " ".join(line.text for line in lines[index:end])
            yield replace(line, text=text, last=lines[end - 1].last, level=level)
        elif index not in taken:
            yield line


def common_gaps(pages: Sequence[Sequence[Line]]) -> dict[int, float]:
    """Return the distance of lines within paragraphs for each size of font, in whole points.

    That is the smallest distance that is not rare: between paragraphs it is as large or larger.

    Args:
        pages: lines of each.
    """
    gaps: defaultdict[int, Counter[float]] = defaultdict(Counter)
    for lines in pages:
        for before, line in pairwise(lines):
            gap = before.last - line.first
            if _same_size(before, line) and 0.8 * line.size < gap < 3 * line.size:
                gaps[round(line.size)][round(gap * 2) / 2] += 1
    return {
        size: min(gap for gap, count in counts.items() if count >= _RARE * counts.total())
        for size, counts in gaps.items()
    }


def _same_size(before: Line, line: Line) -> bool:
    return abs(before.size - line.size) <= _SAME_SIZE * max(before.size, line.size)


def page_blocks(lines: Sequence[Line], gaps: dict[int, float], words: Words) -> Iterator[PageBlock]:
    """Yield the blocks of a page.

    Args:
        lines: of the page, in reading order.
        gaps: distances of lines within paragraphs by size; see `common_gaps`.
        words: of the document.
    """
    lines = [replace(line, text=_LEADERS.sub(_DOTS, line.text)) for line in lines]
    edges = _right_edges(lines)
    kind: BlockKind = "paragraph"
    text = ""
    count = 0  # lines of the block
    before: Line | None = None
    for index, line in enumerate(lines):
        bullet = _BULLET.match(line.text)
        if line.level:
            if text:
                yield PageBlock(kind, words.join(text))
            yield PageBlock("heading", words.join(line.text), line.level)
            text, before, count = "", None, 0
            continue
        joint = _joint(before, line, edges[index - 1], gaps, count) if before else None
        content = line.text
        if bullet:
            content = "- " + line.text[bullet.end() :]
            if text and kind == "list" and before and _near(before, line, gaps, 2 * _LOOSE):
                joint = "\n"
            else:
                joint = None
        if joint is None:
            if text:
                yield PageBlock(kind, words.join(text))
            kind = "list" if bullet else "paragraph"
            text, count = content, 1
        else:
            if joint == " " and text.endswith("-") and content[:1].islower():
                text = text[:-1] + HYPHEN + content
            else:
                text += joint + content
            count += 1
        before = line
    if text:
        yield PageBlock(kind, words.join(text))


def _near(before: Line, line: Line, gaps: dict[int, float], times: float) -> bool:
    gap = gaps.get(round(line.size), 1.2 * line.size)
    return -0.5 * line.size < before.last - line.first <= times * gap + 0.5


def _joint(before: Line, line: Line, edge: float, gaps: dict[int, float], count: int) -> str | None:
    """Return what joins a line to the one before: a space, a line's end, or None for a new block.

    Args:
        before: the line before.
        line: that follows it.
        edge: of the column of the line before, on the right.
        gaps: distances of lines within paragraphs by size.
        count: of the block's lines so far.
    """
    gap = before.last - line.first
    ended = before.text.endswith(_ENDS)
    if abs(gap) < 0.3 * line.size:
        return " "  # the same line, in parts
    if not _same_size(before, line):
        return None
    if gap < 0:  # a new column
        return " " if not ended and line.text[:1].islower() else None
    if not _near(before, line, gaps, _LOOSE):
        return None
    # A line that ended although the next word had room was ended by its author.
    character = (before.right - before.left) / max(1, len(before.text))
    first_word = line.text.split(maxsplit=1)[0]
    has_room = before.right + (len(first_word) + 1) * character < edge - 0.5 * line.size
    indent = line.left - before.left
    if indent > _INDENT * line.size and (ended or has_room):
        return None  # a first line that is indented
    if indent < -_INDENT * line.size and count > 1:
        return None  # a first line that stands out
    if has_room:
        return None if ended else "\n"
    return "\n" if _DOTS in before.text else " "


def _right_edges(lines: Sequence[Line]) -> list[float]:
    """Return the right edge of the column of each line: where full lines near it end."""
    edges = []
    for index, line in enumerate(lines):
        rights = sorted(
            other.right
            for other in lines[max(0, index - 20) : index + 21]
            if other.left < line.right and other.right > line.left and not other.level
        )
        edges.append(rights[int(0.9 * (len(rights) - 1))] if rights else line.right)
    return edges


def prominent_title(lines: Sequence[Line], pages: Sequence[Sequence[Line]]) -> str:
    """Return the first page's largest text, if it is much larger than the document's most; or "".

    Args:
        lines: of the first page.
        pages: lines of all.
    """
    sizes: Counter[int] = Counter()
    for page in pages:
        for line in page:
            sizes[round(line.size)] += len(line.text)
    upright = [line for line in lines if abs(line.first - line.last) <= 2 * line.size]
    if not upright or not sizes:
        return ""
    largest = max(line.size for line in upright)
    if largest < _PROMINENT * sizes.most_common(1)[0][0]:
        return ""
    indices = [i for i, line in enumerate(upright) if line.size >= 0.98 * largest]
    if indices[-1] - indices[0] != len(indices) - 1 or len(indices) > _HEADING_LINES:
        return ""  # used in more than one place
    title = " ".join(upright[i].text for i in indices)
    return title if len(title) <= _LONGEST_TITLE and any(map(str.isalpha, title)) else ""

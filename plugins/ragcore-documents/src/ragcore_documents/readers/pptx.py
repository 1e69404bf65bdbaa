"""PPTX: PowerPoint's presentations, a slide a page.

A slide's title is a heading, its other shapes follow column by column and from top to bottom, then
its notes. Hidden slides and shapes are left out. Titles of slides come from placeholders;
python-pptx finds what they inherit from layouts.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from pptx import Presentation
from pptx.enum.shapes import PP_PLACEHOLDER
from pptx.exc import PythonPptxError

from ragcore.corpora.structure import BlockKind, DocumentText, TextBuilder
from ragcore_documents.readers.archives import Archive, parse_xml, refusing
from ragcore_documents.readers.limits import Limits, UnreadableError
from ragcore_documents.readers.properties import office_properties, property_title

__all__ = ["read_pptx"]

_LOG: Final = logging.getLogger(__name__)

_ON: Final = ("1", "true")
_OFF: Final = ("0", "false")
_ROW: Final = 91_440  # a tenth of an inch in EMU: shapes that begin within it are side by side
_DIAGRAM: Final = "http://schemas.openxmlformats.org/drawingml/2006/diagram"
_CHART: Final = "{http://schemas.openxmlformats.org/drawingml/2006/chart}"
_MOST_POINTS: Final = 10_000
_DRAWING: Final = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_RELATION: Final = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_LEFT_OUT: Final = frozenset(
    {
        PP_PLACEHOLDER.DATE,
        PP_PLACEHOLDER.FOOTER,
        PP_PLACEHOLDER.HEADER,
        PP_PLACEHOLDER.SLIDE_NUMBER,
    }
)
_TITLES: Final = frozenset(
    {PP_PLACEHOLDER.TITLE, PP_PLACEHOLDER.CENTER_TITLE, PP_PLACEHOLDER.VERTICAL_TITLE}
)
_LISTS: Final = frozenset(
    {PP_PLACEHOLDER.BODY, PP_PLACEHOLDER.OBJECT, PP_PLACEHOLDER.VERTICAL_BODY}
)

_Part = tuple[BlockKind, str]


def read_pptx(data: bytes, limits: Limits) -> DocumentText:
    """Read a presentation.

    Headers, footers, dates and numbers of slides are left out. A slide without a title is headed
    by its number, so that its text is not taken for that of the slide before.

    Args:
        data: of the file.
        limits: of what is unpacked, the slides and the text.

    Raises:
        UnreadableError: It is encrypted, damaged, or larger than the limits.
    """
    archive = Archive(data, limits, "PPTX")
    archive.refuse_document_types()
    metadata: dict[str, Any] = dict(office_properties(archive))
    builder = TextBuilder()
    first_title = ""
    left = limits.characters
    with refusing("PPTX"):
        slides = Presentation(io.BytesIO(data)).slides
        if len(slides) > limits.pages:
            raise UnreadableError(f"it has {len(slides):,} slides, more than {limits.pages:,}")
        for number, slide in enumerate(slides, start=1):
            if slide.element.get("show") in _OFF:
                continue
            title, parts = _slide(slide, limits.depth)
            left -= len(title) + sum(len(text) for _, text in parts)
            if left < 0:
                raise UnreadableError(
                    f"slide {number}: the text is longer than {limits.characters:,} characters; "
                    "split the presentation"
                )
            if number == 1:
                first_title = title
            if parts or title:
                builder.add("heading", title or f"Slide {number}", level=1, page=number)
            for kind, text in parts:
                builder.add(kind, text, page=number)
    return builder.build(metadata.pop("title", "") or property_title(first_title), metadata)


def _slide(slide: Any, depth: int) -> tuple[str, list[_Part]]:
    """Return a slide's title and the parts of its text."""
    title = ""
    shapes = []
    for shape in slide.shapes:
        kind = _placeholder(shape)
        if kind in _TITLES and not title:
            title = _line(shape.text_frame.text) if shape.has_text_frame else ""
        elif kind not in _LEFT_OUT:
            shapes.append(shape)
    parts = list(_shapes(shapes, depth))
    if slide.has_notes_slide:
        notes = slide.notes_slide.notes_text_frame
        if notes is not None:
            parts += [("paragraph", text) for text, _ in _paragraphs(notes)]
    return title, [(kind, text) for kind, text in parts if text.strip()]


def _placeholder(shape: Any) -> PP_PLACEHOLDER | None:
    return shape.placeholder_format.type if shape.is_placeholder else None


def _shapes(shapes: Iterable[Any], depth: int) -> Iterator[_Part]:
    if depth == 0:
        raise UnreadableError("its groups of shapes are nested too deeply; ungroup them")
    for shape in _in_order([shape for shape in shapes if not _is_hidden(shape)]):
        if hasattr(shape, "shapes"):  # a group
            yield from _shapes(shape.shapes, depth - 1)
        elif shape.has_text_frame:
            yield from _text(shape)
        elif shape.has_table:
            yield (
                "table",
                "\n".join(
                    _row("" if cell.is_spanned else _line(cell.text) for cell in row.cells)
                    for row in shape.table.rows
                ),
            )
        elif shape.has_chart:
            yield from _chart(shape)
        else:
            yield from _diagram(shape)


def _is_hidden(shape: Any) -> bool:
    properties = next(shape.element.iter("{*}cNvPr"), None)
    return properties is not None and properties.get("hidden") in _ON


def _in_order(shapes: Iterable[Any]) -> list[Any]:
    """Return shapes in the order in which they are read.

    Where two columns or more have several shapes each, they are read column by column; what
    reaches over columns ends those above it. Other shapes are read in rows.
    """
    ordered: list[Any] = []
    columns: list[list[Any]] = []
    for shape in sorted(shapes, key=_position):
        column = _column(shape, columns)
        if column is None:
            ordered += _read_columns(columns)
            columns = [[shape]]
        elif column == len(columns):
            columns.append([shape])
        else:
            columns[column].append(shape)
    return ordered + _read_columns(columns)


def _read_columns(columns: Sequence[Sequence[Any]]) -> list[Any]:
    shapes = [shape for column in columns for shape in column]
    if sum(len(column) > 1 for column in columns) < 2:
        return sorted(shapes, key=_position)
    return [
        shape
        for column in sorted(columns, key=lambda column: min(_extent(s)[0] for s in column))
        for shape in column
    ]


def _column(shape: Any, columns: Sequence[Sequence[Any]]) -> int | None:
    """Return the column that a shape is below, that it begins, or None if it is below several."""
    left, right = _extent(shape)
    below = []
    for index, column in enumerate(columns):
        first, last = _extent(column[-1])
        if left < last and first < right:
            below.append(index)
    if below:
        return below[0] if len(below) == 1 else None
    bottom = max((_bottom(other) for column in columns for other in column), default=0)
    return len(columns) if not columns or (shape.top or 0) < bottom else None


def _bottom(shape: Any) -> int:
    return (shape.top or 0) + (shape.height or 0)


def _extent(shape: Any) -> tuple[int, int]:
    left = shape.left or 0
    return left, left + max(shape.width or 0, 1)


def _position(shape: Any) -> tuple[int, int]:
    return (shape.top or 0) // _ROW, shape.left or 0


def _text(shape: Any) -> Iterator[_Part]:
    paragraphs = list(_paragraphs(shape.text_frame))
    if _placeholder(shape) in _LISTS and len(paragraphs) > 1:
        yield "list", "\n".join(f"{'  ' * level}- {text}" for text, level in paragraphs)
    else:
        for text, _ in paragraphs:
            yield "paragraph", text


def _paragraphs(frame: Any) -> Iterator[tuple[str, int]]:
    """Yield (text, level from 0) of a frame's paragraphs that have text."""
    for paragraph in frame.paragraphs:
        text = _line(paragraph.text)
        if text:
            yield text, paragraph.level


def _line(text: str) -> str:
    return " ".join(text.split())


def _row(cells: Iterable[str]) -> str:
    return " | ".join(cells).rstrip(" |")


def _chart(shape: Any) -> Iterator[_Part]:
    """Yield a chart's title, and its numbers as a table: a row a category, a column a series."""
    try:
        chart = shape.chart
        # python-pptx makes as many values as the file says that there are.
        points = chart.element.iter(f"{_CHART}ptCount")
        if any(int(count.get("val", "0")) > _MOST_POINTS for count in points):
            _LOG.warning("PPTX: a chart of more than %d points is left out", _MOST_POINTS)
            return
        if chart.has_title and chart.chart_title.has_text_frame:
            yield "paragraph", _line(chart.chart_title.text_frame.text)
        plot = chart.plots[0]
        series = list(plot.series)
        rows = [["", *(_line(line.name or "") for line in series)]]
        values = [tuple(line.values) for line in series]
        for index, category in enumerate(plot.categories):
            cells = [column[index] if index < len(column) else None for column in values]
            rows.append([_line(str(category)), *("" if c is None else f"{c:g}" for c in cells)])
    except (PythonPptxError, KeyError, ValueError, IndexError, AttributeError, TypeError) as error:
        _LOG.warning("PPTX: a chart cannot be read: %s: %s", type(error).__name__, error)
        return
    yield "table", "\n".join(_row(row) for row in rows)


def _diagram(shape: Any) -> Iterator[_Part]:
    """Yield the texts of a SmartArt diagram, which python-pptx has no object for."""
    for reference in shape.element.iter(f"{{{_DIAGRAM}}}relIds"):
        try:
            part = shape.part.related_part(reference.get(f"{_RELATION}dm"))
        except KeyError:
            _LOG.warning("PPTX: the data of a diagram are missing")
            continue
        texts = []
        for paragraph in parse_xml(part.blob, str(part.partname)).iter(f"{_DRAWING}p"):
            text = _line("".join(run.text or "" for run in paragraph.iter(f"{_DRAWING}t")))
            if text:
                texts.append(text)
        if texts:
            yield "list", "\n".join(f"- {text}" for text in texts)

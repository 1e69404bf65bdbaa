"""Write a Word document's XML with the elements that mammoth reads.

Mammoth leaves out formulas, simple fields, text in another direction and boxes without a fallback;
it shows hidden text, and knows headings by their styles alone. Each becomes what it does read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final, Protocol
from xml.etree.ElementTree import Element, SubElement, tostring

from ragcore_documents.readers.archives import parse_xml

__all__ = ["OUTLINE_STYLE", "attribute", "is_on", "local_name", "simplified", "with_text"]

OUTLINE_STYLE: Final = "ragcore-outline-{}"
"""Identifier of the style that a paragraph with an outline level of its own gets."""

_CHANGED: Final = re.compile(
    rb"[:<](?:AlternateContent|bdo|cr|dir|fldSimple|moveFrom|moveTo|oMath|outlineLvl|ptab|ruby"
    rb"|txbxContent|vanish)[\s/>]"
)
_WORD_SPACE: Final = re.compile(r"\{[^{}]*/wordprocessingml/(?:2006/)?main\}")
_SPACE: Final = "{http://www.w3.org/XML/1998/namespace}space"
_TRANSPARENT: Final = frozenset(("bdo", "dir", "fldSimple", "moveTo"))
# What is moved away stands where it is moved to.
_DROPPED: Final = frozenset(("moveFrom",))
_OTHER_FILES: Final = frozenset(("altChunk", "subDoc"))
_RENAMED: Final = {"cr": "br", "ptab": "tab"}
# Of a hidden run, what a field is made of; without it the field would have no end.
_UNSEEN: Final = frozenset(("rPr", "fldChar", "instrText"))
_BODY_LEVEL: Final = 9


class Styles(Protocol):
    """What the document's styles say."""

    @property
    def hides(self) -> bool:
        """Whether there is a style of hidden text."""

    def is_hidden(self, identifier: str) -> bool:
        """Whether text in a style is hidden."""

    def is_plain(self, identifier: str) -> bool:
        """Whether a style is none of headings, contents or code."""


def simplified(data: bytes, name: str, styles: Styles) -> bytes:
    """Return a member with other elements where mammoth would leave text out.

    Args:
        data: XML of the member.
        name: of it, for errors.
        styles: of the document.

    Raises:
        UnreadableError: It is no XML, or declares entities.
    """
    # A zero byte: in UTF-16, where the names are not these bytes.
    if not (styles.hides or b"\0" in data[:100] or _CHANGED.search(data)):
        return data
    root = parse_xml(data, name)
    _Markup(styles).simplify(root, "")
    written: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def with_text(root: Element, names: Iterable[str]) -> set[str]:
    """Return the names of elements that have text in them, or in another file of the document.

    Args:
        root: of a member.
        names: local names.
    """
    wanted = set(names)
    return {
        local_name(element)
        for element in root.iter()
        if local_name(element) in wanted
        and (
            local_name(element) in _OTHER_FILES
            or any(local_name(inner) == "t" and inner.text for inner in element.iter())
        )
    }


def local_name(element: Element) -> str:
    """Return an element's name without its namespace."""
    return element.tag.rpartition("}")[2]


def attribute(element: Element | None, name: str) -> str:
    """Return an attribute of any namespace, since Office has two for each of its own; or ""."""
    for key, value in () if element is None else element.attrib.items():
        if key.rpartition("}")[2] == name:
            return value
    return ""


def is_on(element: Element) -> bool:
    """Return whether an element that is a switch is on."""
    return attribute(element, "val").lower() not in ("0", "false", "off")


def _child(element: Element | None, name: str) -> Element | None:
    children = () if element is None else element
    return next((child for child in children if local_name(child) == name), None)


class _Markup:
    """Rewrites the elements of one member.

    Args:
        styles: of the document.
    """

    def __init__(self, styles: Styles) -> None:
        self._styles = styles

    def simplify(self, parent: Element, style: str) -> None:
        """Replace what is in an element.

        Args:
            parent: whose children are replaced.
            style: of the paragraph that it is in.
        """
        parent[:] = [new for child in parent for new in self._replaced(child, style)]

    def _replaced(self, element: Element, style: str) -> list[Element]:
        name = local_name(element)
        if name == "AlternateContent":
            return self._alternative(element, style)
        if name in ("oMath", "oMathPara"):
            return [_run(_formula(element))]
        if not _WORD_SPACE.match(element.tag):
            self.simplify(element, style)
            return [element]
        if name in _DROPPED:
            return []
        if name == "ruby":
            base, reading = _child(element, "rubyBase"), _child(element, "rt")
            text = "".join(t.text or "" for t in _texts(base))
            spoken = "".join(t.text or "" for t in _texts(reading))
            return [_text(f"{text}({spoken})" if spoken else text)]
        if name == "p":
            style = self._paragraph_style(element)
        elif name == "r" and self._is_hidden(element, style):
            element[:] = [child for child in element if local_name(child) in _UNSEEN]
            return [element]
        elif name == "drawing":
            picture = Element(f"{_WORD}pict")
            picture.extend(_boxes(element))
            if len(picture):
                self.simplify(picture, "")
                return [picture]
        self.simplify(element, style)
        if name in _TRANSPARENT:
            return [child for child in element if local_name(child) != "fldData"]
        if name in _RENAMED:
            return [Element(element.tag.replace(f"}}{name}", f"}}{_RENAMED[name]}"))]
        return [element]

    def _alternative(self, element: Element, style: str) -> list[Element]:
        """Return what mammoth reads of alternatives, which is the last one."""
        fallback = _child(element, "Fallback")
        chosen = _child(element, "Choice") if fallback is None else fallback
        if chosen is None:
            return []
        self.simplify(chosen, style)
        return list(chosen)

    def _paragraph_style(self, paragraph: Element) -> str:
        """Return a paragraph's style, and make one of its own outline level."""
        properties = _child(paragraph, "pPr")
        named = _child(properties, "pStyle")
        style = attribute(named, "val")
        level = attribute(_child(properties, "outlineLvl"), "val")
        if (
            properties is not None
            and level.isdecimal()
            and int(level) < _BODY_LEVEL
            and self._styles.is_plain(style)
        ):
            space = properties.tag[: -len("pPr")]
            if named is None:
                named = SubElement(properties, f"{space}pStyle")
            named.attrib.clear()
            named.set(f"{space}val", OUTLINE_STYLE.format(int(level) + 1))
        return style

    def _is_hidden(self, run: Element, style: str) -> bool:
        properties = _child(run, "rPr")
        vanish = _child(properties, "vanish")
        if vanish is not None:
            return is_on(vanish)
        own = attribute(_child(properties, "rStyle"), "val")
        return self._styles.is_hidden(own) or self._styles.is_hidden(style)


_WORD: Final = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"


def _boxes(element: Element) -> Iterator[Element]:
    """Yield the contents of text boxes that are in no other one."""
    for child in element:
        if local_name(child) == "txbxContent":
            yield child
        else:
            yield from _boxes(child)


def _text(value: str) -> Element:
    element = Element(f"{_WORD}t", {_SPACE: "preserve"})
    element.text = value
    return element


def _run(value: str) -> Element:
    run = Element(f"{_WORD}r")
    run.append(_text(value))
    return run


def _texts(element: Element | None) -> Iterable[Element]:
    return (t for t in (() if element is None else element.iter()) if local_name(t) == "t")


def _formula(element: Element | None) -> str:
    """Return a formula on one line, as one types it: a/b, x^2, √(a+b)."""
    if element is None:
        return ""
    name = local_name(element)
    if name == "t":
        return element.text or ""
    part = {local_name(child): child for child in element}
    if name == "f":
        return f"{_group(part.get('num'))}/{_group(part.get('den'))}"
    if name in ("sSub", "sSup", "sSubSup", "nary"):
        base = _formula(part.get("e"))
        symbol = attribute(_child(part.get("naryPr"), "chr"), "val") or "∫"
        text = symbol if name == "nary" else base
        for mark, script in (("_", "sub"), ("^", "sup")):
            if value := _group(part.get(script)):
                text += mark + value
        return f"{text} {base}" if name == "nary" else text
    if name == "rad":
        return f"{_formula(part.get('deg'))}√{_group(part.get('e'))}"
    if name == "d":
        settings = part.get("dPr")
        begin, end = _child(settings, "begChr"), _child(settings, "endChr")
        inner = ", ".join(_formula(child) for child in element if local_name(child) == "e")
        return (
            f"{'(' if begin is None else attribute(begin, 'val')}{inner}"
            f"{')' if end is None else attribute(end, 'val')}"
        )
    separator = " " if name == "oMathPara" else ""
    return separator.join(filter(None, map(_formula, element)))


def _group(element: Element | None) -> str:
    text = _formula(element)
    return text if len(text) <= 1 or text.isalnum() else f"({text})"

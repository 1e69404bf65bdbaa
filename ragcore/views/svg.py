"""Make an SVG file fit to stand within a page: no ids, fonts, colours or references of its own.

Knows SVG as matplotlib writes it; knows nothing of what is drawn.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from typing import Final

__all__ = ["page_svg"]

_REFERENCE: Final = re.compile(r"url\(#([^)]+)\)")
_FAMILY: Final = re.compile(r"\s*font-family:[^;]*;?")
_FONT: Final = re.compile(r"\bfont: [^;]*?([\d.]+px)[^;]*")
"""Size and family in one, as matplotlib before 3.10 writes them."""


def page_svg(svg: str, name: str, title: str, colours: Mapping[str, str]) -> str:
    """Return the file's picture as an element of a page.

    Text content stays as it is, even where it looks like a colour or a reference.

    Args:
        svg: a whole SVG file, which this program wrote.
        name: begins each id that is referred to, and is unique on the page; other ids are dropped.
        title: what the picture shows, for those who cannot see it; plain text.
        colours: what each colour of the file becomes, such as a variable of the page's style.
    """
    root = ElementTree.fromstring(svg)
    for element in root.iter():
        # In HTML an element within <svg> needs no namespace.
        element.tag = element.tag.rpartition("}")[2]
    for parent in list(root.iter()):
        for child in list(parent):
            # Its rule would be one of the whole page; the metadata name addresses.
            if child.tag in {"metadata", "style"} or (child.tag == "defs" and not _drawn(child)):
                parent.remove(child)
    ids = {_referred(value) for element in root.iter() for value in element.attrib.values()}
    for element in root.iter():
        element.attrib = _attributes(element, ids, name, colours)
        # Line breaks between elements, and the numbers' within a path.
        element.tail = None
        if element.tag != "text":
            element.text = None
    root.attrib = {
        "class": "plot",
        "viewBox": root.attrib["viewBox"],
        "role": "img",
        "aria-label": title,
    }
    return ElementTree.tostring(root, encoding="unicode")


def _drawn(definitions: ElementTree.Element) -> bool:
    return any(child.tag not in {"style", "metadata"} for child in definitions)


def _referred(value: str) -> str | None:
    """Return the id that the value of an attribute refers to."""
    if value.startswith("#"):
        return value[1:]
    match = _REFERENCE.fullmatch(value)
    return match[1] if match else None


def _attributes(
    element: ElementTree.Element, ids: set[str | None], name: str, colours: Mapping[str, str]
) -> dict[str, str]:
    attributes = {}
    for qualified, value in element.attrib.items():
        key = qualified.rpartition("}")[2]
        if key == "id":
            if value in ids:
                attributes["id"] = f"{name}-{value}"
        elif key == "href":
            attributes["href"] = f"#{name}-{value[1:]}"
        elif key == "style":
            style = _FAMILY.sub("", _FONT.sub(r"font-size: \1", value))
            for colour, variable in colours.items():
                style = style.replace(colour, variable)
            attributes["style"] = style.strip()
        elif key == "d":
            attributes["d"] = " ".join(value.split())
        elif match := _REFERENCE.fullmatch(value):
            attributes[key] = f"url(#{name}-{match[1]})"
        elif not (key == "transform" and value.startswith("rotate(-0 ")):
            attributes[key] = value
    return attributes

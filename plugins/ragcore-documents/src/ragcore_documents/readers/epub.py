"""EPUB: the chapters of a book in reading order, through the reader of HTML.

An EPUB 2 or 3 is a ZIP archive of XHTML files; its package document (OPF) lists them in order, the
spine. Tables of contents are left out, but name the files that begin with no heading; what cannot
be read of the spine is a warning.
"""

from __future__ import annotations

import logging
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote
from xml.etree.ElementTree import Element

from ragcore.corpora.structure import DocumentText, TextBuilder
from ragcore_documents.readers.archives import Archive
from ragcore_documents.readers.encoding import declared_in_html, decode
from ragcore_documents.readers.html import html_blocks
from ragcore_documents.readers.limits import Limits, UnreadableError
from ragcore_documents.readers.properties import iso_date, property_title, short
from ragcore_documents.readers.titles import lone_heading, sensible_title

__all__ = ["read_epub"]

_LOG: Final = logging.getLogger(__name__)

_CONTAINER: Final = "META-INF/container.xml"
_ENCRYPTION: Final = "META-INF/encryption.xml"
_PACKAGE: Final = "application/oebps-package+xml"
_NCX: Final = "application/x-dtbncx+xml"
_XHTML: Final = frozenset({"application/xhtml+xml", "text/html", "text/x-oeb1-document"})
# Fonts that are only obfuscated; these algorithms hide no text.
_OBFUSCATION: Final = frozenset(
    {"http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC"}
)
_DUBLIN_CORE: Final = "{http://purl.org/dc/elements/1.1/}"
_METADATA: Final = {
    "creator": "author",
    "date": "date",
    "language": "language",
    "publisher": "publisher",
    "subject": "subject",
}
_MOST_VALUES: Final = 20
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


@dataclass(frozen=True, slots=True)
class _Item:
    """A file of the package's manifest, whose reference is a path in the archive or None."""

    path: str | None
    type: str
    properties: frozenset[str]


def read_epub(data: bytes, limits: Limits) -> DocumentText:
    """Read a book.

    Args:
        data: of the file.
        limits: of what is unpacked and of the text.

    Raises:
        UnreadableError: It is protected (DRM), damaged, or larger than the limits.
    """
    archive = Archive(data, limits, "EPUB")
    name = _package_name(archive)
    package = archive.xml(name, doctype=True)
    encrypted = _encrypted(archive)
    builder = TextBuilder()
    left = limits.characters
    broken = []
    read = 0
    metadata = _metadata(package)
    labels = _labels(archive, package, posixpath.dirname(name))
    # A chapter that is cut into files has the same title in each; so has the book in many.
    titles = {"", metadata["title"]}
    for path in _spine(package, posixpath.dirname(name)):
        if path in encrypted:
            raise UnreadableError(
                f"encrypted: {path!r} is protected (DRM); export the book without protection"
            )
        part = TextBuilder()
        try:
            content = archive.read(path)
            head = html_blocks(decode(content, declared_in_html(content)), part, limits)
        except UnreadableError as error:
            broken.append(f"{path!r}: {error}")
            continue
        read += 1
        chapter = part.build()
        left -= len(chapter.text)
        if left < 0:
            raise UnreadableError(
                f"more than {limits.characters:,} characters of text; split the book"
            )
        label = labels.get(path, "")
        if not label and not any(block.kind == "heading" for block in chapter.blocks):
            label = "" if head.title in titles else head.title
        if label and chapter.blocks and chapter.blocks[0].kind != "heading":
            builder.add("heading", label, level=1)
        titles.add(head.title)
        builder.extend(chapter)
    if not read:
        reason = broken[0] if broken else "its spine has no chapters"
        raise UnreadableError(f"none of its chapters can be read ({reason}); convert it again")
    for reason in broken[:10]:
        _LOG.warning("EPUB: left out: %s", reason)
    if len(broken) > 10:
        _LOG.warning("EPUB: left out: %d more", len(broken) - 10)
    title = property_title(metadata.pop("title", "")) or lone_heading(tuple(builder))
    return builder.build(title, metadata)


def _tag(element: Element) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _elements(root: Element, tag: str) -> Iterator[Element]:
    """Yield the elements of a name; old books have them in no or in another namespace."""
    return (element for element in root.iter() if _tag(element) == tag)


def _package_name(archive: Archive) -> str:
    """Return the name of the package document."""
    if _CONTAINER in archive:
        for file in _elements(archive.xml(_CONTAINER, doctype=True), "rootfile"):
            path = _path(file.get("full-path", ""), "")
            if file.get("media-type", _PACKAGE) == _PACKAGE and path and path in archive:
                return path
    packages = [name for name in archive.names if name.lower().endswith(".opf")]
    if len(packages) == 1:
        return packages[0]
    raise UnreadableError(
        f"damaged, or no EPUB file: {_CONTAINER} names no package document; convert it again"
    )


def _path(reference: str, folder: str) -> str | None:
    """Return the path in the archive of a reference, or None if it leads elsewhere."""
    reference = reference.partition("#")[0]
    if not reference or _URI.match(reference) or reference.startswith("//"):
        return None
    path = posixpath.normpath(posixpath.join("/", folder, unquote(reference)))
    return path.lstrip("/")


def _encrypted(archive: Archive) -> frozenset[str]:
    """Return the paths of files whose text is encrypted."""
    if _ENCRYPTION not in archive:
        return frozenset()
    paths = set()
    for entry in _elements(archive.xml(_ENCRYPTION), "EncryptedData"):
        methods = {method.get("Algorithm") for method in _elements(entry, "EncryptionMethod")}
        if not methods & _OBFUSCATION:
            paths |= {
                _path(reference.get("URI", ""), "")
                for reference in _elements(entry, "CipherReference")
            }
    return frozenset(path for path in paths if path)


def _spine(package: Element, folder: str) -> Iterator[str]:
    """Yield the paths of the chapters in reading order, without tables of contents."""
    items: dict[str, _Item] = {}
    for element in _elements(package, "item"):
        items.setdefault(
            element.get("id", ""),
            _Item(
                _path(element.get("href", ""), folder),
                element.get("media-type", "").strip().lower(),
                frozenset(element.get("properties", "").split()),
            ),
        )
    contents = {
        _path(element.get("href", ""), folder)
        for element in _elements(package, "reference")
        if element.get("type", "").lower() == "toc"
    }
    seen = set()
    for element in _elements(package, "itemref"):
        item = items.get(element.get("idref", ""))
        if item is None or item.path is None:
            _LOG.warning("EPUB: left out: %r of the spine is no file", element.get("idref", ""))
        elif (
            item.type in _XHTML
            and "nav" not in item.properties
            and item.path not in contents
            and item.path not in seen
        ):
            seen.add(item.path)
            yield item.path


def _labels(archive: Archive, package: Element, folder: str) -> dict[str, str]:
    """Return what the table of contents calls each file, by its path in the archive.

    EPUB 3 has it in XHTML (`nav`), EPUB 2 in XML (NCX). A book whose table cannot be read has none.
    """
    labels: dict[str, str] = {}
    for element in _elements(package, "item"):
        path = _path(element.get("href", ""), folder)
        is_nav = "nav" in element.get("properties", "").split()
        if path is None or path not in archive:
            continue
        if not is_nav and element.get("media-type", "").strip().lower() != _NCX:
            continue
        try:
            contents = archive.xml(path, doctype=True)
        except UnreadableError as error:
            _LOG.warning("EPUB: the table of contents %r is left out: %s", path, error)
            continue
        for reference, label in _entries(contents):
            target = _path(reference, posixpath.dirname(path))
            if target and (label := sensible_title(label)):
                # The first one names the file; others are places in it.
                labels.setdefault(target, label)
    return labels


def _entries(contents: Element) -> Iterator[tuple[str, str]]:
    """Yield (reference, label) of a table of contents in its order."""
    for point in _elements(contents, "navPoint"):
        label = next((e for e in point if _tag(e) == "navLabel"), None)
        target = next((e for e in point if _tag(e) == "content"), None)
        if label is not None and target is not None:
            yield target.get("src", ""), "".join(label.itertext())
    for table in _elements(contents, "nav"):
        kinds = next((v for k, v in table.attrib.items() if k.endswith("type")), "toc")
        if "toc" in kinds.split():
            for link in _elements(table, "a"):
                yield link.get("href", ""), "".join(link.itertext())


def _metadata(package: Element) -> dict[str, Any]:
    """Return the title and what else the package's Dublin Core tells."""
    values: dict[str, list[str]] = {}
    for element in package.iter():
        if isinstance(element.tag, str) and element.tag.lower().startswith(_DUBLIN_CORE):
            name = element.tag.lower()[len(_DUBLIN_CORE) :]
            text = short("".join(element.itertext()))
            if text:
                values.setdefault(name, []).append(text)
    metadata: dict[str, Any] = {"title": values.get("title", [""])[0]}
    for name, key in _METADATA.items():
        texts = values.get(name, [])[:_MOST_VALUES]
        if name == "date":
            texts = list(filter(None, map(iso_date, texts)))[:1]
        if texts:
            metadata[key] = texts[0] if name in ("date", "language") else short("; ".join(texts))
    return metadata

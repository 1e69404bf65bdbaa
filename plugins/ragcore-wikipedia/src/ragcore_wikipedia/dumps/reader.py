"""Read the pages of one file, from its beginning to its end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from ragcore.errors import CorpusError
from ragcore_wikipedia.dumps.containers import chunks_of
from ragcore_wikipedia.dumps.faults import BrokenDumpError
from ragcore_wikipedia.dumps.xml import PageParser
from ragcore_wikipedia.pages import Page, Site

__all__ = ["pages_in", "read_pages", "read_site"]

_MOST_HEAD: Final = 1 << 22
"""Bytes before the first page in which a wiki's description must end."""


def read_site(path: Path) -> Site:
    """Return what the head of a dump says about its wiki; fields are empty where it says nothing.

    Raises:
        CorpusError: the file cannot be read, or is no dump.
    """
    parser = PageParser(str(path), namespaces=frozenset())
    read = 0
    for chunk in chunks_of(path):
        read += len(chunk)
        try:
            parser.feed(chunk)
        except BrokenDumpError:
            # The head can be whole although a page near it is not.
            if parser.site == Site():
                raise
        if parser.site != Site() or any(parser.take()) or parser.closed or read > _MOST_HEAD:
            break
    parser.release()
    return parser.site


def read_pages(path: Path, *, namespaces: frozenset[int] | None = None) -> Iterator[Page]:
    """Yield the pages of one file.

    Args:
        path: XML, plain or packed by bzip2, gzip, Zstandard or 7z.
        namespaces: texts of these alone are read, which saves time; other pages have None.

    Raises:
        BrokenDumpError: the file is cut short, damaged or not well-formed; after the last page
            before the fault.
        CorpusError: there is no such file, or it is no dump.
    """
    yield from pages_in(chunks_of(path), PageParser(str(path), namespaces=namespaces))


def pages_in(chunks: Iterable[bytes], parser: PageParser, *, whole: bool = True) -> Iterator[Page]:
    """Yield the pages in chunks of a file.

    Args:
        chunks: of its XML.
        parser: is fed with them, and released at the end.
        whole: whether the file ends with them; if not, they must end between two pages.

    Raises:
        BrokenDumpError: after the last page before the fault.
        CorpusError: it is no dump.
    """
    try:
        for chunk in chunks:
            parser.feed(chunk)
            yield from parser.take()
        if whole or parser.in_page or parser.closed:
            parser.finish()
    except CorpusError:
        yield from parser.take()
        raise
    finally:
        parser.release()

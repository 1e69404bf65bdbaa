"""ZIP archives of documents (DOCX, PPTX, EPUB), checked before a library unpacks them.

Knows ZIP and XML as containers of documents; knows nothing of any format. Nothing is ever written
to disk, so that a member's name can lead nowhere.
"""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import IO, Final
from xml.etree.ElementTree import Element, ParseError
from xml.parsers import expat

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from ragcore_documents.readers.limits import Limits, UnreadableError

__all__ = ["Archive", "check_elements", "parse_xml", "refusing"]

_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_CENTRAL: Final = b"PK\x01\x02"
_LOCAL_HEADER: Final = 30  # bytes of a member's local header without its name
_ENCRYPTED: Final = 0x1  # bit of a member's flags
# Others unpack thousands of bytes from one, in steps that Python's zipfile does not bound.
_METHODS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
# What zipfile raises on a member: RuntimeError and NotImplementedError for flags it does not know.
_DAMAGED: Final = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    OSError,
    RuntimeError,
    ValueError,
)
# Of a TypeError, that a function has other parameters than it is called with.
_WRONG_CALL: Final = re.compile(r"\(\) (?:got an unexpected keyword|missing \d+ required|takes )")
_CHUNK: Final = 64 << 10
# Embedded archives have signatures of their own, so that this many are no proof of as many members.
_SIGNATURES_PER_MEMBER: Final = 10
_XML_SUFFIXES: Final = frozenset({".xml", ".rels", ".vml", ".opf", ".ncx"})


@contextmanager
def refusing(kind: str) -> Iterator[None]:
    """Turn whatever a library raises on a damaged file into an UnreadableError.

    Libraries raise errors of many kinds on such files (KeyError, AttributeError, struct.error).
    That memory is short, or that the library is called as its version cannot be, says nothing of
    the file and goes through.

    Args:
        kind: of the file, such as "DOCX".
    """
    try:
        yield
    except (UnreadableError, MemoryError):
        raise
    except RecursionError as error:
        raise UnreadableError(
            f"its elements are nested too deeply for a {kind} file; save it again without them"
        ) from error
    except Exception as error:
        if isinstance(error, ImportError) or (
            isinstance(error, TypeError) and _WRONG_CALL.search(str(error))
        ):
            raise
        reason = " ".join(str(error).split())[:200] or "no reason given"
        raise UnreadableError(
            f"its reader failed ({type(error).__name__}: {reason}): it may be damaged, or no "
            f"{kind} file; open it in the program that made it and save it again"
        ) from error


class Archive:
    """A ZIP archive whose directory has been checked.

    Args:
        data: of the file.
        limits: of what is unpacked.
        kind: of the document, such as "DOCX", for errors.

    Raises:
        UnreadableError: It is no archive, damaged or encrypted, or unpacks to more than the limits.
    """

    def __init__(self, data: bytes, limits: Limits, kind: str) -> None:
        if data.startswith(_OLE):
            raise UnreadableError(
                f"not a {kind} file but one of Office's older container: it is encrypted with a "
                f"password, or in the format of 1997 to 2003; save it as {kind} without a password"
            )
        # Before zipfile makes an object of each: a directory of millions takes gigabytes.
        if data.count(_CENTRAL) > _SIGNATURES_PER_MEMBER * limits.members:
            raise UnreadableError(f"it has more than {limits.members:,} members")
        with refusing(kind):
            self._zip = zipfile.ZipFile(io.BytesIO(data))
        self._kind = kind
        self._size = len(data)
        self._members = self._zip.infolist()
        self._names = {info.filename: info for info in self._members}
        self._left = limits.unpacked
        self._check(limits)

    def _check(self, limits: Limits) -> None:
        if len(self._members) > limits.members:
            raise UnreadableError(
                f"it has {len(self._members):,} members, more than {limits.members:,}"
            )
        unpacked = sum(info.file_size for info in self._members)
        if unpacked > limits.unpacked:
            raise UnreadableError(
                f"it unpacks to {unpacked:,} bytes, more than {limits.unpacked:,}; it may be made "
                "to fill the memory"
            )
        end = 0
        last = ""
        for info in sorted(self._members, key=lambda info: info.header_offset):
            if info.flag_bits & _ENCRYPTED:
                raise UnreadableError(
                    f"encrypted: its member {info.filename!r} needs a password; save a copy "
                    "without one"
                )
            if info.compress_type not in _METHODS:
                raise UnreadableError(
                    f"its member {info.filename!r} is packed by method {info.compress_type}, "
                    f"which {self._kind} does not have; pack it with deflate"
                )
            if info.header_offset < end:
                raise UnreadableError(
                    f"its members {last!r} and {info.filename!r} overlap; it may be made to fill "
                    "the memory"
                )
            end = info.header_offset + _LOCAL_HEADER + info.compress_size
            last = info.filename
            if end > self._size:
                raise UnreadableError(
                    f"cut off: its member {info.filename!r} ends behind the file; copy it again"
                )

    @property
    def names(self) -> list[str]:
        """Names of the members, in the directory's order."""
        return list(self._names)

    def __contains__(self, name: str) -> bool:
        """Whether there is a member of this name."""
        return name in self._names

    def read(self, name: str) -> bytes:
        """Return a member's bytes.

        Args:
            name: of a member.

        Raises:
            UnreadableError: It is missing or damaged, or all that was read is more than the limit.
        """
        info = self._names.get(name)
        if info is None:
            raise UnreadableError(
                f"damaged, or no {self._kind} file: it has no member {name!r}; open it in the "
                "program that made it and save it again"
            )
        self._left -= info.file_size  # zipfile reads no more than this
        if self._left < 0:
            raise UnreadableError("what is read of it is more than the limit; members are repeated")
        try:
            return self._zip.read(info)
        except _DAMAGED as error:
            raise UnreadableError(
                f"its member {name!r} is damaged ({error}); copy the file again"
            ) from error

    def xml(self, name: str, *, doctype: bool = False) -> Element:
        """Return a member's root element.

        Args:
            name: of a member.
            doctype: whether it may have a document type without entities.

        Raises:
            UnreadableError: It is missing, no XML, or declares entities.
        """
        return parse_xml(self.read(name), name, doctype=doctype)

    def refuse_document_types(self) -> None:
        """Read every XML member up to its root element, and refuse document types.

        Office files have none; those made to attack have, for entities that grow without end or
        stand for files of this machine. Libraries that parse the members then see none.

        Raises:
            UnreadableError: A member has a document type, or is no XML that expat reads.
        """
        for info in self._members:
            if info.is_dir():
                continue
            named = PurePosixPath(info.filename).suffix.lower() in _XML_SUFFIXES
            try:
                with self._zip.open(info) as member:
                    _refuse_document_type(member, info.filename, certain=named)
            except _DAMAGED as error:
                raise UnreadableError(
                    f"its member {info.filename!r} is damaged ({error}); copy the file again"
                ) from error


def check_elements(data: bytes, name: str, *, depth: int, elements: int) -> int:
    """Count the elements of XML, and refuse too many for a library that makes an object of each.

    Args:
        data: of the document.
        name: of it, for errors.
        depth: the most that elements may be within each other.
        elements: the most that there may be.

    Returns:
        How many there are.

    Raises:
        UnreadableError: It has more of them, or is no XML.
    """
    level = count = 0

    def start_element(*_: object) -> None:
        nonlocal level, count
        level += 1
        count += 1
        if level > depth:
            raise UnreadableError(
                f"its member {name!r} has elements nested more than {depth} deep; save it again "
                "without them"
            )
        if count > elements:
            raise UnreadableError(
                f"its member {name!r} has more than {elements:,} elements; split the document"
            )

    def end_element(_: object) -> None:
        nonlocal level
        level -= 1

    parser = expat.ParserCreate()
    parser.StartElementHandler = start_element
    parser.EndElementHandler = end_element
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise UnreadableError(f"its member {name!r} is damaged: no XML ({error})") from error
    return count


class _RootReachedError(Exception):
    """The document's prologue is over."""


def _refuse_document_type(member: IO[bytes], name: str, *, certain: bool) -> None:
    def start_doctype(*_: object) -> None:
        raise UnreadableError(
            f"its member {name!r} declares a document type, which such files do not have and "
            "which can stand for endless text; save it again in the program that made it"
        )

    def start_element(*_: object) -> None:
        raise _RootReachedError

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = start_doctype
    parser.StartElementHandler = start_element
    try:
        while chunk := member.read(_CHUNK):
            parser.Parse(chunk, False)
        parser.Parse(b"", True)
    except _RootReachedError:
        return
    except (expat.ExpatError, LookupError, ValueError) as error:
        # The other errors are of encodings, which are declared in XML alone.
        if certain or not isinstance(error, expat.ExpatError):
            raise UnreadableError(f"its member {name!r} is damaged: no XML ({error})") from error


def parse_xml(data: bytes, name: str, *, doctype: bool = False) -> Element:
    """Return the root element of XML from outside.

    Args:
        data: of the document.
        name: of it, for errors.
        doctype: whether it may have a document type without entities.

    Raises:
        UnreadableError: It is no XML, or has a document type or entities.
    """
    try:
        root: Element = fromstring(data, forbid_dtd=not doctype)
    except DefusedXmlException as error:
        raise UnreadableError(
            f"its member {name!r} declares entities or a document type, which can stand for "
            "endless text; save it again in the program that made it"
        ) from error
    except (ParseError, ValueError, LookupError) as error:
        raise UnreadableError(f"its member {name!r} is damaged: no XML ({error})") from error
    return root

"""Archives are checked before anything unpacks them."""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib

import pytest
from ragcore_documents.readers.archives import Archive, parse_xml, refusing
from ragcore_documents.readers.limits import Limits, UnreadableError

LIMITS = Limits(unpacked=1 << 20, members=50)


def packed(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def central(data: bytes) -> int:
    """Where the directory's first entry begins."""
    return data.index(b"PK\x01\x02")


def test_members_are_read_by_name() -> None:
    archive = Archive(packed({"a.xml": b"<a/>", "b/c.bin": b"\0"}), LIMITS, "DOCX")
    assert archive.names == ["a.xml", "b/c.bin"]
    assert "a.xml" in archive
    assert "c" not in archive
    assert archive.read("b/c.bin") == b"\0"
    assert archive.xml("a.xml").tag == "a"
    with pytest.raises(UnreadableError, match="no member 'c'"):
        archive.read("c")


def test_names_that_lead_out_are_names_only(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = packed({"../../out.txt": b"x", "/etc/ragcore-out": b"y", "C:\\out": b"z"})
    archive = Archive(data, LIMITS, "EPUB")
    assert archive.read("../../out.txt") == b"x"
    assert list(tmp_path.parent.rglob("out.txt")) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "damaged, or no DOCX"),
        (b"not a zip", "damaged, or no DOCX"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(512), "encrypted with a password, or in the"),
        (packed({"a": bytes(100)})[:-30], "damaged, or no DOCX"),
    ],
    ids=["empty", "text", "an older format", "cut short"],
)
def test_other_files_are_refused(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableError, match=reason):
        Archive(data, LIMITS, "DOCX")


def test_a_bomb_is_refused_without_unpacking_it() -> None:
    data = packed({"a": bytes(2 << 20)})
    assert len(data) < 4_000
    with pytest.raises(UnreadableError, match="unpacks to 2,097,152 bytes, more than 1,048,576"):
        Archive(data, LIMITS, "DOCX")


def test_many_small_bombs_count_together() -> None:
    with pytest.raises(UnreadableError, match="unpacks to"):
        Archive(packed({str(n): bytes(100_000) for n in range(20)}), LIMITS, "DOCX")


def test_a_member_gives_no_more_than_its_declared_size() -> None:
    data = bytearray(packed({"a": bytes(1 << 20)}))
    entry = central(data)
    data[entry + 24 : entry + 28] = struct.pack("<I", 10)  # its size in the directory
    archive = Archive(bytes(data), LIMITS, "DOCX")
    with pytest.raises(UnreadableError, match="member 'a' is damaged"):
        archive.read("a")


def test_reading_a_member_again_and_again_is_bounded() -> None:
    archive = Archive(packed({"a": bytes(600_000)}), LIMITS, "EPUB")
    assert len(archive.read("a")) == 600_000
    with pytest.raises(UnreadableError, match="more than the limit"):
        archive.read("a")


def test_many_members_are_refused() -> None:
    with pytest.raises(UnreadableError, match="60 members, more than 50"):
        Archive(packed({str(n): b"" for n in range(60)}), LIMITS, "DOCX")


def test_a_directory_of_very_many_members_is_not_read(monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("zipfile was asked")

    data = packed({str(n): b"" for n in range(600)})
    monkeypatch.setattr(zipfile, "ZipFile", refuse)
    with pytest.raises(UnreadableError, match="more than 50 members"):
        Archive(data, LIMITS, "DOCX")


def test_members_that_overlap_are_refused() -> None:
    """As in Fifield's bomb, whose members share one packed kernel."""
    kernel = zlib.compress(bytes(10_000), wbits=-15)
    checksum = zlib.crc32(bytes(10_000))
    fields = struct.pack("<IIIHH", checksum, len(kernel), 10_000, 1, 0)
    local = b"PK\x03\x04" + struct.pack("<HHHHH", 20, 0, 8, 0, 33) + fields
    directory = b"".join(
        b"PK\x01\x02"
        + struct.pack("<HHHHHH", 20, 20, 0, 8, 0, 33)
        + fields
        + struct.pack("<HHHII", 0, 0, 0, 0, 0)
        + name
        for name in (b"a", b"b")
    )
    body = local + b"a" + kernel
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 2, 2, len(directory), len(body), 0)
    with pytest.raises(UnreadableError, match="'a' and 'b' overlap"):
        Archive(body + directory + end, LIMITS, "DOCX")


def test_an_encrypted_member_is_told() -> None:
    data = bytearray(packed({"word/document.xml": b"<a/>"}))
    data[central(data) + 8] |= 1
    with pytest.raises(UnreadableError, match=r"^encrypted: its member 'word/document\.xml'"):
        Archive(bytes(data), LIMITS, "DOCX")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_methods_of_packing_are_refused(method: int) -> None:
    with pytest.raises(UnreadableError, match=f"packed by method {method}"):
        Archive(packed({"a": b"x"}, method), LIMITS, "DOCX")


def test_zip64_is_read() -> None:
    file = io.BytesIO()
    with (
        zipfile.ZipFile(file, "w") as archive,
        archive.open("a.xml", "w", force_zip64=True) as member,
    ):
        member.write(b"<a/>")
    assert Archive(file.getvalue(), LIMITS, "DOCX").xml("a.xml").tag == "a"


def test_archives_within_archives_stay_packed() -> None:
    inner = packed({"bomb": bytes(100_000_000)})
    data = packed({"embedded.xlsx": inner}, zipfile.ZIP_STORED)
    archive = Archive(data, LIMITS, "PPTX")
    archive.refuse_document_types()
    assert archive.read("embedded.xlsx") == inner


LAUGHS = (
    b"""<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;">]><a>&y;</a>"""
)
OUTSIDE = b"""<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><a>&x;</a>"""
PARAMETER = b"""<!DOCTYPE a [<!ENTITY % x SYSTEM "http://127.0.0.1/x.dtd"> %x;]><a/>"""


@pytest.mark.parametrize("content", [LAUGHS, OUTSIDE, PARAMETER, b"<!DOCTYPE a><a/>"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("name", ["word/document.xml", "word/document.bin"])
def test_document_types_are_refused(content: bytes, encoding: str, name: str) -> None:
    data = packed({"fine.xml": b"<a/>", name: content.decode().encode(encoding)})
    with pytest.raises(UnreadableError, match=f"member '{name}' declares a document type"):
        Archive(data, LIMITS, "DOCX").refuse_document_types()


def test_a_document_type_behind_a_long_comment_is_seen() -> None:
    content = b"<!--" + b"x" * 300_000 + b"-->" + LAUGHS[21:]
    with pytest.raises(UnreadableError, match="declares a document type"):
        Archive(packed({"a.xml": content}), LIMITS, "DOCX").refuse_document_types()


def test_what_is_no_xml_is_refused_only_by_name() -> None:
    Archive(packed({"image.png": b"\x89PNG"}), LIMITS, "DOCX").refuse_document_types()
    with pytest.raises(UnreadableError, match=r"member 'a\.xml' is damaged: no XML"):
        Archive(packed({"a.xml": b"\x89PNG"}), LIMITS, "DOCX").refuse_document_types()


def test_entities_are_refused_even_where_a_document_type_is_allowed() -> None:
    allowed = b'<!DOCTYPE p PUBLIC "-//W3C//DTD XHTML 1.1//EN" "http://127.0.0.1/x.dtd"><p>x</p>'
    assert parse_xml(allowed, "a", doctype=True).text == "x"
    for content in (LAUGHS, OUTSIDE, PARAMETER):
        with pytest.raises(UnreadableError, match="declares entities"):
            parse_xml(content, "a", doctype=True)
    with pytest.raises(UnreadableError, match="a document type"):
        parse_xml(allowed, "a")


@pytest.mark.parametrize("content", [b"", b"<a>", b"<a/><b/>", b'<?xml encoding="x"?><a/>'])
def test_broken_xml_is_refused(content: bytes) -> None:
    with pytest.raises(UnreadableError, match="member 'a' is damaged: no XML"):
        parse_xml(content, "a")


def test_lack_of_memory_is_no_damaged_file() -> None:
    with pytest.raises(MemoryError), refusing("DOCX"):
        raise MemoryError
    with (
        pytest.raises(
            UnreadableError, match=r"\(KeyError: 'word'\): it may be damaged, or no DOCX"
        ),
        refusing("DOCX"),
    ):
        raise KeyError("word")
    with pytest.raises(UnreadableError, match="nested too deeply"), refusing("DOCX"):
        raise RecursionError


def test_mutated_archives_are_read_or_refused() -> None:
    data = packed({"a.xml": b"<a>text</a>" * 1, "b.xml": b"<b/>", "c.bin": bytes(range(256))})
    generator = random.Random(17)
    for _ in range(3_000):
        mutated = bytearray(data)
        for _ in range(generator.randint(1, 4)):
            mutated[generator.randrange(len(mutated))] = generator.randrange(256)
        del mutated[generator.randint(len(mutated) // 2, 2 * len(mutated)) :]
        try:
            archive = Archive(bytes(mutated), LIMITS, "DOCX")
            archive.refuse_document_types()
            for name in archive.names:
                archive.read(name)
        except UnreadableError:
            continue


def test_a_library_of_another_version_is_no_damaged_file() -> None:
    def convert(data: bytes) -> None:
        """Take no option."""

    with pytest.raises(TypeError, match="unexpected keyword"), refusing("DOCX"):
        convert(b"", external_file_access=False)
    with pytest.raises(UnreadableError, match="its reader failed"), refusing("DOCX"):
        len(None)

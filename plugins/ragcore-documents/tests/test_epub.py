"""Books are read chapter by chapter."""

from __future__ import annotations

import io
import random
import zipfile

import pytest
from ragcore_documents.readers.epub import read_epub
from ragcore_documents.readers.limits import Limits, UnreadableError

CONTAINER = """<?xml version="1.0"?>
<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container">
<rootfiles><rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/>
</rootfiles></container>"""

PACKAGE = """<?xml version="1.0" encoding="utf-8"?>
<package xmlns="http://www.idpf.org/2007/opf" version="{version}" unique-identifier="id">
<metadata xmlns:dc="http://purl.org/dc/elements/1.1/">{metadata}</metadata>
<manifest>{items}</manifest><spine>{spine}</spine>{guide}</package>"""

XHTML = """<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.1//EN" "http://www.w3.org/TR/xhtml11/DTD/xhtml11.dtd">
<html xmlns="http://www.w3.org/1999/xhtml"><head><title>{title}</title></head>
<body>{body}</body></html>"""

METADATA = (
    "<dc:title>The Lakes</dc:title><dc:creator>A. Author</dc:creator>"
    "<dc:creator>B. Author</dc:creator><dc:language>en</dc:language>"
    "<dc:date>2019-05-01</dc:date><dc:identifier id='id'>urn:x</dc:identifier>"
)


def item(identifier: str, href: str, more: str = "") -> str:
    return f'<item id="{identifier}" href="{href}" media-type="application/xhtml+xml" {more}/>'


def book(
    chapters: dict[str, str | bytes],
    *,
    order: str = "",
    metadata: str = METADATA,
    more_items: str = "",
    guide: str = "",
    version: str = "3.0",
    title: str = "",
    more: dict[str, str | bytes] | None = None,
) -> bytes:
    """Make a book of chapters, by their references in the package."""
    identifiers = {f"c{n}": href for n, href in enumerate(chapters)}
    items = "".join(item(key, href) for key, href in identifiers.items()) + more_items
    spine = "".join(f'<itemref idref="{key}"/>' for key in order.split() or identifiers)
    members: dict[str, str | bytes] = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": CONTAINER,
        "OEBPS/book.opf": PACKAGE.format(
            version=version, metadata=metadata, items=items, spine=spine, guide=guide
        ),
    }
    for href, body in chapters.items():
        content = XHTML.format(title=title, body=body) if isinstance(body, str) else body
        members["OEBPS/" + href.replace("%20", " ").replace("%C3%A9", "é")] = content
    return packed({**members, **(more or {})})


def packed(members: dict[str, str | bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def test_chapters_come_in_the_order_of_the_spine() -> None:
    data = book(
        {
            "b.xhtml": "<h1>Second</h1><p>Two &amp; more.</p>",
            "a.xhtml": "<h1>First</h1><p>One.</p><ul><li>x</li><li>y</li></ul>",
            "unread.xhtml": "<p>not in the spine</p>",
        },
        order="c1 c0",
    )
    document = read_epub(data, Limits())
    assert document.text == "First\n\nOne.\n\n- x\n- y\n\nSecond\n\nTwo & more."
    assert [block.kind for block in document.blocks] == [
        "heading",
        "paragraph",
        "list",
        "heading",
        "paragraph",
    ]
    assert document.title == "The Lakes"
    assert document.metadata == {
        "author": "A. Author; B. Author",
        "date": "2019-05-01",
        "language": "en",
    }


def test_tables_of_contents_are_left_out() -> None:
    chapters = {"toc.xhtml": "<h1>Contents</h1><p>One 1</p>", "a.xhtml": "<p>One.</p>"}
    guide = '<guide><reference type="toc" href="toc.xhtml#top" title="Contents"/></guide>'
    assert read_epub(book(chapters, guide=guide, version="2.0"), Limits()).text == "One."
    nav = {"OEBPS/nav.xhtml": XHTML.format(title="", body="<nav><ol><li>One</li></ol></nav>")}
    data = book(
        {"a.xhtml": "<p>One.</p>"},
        order="nav c0",
        more_items=item("nav", "nav.xhtml", 'properties="nav"'),
        more=nav,
    )
    assert read_epub(data, Limits()).text == "One."


def test_references_are_percent_encoded_and_relative() -> None:
    data = book({"text/caf%C3%A9%20one.xhtml": "<p>Found.</p>"})
    assert read_epub(data, Limits()).text == "Found."
    outside = {"text.xhtml": XHTML.format(title="", body="<p>Above.</p>")}
    data = book({}, order="up", more_items=item("up", "../text.xhtml"), more=outside)
    assert read_epub(data, Limits()).text == "Above."


def test_references_that_lead_out_of_the_archive_read_no_file(caplog) -> None:
    items = item("c0", "../../../../etc/hostname") + item("c1", "file:///etc/hostname")
    items += item("c2", "http://127.0.0.1/x")
    with pytest.raises(UnreadableError, match="none of its chapters can be read"):
        read_epub(book({}, order="c0 c1 c2", more_items=items), Limits())
    assert "'c1' of the spine is no file" in caplog.text


def test_a_chapter_in_another_encoding() -> None:
    latin = XHTML.replace("utf-8", "iso-8859-1").format(title="", body="<p>café</p>")
    assert read_epub(book({"a.xhtml": latin.encode("latin-1")}), Limits()).text == "café"


def test_what_is_broken_of_the_spine_is_a_warning(caplog) -> None:
    data = book(
        {"a.xhtml": "<p>One.</p>"}, order="c0 gone none", more_items=item("gone", "z.xhtml")
    )
    assert read_epub(data, Limits()).text == "One."
    assert "'OEBPS/z.xhtml': damaged" in caplog.text
    assert "'none' of the spine is no file" in caplog.text


def test_a_chapter_that_the_spine_repeats_is_read_once() -> None:
    data = book({"a.xhtml": "<p>One.</p>"}, order="c0 " * 1_000)
    assert read_epub(data, Limits()).text == "One."


def encryption(algorithm: str, uri: str) -> dict[str, str | bytes]:
    return {
        "META-INF/encryption.xml": '<encryption xmlns="urn:oasis:names:tc:opendocument:xmlns:'
        'container" xmlns:enc="http://www.w3.org/2001/04/xmlenc#"><enc:EncryptedData>'
        f'<enc:EncryptionMethod Algorithm="{algorithm}"/><enc:CipherData>'
        f'<enc:CipherReference URI="{uri}"/></enc:CipherData></enc:EncryptedData></encryption>'
    }


def test_a_protected_book_is_told() -> None:
    aes = "http://www.w3.org/2001/04/xmlenc#aes128-cbc"
    data = book({"a.xhtml": b"\x93\x01"}, more=encryption(aes, "OEBPS/a.xhtml"))
    with pytest.raises(UnreadableError, match=r"^encrypted: 'OEBPS/a.xhtml' is protected \(DRM\)"):
        read_epub(data, Limits())


def test_obfuscated_fonts_are_no_protection() -> None:
    more = encryption("http://www.idpf.org/2008/embedding", "OEBPS/a.xhtml")
    assert read_epub(book({"a.xhtml": "<p>One.</p>"}, more=more), Limits()).text == "One."


def test_without_a_title_the_lone_heading_is_it() -> None:
    metadata = "<dc:title>book.epub</dc:title>"
    data = book({"a.xhtml": "<h1>Lakes</h1><h2>x</h2><p>y</p>"}, metadata=metadata)
    document = read_epub(data, Limits())
    assert (document.title, document.metadata) == ("Lakes", {})


def test_a_package_is_found_without_a_container() -> None:
    with zipfile.ZipFile(io.BytesIO(book({"a.xhtml": "<p>One.</p>"}))) as source:
        members = {n: source.read(n) for n in source.namelist() if n != "META-INF/container.xml"}
    assert read_epub(packed(members), Limits()).text == "One."
    with pytest.raises(UnreadableError, match="names no package document"):
        read_epub(packed({"mimetype": "application/epub+zip"}), Limits())


def test_entities_of_the_package_are_refused() -> None:
    bomb = PACKAGE.replace(
        "?>", '?><!DOCTYPE package [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>', 1
    ).format(version="2.0", metadata="", items="", spine="", guide="&b;")
    data = packed({"META-INF/container.xml": CONTAINER, "OEBPS/book.opf": bomb})
    with pytest.raises(UnreadableError, match="declares entities"):
        read_epub(data, Limits())


def test_old_packages_have_a_document_type() -> None:
    old = PACKAGE.replace("?>", '?><!DOCTYPE package PUBLIC "+//ISBN//DTD OEB" "oeb.dtd">', 1)
    members = {
        "META-INF/container.xml": CONTAINER,
        "OEBPS/book.opf": old.format(
            version="1.2",
            metadata="",
            items=item("a", "a.html"),
            spine='<itemref idref="a"/>',
            guide="",
        ),
        "OEBPS/a.html": "<p>Old.</p>",
    }
    assert read_epub(packed(members), Limits()).text == "Old."


def test_the_text_is_bounded_over_all_chapters() -> None:
    data = book({f"{n}.xhtml": "<p>" + "word " * 100 + "</p>" for n in range(10)})
    with pytest.raises(UnreadableError, match="more than 2,000 characters"):
        read_epub(data, Limits(characters=2_000))
    with pytest.raises(UnreadableError, match="unpacks to"):
        read_epub(data, Limits(unpacked=1_000))


def test_mutated_books_are_read_or_refused() -> None:
    data = book({"a.xhtml": "<h1>First</h1><p>One.</p>", "b.xhtml": "<p>Two.</p>"})
    with zipfile.ZipFile(io.BytesIO(data)) as source:
        members = {name: source.read(name) for name in source.namelist()}
    generator = random.Random(17)
    read = 0
    reasons = []
    for _ in range(400):
        name = generator.choice(list(members))
        mutated = bytearray(members[name])
        for _ in range(generator.randint(1, 4)):
            start = generator.randrange(len(mutated))
            mutated[start : start + generator.randrange(20)] = generator.randbytes(
                generator.randrange(4)
            )
            mutated += b" "
        try:
            read_epub(packed({**members, name: bytes(mutated)}), Limits())
            read += 1
        except UnreadableError as error:
            reasons.append(str(error))
    assert all(reasons)
    assert min(read, len(reasons)) > 20


NAV = (
    '<nav epub:type="toc" xmlns:epub="http://www.idpf.org/2007/ops"><ol>'
    '<li><a href="b.xhtml">Of  rivers</a></li><li><a href="b.xhtml#x">Later</a></li></ol></nav>'
    '<nav epub:type="page-list" xmlns:epub="http://www.idpf.org/2007/ops"><ol>'
    '<li><a href="a.xhtml">1</a></li></ol></nav>'
)
NCX = (
    '<ncx xmlns="http://www.daisy.org/z3986/2005/ncx/"><navMap><navPoint><navLabel>'
    '<text>Of rivers</text></navLabel><content src="b.xhtml"/></navPoint></navMap></ncx>'
)


@pytest.mark.parametrize("contents", ["nav", "ncx"])
def test_a_chapter_without_a_heading_is_called_as_in_the_contents(contents: str) -> None:
    if contents == "nav":
        more = {"OEBPS/nav.xhtml": XHTML.format(title="", body=NAV)}
        items = item("nav", "nav.xhtml", 'properties="nav"')
    else:
        more = {"OEBPS/toc.ncx": NCX}
        items = '<item id="ncx" href="toc.ncx" media-type="application/x-dtbncx+xml"/>'
    chapters = {"a.xhtml": "<h1>Of lakes</h1><h2>Deep</h2><p>One.</p>", "b.xhtml": "<p>Two.</p>"}
    document = read_epub(book(chapters, more_items=items, more=more), Limits())
    assert document.text == "Of lakes\n\nDeep\n\nOne.\n\nOf rivers\n\nTwo."
    assert [block.level for block in document.blocks] == [1, 2, 0, 1, 0]


def test_a_chapter_without_a_heading_is_called_by_its_title() -> None:
    def chapter(title: str, body: str) -> bytes:
        return XHTML.format(title=title, body=body).encode()

    chapters: dict[str, str | bytes] = {
        "a.xhtml": chapter("The Lakes", "<h1>Of lakes</h1><p>One.</p>"),
        "b.xhtml": chapter("Of rivers", "<p>Two.</p>"),
        # The same chapter goes on; the title of the book names no chapter.
        "c.xhtml": chapter("Of rivers", "<p>Three.</p>"),
        "d.xhtml": chapter("The Lakes", "<p>Four.</p>"),
    }
    text = read_epub(book(chapters), Limits()).text
    assert text == "Of lakes\n\nOne.\n\nOf rivers\n\nTwo.\n\nThree.\n\nFour."


def test_contents_that_cannot_be_read_name_nothing(caplog) -> None:
    items = '<item id="ncx" href="toc.ncx" media-type="application/x-dtbncx+xml"/>'
    data = book({"a.xhtml": "<p>One.</p>"}, more_items=items, more={"OEBPS/toc.ncx": "<ncx"})
    assert read_epub(data, Limits()).text == "One."
    assert "the table of contents 'OEBPS/toc.ncx' is left out" in caplog.text


@pytest.mark.parametrize(
    "note",
    ['epub:type="footnote"', 'role="doc-endnote"', 'epub:type="footnote" style="display: none"'],
)
def test_notes_that_are_hidden_where_they_stand_are_read(note: str) -> None:
    body = f'<p>A lake.</p><aside {note} hidden="hidden"><p>In Chad.</p></aside><p hidden="">no</p>'
    assert read_epub(book({"a.xhtml": body}), Limits()).text == "A lake.\n\nIn Chad."

"""Pages of a dump's XML: encodings, schemas, revisions, and what a page may lack."""

from __future__ import annotations

import gc
import weakref
from collections import deque
from pathlib import Path
from typing import Any

import pytest
from ragcore_wikipedia.dumps.faults import BrokenDumpError
from ragcore_wikipedia.dumps.reader import pages_in, read_pages, read_site
from ragcore_wikipedia.dumps.xml import PageParser
from ragcore_wikipedia.pages import Page, Site

from ragcore.errors import CorpusError


def read(path: Path) -> list[Page]:
    return list(read_pages(path))


def texts(path: Path) -> dict[int, str | None]:
    return {page.id: page.text for page in read(path)}


def broken(path: Path) -> tuple[list[int], str]:
    """Return the pages before the fault, and the error."""
    ids: list[int] = []
    with pytest.raises(CorpusError) as caught:
        ids.extend(page.id for page in read_pages(path))
    return ids, str(caught.value)


def test_a_page_has_its_fields(dumps: Any) -> None:
    path = dumps.write("d.xml", dumps.page(3, "Chad & <Co>", text="A <b> & 'c'\n\nd"))
    assert read(path) == [
        Page(3, 0, "Chad & <Co>", None, 30, "2024-09-01T00:00:00Z", "wikitext", "A <b> & 'c'\n\nd")
    ]


def test_the_site_is_read_from_the_head(dumps: Any) -> None:
    site = read_site(dumps.write("d.xml", dumps.page(3, "A")))
    assert (site.name, site.database, site.language) == ("Test", "testwiki", "en")
    assert site.base == "https://testwiki.example/wiki/Main"
    assert site.namespaces[14] == "Category"
    assert site.namespaces[0] == ""
    assert not site.first_letter


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf16_is_read(dumps: Any, encoding: str) -> None:
    text = "Чад — 乍得"
    xml = dumps.xml(dumps.page(1, text, text=text))
    if encoding == "utf-16-be":
        # Without a byte order mark the declaration tells.
        xml = '<?xml version="1.0" encoding="UTF-16"?>\n' + xml
        data = xml.encode(encoding)
    else:
        data = b"\xff\xfe" + xml.encode("utf-16-le")
    (page,) = read(dumps.pack("d.xml.bz2", data))
    assert (page.title, page.text) == (text, text)


@pytest.mark.parametrize("before", [b"\xef\xbb\xbf", b" \n\n", b"\r\n"])
def test_a_mark_and_blank_lines_may_precede_the_root(dumps: Any, before: bytes) -> None:
    path = dumps.pack("d.xml", before + dumps.xml(dumps.page(1, "A")).encode())
    assert [page.id for page in read(path)] == [1]


@pytest.mark.parametrize("version", ["0.3", "0.5", "0.8", "0.10", "0.11", "0.12"])
def test_every_schema_is_read(dumps: Any, version: str) -> None:
    path = dumps.write("d.xml", dumps.page(1, "A", model=None), version=version)
    (page,) = read(path)
    assert (page.id, page.model, page.text) == (1, "wikitext", "Text.")


def test_elements_are_known_by_local_names(dumps: Any) -> None:
    other = '<page xmlns="http://www.mediawiki.org/xml/export-0.10/">'
    prefixed = dumps.xml(dumps.page(2, "B"))
    for name in ("mediawiki", "page", "title", "id", "revision", "text"):
        prefixed = prefixed.replace(f"<{name}", f"<m:{name}").replace(f"</{name}", f"</m:{name}")
    prefixed = prefixed.replace("xmlns=", "xmlns:m=")
    assert texts(dumps.write("a.xml", dumps.page(1, "A", element=other))) == {1: "Text."}
    assert texts(dumps.pack("b.xml", prefixed.encode())) == {2: "Text."}


@pytest.mark.parametrize(
    ("title", "number"),
    [
        ("Category:Chad", 14),
        ("category_x: y", 0),
        ("template:T", 10),
        ("Image:A.png", 6),
        ("User talk:Ann", 3),
        ("2001: A Space Odyssey", 0),
        ("Chad", 0),
    ],
)
def test_without_ns_the_prefix_tells_the_namespace(dumps: Any, title: str, number: int) -> None:
    (page,) = read(dumps.write("d.xml", dumps.page(1, title, ns=None), version="0.3"))
    assert page.namespace == number


def test_ns_decides_where_there_is_one(dumps: Any) -> None:
    path = dumps.write("d.xml", dumps.page(1, "Date", ns=828), dumps.page(2, "Category:X", ns=0))
    assert [page.namespace for page in read(path)] == [828, 0]


def test_a_dump_without_siteinfo_is_read(dumps: Any) -> None:
    path = dumps.write("d.xml", dumps.page(1, "Category:X", ns=None), siteinfo=False)
    assert [page.namespace for page in read(path)] == [14]
    assert read_site(path) == Site(language="")


def test_the_redirect_is_the_element_s(dumps: Any) -> None:
    page = dumps.page(1, "A", redirect='ʻ"B" & C', text="#REDIRECT [[Other#Section]]")
    assert read(dumps.write("d.xml", page))[0].redirect == 'ʻ"B" & C'


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("#REDIRECT [[Chad#History|x]]", "Chad"),
        ("#redirect[[Chad]]", "Chad"),
        ("\n# RINVIA : [[:Chad_basin]]", "Chad basin"),
        ("#ПЕРЕНАПРАВЛЕНИЕ [[Чад]]", "Чад"),
        ("#重定向[[乍得]]", "乍得"),
        ("# [[Chad]] is a list", None),
        ("#Chad [[Chad]]", None),
        ("Text #REDIRECT [[Chad]]", None),
    ],
)
def test_the_text_tells_the_redirect_in_old_schemas_alone(
    dumps: Any, text: str, target: str | None
) -> None:
    page = dumps.page(1, "A", text=text)
    assert read(dumps.write("old.xml", page, version="0.3"))[0].redirect == target
    assert read(dumps.write("new.xml", page, version="0.11"))[0].redirect is None


@pytest.mark.parametrize(("text", "target"), [("#REDIRECT [[B]]", "B"), ("#UMLEITUNG", "")])
def test_a_redirect_without_a_title_is_one(dumps: Any, text: str, target: str) -> None:
    page = dumps.page(1, "A", text=text).replace("<revision>", "<redirect/><revision>")
    assert read(dumps.write("d.xml", page, version="0.5"))[0].redirect == target


def test_empty_hidden_and_stub_texts_differ(dumps: Any) -> None:
    path = dumps.write(
        "d.xml",
        dumps.page(1, "Empty", text=None, attributes='bytes="0" sha1="x"'),
        dumps.page(2, "Spaces", text=None, attributes='xml:space="preserve"'),
        dumps.page(3, "Hidden", text=None, attributes='bytes="-1" deleted="deleted"'),
        dumps.page(4, "Stub", text=None, attributes='bytes="9" location="tt:4" id="4"'),
        dumps.page(5, "Empty stub", text=None, attributes='bytes="0" location="tt:5" id="5"'),
    )
    assert texts(path) == {1: "", 2: "", 3: None, 4: None, 5: ""}


def test_a_page_without_revisions_has_no_text(dumps: Any) -> None:
    page = "<page><title>A</title><ns>0</ns><id>1</id></page>"
    assert read(dumps.write("d.xml", page)) == [Page(1, 0, "A", None, 0, "", "wikitext", None)]


def test_wrong_check_sums_and_sizes_do_not_matter(dumps: Any) -> None:
    page = dumps.page(1, "A", attributes='bytes="99" sha1="0000"')
    assert texts(dumps.write("d.xml", page)) == {1: "Text."}


def test_the_newest_revision_is_taken_wherever_it_stands(dumps: Any) -> None:
    stamps = {10: "2020-01-01T00:00:00Z", 12: "2022-01-01T00:00:00Z", 11: "2021-01-01T00:00:00Z"}
    revisions = [
        dumps.revision(id_, f"Of {id_}.", timestamp=stamp) for id_, stamp in stamps.items()
    ]
    # An import has a new id and an old time.
    revisions.append(dumps.revision(13, "Imported.", timestamp="2001-01-01T00:00:00Z"))
    (page,) = read(dumps.write("d.xml", dumps.page(1, "A", *revisions)))
    assert (page.revision, page.timestamp, page.text) == (12, stamps[12], "Of 12.")


def test_of_two_slots_the_main_one_is_taken(dumps: Any) -> None:
    slot = (
        "      <content><role>mediainfo</role><model>wikibase-mediainfo</model>"
        '<text bytes="2">{}</text></content>\n'
    )
    page = dumps.page(1, "File:A.jpg", ns=6, after=slot)
    (page,) = read(dumps.write("d.xml", page))
    assert (page.model, page.text) == ("wikitext", "Text.")


def test_ids_of_users_are_not_those_of_revisions(dumps: Any) -> None:
    (page,) = read(dumps.write("d.xml", dumps.page(5, "A")))
    assert (page.id, page.revision) == (5, 50)


def test_titles_may_be_character_references(dumps: Any) -> None:
    xml = dumps.xml(dumps.page(1, "T", redirect="R"))
    xml = xml.replace(">T<", ">&#x2BB;Abdu'l-Bah&#xE1; &#189;?<").replace('"R"', '"&#x2BB;R"')
    (page,) = read(dumps.pack("d.xml", xml.encode()))
    assert (page.title, page.redirect) == ("ʻAbdu'l-Bahá ½?", "ʻR")


def test_texts_of_other_namespaces_are_not_read(dumps: Any) -> None:
    path = dumps.write(
        "d.xml", dumps.page(1, "A"), dumps.page(2, "Talk:A", ns=1), dumps.page(3, "Talk:B", ns=None)
    )
    pages = list(read_pages(path, namespaces=frozenset({0})))
    assert [(page.id, page.text) for page in pages] == [(1, "Text."), (2, None), (3, None)]


def test_pages_before_a_fault_are_read(dumps: Any) -> None:
    xml = dumps.xml(*(dumps.page(id_, f"P{id_}") for id_ in range(1, 6)))
    lines = xml.split("\n")
    number = next(n for n, line in enumerate(lines) if "<title>P4<" in line)
    lines[number] = lines[number].replace("P4", "P4 &times;")
    ids, message = broken(dumps.pack("d.xml.bz2", "\n".join(lines).encode()))
    assert ids == [1, 2, 3]
    assert f"d.xml.bz2:{number + 1}: broken XML, undefined entity" in message
    assert "after page 3, 'P3'" in message


def test_a_missing_end_of_a_page_is_a_fault(dumps: Any) -> None:
    first = dumps.page(1, "A")
    path = dumps.write("d.xml", first, dumps.page(2, "B").replace("</page>", ""))
    ids, message = broken(path)
    assert ids == [1]
    assert "mismatched tag (in page 'B')" in message


@pytest.mark.parametrize("lines", [0, 3, 14, 16, 30])
def test_a_file_that_is_cut_short_is_a_fault(dumps: Any, lines: int) -> None:
    xml = dumps.xml(dumps.page(1, "A"), dumps.page(2, "B"))
    part = "".join(xml.splitlines(keepends=True)[:lines]) or "\n"
    assert "d.xml" in broken(dumps.pack("d.xml", part.encode()))[1]


def test_a_dump_without_its_last_tag_is_cut_short(dumps: Any) -> None:
    xml = dumps.xml(dumps.page(1, "A")).replace("</mediawiki>", "")
    ids, message = broken(dumps.pack("d.xml", xml.encode()))
    assert ids == [1]
    assert "cut short, it ends before </mediawiki> (after page 1, 'A')" in message


def test_a_literal_line_break_after_the_root_is_harmless(dumps: Any) -> None:
    path = dumps.pack("d.xml", dumps.xml(dumps.page(1, "A")).encode() + rb"\n")
    assert texts(path) == {1: "Text."}


@pytest.mark.parametrize("rest", [b"\xff", b"x" * 300_000, rb"\n \n x"])
def test_anything_else_after_the_root_is_a_fault(dumps: Any, rest: bytes) -> None:
    ids, message = broken(dumps.pack("d.xml", dumps.xml(dumps.page(1, "A")).encode() + rest))
    assert ids == [1]
    assert "after </mediawiki>" in message


def test_two_dumps_in_one_file_are_an_error(dumps: Any) -> None:
    xml = dumps.xml(dumps.page(1, "A")).encode()
    ids, message = broken(dumps.pack("d.xml.gz", xml + xml))
    assert ids == [1]
    assert "found another element after </mediawiki>" in message


def test_another_root_is_an_error(dumps: Any) -> None:
    _, message = broken(dumps.pack("d.xml", b"<html><body/></html>"))
    assert "found <html>, expected <mediawiki>" in message


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("<id>1</id>", "a page has no id"),
        ("<ns>0</ns>", "the number of a namespace is 'x', expected a number"),
        ("<id>10</id>", "the id of a revision is '9999999999999999999', expected a number"),
    ],
)
def test_a_page_with_a_wrong_number_is_a_fault(dumps: Any, field: str, message: str) -> None:
    wrong = {"<id>1</id>": "", "<ns>0</ns>": "<ns>x</ns>", "<id>10</id>": f"<id>{'9' * 19}</id>"}
    page = dumps.page(1, "A").replace(field, wrong[field], 1)
    assert message in broken(dumps.write("d.xml", page))[1]


def test_document_types_are_refused_before_entities_grow(dumps: Any) -> None:
    entities = '<!ENTITY a "aaaaaaaaaa">' + "".join(
        f'<!ENTITY {name} "{f"&{before};" * 10}">'
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    xml = dumps.xml(dumps.page(1, "A")).replace("Text.", "&i;")
    path = dumps.pack("d.xml", f"<!DOCTYPE mediawiki [{entities}]>\n{xml}".encode())
    ids, message = broken(path)
    assert ids == []
    assert "d.xml:1: found a document type" in message


def test_deep_nesting_is_a_fault(dumps: Any) -> None:
    path = dumps.write("d.xml", dumps.page(1, "A"), "<x>" * 100_000)
    ids, message = broken(path)
    assert ids == [1]
    assert "nested more than 64 deep" in message


def test_a_tag_without_an_end_is_a_fault_before_it_fills_memory() -> None:
    parser = PageParser("d.xml")
    parser.feed(b"<mediawiki><page x='")
    with pytest.raises(BrokenDumpError, match=r"d\.xml:1: a tag or comment is longer than"):
        deque(map(parser.feed, [b"x" * (1 << 17)] * 100), maxlen=0)


def test_a_long_title_is_a_fault(dumps: Any) -> None:
    _, message = broken(dumps.write("d.xml", dumps.page(1, "A" * 100_000)))
    assert "<title> is longer than 65,536 characters" in message


def test_a_parser_is_freed_without_the_garbage_collector(dumps: Any) -> None:
    parser = PageParser("d.xml")
    freed = weakref.ref(parser)
    gc.disable()
    try:
        pages = pages_in([dumps.xml(dumps.page(1, "A")).encode()], parser)
        assert [page.id for page in pages] == [1]
        del parser, pages
        assert freed() is None
    finally:
        gc.enable()


def test_a_text_too_long_to_be_read_is_left_out_and_counted() -> None:
    parser = PageParser("d.xml")
    parser.feed(b"<mediawiki><page><title>A</title><ns>0</ns><id>1</id><revision><id>2</id><text>")
    for _ in range(20):
        parser.feed(b"x" * (1 << 20))
    parser.feed(b"</text></revision></page><page><title>B</title><ns>0</ns><id>2</id></page>")
    assert [(page.id, page.text) for page in parser.take()] == [(1, None), (2, None)]
    assert parser.oversized == 1


@pytest.mark.parametrize(
    "timestamp",
    ["", "soon", "2024-13-01T00:00:00Z", "2024-09-01", "2024-09-01T00:00:00+02:00", "9" * 1000],
)
def test_what_is_no_time_is_not_later_than_one(dumps: Any, timestamp: str) -> None:
    revisions = [
        dumps.revision(10, "New.", timestamp="2024-09-01T00:00:00Z"),
        dumps.revision(11, "Odd.", timestamp=timestamp),
    ]
    for order in (revisions, revisions[::-1]):
        (page,) = read(dumps.write("d.xml", dumps.page(1, "A", *order)))
        assert (page.text, page.timestamp) == ("New.", "2024-09-01T00:00:00Z")
    (page,) = read(dumps.write("d.xml", dumps.page(1, "A", revisions[1])))
    assert (page.text, page.timestamp) == ("Odd.", "")

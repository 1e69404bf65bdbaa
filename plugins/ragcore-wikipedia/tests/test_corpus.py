"""The corpus: documents, what they are of, what an update may delete, and counts."""

from __future__ import annotations

import logging
import pickle
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from ragcore_wikipedia.articles import _FORMAT
from ragcore_wikipedia.corpus import Wikipedia
from ragcore_wikipedia.dumps.counts import Counts

from ragcore.contracts import supports
from ragcore.contracts.corpus import DocumentCorpus
from ragcore.errors import CorpusError
from ragcore.registry.components import ComponentSpec
from ragcore.testing import CorpusSuite
from ragcore.testing.parts import PartLaws
from ragcore.types import Document

WHOLE = "testwiki-20240920-pages-articles.xml.bz2"
NEWER = "testwiki-20241020-pages-articles.xml.bz2"
TEXT = "Chad is a country in Africa. Its capital is N'Djamena."
DISAMBIGUATION = "'''Chad''' may refer to:\n* [[Chad (name)]]\n* [[Lake Chad]]\n{{disambiguation}}"


class Known(dict[str, str]):
    """The documents of a memory; can be pickled."""

    def key(self, document_id: str) -> str | None:
        return self.get(document_id)


def corpus_of(path: Any, **settings: Any) -> Wikipedia:
    return Wikipedia(Wikipedia.Config(path=path, **settings))


def documents_of(corpus: Wikipedia, known: Known | None = None) -> dict[str, Document]:
    documents = list(corpus.documents(Known() if known is None else known))
    assert len({document.id for document in documents}) == len(documents)
    return {document.id: document for document in documents}


def known_from(corpus: Wikipedia) -> Known:
    return Known({id_: document.key for id_, document in documents_of(corpus).items()})


class TestWikipedia(CorpusSuite):
    # A file of XML is not read line by line, and its last line is not a passage.
    wrong_line = "<page>"

    @pytest.fixture
    def component(self, tmp_path: Path, dumps: Any) -> ComponentSpec:
        pages = [
            dumps.page(id_, f"Page {id_}", text=f"{TEXT} It is {id_}.") for id_ in range(1, 21)
        ]
        path = dumps.write("testwiki-20240920-pages-articles.xml", *pages)
        return ComponentSpec("corpus", "wikipedia", Wikipedia, Wikipedia.Config(path=path))


class TestParts(PartLaws):
    kind = "corpus"

    def build(self, component: Any) -> Any:
        return component.build()

    @pytest.fixture
    def component(self, dumps: Any) -> ComponentSpec:
        streams = [
            [dumps.page(id_, f"Page {id_}", text=TEXT * id_) for id_ in range(first, first + 3)]
            for first in range(1, 25, 3)
        ]
        path = dumps.multistream("testwiki-20240920-pages-articles-multistream.xml.bz2", *streams)
        return ComponentSpec("corpus", "wikipedia", Wikipedia, Wikipedia.Config(path=path))

    def test_a_part_deletes_nothing(self, component: Any) -> None:
        part = component.build().part(0, 2)
        read = documents_of(part)
        assert 3 < len(read) < 24
        assert not part.complete
        assert not part.covers("24")


def test_a_page_is_a_document_with_its_passages(dumps: Any) -> None:
    corpus = corpus_of(dumps.write(WHOLE, dumps.page(3, "Chad", text=TEXT)))
    assert isinstance(corpus, DocumentCorpus)
    assert supports(corpus, DocumentCorpus)
    (document,) = documents_of(corpus).values()
    assert document.id == "3"
    assert document.key.startswith("30:")
    (passage,) = document.passages
    assert passage.title == "Chad"
    assert "N'Djamena" in passage.text
    assert passage.metadata["revision"] == 30
    assert passage.metadata["url"].startswith("https://testwiki.example/")
    assert list(corpus) == [passage]


@pytest.mark.parametrize("workers", [1, 2])
def test_unchanged_pages_are_not_parsed(dumps: Any, workers: int) -> None:
    pages = [dumps.page(id_, f"P{id_}", text=f"{TEXT} {id_}") for id_ in range(1, 6)]
    known = known_from(corpus_of(dumps.write(WHOLE, *pages)))
    pages[1] = dumps.page(2, "P2", dumps.revision(99, "Another text."))
    pages[2] = dumps.page(3, "Moved", text=f"{TEXT} 3")
    # A wiki that was set up again: the revision is the same, and the text another.
    pages[3] = dumps.page(4, "P4", text="A third text.")
    corpus = corpus_of(dumps.write(NEWER, *pages), workers=workers)
    documents = documents_of(corpus, known)
    assert [id_ for id_, document in documents.items() if document.passages is None] == ["1", "5"]
    assert documents["1"].key == known["1"]
    assert documents["3"].passages[0].title == "Moved"
    assert corpus.counts.unchanged == 2
    assert corpus.counts.articles == 5


MARKUP = """{{Infobox country|capital=N'Djamena|population=17,000,000}}
'''Chad''' is a [[country]] in [[Africa|the middle]] of Africa.{{cn}} It has {{convert|1|km}}.
== Land ==
* A lake
* A desert, {{lang|fr|le Sahara}}
{| class="wikitext"
! Year !! People
|-
| 2010 || 11,000,000
|}
=== North ===
{text}
"""


def test_keys_change_when_pages_give_other_passages(dumps: Any) -> None:
    text = MARKUP.replace("{text}", " ".join(f"Sentence number {n} is here." for n in range(12)))
    path = dumps.write(WHOLE, dumps.page(1, "Chad", text=text))
    digests = {}
    for layout in ("structured", "psgs"):
        document = documents_of(corpus_of(path, layout=layout))["1"]
        assert document.passages is not None
        passages = repr([(each.id, each.title, each.text) for each in document.passages])
        digests[layout] = blake2b(passages.encode(), digest_size=6).hexdigest()
    # If a layout's passages change on purpose, raise _FORMAT in articles.py with these digests:
    # an update by the new release would take pages of before for unchanged.
    expected = {"structured": "673d8a176cc2", "psgs": "99f75d803223"}
    assert (digests, _FORMAT) == (expected, 1)


def test_redirects_that_are_read_name_their_targets(dumps: Any) -> None:
    text = "#REDIRECT [[Egret#Food]]"
    path = dumps.write(WHOLE, dumps.page(1, "Egrett", text=text, redirect="Egret"))
    assert documents_of(corpus_of(path)) == {}
    (passage,) = documents_of(corpus_of(path, redirects=True))["1"].passages or ()
    assert passage.text == "Egrett → Egret"


def test_another_layout_has_other_keys(dumps: Any) -> None:
    path = dumps.write(WHOLE, dumps.page(1, "A", text=TEXT))
    assert known_from(corpus_of(path)) != known_from(corpus_of(path, layout="psgs"))


def test_a_known_page_that_is_no_article_any_more_loses_its_passages(dumps: Any) -> None:
    old = [dumps.page(id_, f"P{id_}", text=TEXT) for id_ in range(1, 7)]
    known = known_from(corpus_of(dumps.write(WHOLE, *old)))
    new = [
        dumps.page(1, "P1", text="#REDIRECT [[P2]]", redirect="P2"),
        dumps.page(2, "Draft:P2", ns=118, text=TEXT),
        dumps.page(3, "P3", text=None, attributes='bytes="-1" deleted="deleted"'),
        dumps.page(4, "P4", text=DISAMBIGUATION),
        dumps.page(5, "P5", text="{}", model="json"),
        dumps.page(6, "P6", text=None, attributes='bytes="0"'),
        dumps.page(7, "P7", text="#REDIRECT [[P2]]", redirect="P2"),
    ]
    corpus = corpus_of(dumps.write("piece.xml", *new))
    documents = documents_of(corpus, known)
    assert {id_: document.passages for id_, document in documents.items()} == {
        str(id_): () for id_ in range(1, 7)
    }
    assert not known.items() & {(id_, document.key) for id_, document in documents.items()}
    assert list(corpus) == []


def test_pages_are_chosen_by_settings(dumps: Any) -> None:
    path = dumps.write(
        WHOLE,
        dumps.page(1, "A", text=TEXT),
        dumps.page(2, "Project:A", ns=4, text=TEXT),
        dumps.page(3, "Chad", text=DISAMBIGUATION),
        dumps.page(4, "List of countries", text=f"{TEXT}\n* [[Chad]]\n* [[Togo]]"),
    )

    def ids(**settings: Any) -> list[str]:
        return sorted(documents_of(corpus_of(path, **settings)))

    assert ids() == ["1", "4"]
    assert ids(layout="psgs") == ["1"]
    assert ids(layout="psgs", lists=True) == ["1", "4"]
    assert ids(lists=False) == ["1"]
    assert ids(disambiguation=True) == ["1", "3", "4"]
    assert ids(namespaces=(4,)) == ["2"]
    assert ids(namespaces=(0, 4)) == ["1", "2", "4"]


def test_what_was_read_is_counted_and_logged(dumps: Any, caplog: pytest.LogCaptureFixture) -> None:
    path = dumps.write(
        WHOLE,
        dumps.page(1, "A", text=TEXT, timestamp="2024-09-03T00:00:00Z"),
        dumps.page(2, "B", text="#REDIRECT [[A]]", redirect="A"),
        dumps.page(3, "Talk:A", ns=1, timestamp="2024-09-04T00:00:00Z"),
        dumps.page(4, "Chad", text=DISAMBIGUATION),
        dumps.page(5, "Data", text="{}", model="json"),
        dumps.page(6, "Hidden", text=None, attributes='deleted="deleted"'),
    )
    corpus = corpus_of(path)
    assert corpus.counts == Counts()
    assert corpus.newest == ""
    with caplog.at_level(logging.INFO, "ragcore_wikipedia"):
        passages = list(corpus)
    assert corpus.counts == Counts(
        pages=6,
        articles=1,
        other_namespaces=1,
        redirects=1,
        disambiguations=1,
        other_models=1,
        without_text=1,
        passages=len(passages),
        newest="2024-09-04T00:00:00Z",
        lowest_id=1,
        highest_id=6,
    )
    assert corpus.newest == "2024-09-04T00:00:00Z"
    assert f"{path}: read 6 pages, 1 articles, 1 other namespaces, 1 redirects" in caplog.text


def test_counts_of_parts_add_up() -> None:
    counts = Counts()
    counts.add(Counts(pages=2, newest="2024", lowest_id=5, highest_id=9))
    counts.add(Counts())
    counts.add(Counts(pages=1, newest="2023", lowest_id=3, highest_id=3))
    assert counts == Counts(pages=3, newest="2024", lowest_id=3, highest_id=9)


def test_a_page_whose_markup_cannot_be_read_does_not_stop_the_others(
    dumps: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from ragcore_wikipedia import articles

    read_page = articles.read_page

    def fail_at_two(page: Any, *rest: Any) -> Any:
        if page.id == 2:
            raise RecursionError("too deep")
        return read_page(page, *rest)

    monkeypatch.setattr(articles, "read_page", fail_at_two)
    path = dumps.write(WHOLE, *(dumps.page(id_, f"P{id_}", text=TEXT) for id_ in (1, 2, 3)))
    corpus = corpus_of(path)
    assert {passage.title for passage in corpus} == {"P1", "P3"}
    assert corpus.counts.unparseable == 1
    assert "page 2, 'P2': its markup cannot be read (RecursionError: too deep)" in caplog.text


def test_a_whole_dump_is_complete_once_it_has_been_read(dumps: Any) -> None:
    corpus = corpus_of(dumps.write(WHOLE, dumps.page(1, "A")))
    assert not corpus.complete
    iterator = corpus.documents(Known())
    next(iterator)
    assert not corpus.complete
    assert list(iterator) == []
    assert corpus.complete
    assert corpus.covers("7")


def test_a_piece_deletes_nothing_unless_it_is_called_complete(dumps: Any) -> None:
    path = dumps.write("piece.xml", dumps.page(1, "A"))
    for complete, expected in (("auto", False), (False, False), (True, True)):
        corpus = corpus_of(path, complete=complete)
        list(corpus)
        assert corpus.complete is expected
        assert corpus.covers("7") is expected


def test_a_whole_dump_can_be_called_incomplete(dumps: Any) -> None:
    corpus = corpus_of(dumps.write(WHOLE, dumps.page(1, "A")), complete=False)
    list(corpus)
    assert not corpus.complete
    assert not corpus.covers("1")


def part(first: int, last: int, number: int) -> str:
    return f"testwiki-20240920-pages-articles{number}.xml-p{first}p{last}.bz2"


def test_a_part_covers_the_ids_in_its_name(dumps: Any) -> None:
    dumps.write(part(1, 9, 1), dumps.page(3, "A"))
    dumps.write(part(10, 99, 2), dumps.page(50, "B"))
    corpus = corpus_of(dumps.folder / "*.xml-p*")
    assert [passage.title for passage in corpus] == ["A", "B"]
    assert not corpus.complete
    assert [id_ for id_ in ("0", "1", "9", "10", "99", "100", "x", "") if corpus.covers(id_)] == [
        "1",
        "9",
        "10",
        "99",
    ]


def test_a_part_with_pages_outside_of_its_range_covers_none(dumps: Any) -> None:
    corpus = corpus_of(dumps.write(part(1, 9, 1), dumps.page(3, "A"), dumps.page(12, "B")))
    list(corpus)
    assert not corpus.covers("5")


def test_a_missing_part_is_an_error_unless_the_parts_are_a_choice(dumps: Any) -> None:
    dumps.write(part(1, 9, 1), dumps.page(3, "A"))
    dumps.write(part(20, 99, 3), dumps.page(50, "B"))
    pattern = dumps.folder / "*.xml-p*"
    with pytest.raises(CorpusError, match="pages 10 to 19 of the dump: no file with them"):
        list(corpus_of(pattern))
    assert len(list(corpus_of(pattern, complete=False))) == 2


def test_a_fault_is_an_error_and_takes_completeness_back(dumps: Any) -> None:
    good = corpus_of(dumps.write(WHOLE, dumps.page(1, "A")))
    xml = dumps.xml(dumps.page(1, "A"), dumps.page(2, "B")).replace("</mediawiki>", "")
    for complete in ("auto", True):
        path = dumps.pack(WHOLE, xml.encode())
        with pytest.raises(CorpusError, match="cut short"):
            list(corpus_of(path, complete=complete))
        corpus = corpus_of(path, complete=complete, faults="stop")
        assert {passage.title for passage in corpus} == {"A", "B"}
        assert not corpus.complete
        assert not corpus.covers("3")
        assert corpus.date == "2024-09-20"
    assert not good.complete


def test_a_dump_left_at_a_fault_has_no_date_but_its_name_s(dumps: Any) -> None:
    xml = dumps.xml(dumps.page(1, "A"), dumps.page(2, "B")).replace("</mediawiki>", "")
    corpus = corpus_of(dumps.pack("d.xml", xml.encode()), faults="stop")
    list(corpus)
    assert (corpus.date, corpus.newest) == ("", "2024-09-01T00:00:00Z")


@pytest.mark.parametrize("end", ["xml", "xml.bz2", "xml.gz", "xml.zst", "xml.7z"])
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_dump_that_is_cut_anywhere_has_its_first_pages_and_deletes_nothing(
    dumps: Any, end: str, share: float
) -> None:
    path = dumps.write(
        f"testwiki-20240920-pages-articles.{end}",
        *(dumps.page(id_, f"P{id_}", text=f"{TEXT} {'word ' * id_}") for id_ in range(1, 9)),
    )
    whole = path.read_bytes()
    # The last byte of plain XML is a line break, which is not missed.
    path.write_bytes(whole[: int(share * (len(whole) - 1))])
    corpus = corpus_of(path)
    ids: list[int] = []
    with pytest.raises(CorpusError, match=path.name):
        ids.extend(int(document.id) for document in corpus.documents(Known()))
    assert ids == list(range(1, len(ids) + 1))
    assert not corpus.complete
    assert not corpus.covers("9")


def test_a_part_with_a_fault_covers_none_of_its_ids(dumps: Any) -> None:
    first = dumps.write(part(1, 9, 1), dumps.page(3, "A"))
    first.write_bytes(first.read_bytes()[:-20])
    dumps.write(part(10, 99, 2), dumps.page(50, "B"))
    corpus = corpus_of(dumps.folder / "*.xml-p*", faults="stop")
    assert [passage.title for passage in corpus][-1] == "B"
    assert not corpus.covers("5")
    assert corpus.covers("60")


def test_without_any_readable_file_a_fault_is_an_error_in_any_case(dumps: Any) -> None:
    path = dumps.write(WHOLE, dumps.page(1, "A"))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CorpusError, match="cut short"):
        list(corpus_of(path, faults="stop"))


def test_a_stub_dump_is_an_error(dumps: Any) -> None:
    stub = dumps.page(2, "B", text=None, attributes='bytes="9" location="tt:4" id="4"')
    path = dumps.write(WHOLE, dumps.page(1, "A"), stub)
    with pytest.raises(CorpusError, match=r"page 'B' has the size of its text instead"):
        list(corpus_of(path))


def test_the_identity_is_the_wiki_s(dumps: Any) -> None:
    corpus = corpus_of(dumps.write(WHOLE, dumps.page(1, "A")))
    assert corpus.identity == "testwiki"
    assert corpus.site.language == "en"
    without = dumps.xml(dumps.page(1, "A")).replace("<dbname>testwiki</dbname>", "")
    assert corpus_of(dumps.pack("a.xml", without.encode())).identity == "testwiki.example"
    assert corpus_of(dumps.write("b.xml", dumps.page(1, "A"), siteinfo=False)).identity == ""


@pytest.mark.parametrize(
    ("host", "identity"),
    [
        ("en.wikipedia.org", "enwiki"),
        ("zh-min-nan.wikipedia.org", "zh_min_nanwiki"),
        ("de.wiktionary.org", "dewiktionary"),
        ("wiki.example.org", "wiki.example.org"),
    ],
)
def test_a_wiki_without_a_database_s_name_is_known_by_its_host(
    dumps: Any, host: str, identity: str
) -> None:
    whole = dumps.xml(dumps.page(1, "A")).replace("testwiki.example", host)
    without = whole.replace("<dbname>testwiki</dbname>", "")
    assert corpus_of(dumps.pack("a.xml", without.encode())).identity == identity


def test_a_text_that_the_dump_lacks_is_not_an_empty_text(dumps: Any) -> None:
    known = known_from(corpus_of(dumps.write(WHOLE, dumps.page(1, "A", text=TEXT))))
    for attributes, stays in (('bytes="54"', True), ('bytes="0"', False), ("", False)):
        newer = dumps.page(1, "A", dumps.revision(77, text=None, attributes=attributes))
        (document,) = documents_of(corpus_of(dumps.write(NEWER, newer)), known).values()
        assert (document.passages is None, document.key == known["1"]) == (stays, stays)
    hidden = dumps.revision(78, text=None, attributes='bytes="54" deleted="deleted"')
    newer = dumps.write(NEWER, dumps.page(1, "A", hidden))
    assert documents_of(corpus_of(newer), known)["1"].passages == ()


def test_a_dump_of_articles_lacks_discussions_without_deleting_them(dumps: Any) -> None:
    for namespaces, complete in (((0, 14), True), ((0, 1), False), ((2,), False)):
        corpus = corpus_of(dumps.write(WHOLE, dumps.page(1, "A")), namespaces=namespaces)
        list(corpus)
        assert (corpus.complete, corpus.covers("7")) == (complete, complete)
        path = dumps.write(WHOLE.replace("articles", "meta-current"), dumps.page(1, "A"))
        corpus = corpus_of(path, namespaces=namespaces)
        list(corpus)
        assert corpus.complete


def test_a_known_page_whose_markup_cannot_be_read_stays_as_it_is(
    dumps: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ragcore_wikipedia import articles

    def fail(*_: Any) -> Any:
        raise AttributeError("a fault of the reader")

    known = known_from(corpus_of(dumps.write(WHOLE, dumps.page(1, "A", text=TEXT))))
    path = dumps.write(NEWER, *(dumps.page(id_, "A", text="Another text.") for id_ in (1, 2)))
    monkeypatch.setattr(articles, "read_page", fail)
    documents = documents_of(corpus_of(path), known)
    assert (documents["1"].passages, documents["1"].key) == (None, known["1"])
    # Its key is not that of the page: it is read again by the next update.
    monkeypatch.undo()
    assert documents["2"].key != known_from(corpus_of(path))["2"]


def test_the_date_is_the_name_s_or_the_newest_revision_s(dumps: Any) -> None:
    page = dumps.page(1, "A")
    assert corpus_of(dumps.write(WHOLE, page)).date == "2024-09-20"
    corpus = corpus_of(dumps.write("d.xml", page))
    assert corpus.date == ""
    list(corpus)
    assert corpus.date == "2024-09-01T00:00:00Z"


def test_files_of_two_wikis_are_an_error(dumps: Any) -> None:
    paths = (
        dumps.write("a.xml", dumps.page(1, "A"), database="dewiki"),
        dumps.write("b.xml", dumps.page(1, "A"), database="frwiki"),
    )
    with pytest.raises(CorpusError, match=r"b\.xml: a dump of 'frwiki', and .*a\.xml .* 'dewiki'"):
        list(corpus_of(paths))


def test_a_list_of_files_is_read(dumps: Any) -> None:
    paths = tuple(dumps.write(f"{n}.xml.gz", dumps.page(n, f"P{n}")) for n in (2, 1))
    assert [passage.title for passage in corpus_of(paths)] == ["P1", "P2"]


@pytest.mark.parametrize(
    "values",
    [
        {"namespaces": ()},
        {"namespaces": (0, 0)},
        {"workers": 0},
        {"complete": "yes please"},
        {"layout": "plain"},
        {"faults": "ignore"},
        {"path": ()},
    ],
)
def test_settings_that_make_no_sense_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Wikipedia.Config(**{"path": "a.xml", **values})


def test_what_a_process_gets_can_be_pickled(dumps: Any) -> None:
    # A process that reads a dump gets the settings once, and sends documents back.
    (document,) = documents_of(corpus_of(dumps.write(WHOLE, dumps.page(1, "A")))).values()
    assert pickle.loads(pickle.dumps(document)) == document


def test_a_page_known_without_a_key_loses_its_passages_when_it_redirects(dumps: Any) -> None:
    pages = [dumps.page(id_, f"Page {id_}", text="#REDIRECT [[B]]", redirect="B") for id_ in (1, 2)]
    corpus = corpus_of(dumps.write("piece.xml", *pages, dumps.page(3, "B", text=TEXT)))
    documents = documents_of(corpus, Known({"1": "", "3": ""}))
    # A memory that was built with other settings knows pages 1 and 3, and no keys.
    assert documents.keys() == {"1", "3"}
    assert documents["1"].passages == ()
    assert documents["3"].passages

"""Test where a passage comes from, as its metadata tell."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragcore.types import Answer, Evidence, Passage, Source
from ragcore.views.source import source_line

KEYS = (
    "uri",
    "url",
    "path",
    "page",
    "line",
    "row",
    "heading",
    "section",
    "revision",
    "date",
    "span",
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def source(**metadata: object) -> Source:
    return Source.of(Passage("id", "Chad", "text", metadata))


def test_a_page_of_a_wiki_has_its_revision_and_link():
    wiki = source(
        page=5448,
        revision=717,
        timestamp="2016-05-01T12:00:00Z",
        section="Politics > Parties",
        url="https://en.wikipedia.org/w/index.php?title=Chad&oldid=717",
    )
    assert wiki == Source(
        uri="https://en.wikipedia.org/w/index.php?title=Chad&oldid=717",
        title="Chad",
        heading="Politics > Parties",
        revision="717",
        date="2016-05-01T12:00:00Z",
    )
    assert wiki.link == wiki.uri


def test_a_file_has_its_path_page_line_and_span():
    file = source(path="notes/chad.pdf", page="3", line=7, heading="Lakes", span=[10, 20])
    assert file == Source(
        title="Chad", path="notes/chad.pdf", page=3, line=7, heading="Lakes", span=(10, 20)
    )
    assert file.to_dict() == {
        "title": "Chad",
        "path": "notes/chad.pdf",
        "page": 3,
        "line": 7,
        "heading": "Lakes",
        "span": [10, 20],
    }


@pytest.mark.parametrize(
    "uri",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "file:///etc",
        "x",
        "http://",
        " http://a.example",
        'https://a.example/" onload="alert(1)',
        "https://a.example/<b>",
        "https://a.example/\njavascript:alert(1)",
        "https://a.example/\x1b]8;;",
        "https://a.example/\u202ecod.exe",
    ],
)
def test_only_a_uri_of_the_web_is_a_link(uri: str):
    assert (source(url=uri).uri, source(url=uri).link) == (uri, None)


@given(st.dictionaries(st.sampled_from(KEYS) | st.text(), JSON))
def test_any_metadata_have_a_source(metadata: dict[str, object]):
    told = source(**metadata)
    assert json.loads(json.dumps(told.to_dict())) == told.to_dict()
    for name in ("uri", "path", "heading", "revision", "date"):
        assert getattr(told, name) is None or isinstance(getattr(told, name), str)
    for name in ("page", "line", "row"):
        assert getattr(told, name) is None or type(getattr(told, name)) is int


def test_an_answer_as_json_has_the_source_of_its_evidence():
    passage = Passage("id", "Chad", "text", {"section": "Lakes"})
    evidence = (Evidence(passage, 1.0, 1.0, 1.0),)
    answer = Answer("?", "text", -1.0, evidence, "one", ("text",), ((1.0,),), (3,))
    (row,) = answer.to_dict()["evidence"]
    assert row["source"] == {"title": "Chad", "heading": "Lakes"}
    assert row["passage"]["metadata"] == {"section": "Lakes"}


@pytest.mark.parametrize(
    "uri", ["https://ko.wikipedia.org/w/index.php?title=파리&oldid=1", "HTTP://a"]
)
def test_an_address_of_the_web_is_a_link(uri: str):
    assert source(url=uri).link == uri


@pytest.mark.parametrize("number", [10**5000, -(10**5000), "9" * 5000], ids=["+", "-", "text"])
def test_a_number_that_nobody_counts_to_is_left_out(number: object):
    told = source(page=number, line=number, revision=number, span=[0, number])
    assert (told.page, told.line, told.span) == (None, None, None)
    assert told.revision is None or told.revision == number
    assert str(source_line(told))


def test_a_long_part_of_a_source_is_cut():
    line = source_line(source(url=f"https://a.example/{'x' * 10**6}", section="y" * 10**6))
    assert line is not None
    assert len(line) < 5000
    assert str(line).startswith("yyy")

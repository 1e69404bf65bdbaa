"""What passages tell of their document, whatever the document says of itself."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from ragcore_documents.metadata import document_metadata, shortened


def test_plain_values_stay_and_others_become_json() -> None:
    own = {
        "author": "A",
        "tags": ["x", "y"],
        "draft": False,
        "date": dt.date(2024, 5, 1),
        "nested": {1: None, "a": (2.5, float("inf"))},
        "set": {"b", "a"},
        "bytes": b"x",
        "big": 10**30,
    }
    metadata, dropped = document_metadata(own)
    assert dropped == []
    assert metadata == {
        "author": "A",
        "tags": ["x", "y"],
        "draft": False,
        "date": "2024-05-01",
        "nested": {"1": None, "a": [2.5, None]},
        "set": ["a", "b"],
        "bytes": "b'x'",
        "big": str(10**30),
    }


def test_locations_are_the_corpus_s_own() -> None:
    own: dict[str, Any] = dict.fromkeys(["path", "heading", "page", "line", "span", "mtime"], 1)
    assert document_metadata({**own, "title2": 2}) == ({"title2": 2}, list(own))


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [*a]",
        "a: &a {b: *a}",
        "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
        "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c,*c]",
        f"a: {'x' * 10_000}",
        f"? {'x' * 10_000}\n: 1",
        "a: " + "[" * 20 + "]" * 20,
    ],
)
def test_what_is_too_large_is_left_out_and_the_rest_stays(text: str) -> None:
    own = {"first": "x", **yaml.safe_load(text), "huge": 10**10_000, "last": "y"}
    metadata, dropped = document_metadata(own)
    assert metadata["first"] == "x"
    assert metadata["last"] == "y"
    assert len(dropped) > 1
    assert dropped[-1] == "huge"
    assert len(json.dumps(metadata)) < 10_000


@given(
    st.dictionaries(
        st.text(),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        ),
    )
)
def test_any_metadata_become_bounded_json(own: dict[str, Any]) -> None:
    metadata, _ = document_metadata(own)
    text = json.dumps(metadata, allow_nan=False, ensure_ascii=False)
    assert json.loads(text) == metadata
    text.encode()  # no lone surrogate
    assert len(text) < 20_000


def test_titles_are_one_line_of_a_bounded_length() -> None:
    assert shortened("  a\n b\t c  ", 10) == "a b c"
    assert shortened("x" * 20, 10) == "x" * 9 + "…"
    assert shortened("\ud800a", 10) == "\ufffda"

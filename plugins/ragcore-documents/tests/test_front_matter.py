"""Front matter: metadata where it is valid and in proportion, else text."""

import json
import logging
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ragcore_documents.readers.front_matter import front_matter
from ragcore_documents.readers.limits import Limits
from ragcore_documents.readers.markdown import read_markdown


def test_yaml() -> None:
    text = (
        "---\ntitle: A\ndate: 2024-03-01\nat: 2024-03-01 10:00:00\ntags: [a, 1, null, true]\n"
        "2: x\nnull: y\ntrue: z\n2024-01-02: d\nnested: {a: {b: [1.5, .inf]}}\nset: !!set {b, a}\n"
        "a: 1\na: 2\n--- \ntext"
    )
    matter = front_matter(text)
    assert text[matter.end :] == "text"
    assert matter.metadata == {
        "title": "A",
        "date": "2024-03-01",
        "at": "2024-03-01T10:00:00",
        "tags": ["a", 1, None, True],
        "2": "x",
        "null": "y",
        "true": "z",
        "2024-01-02": "d",
        "nested": {"a": {"b": [1.5, "inf"]}},
        "set": ["a", "b"],
        "a": 2,
    }


def test_toml() -> None:
    text = "+++\ntitle = 'A'\ndate = 2024-03-01\nat = 10:00:00\n[extra]\nx = nan\n+++\ntext"
    matter = front_matter(text)
    assert text[matter.end :] == "text"
    assert matter.metadata == {
        "title": "A",
        "date": "2024-03-01",
        "at": "10:00:00",
        "extra": {"x": "nan"},
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "---",
        "---\n",
        "text\n---\na: 1\n---\n",
        "---\nA rule, then text.\n\n---\nmore",
        "---\n- a\n---\n",
        "---- \na: 1\n---\n",
        "--- # x\na: 1\n---\n",
        "---\na: 1\n----\n",
        "+++\na = 1\n---\n",
        "---\n" + "a: 1\n" * 20_000 + "---\n",
    ],
)
def test_what_is_no_front_matter(text: str) -> None:
    assert front_matter(text) == ({}, 0, False)


def test_empty_front_matter() -> None:
    assert front_matter("---\n---\ntext") == ({}, 8, False)
    assert front_matter("---\n# comment\n...\n") == ({}, 18, False)


_BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
_MERGES = "a: &a {x: 1}\n" + "".join(
    f"{name}: &{name} {{<<: [{', '.join([f'*{before}'] * 9)}]}}\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (_BOMB, "more than 1,000 values"),
        (_MERGES, r"line 3: merge keys \(<<\) are not read"),
        ("a: &a [*a]\n", "values nested more than 20 deep"),
        ("a: " + "[" * 20_000 + "\n", "recursion"),
        ("a: [\n", "expected"),
        ("a: !!python/object/apply:os.getcwd []\n", "could not determine a constructor"),
        ("a: !!binary aGk=\n", "a value of type bytes"),
        ("a: 2024-99-99\n", "month must be in 1..12"),
        ("a: " + "9" * 5_000 + "\n", "digits"),
        ("a: !!int ''\n", "IndexError|invalid"),
        ("? [a]\n: b\n", "unhashable"),
        ("a: 1\n--- \nb: 2\n", ""),
        ("a:\tb\n\tc: @\n", "cannot start"),
    ],
)
def test_bad_front_matter_is_text(
    source: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    text = f"---\n{source}---\n\n# Heading\n"
    with caplog.at_level(logging.WARNING):
        document = read_markdown(text.encode(), Limits())
    assert document.text == text
    if not reason:
        return
    assert re.search(reason, caplog.text)
    assert document.metadata == {}
    assert document.title == "Heading"
    assert document.blocks[0].kind == "paragraph"
    assert document.text[: document.blocks[-2].end].rstrip().endswith("---")
    assert [block.heading for block in document.blocks if block.kind == "heading"] == ["Heading"]


def test_half_characters_are_replaced() -> None:
    matter = front_matter('---\n"\\ud800": "a\\udfff"\n---\n')
    assert matter.metadata == {"\ufffd": "a\ufffd"}


_YAML = st.lists(
    st.sampled_from(["a", ": ", "\n", "- ", "&x ", "*x", "[", "]", "{", "}", "!!set ", "!!int ",
     "? ", "<<", "'", '"', "|", ">", "2024-01-01", "1e3", "~", "#", "\t", " ", "!!timestamp ",
     "0x", "\\"])
    | st.text(max_size=3)
)  # fmt: skip


@settings(deadline=None)
@given(_YAML.map("".join), st.sampled_from(["---", "+++"]))
def test_any_front_matter_is_read(source: str, fence: str) -> None:
    text = f"{fence}\n{source}\n{fence}\n"
    metadata, end, _ = front_matter(text)
    json.dumps(metadata, allow_nan=False).encode()
    assert 0 <= end <= len(text)

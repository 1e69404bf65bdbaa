"""Markdown: the file's own text, with its blocks as spans."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ragcore_documents.readers.limits import Limits, UnreadableError
from ragcore_documents.readers.markdown import read_markdown

from ragcore.corpora.splitting import SplitConfig, split_document
from ragcore.corpora.structure import DocumentText


def blocks(markdown: str) -> list[tuple[str, str]]:
    document = read_markdown(markdown.encode(), Limits())
    assert document.is_source
    check(document, markdown)
    return [
        (f"{block.kind}{block.level or ''}", markdown[block.start : block.end])
        for block in document.blocks
    ]


def check(document: DocumentText, text: str) -> None:
    assert len(document.text) == len(text)
    end = 0
    for block in document.blocks:
        assert document.text[block.start : block.end] == text[block.start : block.end]
        # Between blocks, words may be spaces.
        shown = zip(document.text[end : block.start], text[end : block.start], strict=True)
        assert all(new in (old, " ") for new, old in shown)
        assert end <= block.start < block.end <= len(text)
        assert block.kind == "code" or text[block.start : block.end].strip()
        end = block.end


def test_a_file_with_front_matter_and_all_blocks() -> None:
    markdown = """---
title: Hi there
tags: [a, b]
---
[![Build](x.svg)](http://x)
[![A][y]][z]

<!-- a comment -->

Setext *title*
==============

Para one
line [link](http://x).

- a
  - b

    more
- c

  ```py
  # no heading
  ```

  after
- d

1. x

> quote
>
> # within

| a | b |
|---|---|
| 1 | 2 |

    indented

## Two [link](u) & `co*de` <!-- no --> {#id .c}

[ref]: http://x
[^1]: A footnote with words.

***
~~~
open"""
    document = read_markdown(markdown.encode(), Limits())
    assert document.title == "Hi there"
    assert document.metadata == {"tags": ["a", "b"]}
    assert blocks(markdown) == [
        ("heading1", "Setext *title*\n=============="),
        ("paragraph", "Para one\nline [link](http://x)."),
        ("list", "- a\n  - b\n\n    more\n- c"),
        ("code", "  ```py\n  # no heading\n  ```"),
        ("list", "after\n- d"),
        ("list", "1. x"),
        ("paragraph", "> quote"),
        ("paragraph", "> # within"),
        ("table", "| a | b |\n|---|---|\n| 1 | 2 |"),
        ("code", "    indented"),
        ("heading2", "## Two [link](u) & `co*de` <!-- no --> {#id .c}"),
        ("paragraph", "[^1]: A footnote with words."),
        ("code", "~~~\nopen"),
    ]
    headings = [block.heading for block in document.blocks if block.kind == "heading"]
    assert headings == ["Setext title", "Two link & co*de"]


@pytest.mark.parametrize(
    ("markdown", "expected"),
    [
        ('!!! note "A"\n    b\n\n    c\n\n    d\n\ne', [("paragraph", '!!! note "A"\n    b'),
         ("paragraph", "c"), ("paragraph", "d"), ("paragraph", "e")]),
        ('=== "A"\n\n    ```\n    b\n    ```\n', [("paragraph", '=== "A"'),
         ("code", "    ```\n    b\n    ```")]),
        ('<h1 align="center">A &amp; <b>b</b></h1>\n\nc', [
         ("heading1", '<h1 align="center">A &amp; <b>b</b></h1>'), ("paragraph", "c")]),
        ('<p align="center"><img src="x"></p>\n\na', [("paragraph", "a")]),
        ("<div>\n\n**a**\n\n</div>", [("paragraph", "**a**")]),
        ("<details>\n<summary>a</summary>\nb\n</details>", [("paragraph",
         "<details>\n<summary>a</summary>\nb\n</details>")]),
        ("![A cat](cat.jpg)", [("paragraph", "![A cat](cat.jpg)")]),
        ("* a\n* b\n\n+ c", [("list", "* a\n* b"), ("list", "+ c")]),
        ("> - a\n> - b\n>\n>   c", [("list", "> - a\n> - b\n>\n>   c")]),
        ("#no\n# \n####### seven", [("paragraph", "#no"), ("paragraph", "####### seven")]),
        ("\ta\n", [("code", "\ta")]),
        ("a\u2028b\x0b\x0c\n\nc", [("paragraph", "a\u2028b"), ("paragraph", "c")]),
        ("", []),
    ],
)  # fmt: skip
def test_blocks(markdown: str, expected: list[tuple[str, str]]) -> None:
    assert blocks(markdown) == expected


@pytest.mark.parametrize(
    ("markdown", "title"),
    [
        ("# A *b*\n\n## C\n\n## D", "A b"),
        ("# Synopsis\n\na", ""),
        ("# README.md\n", ""),
        ("# A\n\n# B", ""),
        ("---\ntitle: [a]\n---\n# B", "B"),
        ("---\ntitle: Untitled\n---\n# B", "B"),
        ("+++\ntitle = 'A'\n+++\n# B", "A"),
        ("> # A", ""),
    ],
)
def test_titles(markdown: str, title: str) -> None:
    assert read_markdown(markdown.encode(), Limits()).title == title


def test_marks_and_ends_of_lines_of_windows() -> None:
    document = read_markdown("\ufeff---\r\na: 1\r\n---\r\n# T\r\n\r\nb\r\nc\r\n".encode(), Limits())
    assert document.metadata == {"a": 1}
    assert document.text == "---\na: 1\n---\n# T\n\nb\nc\n"
    assert [document.text[block.start : block.end] for block in document.blocks] == ["# T", "b\nc"]


def test_what_is_nested_deeply_keeps_its_text() -> None:
    for mark in ("> ", "- ", "> - ", "1. "):
        markdown = mark * 50_000 + "deep"
        assert blocks(markdown)[-1][1].endswith("deep")


@pytest.mark.parametrize(
    "markdown",
    [
        "*a ", "**a\n", "[a\n", "[a]: b\n", "[a]: <b\n", '[a]: b "c\n', "[![", "[![a](b)](c)\n",
        "<div>\n\n", "<!--\n\n", "```\n\n~~~\n", "x\n", "x\n\n", "1. x\n", "> x\n",
        "|a|b|\n|-|-|\n",
        "<h1>", "<", "`a\n", "# *a* `b`\n", "a\n=\n", "\\", "&amp;", "- ", "\t",
    ],
)  # fmt: skip
def test_repeated_markup_costs_linear_time(markdown: str) -> None:
    def seconds(count: int) -> float:
        text = markdown * count
        start = time.thread_time()
        check(read_markdown(text.encode(), Limits()), text)
        return time.thread_time() - start

    seconds(200)
    # 16 times as much takes 256 times as long where the time is quadratic.
    assert seconds(8_000) < 64 * max(seconds(500), 0.002)


def test_what_is_not_shown_is_in_no_passage() -> None:
    markdown = (
        "# T\n\n" + "[![Build status of it](a)](b)\n" * 8 + "\n<!-- a secret\nnote -->\n\nOne.\n\n"
        "[ref]: http://x 'title'\n\n> a\n>\n> b\n\n***\n\nTwo.\n\n<!-- "
        + "long " * 500
        + "-->\n\n3"
    )
    document = read_markdown(markdown.encode(), Limits())
    split = SplitConfig(by="headings", size=150)
    passages = [" ".join(piece.text.split()) for piece in split_document(document, split)]
    assert passages == ["# T One. > a > > b *** Two.", "3"]


def test_too_much_text_is_refused() -> None:
    with pytest.raises(UnreadableError, match=r"1,001 characters of text, of at most 1,000; split"):
        read_markdown(b"x" * 1_001, Limits(characters=1_000))


_MARKUP = st.sampled_from(
    ["# ", "> ", "- ", "1. ", "\n", "\n\n", "    ", "\t", "```\n", "~~~", "***\n",
     "| a | b |\n|-|-|\n",
     "===\n", "---\n", "[a]: b\n", "<div>\n", "<!-- ", "-->", "</div>", "<h1>", "</h1>",
     "!!! a\n",     "[![a](b)](c)\n", "*", "`", "\x00", "\u2028", "\x0c", "a", "é", "{#x}"]
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(_MARKUP | st.text(max_size=4), max_size=50).map("".join))
def test_any_text_is_read(markdown: str) -> None:
    text = markdown.replace("\x00", "").replace("\r", "").encode(errors="ignore").decode()
    text = text.removeprefix("\ufeff")
    check(read_markdown(text.encode(), Limits()), text)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_unreadable(data: bytes) -> None:
    try:
        document = read_markdown(data, Limits())
    except UnreadableError:
        return
    check(document, document.text)

"""An edit changes the pieces around it, and no others."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragcore.corpora.splitting import SplitConfig
from ragcore.corpora.structure import DocumentText, TextBuilder
from tests.corpora.splitting.documents import (
    TokenizerOfTests,
    paragraph_list,
    pieces_of,
    sentence,
    word_pieces,
)

TOKENIZER = word_pieces(200)
WAYS: dict[str, dict[str, Any]] = {
    "sentences": {"by": "sentences"},
    "headings": {"by": "headings"},
    "headings, overlapping": {"by": "headings", "overlap": 40},
    "tokens": {"by": "tokens"},
}
NEW = "A line that was put into the text."


def plain(separator: str) -> Callable[[list[str]], str]:
    return separator.join


def items(texts: list[str]) -> DocumentText:
    builder = TextBuilder()
    builder.add("heading", "A list", level=1)
    builder.add("list", "\n".join(f"- {' '.join(text.split()[:9])}" for text in texts))
    return builder.build()


def code(texts: list[str]) -> DocumentText:
    builder = TextBuilder()
    builder.add("code", "\n".join(text.partition(".")[0] for text in texts))
    return builder.build()


def changed(
    before: DocumentText | str, after: DocumentText | str, way: str, tokenizer: TokenizerOfTests
) -> int:
    """Count the pieces that must be encoded again after an edit."""
    split = SplitConfig(**WAYS[way])
    return (pieces_of(after, split, tokenizer) - pieces_of(before, split, tokenizer)).total()


FORMS = {
    "paragraphs": (plain("\n\n"), 200),
    "lines": (plain("\n"), 200),
    "one paragraph": (plain(" "), 200),
    "a list": (items, 600),
    "code": (code, 600),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("way", WAYS)
def test_a_line_put_into_a_long_section_changes_few_pieces(way: str, form: str) -> None:
    make, count = FORMS[form]
    texts = paragraph_list(count)
    whole = make(texts)
    assert len(pieces_of(whole, SplitConfig(**WAYS[way]), TOKENIZER)) > 50
    changes = [
        changed(whole, make([*texts[:at], NEW, *texts[at:]]), way, TOKENIZER)
        for at in (0, 1, 77, 150, count)
    ]
    assert max(changes) <= 8
    assert sum(changes) <= 3 * len(changes)


@pytest.mark.parametrize("way", ["sentences", "headings", "tokens"])
@given(seed=st.integers(0, 10**6), at=st.integers(0, 20))
def test_a_line_changes_no_piece_of_another_section(way: str, seed: int, at: int) -> None:
    texts = paragraph_list(20, seed)
    line = sentence(random.Random(seed))

    def document(texts: list[str]) -> DocumentText:
        builder = TextBuilder()
        builder.add("paragraph", line)
        for number in range(3):
            builder.add("heading", f"Section {number}", level=2)
            for text in texts if number == 1 else paragraph_list(5, number):
                builder.add("paragraph", text)
        return builder.build()

    split = SplitConfig(**WAYS[way])
    before = pieces_of(document(texts), split, TOKENIZER)
    after = pieces_of(document([*texts[:at], NEW, *texts[at:]]), split, TOKENIZER)
    assert {headings for headings, _ in after - before} == {("Section 1",)}


@pytest.mark.parametrize("way", ["sentences", "headings", "tokens"])
def test_a_line_before_a_document_is_a_piece_of_its_own(way: str) -> None:
    builder = TextBuilder()
    builder.add("heading", "A title", level=1)
    for text in paragraph_list(30):
        builder.add("paragraph", text)
    document = builder.build()
    builder = TextBuilder()
    builder.add("paragraph", NEW)
    builder.extend(document)
    split = SplitConfig(**WAYS[way])
    new = pieces_of(builder.build(), split, TOKENIZER) - pieces_of(document, split, TOKENIZER)
    assert list(new.elements()) == [((), NEW)]


@pytest.mark.parametrize("line", ["the same line every time", "x"])
def test_one_of_many_equal_lines_changes_few_pieces(line: str) -> None:
    for way in ("sentences", "headings"):
        assert changed("\n".join([line] * 5000), "\n".join([line] * 5001), way, TOKENIZER) <= 2

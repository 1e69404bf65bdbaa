"""Plain text: the file as it is, in paragraphs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ragcore_documents.readers.limits import Limits, UnreadableError
from ragcore_documents.readers.text import plain_text, read_text


def test_empty_lines_separate_paragraphs() -> None:
    document = read_text(
        b"\xef\xbb\xbf\r\n  One\r\n two  \r\n \t \r\n\r\nThree\r\n\x0c\n\nfour", Limits()
    )
    assert document.is_source
    assert document.text == "\n  One\n two  \n \t \n\nThree\n\x0c\n\nfour"
    texts = [document.text[block.start : block.end] for block in document.blocks]
    assert texts == ["One\n two", "Three", "four"]
    assert {block.kind for block in document.blocks} == {"paragraph"}
    assert (document.title, document.metadata) == ("", {})


@pytest.mark.parametrize("data", [b"", b" \n\n\t\n"])
def test_empty_files_have_no_blocks(data: bytes) -> None:
    assert read_text(data, Limits()).blocks == ()


def test_lines_of_any_length_are_read_up_to_the_limit() -> None:
    assert len(read_text(b"x " * 5_000_000, Limits()).blocks) == 1
    with pytest.raises(
        UnreadableError, match="20,000,001 characters of text, of at most 20,000,000"
    ):
        read_text(b"x" * 20_000_001, Limits())


@given(st.text(st.sampled_from("ab \n\t\x0c\x85\u2028é")))
def test_paragraphs_hold_all_text(text: str) -> None:
    document = plain_text(text, Limits())
    end = 0
    for block in document.blocks:
        part = text[block.start : block.end]
        assert not text[end : block.start].strip()
        assert part == part.strip()
        assert all(line.strip() for line in part.split("\n"))
        end = block.end
    assert not text[end:].strip()
    gaps = zip(document.blocks, document.blocks[1:], strict=False)
    assert all(text[one.end : two.start].count("\n") > 1 for one, two in gaps)

"""No page stops a build: broken markup costs no more time than sound markup, and is reported."""

import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ragcore_wikipedia.dumps.titles import redirect_target
from ragcore_wikipedia.layouts import PagePassages, is_disambiguation, is_list, read_page
from ragcore_wikipedia.pages import Page, Site

PIECES = [
    "{{", "}}", "[[", "]]", "{|", "|}", "\n{|", "\n|}", "\n|-", "\n|", "\n!", "||", "|",
    "=", "\n==", "==\n", "\n*", "\n;", ":", "''", "'''", "<ref>", "</ref>", "<ref", "/>",
    "<!--", "-->", "<nowiki>", "</nowiki>", "<math>", "<br>", "<", ">", "&amp;",
    "&#x110000;", "&#0;", "{{{", "}}}", "[http://a ", "]", "[", "{", "}", "-{", "}-",
    "__TOC__", "(", ")", ";", ",", " ", "\n", "\n\n", "\t", "\x00", "\ud800", "\ue000",
    "\ue0001\ue001", "\ue002", "\u200f", "{{lang|de|", "{{Infobox a\n|b=", "{{#if:",
    "{{#switch:", "{{convert|", "{{coord|", "{{birth date|", "{{frac|", "{{!}}",
    "[[File:a|", "[[a:", "[[de:", "{{percentage|1|0", "rowspan=99 |", "colspan=9999 |",
    "rowspan=0|", "{{Infobox|leader_title=x", "A sentence. ", "Ein Satz. ", "鳥。", "ก",
    "é", "« ", "“", "1", "²", "x = y", "\u2028", "\u0300",
]  # fmt: skip


def read(text: str) -> list[PagePassages]:
    page = Page(1, 0, "T", None, 1, "", "wikitext", text)
    is_disambiguation(page, Site()), is_list(page, Site())
    return [read_page(page, Site(language="en"), layout) for layout in ("structured", "psgs")]


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=60).map("".join))
@settings(max_examples=400, deadline=None)
def test_any_text_is_read(text: str) -> None:
    for result in read(text):
        texts = [passage.text for passage in result.passages]
        assert all(text.strip() for text in texts)
        assert len({passage.id for passage in result.passages}) == len(texts)
        # Marks of the inside do not come out, and what comes out can be stored.
        assert not any("\ue000" <= character <= "\ue02f" for text in texts for character in text)
        "".join(texts).encode()


@pytest.mark.parametrize("piece", sorted({piece for piece in PIECES if piece.strip()}))
def test_thousands_of_a_piece_take_linear_time(piece: str) -> None:
    """Twenty times the text may take eighty times the time, not four hundred."""

    def seconds(count: int) -> float:
        start = time.thread_time()
        for text in (piece * count, "{{lang|de|" + piece * count + "}}", f"{piece}a\n" * count):
            read(text)
        return time.thread_time() - start

    check_linear(seconds, len(piece))


@pytest.mark.parametrize("space", [" ", "\n", "\t", "\u2028", "a ", " a"])
@pytest.mark.parametrize(
    "piece", ["{{", "[[", "[[Category:", "{|", "<ref", "==", "[http://a", "{{a|"]
)
def test_spaces_after_a_piece_take_linear_time(piece: str, space: str) -> None:
    def seconds(count: int) -> float:
        start = time.thread_time()
        for text in (piece + space * count, f"{piece + space * count}<"):
            read(text)
        return time.thread_time() - start

    check_linear(seconds, len(space))


@pytest.mark.parametrize(
    ("before", "filling", "after"),
    [
        ("{{Infobox a\n|b=1", " ", "a\n}}"),  # a size, `1 x 1 px`
        ("{|\n| rowspan=", " ", "|a\n|}"),
        ("[//", "a", ""),
        ("[mailto:", "a", ""),
        ("{|\n", "|-\n!{0}!!b\n", "|}"),  # rows of headings, which are joined
    ],
)
def test_repetitions_next_to_each_other_take_linear_time(
    before: str, filling: str, after: str
) -> None:
    def seconds(count: int) -> float:
        text = before + "".join(filling.format(number) for number in range(count)) + after
        start = time.thread_time()
        read(text)
        return time.thread_time() - start

    check_linear(seconds, len(filling))


@pytest.mark.parametrize("blank", [" ", "\n", "\t"])
def test_the_target_of_a_redirect_takes_linear_time(blank: str) -> None:
    def seconds(count: int) -> float:
        start = time.thread_time()
        assert redirect_target("#REDIRECT" + blank * count + "Egret") is None
        return time.thread_time() - start

    check_linear(seconds, 1)


def characters(text: str) -> int:
    """Count the characters of a page's passages, titles of sections included."""
    structured, _ = read(text)
    return sum(len(p.text) + len(str(p.metadata["section"])) for p in structured.passages)


ROWS = "".join(f"|-\n|{number}||b\n" for number in range(2000))


@pytest.mark.parametrize(
    "text",
    [
        "{|\n! A !! B\n|-\n|colspan=100 rowspan=100|" + "word " * 4000 + "\n" + ROWS + "|}",
        "{|\n" + "".join(f"|-\n|colspan=99 rowspan=99|{n}\n|-\n|b\n" for n in range(999)) + "|}",
        "{|\n! A !! " + "name " * 4000 + "\n" + ROWS + "|}",
        "{|\n! A !! colspan=100 | " + "name " * 400 + "\n" + ROWS + "|}",
        "{|\n" + "".join(f"|-\n! {n} !! b\n" for n in range(3000)) + ROWS + "|}",
        "{|\n|+ " + "caption " * 4000 + "\n" + ROWS.replace("b", "word " * 30) + "|}",
        "== " + "heading " * 4000 + "==\n" + "\n=== A ===\nSome words.\n" * 2000,
        "{{Infobox x\n|leader_name=word\n" * 35 + "|leader_title=b\n|leader_type=c\n}}" * 35,
    ],
    ids=["span", "spans", "name", "spanning name", "headings", "caption", "heading", "boxes"],
)
def test_what_is_repeated_is_bounded_by_the_pages_length(text: str) -> None:
    start = time.thread_time()
    assert characters(text) < 20 * len(text)
    assert time.thread_time() - start < 20


def test_a_table_that_repeats_too_much_shows_each_cell_once_and_is_a_fault() -> None:
    cells = "".join(f"|-\n|row{number}\n" for number in range(90))
    long = "word " * 3000
    structured, _ = read(f"{{|\n! A !! B\n|-\n|colspan=100 rowspan=100|{long}\n{cells}|}}\nAfter.")
    text = " ".join(passage.text for passage in structured.passages)
    assert structured.fault.startswith("up to the table at character 0, cells that span rows")
    assert 3000 <= text.split().count("word") <= 9 * 3000
    assert all(f"row{number}" in text for number in range(90))
    assert text.endswith("After.")


def test_the_heading_of_rows_below_the_limit_is_shown() -> None:
    """The limit is met between the heading's row and its column in the row below."""
    long = "word " * 3000
    structured, _ = read(
        f"{{|\n|colspan=4 rowspan=9|{long}||first\n|-\n|rowspan=5|Heading\n|-\n|below\n|}}"
    )
    text = " ".join(passage.text for passage in structured.passages)
    assert structured.fault
    assert text.index("first") < text.index("Heading") < text.index("below")


def test_a_table_that_repeats_a_little_has_no_fault() -> None:
    cells = "".join(f"|-\n|row{number}\n" for number in range(90))
    structured, _ = read(f"{{|\n! A !! B\n|-\n|rowspan=91|egret||first\n{cells}|}}")
    text = " ".join(passage.text for passage in structured.passages)
    assert structured.fault == ""
    assert text.count("A: egret; B: row") == 90


def check_linear(seconds: Callable[[int], float], length: int) -> None:
    seconds(10)
    small = max(min(seconds(1000 // length) for _ in range(3)), 0.001)
    # The better of two: another program may have the caches meanwhile.
    assert min(seconds(20_000 // length) for _ in range(2)) < 80 * small


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("Text {{lang|de|Vogel", "{{ at character 5 is never closed"),
        ("Text [[Vogel", "[[ at character 5 is never closed"),
        ("{|\n| Text", "{| at character 0 is never closed"),
        ("Text <!-- hidden", "<!-- at character 5 is never closed"),
        ("Text <ref>Smith", "<ref> at character 5 is never closed"),
        ("Text " + "{{" * 90 + "}}" * 90, "more than 40 brackets around character 85"),
    ],
)
def test_a_fault_is_told_and_the_text_stays(text: str, fault: str) -> None:
    structured, _ = read(text)
    assert structured.fault == fault
    assert "Text" in structured.passages[0].text


def test_sound_markup_has_no_fault() -> None:
    text = "{{a|[[b|{{c}}]]}} [[File:x|{{d}}]]\n{|\n|-\n| {{e}}\n|}\n<ref>f</ref><!-- g -->Text"
    assert [result.fault for result in read(text)] == ["", ""]


SOUND = st.recursive(
    st.sampled_from(["a b", "c", "", "\nd\n", "* e", "[http://x y]", "''f''"]),
    lambda inner: st.builds(
        str.format,
        st.sampled_from(
            [
                "{{{{lang|de|{0}}}}}",
                "{{{{mystery|{0}|}}}}",
                "{{{{mystery|{0}\n|}}}}",
                "{{{{mystery|x={0}|y={1}}}}}",
                "{{{{mystery\n|{0}\n}}}}",
                "[[a|{0}]]",
                "[[File:a.jpg|thumb|{0}]]",
                "\n{{|\n! {0}\n|-\n| {1}\n|}}\n",
                "{0}{1}",
            ]
        ),
        inner,
        inner,
    ),
    max_leaves=12,
)


@given(SOUND)
@settings(max_examples=300, deadline=None)
def test_nested_sound_markup_has_no_fault_and_swallows_nothing(text: str) -> None:
    structured, psgs = read(f"Before.\n\n{text}\n\nAfter it.")
    assert (structured.fault, psgs.fault) == ("", "")
    assert psgs.passages[-1].text.endswith("After it.")


def test_text_after_an_infobox_that_is_never_closed_stays() -> None:
    text = (
        "{{Infobox bird\n| wings = 2\n| food = {{plainlist|\n\nAn egret is a white bird.\n\nMore."
    )
    structured, _ = read(text)
    assert "An egret is a white bird." in structured.passages[0].text
    assert structured.fault


def test_closings_without_openings_do_not_swallow_text() -> None:
    structured, psgs = read("Before }} an ]] egret |} after.\n|}\nMore.")
    for result in (structured, psgs):
        text = " ".join(passage.text for passage in result.passages)
        for word in ("Before", "egret", "after", "More"):
            assert word in text


def test_depth_is_bounded_and_what_follows_stays() -> None:
    text = "{{lang|de|" * 5000 + "deep" + "}}" * 5000 + "\n\nAfter it."
    structured, _ = read(text)
    assert "After it." in structured.passages[-1].text
    assert structured.fault

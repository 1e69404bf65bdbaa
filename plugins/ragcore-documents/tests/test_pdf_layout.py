"""Lines of PDFs become paragraphs, lists and columns by where they stand."""

from __future__ import annotations

from ragcore_documents.readers.limits import Limits
from ragcore_documents.readers.pdf import read_pdf

from tests.helpers.pdf_writer import LAKE, LAKE_TEXT, RIVER, RIVER_TEXT, blocks, lines, pdf


def test_lines_become_paragraphs_where_they_are_apart() -> None:
    page = lines(*LAKE, "", *RIVER)
    assert blocks(pdf([page])) == [(1, "paragraph", LAKE_TEXT), (1, "paragraph", RIVER_TEXT)]


def test_lines_become_paragraphs_where_they_are_indented() -> None:
    page = [*lines(*LAKE), *lines(RIVER[0], left=87, top=664), *lines(RIVER[1], top=652)]
    assert blocks(pdf([page])) == [(1, "paragraph", LAKE_TEXT), (1, "paragraph", RIVER_TEXT)]


FULL = "Lake Chad lies in the far west of Chad and borders on the north-east of"


def test_a_full_last_line_ends_a_paragraph_too() -> None:
    first = FULL.removesuffix(" of")
    last = f"{first} it."
    apart = lines(FULL, last, "", FULL, last, "", FULL, last)
    assert blocks(pdf([apart])) == [(1, "paragraph", f"{FULL} {last}")] * 3
    indented = []
    hanging = []
    for n in range(3):
        top = 700 - 36 * n
        indented += [*lines(first, left=87, top=top), *lines(FULL, top=top - 12)]
        indented += lines(last, top=top - 24)
        hanging += [*lines(FULL, top=top), *lines(first, first, left=87, top=top - 12)]
    text = " ".join([first, FULL, last])
    assert blocks(pdf([indented])) == [(1, "paragraph", text)] * 3
    text = " ".join([FULL, first, first])
    assert blocks(pdf([hanging])) == [(1, "paragraph", text)] * 3


def test_contents_have_an_entry_a_line() -> None:
    page = lines("1 Lakes" + " ." * 60 + " 3", "2 Rivers" + " ." * 60 + " 17")
    assert blocks(pdf([page])) == [(1, "paragraph", "1 Lakes … 3\n2 Rivers … 17")]


def test_lines_that_their_author_ended_stay_lines() -> None:
    page = lines(*LAKE, "", "A. Author", "Lake Street 5", "N'Djamena")
    assert blocks(pdf([page]))[1:] == [(1, "paragraph", "A. Author\nLake Street 5\nN'Djamena")]


def test_double_spaced_lines_are_one_paragraph() -> None:
    page = [*lines(*LAKE, leading=24), *lines(*RIVER, top=604, leading=24)]
    assert blocks(pdf([page])) == [(1, "paragraph", LAKE_TEXT), (1, "paragraph", RIVER_TEXT)]


def test_columns_are_read_one_after_the_other() -> None:
    left = ["Lake Chad lies in the far west of", "Chad and borders on Nigeria and"]
    right = ["on two other countries, which are", "Niger and Cameroon."]
    page = [*lines(*left), *lines(*right, left=320)]
    assert blocks(pdf([page])) == [(1, "paragraph", " ".join([*left, *right]))]


def test_pages_are_numbered_and_keep_their_paragraphs() -> None:
    document = read_pdf(pdf([lines(*LAKE), [], lines(*RIVER)]), Limits())
    assert [(block.page, block.kind) for block in document.blocks] == [
        (1, "paragraph"),
        (3, "paragraph"),
    ]
    assert document.text == f"{LAKE_TEXT}\n\n{RIVER_TEXT}"


def test_hyphens_at_the_ends_of_lines() -> None:
    page = lines(
        "The water of the lake evaporates and what remains is salt, which flows under-",
        "ground into the sandy and low-lying depression that is further to the north-",
        "east. This is why it is fresh. North-east of it there is natron in low-lying pl-",
        "aces and in the Bod\xe9l\xe9.",
    )
    (block,) = blocks(pdf([page]))
    assert block[2] == (
        "The water of the lake evaporates and what remains is salt, which flows underground into "
        "the sandy and low-lying depression that is further to the north-east. This is why it is "
        "fresh. North-east of it there is natron in low-lying places and in the Bodélé."
    )


def test_bullets_are_lists() -> None:
    page = lines(
        "The lake has four countries on its shores, which share its water and fish:",
        "\u2022 Chad",
        "\u2022 Nigeria, which has by far the most people of all of the countries that",
        "share it",
        "\u2022 Niger",
    )
    assert blocks(pdf([page])) == [
        (1, "paragraph", page[0][3]),
        (
            1,
            "list",
            "- Chad\n- Nigeria, which has by far the most people of all of the countries that "
            "share it\n- Niger",
        ),
    ]


def test_a_larger_font_is_another_block() -> None:
    page = [*lines("The lake", top=712, size=14), *lines(*LAKE)]
    assert blocks(pdf([page])) == [(1, "paragraph", "The lake"), (1, "paragraph", LAKE_TEXT)]

"""Test SQuAD's normalisation on cases of the official script, and which answers are right."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragcore.questions.matching import exact_match, holds_answer, normalize, same_answer


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("The Eiffel  Tower.", "eiffel tower"),
        ("an apple a day", "apple day"),
        ("N'Djamena", "ndjamena"),
        ("U.S.A.", "usa"),
        ("Evelyn Wever-Croes", "evelyn wevercroes"),
        ("theatre than ana", "theatre than ana"),
        ("Idriss Déby\n Itno", "idriss déby itno"),
        ("a.", ""),
        ("«Chad»", "«chad»"),
        # Punctuation is dropped before articles, so that dropping it can make one.
        ("t.h.e end", "end"),
    ],
)
def test_normalisation(text, normalised):
    assert normalize(text) == normalised


@given(st.text())
def test_case_articles_punctuation_and_spaces_do_not_matter(text):
    assert same_answer(text, f" the {text.lower()}!\t a")


@given(st.text("ab the.,'-é"))
def test_words_are_single_spaced_and_hold_no_article(text):
    words = normalize(text).split(" ")
    assert words == [""] or not {"", "a", "an", "the"} & set(words)


def test_any_of_the_right_answers_matches_and_nothing_is_right_without_one():
    assert exact_match("the capital", ["x", "Capital."])
    assert not exact_match("capital city", ["capital", "city"])
    assert not exact_match("capital", [])


@pytest.mark.parametrize(
    ("right", "holds"),
    [
        (["idriss DEBY"], True),
        (["no", "Chad"], True),
        (["Deby, Idriss"], False),
        (["had"], False),
        (["President"], True),
        (["the"], False),
        ([], False),
    ],
)
def test_a_passage_holds_whole_words_in_order(right, holds):
    assert holds_answer("President of Chad: Idriss Deby (since 1990)", right) == holds

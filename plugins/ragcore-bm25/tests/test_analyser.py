from __future__ import annotations

import doctest

import pytest
from ragcore_bm25 import analyser
from ragcore_bm25.analyser import Analyser


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Déby", "deby"),
        ("Cabo Verde's", "CABO VERDE"),
        ("São Tomé e Príncipe", "sao tome e principe"),
        ("Łódź", "lodz"),
        ("U.S.", "US"),
        ("Washington, D.C.", "washington dc"),
        ("ﬁsheries", "fisheries"),
        ("presidents", "president"),
        ("Straße", "strasse"),
    ],
)
def test_spellings_of_a_word_become_one_term(one: str, other: str) -> None:
    assert Analyser().terms(one) == Analyser().terms(other)


def test_a_number_with_separators_is_one_term() -> None:
    assert Analyser().terms("1,234,567 people in 2026.") == ["1,234,567", "peopl", "2026"]


def test_marks_of_scripts_that_need_them_stay() -> None:
    assert Analyser().terms("한국") == ["한국"]
    # A vowel sign ends a word for the word expression, but no letter is lost or changed.
    assert "".join(Analyser().terms("दिल्ली")) == "दलल"


def test_stop_words_and_stemming_can_be_switched_off() -> None:
    assert Analyser(stemmer=None, stopwords=None).terms("Who are the presidents?") == [
        "who",
        "are",
        "the",
        "presidents",
    ]


def test_the_fingerprint_tells_analysers_apart() -> None:
    prints = {
        Analyser().fingerprint,
        Analyser(stemmer=None).fingerprint,
        Analyser(stopwords=None).fingerprint,
    }
    assert len(prints) == 3
    assert Analyser().fingerprint == Analyser().fingerprint


def test_the_examples_in_its_docstrings_hold() -> None:
    assert doctest.testmod(analyser) == doctest.TestResults(failed=0, attempted=2)

from __future__ import annotations

import doctest
import sys
import unicodedata
from typing import Literal

import pytest
import Stemmer
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from ragcore_bm25 import analyser
from ragcore_bm25.analyser import Analyser
from ragcore_bm25.config import STEMMERS, STOPWORDS, Bm25Config

from ragcore.errors import ComponentError, ConfigError


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


@pytest.mark.parametrize("word", ["한국", "दिल्ली", "தமிழ்", "שָׁלוֹם", "가", "が"])
def test_marks_that_are_no_accents_stay_in_their_word(word: str) -> None:
    decomposed = unicodedata.normalize("NFD", word)
    assert Analyser().terms(f"_{decomposed}_") == Analyser().terms(word) == [word]


def test_the_words_of_the_first_release_are_cut_at_marks() -> None:
    first = Analyser(version=1)
    assert first.terms("दिल्ली, Déby") == ["द", "ल", "ल", "debi"]
    assert first.fingerprint != Analyser().fingerprint


@settings(derandomize=True)
@given(st.text())
def test_the_terms_of_a_text_are_those_of_its_compatibility_form(text: str) -> None:
    terms = Analyser().terms(text)
    assert Analyser().terms(unicodedata.normalize("NFKC", text)) == terms
    assert all(term and not term.isspace() for term in terms)


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


@pytest.mark.parametrize(
    ("passage", "question"),
    [
        ("東京は日本の首都です", "日本の首都"),
        ("北京是中国的首都。", "中国的首都"),
        ("กรุงเทพเป็นเมืองหลวง", "เมืองหลวง"),
    ],
)
def test_scripts_without_spaces_share_terms(passage: str, question: str) -> None:
    assert set(Analyser().terms(question)) <= set(Analyser().terms(passage))
    assert not set(Analyser(version=2).terms(question)) & set(Analyser(version=2).terms(passage))


@pytest.mark.parametrize("invisible", ["\u00ad", "\u200c", "\u200d", "\u2060"])
def test_invisible_characters_do_not_split_words(invisible: str) -> None:
    assert Analyser().terms(f"pre{invisible}sidents") == Analyser().terms("presidents")


def test_stemmers_and_stop_words_of_other_languages() -> None:
    pytest.importorskip("stop_words")
    german = Analyser("german", "german")
    assert german.terms("die Häuser und das Haus") == german.terms("Häuser Haus")
    assert german.fingerprint != Analyser().fingerprint
    with pytest.raises(ConfigError, match="no stemmer 'klingon'"):
        Analyser("klingon")
    with pytest.raises(ConfigError, match="no list 'klingon'"):
        Analyser(stopwords="klingon")


def test_the_config_knows_what_the_libraries_have() -> None:
    assert set(STEMMERS) <= set(Stemmer.algorithms())
    stop_words = pytest.importorskip("stop_words")
    assert set(STOPWORDS) <= set(stop_words.LANGUAGE_MAPPING.values())


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("stemmer", "there is no stemmer 'germn': did you mean 'german'"),
        ("stopwords", "there is no list of stop words 'germn': did you mean 'german'"),
    ],
)
def test_a_language_that_does_not_exist_is_refused_when_the_config_is_read(
    key: str, message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        Bm25Config.model_validate({key: "germn"})
    assert Bm25Config.model_validate({key: None, "k1": 1}).k1 == 1


def test_a_list_whose_package_is_missing_is_refused_when_the_config_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "stop_words", None)
    with pytest.raises(
        ValidationError, match=r"'german' needs .* stop-words.*\./plugins/ragcore-bm25\[languages\]"
    ):
        Bm25Config.model_validate({"stopwords": "german"})
    assert Bm25Config.model_validate({"stopwords": "english"}).stopwords == "english"
    # Of a version's record: opening it says what to install, not that its settings do not fit.
    recorded = Bm25Config.model_validate({"stopwords": "german"}, context={"recorded": True})
    with pytest.raises(ComponentError, match="needs the package stop-words"):
        Analyser(recorded.stemmer, recorded.stopwords)


@pytest.mark.parametrize(
    ("language", "words"),
    [
        # Words whose endings have accents, which a stemmer knows only with them.
        ("french", ["libérée", "libérées", "libéré"]),
        ("spanish", ["nación", "naciones"]),
        ("russian", ["красивый", "красивая", "красивые"]),
        ("portuguese", ["informação", "informações"]),
        ("german", ["Häuser", "Haus"]),
        ("swedish", ["pojkarna", "pojkar"]),
    ],
)
def test_words_share_their_stem_though_accents_are_removed(language: str, words: list[str]) -> None:
    analyser = Analyser(language, None)
    forms = [*words, *(unicodedata.normalize("NFD", word) for word in words)]
    terms = {term for word in forms for term in analyser.terms(word.upper())}
    assert len(terms) == 1
    assert unicodedata.normalize("NFD", *terms) == min(terms)


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("portuguese", "educação informação população organização eleição avós ninguém será"),
        ("french", "université égalité première dernière siècle élève été théâtre né"),
        ("spanish", "también presidió nació murió vivió educación región árbol años"),
        ("italian", "qualità città università perché più morì"),
        ("romanian", "populație învățământ țară oraș orașului"),
        ("catalan", "població també música països història"),
        ("turkish", "çocukları şehirlerin büyüktür güneşli ılık"),
        ("polish", "największy państwo ludność miastą krajów"),
        ("czech", "největší město země obyvatelství krásných"),
        ("hungarian", "országában városok népessége legnagyobb főváros"),
        ("lithuanian", "šalių didžiausias gyventojų miestą"),
        ("russian", "чёрный артистёр полёты"),
        ("german", "größe Häuser Länder Gründung"),
        ("swedish", "världen största länderna ö"),
        ("english", "Déby cafés naïvely façades"),
    ],
)
def test_a_word_has_one_term_with_accents_and_without(language: str, words: str) -> None:
    analyser = Analyser(language, None)
    for word in words.split():
        plain = "".join(
            letter
            for letter in unicodedata.normalize("NFD", word.replace("ı", "i").replace("ł", "l"))
            if not unicodedata.combining(letter)
        )
        assert analyser.terms(word) == analyser.terms(plain), word


def test_every_stemmer_takes_words_with_all_its_accents() -> None:
    for language in STEMMERS:
        analyser = Analyser(language, None)
        for word in ("informação", "élèves", "города", "πόλεις", "دولة", "राज्य", "東京", "ß", "ı"):
            assert all(analyser.terms(word)), (language, word)


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("stemmer", ["english", "french", "russian", None])
def test_the_terms_of_many_words_are_those_of_each(
    stemmer: str | None, version: Literal[1, 2, 3]
) -> None:
    analyser = Analyser(stemmer, version=version)
    ascii_words = {"presidents", "being", "has", "hers", "universite", "eleves"}
    for words in (ascii_words, ascii_words | {"élevés", "città", "город", "東京", "ə"}):
        expected = {analyser.term(word) for word in words} - {None}
        assert analyser.terms_of(words) == expected

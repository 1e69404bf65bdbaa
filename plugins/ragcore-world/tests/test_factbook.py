from __future__ import annotations

import itertools
import re
import socket
from collections.abc import Iterator

import pytest
from ragcore_world.factbook import country_codes, factbook_passages, plain_text, split_words

from ragcore.types import Passage

COUNTRIES = ["an", "bm", "cd", "ct", "et", "iv", "mk", "us", "wz", "xx"]


@pytest.fixture(scope="module")
def passages() -> list[Passage]:
    return list(factbook_passages(codes=COUNTRIES))


def find(passages: list[Passage], title: str) -> list[str]:
    return [passage.text for passage in passages if passage.title == title]


def test_all_countries_are_there_under_names_of_their_own() -> None:
    names = country_codes()
    assert len(names) == 256
    assert len(set(names.values())) == 256
    assert names["ct"] == "Central African Republic"
    assert not [name for name in names.values() if name in {"", "none"} or "&" in name]


def test_the_count_is_that_of_the_edition() -> None:
    assert 33_500 < sum(1 for _ in factbook_passages()) < 34_500


def test_ids_are_unique_and_the_same_each_time(passages: list[Passage]) -> None:
    assert len({passage.id for passage in passages}) == len(passages)
    assert list(factbook_passages(codes=COUNTRIES)) == passages


def test_no_passage_is_longer_than_asked_for(passages: list[Passage]) -> None:
    assert max(len(passage.text.split()) for passage in passages) <= 100
    assert max(len(p.text.split()) for p in factbook_passages(30, codes=["us"])) <= 30


def test_no_passage_is_empty_or_holds_html_or_double_spaces(passages: list[Passage]) -> None:
    stain = re.compile(r"</?[A-Za-z]|&[a-z#0-9]+;|\s\s|^\s|\s$|\xa0")
    assert not [
        passage.id
        for passage in passages
        if not passage.text or stain.search(passage.text) or stain.search(passage.title)
    ]


def test_no_country_and_field_say_the_same_twice(passages: list[Passage]) -> None:
    assert len({(passage.title, passage.text) for passage in passages}) == len(passages)


def test_subfields_are_named_and_entities_resolved(passages: list[Passage]) -> None:
    (capital,) = find(passages, "Chad, Capital")
    assert capital.startswith("name: N'Djamena; geographic coordinates: 12 06 N, 15 02 E; ")
    assert find(passages, "Chad, Flag")[0].startswith("description: three equal vertical bands")
    assert find(passages, "Côte d'Ivoire, Capital")


def test_what_many_ask_for_has_a_passage_of_its_own(passages: list[Passage]) -> None:
    holders, rules = find(passages, "Chad, Executive branch")
    assert holders == (
        "chief of state: President Mahamat Idriss DÉBY (since 6 May 2024); "
        "head of government: Prime Minister Allamaye HALINA (since 23 May 2024)"
    )
    assert rules.startswith("cabinet: Council of Ministers; election/appointment process: ")
    currency, rates = find(passages, "Ethiopia, Exchange rates")
    assert currency == "Currency: birr (ETB) per US dollar"
    assert rates.startswith("Exchange rates 20")


def test_labels_that_the_source_says_twice_are_said_once(passages: list[Passage]) -> None:
    (land,) = find(passages, "Chad, Land use")
    assert "agricultural land: arable land: 4.2% (2023 est.)" in land
    assert find(passages, "Chad, Languages")[0].startswith("French (official), Arabic (official)")


def test_metadata_say_where_a_passage_comes_from(passages: list[Passage]) -> None:
    capital = next(passage for passage in passages if passage.title == "Chad, Capital")
    assert capital.id == "cd:government/capital:0"
    assert capital.metadata == {
        "country": "Chad",
        "code": "cd",
        "category": "Government",
        "field": "Capital",
        "aliases": ["Chadian"],
        "keywords": ["capital city", "seat of government", "time zone", "UTC"],
    }


def test_a_field_may_have_an_opening_in_every_passage() -> None:
    opening = {"Executive branch": "As of May 2024: "}
    cut = list(factbook_passages(30, ["bm"], opening))
    of_field = [each for each in cut if each.metadata["field"] == "Executive branch"]
    assert len(of_field) > 3
    assert all(each.text.startswith("As of May 2024: ") for each in of_field)
    assert not [each for each in cut if each not in of_field and "As of May" in each.text]
    assert max(len(each.text.split()) for each in cut) <= 30


def test_a_long_subfield_keeps_its_name_in_every_piece(passages: list[Passage]) -> None:
    pieces = find(passages, "Burma, Executive branch")
    assert sum("election results:" in piece for piece in pieces) > 1


def test_passages_stream_and_need_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Iterator[None]:
        raise OSError("a test reached for the network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert len(list(itertools.islice(factbook_passages(), 3))) == 3


def test_too_few_words_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 20"):
        next(factbook_passages(19))


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("a<br>b", "a; b"),
        ("a.<br><br>b", "a. b"),
        ("<p>A b.</p><p>C d.</p>", "A b. C d."),
        ("<em><br>2024: </em>X<br><em><br></em>", "2024: X"),
        ("<strong>note:</strong> x &amp; y", "note: x & y"),
        ("less than &lt;1%", "less than <1%"),
        ("N&rsquo;Djamena&nbsp; , x", "N’Djamena, x"),
        ("", ""),
    ],
)
def test_html_becomes_plain_text(html: str, text: str) -> None:
    assert plain_text(html) == text


def test_a_split_loses_no_word_and_prefers_the_ends_of_sentences() -> None:
    text = " ".join(f"Word{n} is number {n} here." for n in range(60))
    pieces = split_words(text, 100)
    assert " ".join(pieces).split() == text.split()
    assert all(len(piece.split()) <= 100 and piece.endswith("here.") for piece in pieces)


def test_a_text_without_punctuation_is_cut_in_even_pieces() -> None:
    assert [len(piece.split()) for piece in split_words("word " * 201, 100)] == [67, 67, 67]

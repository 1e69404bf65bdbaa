from __future__ import annotations

from ragcore_world.editions import edition_passages
from ragcore_world.factbook import factbook_passages
from ragcore_world.keywords import KEYWORDS, keywords_of


def test_every_field_with_keywords_exists() -> None:
    fields = {passage.metadata["field"] for passage in factbook_passages(codes=["us", "cd", "xx"])}
    assert set(KEYWORDS) <= fields


def test_passages_have_the_keywords_of_their_field() -> None:
    passages = list(factbook_passages(codes=["cd"]))
    by_field = {each.metadata["field"]: each.metadata["keywords"] for each in passages}
    assert by_field["Coastline"] == ["coast", "seaside", "shore", "beaches"]
    assert by_field["Background"] == []


def test_of_the_executive_branch_the_passages_on_who_governs_have_keywords() -> None:
    for edition in ("2026-01", "2018-12"):
        passages = [
            each
            for each in edition_passages(edition, codes=["fr", "us"])
            if each.metadata["field"] == "Executive branch"
        ]
        asked = [each for each in passages if each.metadata["keywords"]]
        assert {each.metadata["code"] for each in asked} == {"fr", "us"}
        assert all("chief of state" in each.text for each in asked)
        assert "head of state" in asked[0].metadata["keywords"]
        assert all("election results" not in each.text for each in asked)


def test_words_are_divided_by_semicolons() -> None:
    assert keywords_of("Climate") == ["weather", "hot", "cold", "rain", "temperature"]
    for field in KEYWORDS:
        assert all(word == word.strip() and word for word in keywords_of(field)), field

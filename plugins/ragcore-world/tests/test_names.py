from __future__ import annotations

import pytest
from ragcore_world.factbook import country_codes, factbook_passages
from ragcore_world.names import other_names


@pytest.fixture(scope="module")
def aliases() -> dict[str, list[str]]:
    """Return the other names of every country, from one passage of each."""
    return {
        passage.metadata["code"]: passage.metadata["aliases"] for passage in factbook_passages()
    }


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("us", ["American", "US", "USA", "United States of America"]),
        ("uk", ["Britain", "England", "British", "Briton", "UK", "Northern Ireland"]),
        ("bm", ["Burmese", "Union of Myanmar"]),
        ("fr", ["French", "Frenchman", "Frenchwoman"]),
        ("wz", ["Swazi", "Swati", "liSwati", "emaSwati", "Swaziland"]),
        ("tt", ["Timorese", "East Timor"]),
        ("tw", ["Taiwanese", "Formosa"]),
        ("ay", []),
    ],
)
def test_a_country_has_the_names_that_people_use(
    aliases: dict[str, list[str]], code: str, names: list[str]
) -> None:
    assert aliases[code] == names


def test_names_are_plain_and_add_to_the_country_s_own(aliases: dict[str, list[str]]) -> None:
    assert set(aliases) == set(country_codes())
    for code, country in country_codes().items():
        others = aliases[code]
        assert len(set(others)) == len(others)
        for name in others:
            assert name != country
            assert not set(name) & set("()[];,/&<>"), name
            assert 0 < len(name.split()) <= 5


def test_no_country_is_called_by_its_former_owner(aliases: dict[str, list[str]]) -> None:
    """So that a question on the French is not about Guinea."""
    for word, owner in (("French", "fr"), ("Dutch", "nl"), ("Chinese", "ch"), ("British", "uk")):
        assert [code for code, names in aliases.items() if word in " ".join(names)] == [owner]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Motswana (singular), Batswana (plural)", ["Motswana", "Batswana"]),
        ("Wonder (or Wunder)", ["Wonder", "Wunder"]),
        ("Elbian; note - former term, Elbish, still used", ["Elbian"]),
        ("Elbian/Weserian", ["Elbian", "Weserian"]),
        ("none", []),
        ("NA", []),
        ("People's Republic of Elbe", []),
        ("French Elbe", []),
        ("", []),
    ],
)
def test_a_field_s_value_is_split_into_names(text: str, names: list[str]) -> None:
    assert other_names("zz", "Elbe", [text]) == names

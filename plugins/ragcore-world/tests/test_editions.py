from __future__ import annotations

import re

import pytest
from ragcore_world.editions import Holder, edition_passages, executive_branch, leaders
from ragcore_world.factbook import country_codes

from ragcore.types import Passage

COUNTRIES = ["am", "an", "au", "cd", "et", "mk", "us", "wz", "xx"]
OLDER = ["2016-11", "2018-12"]


def of(edition: str) -> dict[str, Passage]:
    return {passage.id: passage for passage in edition_passages(edition, codes=COUNTRIES)}


def executive(edition: str, code: str) -> str:
    return of(edition)[f"{code}:government/executive-branch:0"].text


@pytest.mark.parametrize("edition", OLDER)
def test_only_the_executive_branch_differs_from_2026(edition: str) -> None:
    now, then = of("2026-01"), of(edition)
    changed = {key for key in now | then if now.get(key) != then.get(key)}
    assert changed
    assert all(":government/executive-branch:" in key for key in changed)
    assert then["cd:government/executive-branch:0"].title == "Chad, Executive branch"


def test_each_edition_names_the_holders_of_its_time() -> None:
    assert "Barack H. Obama" in executive("2016-11", "us")
    assert "Donald J. Trump (since 20 January 2017)" in executive("2018-12", "us")
    assert "Prime Minister Hailemariam Desalegn" in executive("2016-11", "et")
    assert "Prime Minister Abiy Ahmed" in executive("2018-12", "et")
    assert "President Serzh Sargsian" in executive("2016-11", "am")
    assert "Prime Minister Nikol Pashinyan" in executive("2018-12", "am")


@pytest.mark.parametrize("edition", OLDER)
@pytest.mark.parametrize(
    ("code", "surname"),
    [
        ("am", "khachaturyan"),
        ("an", "espot"),
        ("au", "stocker"),
        ("cd", "halina"),
        ("et", "taye"),
        ("mk", "mickoski"),
    ],
)
def test_a_holder_who_came_later_is_not_in_an_older_passage(
    edition: str, code: str, surname: str
) -> None:
    assert surname in executive("2026-01", code).casefold()
    assert surname not in executive(edition, code).casefold()


@pytest.mark.parametrize("edition", OLDER)
def test_nobody_took_office_after_the_edition(edition: str) -> None:
    years = {row.code: row.since[-4:] for rows in leaders(edition).values() for row in rows}
    # The Factbook of December 2018 already names Switzerland's president of the coming year.
    assert {code for code, year in years.items() if year > edition[:4]} <= {"sz"}


@pytest.mark.parametrize(
    ("edition", "month"),
    [("2016-11", "November 2016"), ("2018-12", "December 2018"), ("2026-01", "January 2026")],
)
def test_passages_on_the_executive_branch_begin_with_their_month(edition: str, month: str) -> None:
    passages = of(edition).values()
    dated = [passage for passage in passages if passage.text.startswith(f"As of {month}: ")]
    assert dated == [each for each in passages if each.metadata["field"] == "Executive branch"]
    assert dated


@pytest.mark.parametrize("edition", OLDER)
def test_a_country_without_a_row_has_no_executive_branch(edition: str) -> None:
    assert any(key.startswith("xx:government/executive") for key in of("2026-01"))
    assert not any(key.startswith("xx:government/executive") for key in of(edition))


def test_a_country_that_has_been_renamed_is_found_under_both_names() -> None:
    assert executive("2016-11", "wz").startswith(
        "As of November 2016: The chief of state of Eswatini (Swaziland) is King Mswati III "
        "(since 25 April 1986). "
    )
    assert "North Macedonia (Macedonia) is Acting Prime Minister" in executive("2016-11", "mk")


def test_several_chiefs_of_state_are_all_named_with_their_representatives() -> None:
    assert executive("2018-12", "an").startswith(
        "As of December 2018: The chiefs of state of Andorra are Co-prince Emmanuel Macron "
        "(since 14 May 2017), who is represented by Patrick Strozda (since 14 May 2017), and "
        "Co-prince Joan-Enric Vives i Sicilia (since 12 May 2003), who is represented by Josep "
        "Maria Mauri (since 20 July 2012)."
    )
    assert executive("2016-11", "au").count("Acting President") == 3


def holder(role: str, office: str, name: str, **more: object) -> Holder:
    values = {"code": "cd", "country": "Chad", "since": "", "acting": False} | more
    return Holder(role=role, office=office, holder=name, **values)  # type: ignore[arg-type]


def test_one_person_in_both_offices_gets_one_sentence() -> None:
    both = [holder(role, "President", "A B") for role in ("chief of state", "head of government")]
    assert executive_branch("Chad", both) == (
        "The chief of state and head of government of Chad is President A B."
    )


def test_a_holder_without_office_or_date_is_named_alone() -> None:
    assert executive_branch("Chad", [holder("head of government", "", "A B")]) == (
        "The head of government of Chad is A B."
    )


def test_acting_holders_are_called_acting() -> None:
    acting = holder("head of government", "Prime Minister", "A B", acting=True, since="May 2018")
    assert executive_branch("Chad", [acting]) == (
        "The head of government of Chad is Acting Prime Minister A B (since May 2018)."
    )


def test_no_rows_make_no_sentence() -> None:
    assert executive_branch("Chad", []) == ""


@pytest.mark.parametrize("edition", OLDER)
def test_the_tables_are_sound(edition: str) -> None:
    table, names = leaders(edition), country_codes()
    assert len(table) > 230
    renamed = {code for code, rows in table.items() if rows[0].country != names[code]}
    assert renamed == {"mk", "wz"}
    for code, rows in table.items():
        assert rows[0].role != "representative", code
        for row in rows:
            assert row.role in {
                "chief of state",
                "representative",
                "head of government",
                "prime minister",
            }
            assert row.holder
            assert re.fullmatch(r"((\d{1,2} )?[A-Z][a-z]+ )?\d{4}", row.since), row


def test_a_short_limit_on_words_cuts_the_sentences_of_an_older_edition_too() -> None:
    pieces = [
        passage
        for passage in edition_passages("2018-12", words=20, codes=["an"])
        if passage.metadata["field"] == "Executive branch"
    ]
    assert len(pieces) > 1
    assert all(len(piece.text.split()) <= 20 for piece in pieces)
    assert len({piece.id for piece in pieces}) == len(pieces)


def test_an_unknown_edition_names_those_that_exist() -> None:
    with pytest.raises(ValueError, match="2016-11"):
        next(edition_passages("2017-01"))

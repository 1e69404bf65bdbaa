"""An uncased answer gets back the passage's spelling."""

from __future__ import annotations

import pytest

from ragcore.answering.spelling import find_span, surface_form


@pytest.mark.parametrize(
    ("answer", "text", "found"),
    [
        (
            "idriss deby itno",
            "President Lt. Gen. Idriss DEBY Itno (since 1990)",
            "Idriss DEBY Itno",
        ),
        ("deby", "President Idriss Déby", "Déby"),
        ("1 , 284 , 000 sq km", "total: 1,284,000 sq km; land: …", "1,284,000 sq km"),
        ("n ' djamena", "name: N'Djamena", "N'Djamena"),
        ("istanbul", "İstanbul is large", "İstanbul"),
        ("chad", "the Chadian army of Chad", "Chad"),
        ("chad", "Chadian", None),
        ("45 . 2 %", "grew 145.2% and then 45.2%", "45.2%"),
        ("", "anything", None),
        ("sao tome", "São  Tomé", "São  Tomé"),
    ],
)
def test_the_passage_spells_the_answer(answer, text, found):
    assert surface_form(answer, [text]) == found


def test_the_first_passage_that_holds_it_wins():
    assert surface_form("may", ["nothing", "Theresa MAY", "in May"]) == "MAY"


def test_offsets_are_those_of_the_text():
    text = "Ville de São Tomé"
    start, end = find_span("sao tome", text)
    assert text[start:end] == "São Tomé"

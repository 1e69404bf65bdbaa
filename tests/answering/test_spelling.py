"""An uncased answer is spelled as its passage spells it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from ragcore.answering.spelling import find_span, surface_form
from ragcore.config import RagConfig
from ragcore.rag import Rag
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.helpers.table_generator import TableGenerator
from tests.helpers.word_encoder import dense_part


@pytest.mark.parametrize(
    ("answer", "text", "spelled"),
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
def test_the_passage_spells_the_answer(answer, text, spelled):
    assert surface_form(answer, [text]) == spelled


def test_the_first_text_that_contains_the_answer_wins():
    assert surface_form("may", ["nothing", "Theresa MAY", "in May"]) == "MAY"


def test_offsets_are_those_of_the_text():
    text = "Ville de São Tomé"
    start, end = find_span("sao tome", text)
    assert text[start:end] == "São Tomé"


class Uncased(TableGenerator):
    """Reads capitals as small letters and writes small letters only."""

    capabilities: ClassVar[frozenset[str]] = frozenset({"uncased", "words"})

    def encode_answers(self, answers: Sequence[str]) -> list[list[int]]:
        return super().encode_answers([answer.lower() for answer in answers])


EVERY_ANSWER = " ".join(
    "".join(letters) for n in (1, 2, 3) for letters in itertools.product("abc", repeat=n)
)


@pytest.mark.parametrize("marginalize", ["token", "sequence"])
@pytest.mark.parametrize("grounded", [False, True])
def test_the_passage_that_supports_an_answer_best_spells_it(
    tmp_path: Path, marginalize: str, grounded: bool
) -> None:
    text = "abcab" if grounded else EVERY_ANSWER
    spellings = [text, text.upper(), text.replace("b", "B").replace("c", "C")]
    passages = [Passage(str(n), f"title {n}", text) for n, text in enumerate(spellings)]
    store = Store(tmp_path / "store")
    store.build("one", passages, dense_part())
    best_places = set()
    for seed in range(8):
        rag = Rag(
            store.open("one", retriever=dense_part(), temperature=100.0),
            Uncased(TableGenerator.Config(seed=seed, sharpness=1.5)),
            RagConfig(
                k=3,
                max_new_tokens=4,
                min_new_tokens=1,
                marginalize=marginalize,
                grounded=grounded,
            ),
        )
        (answer,) = rag.answer("title")
        best = max(answer.evidence, key=lambda hit: hit.posterior)
        best_places.add(answer.evidence.index(best))
        written = rag.generator.decode_tokens(answer.token_ids)
        # A span may start anywhere; an answer that is searched for is a whole word.
        edge = "" if grounded else " "
        start = f"{edge}{best.passage.text}{edge}".lower().index(f"{edge}{written}{edge}")
        assert answer.text == best.passage.text[start : start + len(written)]
        rag.close()
    assert len(best_places) > 1

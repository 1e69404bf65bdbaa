"""The numbers of texts are those of the terms that the analyser makes of each, in order."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ragcore_bm25 import numbering as module
from ragcore_bm25.analyser import Analyser
from ragcore_bm25.numbering import Numbering
from ragcore_bm25.vocabulary import Vocabulary

# Letters, numbers, initials, accents, marks, scripts without spaces, white space of all kinds,
# invisible characters, and halves of surrogate pairs, which UTF-8 does not have.
CHARACTERS = (
    "abcUSINT019.,_ '-\n\t\x00\x1c\x85\xa0\u2028\u3000\u0301\u0307\u0338\u0345\u0e31\u093f"
    "áéçãßøıİœ\u00ad\u200b\u200d\u2060\ufeff½№ﬁ１Ａ北京の首都ไทयि한\ud800\udfff𠀀😀"
)
TEXTS = st.lists(st.text(CHARACTERS, max_size=30) | st.text(max_size=12), max_size=6)
ANALYSERS = [
    Analyser(),
    Analyser(version=1),
    Analyser(version=2),
    Analyser(None, None),
    Analyser("portuguese", None),
    Analyser("turkish", None),
]


def check(analyser: Analyser, texts: Sequence[str]) -> None:
    """Number texts word by word, and compare."""
    expected = Vocabulary()
    numbers = [[expected.add(term) for term in analyser.terms(text)] for text in texts]
    vocabulary = Vocabulary()
    tokens, lengths = Numbering(analyser, vocabulary).numbers(texts)
    assert tokens.dtype == lengths.dtype == "int32"
    assert tokens.tolist() == [number for each in numbers for number in each]
    assert lengths.tolist() == [len(each) for each in numbers]
    assert list(vocabulary) == list(expected)


@pytest.mark.parametrize("analyser", ANALYSERS, ids=lambda analyser: analyser.fingerprint)
@settings(derandomize=True, deadline=None)
@example(["a1,234 1,2a3,4 12,3.4, .5", "U.S.A. _U.S. x.y_ U.S.-led", "", "\xff \x00 ÿ"])
@example(["I\u0307 K \u212a", "e\u0301. \u0301e", "北京、中国", "北 京.中国"])
@given(texts=TEXTS)
def test_texts_get_the_numbers_of_their_terms(analyser: Analyser, texts: list[str]) -> None:
    check(analyser, texts)


def test_surfaces_are_forgotten_and_terms_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SURFACES", 3)
    monkeypatch.setattr(module, "_PIECE", 1)
    texts = [f"Mali, U.S. é.ü word{number}" for number in range(20)] * 2
    vocabulary = Vocabulary()
    numbering = Numbering(Analyser(), vocabulary)
    numbering.numbers(texts)
    assert len(numbering._surfaces) < 12
    check(Analyser(), texts)
    before = list(vocabulary)
    numbering.numbers(texts)
    assert list(vocabulary) == before


def test_long_surfaces_are_not_remembered() -> None:
    numbering = Numbering(Analyser(), Vocabulary())
    before = len(numbering._surfaces)
    for text in ("x" * 65, "北京是中国的首都" * 4, "a.1_" * 40):
        tokens, _ = numbering.numbers([text])
        assert len(tokens)
    assert len(numbering._surfaces) == before


def test_no_texts_have_no_numbers() -> None:
    tokens, lengths = Numbering(Analyser(), Vocabulary()).numbers([])
    assert (tokens.tolist(), lengths.tolist()) == ([], [])

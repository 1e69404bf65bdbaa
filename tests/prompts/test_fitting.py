"""Several passages in one prompt are numbered, and cut evenly; the question never is."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragcore.errors import QuestionError
from ragcore.prompts.fitting import even_shares, fit_passages
from ragcore.prompts.numbering import numbered, text_starts
from ragcore.types import Passage

WORDS = st.lists(st.sampled_from(["a", "bb", "ccc"]), max_size=12).map(" ".join)
PASSAGES = st.lists(st.builds(Passage, st.just("p"), WORDS, WORDS), min_size=1, max_size=5)


def ids_of(passages: Sequence[Passage]) -> list[int]:
    """Tokenize as a word a token, with ten tokens of question and template."""
    return [0] * 10 + [len(word) for word in numbered(passages).split()]


def ends_of(text: str) -> list[int]:
    return [at for at in range(1, len(text) + 1) if at == len(text) or text[at] == " "]


@given(st.lists(st.integers(0, 30), max_size=8), st.integers(0, 100))
def test_shares_are_even_and_no_room_is_left_that_one_could_use(lengths, room):
    shares = even_shares(lengths, room)
    assert all(share <= length for share, length in zip(shares, lengths, strict=True))
    assert sum(shares) == min(room, sum(lengths))
    cut = [share for share, length in zip(shares, lengths, strict=True) if share < length]
    assert all(share <= min(cut) + 1 for share in shares) if cut else shares == lengths


@given(PASSAGES, st.integers(10, 60))
def test_a_prompt_fits_and_uses_the_room(passages, limit):
    ids = fit_passages("m", "q", passages, limit, ids_of, ends_of)
    whole = ids_of(passages)
    assert ids[:10] == [0] * 10
    assert len(ids) <= limit
    if len(whole) <= limit:
        assert ids == whole
    elif limit >= len(ids_of([Passage("p", passage.title, "") for passage in passages])):
        # A title may end the sentence: words and tokens may differ by one a passage.
        assert len(ids) >= limit - len(passages)


def test_long_texts_are_cut_before_titles_and_to_the_same_length():
    seen: list[Sequence[Passage]] = []

    def recorded(passages: Sequence[Passage]) -> list[int]:
        seen.append(list(passages))
        return ids_of(passages)

    long = [Passage("a", "A b", "w " * 40), Passage("b", "", "w w"), Passage("c", "C", "w " * 20)]
    fit_passages("m", "q", long, 40, recorded, ends_of)
    assert [passage.title for passage in seen[-1]] == ["A b", "", "C"]
    assert [len(passage.text.split()) for passage in seen[-1]] == [11, 2, 11]


def test_passages_without_room_are_left_out_from_the_last():
    passages = [Passage("a", "A", "w"), Passage("b", "B", "w"), Passage("c", "C", "w")]
    ids = fit_passages("m", "q", passages, 12, ids_of, ends_of)
    assert ids == ids_of([Passage("a", "", ""), Passage("b", "", "")])


def test_a_question_that_does_not_fit_is_refused():
    with pytest.raises(QuestionError, match=r"the question is 10 tokens long.* at most 9"):
        fit_passages("m", "q", [Passage("a", "A", "w")], 9, ids_of, ends_of)


@given(PASSAGES)
def test_each_text_begins_where_it_is_said_to(passages):
    text = numbered(passages)
    starts = text_starts(passages)
    for number, (start, passage) in enumerate(zip(starts, passages, strict=True), 1):
        assert text[start:].startswith(passage.text)
        assert text[:start].endswith(f"[{number}] " + (f"{passage.title}. " * bool(passage.title)))

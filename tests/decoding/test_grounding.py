"""Compare grounding with the set of all spans, alone and in each way of decoding."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ragcore.decoding.beam import BeamSearch
from ragcore.decoding.grounding import Grounding
from ragcore.decoding.question_prior import QuestionPrior
from ragcore.decoding.rules import DecodingOptions
from ragcore.decoding.sequence import RagSequence, fast, thorough
from ragcore.decoding.token import RagToken
from ragcore.types import Passage, Word
from tests.helpers.table_generator import EOS, TableGenerator, all_targets, by_definition

TEXTS = ["abcab", "cc", "bca"]
LETTERS = 4
"""Letters of the vocabulary; the last, d, is in no text."""


def grounding_of(texts, **options) -> Grounding:
    words = TableGenerator(TableGenerator.Config()).encode_words(texts)
    return Grounding(words, EOS, **options)


def ids(text: str) -> tuple[int, ...]:
    return tuple(ord(letter) - ord("a") + 1 for letter in text)


def answers(grounding: Grounding, longest: int) -> set[tuple[int, ...]]:
    """Enumerate the answers that a grounding allows up to a length, without the end token."""
    complete, prefixes = set(), [()]
    while prefixes:
        prefix = prefixes.pop()
        for token in grounding.allowed(prefix):
            if token == EOS:
                complete.add(prefix)
            elif len(prefix) < longest:
                prefixes.append((*prefix, token))
    return complete


def substrings(texts) -> set[str]:
    return {
        text[start:end]
        for text in texts
        for start, end in itertools.combinations(range(len(text) + 1), 2)
    }


@given(st.lists(st.text("abc", max_size=6), max_size=3))
@settings(deadline=None)
def test_the_answers_are_the_spans(texts):
    expected = {ids(text) for text in substrings(texts)} or {()}
    assert answers(grounding_of(texts), longest=6) == expected


@given(st.lists(st.text("ab", max_size=6), max_size=3), st.text("ab", min_size=1, max_size=3))
@settings(deadline=None)
def test_spans_are_all_occurrences_of_an_answer(texts, answer):
    spans = grounding_of(texts).spans((*ids(answer), EOS))
    assert spans == [
        tuple(
            (start, start + len(answer))
            for start in range(len(text))
            if text.startswith(answer, start)
        )
        for text in texts
    ]


def test_without_passages_only_the_end_token_is_allowed():
    grounding = grounding_of([])
    assert grounding.allowed(()) == {EOS}
    assert grounding.spans((EOS,)) == []


def test_a_prefix_that_begins_no_span_has_no_continuation():
    assert grounding_of(TEXTS).allowed(ids("d")) == frozenset()


@pytest.mark.parametrize("written", [(), (9,)], ids=["in front of words", "in the words"])
def test_a_forced_token_comes_before_the_first_word(written):
    words = [Word(0, 1, (*written, 1), True), Word(0, 2, (*written, 1, 2), True)]
    grounding = Grounding([words], EOS, forced_bos_token_id=9)
    assert grounding.allowed(()) == {9}
    assert grounding.allowed((9,)) == {1}
    assert grounding.allowed((9, 1)) == {2, EOS}
    assert grounding.allowed((1,)) == frozenset()
    assert grounding.spans((9, 1, 2, EOS)) == [((0, 2),)]


def test_a_word_may_have_other_tokens_within_an_answer_than_at_its_start():
    words = [Word(0, 3, (1,), True), Word(4, 7, (2,), True), Word(3, 7, (3, 1), False)]
    grounding = Grounding([words], EOS)
    assert answers(grounding, longest=4) == {(1,), (2,), (1, 3, 1)}
    assert grounding.spans((1, 3, 1, EOS)) == [((0, 7),)]


def test_the_span_of_a_cut_answer_extends_to_the_end_of_its_word():
    words = [Word(0, 5, (1, 2, 3), True), Word(0, 9, (1, 2, 3, 1), True), Word(6, 8, (1,), True)]
    grounding = Grounding([words], EOS)
    assert EOS not in grounding.allowed((1, 2))
    assert grounding.spans((1, 2, EOS)) == [((0, 5),)]
    assert grounding.spans((1, EOS)) == [((6, 8),)], "longer words that begin so do not count"


def grounded_truth(seed: int, texts, question="q", longest=4):
    """Make a table generator, its pairs, the prior, and p(y|x) of both models for each span."""
    generator = TableGenerator(TableGenerator.Config(vocabulary=LETTERS + 1, seed=seed))
    passages = [Passage(str(i), "", text) for i, text in enumerate(texts)]
    read = generator.read([question] * len(texts), passages)
    prior = torch.softmax(torch.linspace(1, 0, len(texts)), dim=0)
    allowed = {(*ids(text), EOS) for text in substrings(texts)}
    truth = {
        target: by_definition(generator, read.keys, prior.tolist(), target)
        for target in all_targets(LETTERS + 1, longest)
        if target in allowed
    }
    return generator, read, QuestionPrior(torch.arange(len(texts)), prior.log()), truth


MODES = {
    "token": (0, lambda *args: BeamSearch(RagToken(*args[:3]), *args[3:]).run()),
    "joint": (1, lambda *args: BeamSearch(RagSequence(*args[:3]), *args[3:]).run()),
    "thorough": (1, thorough),
    "fast": (1, fast),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", range(5))
def test_the_search_finds_the_most_probable_span_and_its_probability(mode, seed):
    model, decode = MODES[mode]
    generator, read, prior, truth = grounded_truth(seed, TEXTS)
    options = DecodingOptions(eos_token_id=EOS, beams=40, max_new_tokens=4)
    ((best, *_),) = decode(generator, read, [prior], options, [grounding_of(TEXTS)])
    winner = max(truth, key=lambda target: truth[target][model])
    assert best.tokens == winner
    assert best.log_prob == pytest.approx(math.log(truth[winner][model]), abs=1e-4)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("beams", [1, 2])
def test_each_question_is_restricted_to_its_own_passages(mode, beams):
    _, decode = MODES[mode]
    texts_of = [["abcab", "cc"], ["ba"], ["dd", "d", "ac"]]
    generator = TableGenerator(TableGenerator.Config(vocabulary=LETTERS + 1, seed=3))
    texts = [text for texts in texts_of for text in texts]
    read = generator.read(["q"] * len(texts), [Passage("", "", text) for text in texts])
    priors, begin = [], 0
    for question_texts in texts_of:
        k = len(question_texts)
        priors.append(QuestionPrior(torch.arange(begin, begin + k), torch.full((k,), -math.log(k))))
        begin += k
    options = DecodingOptions(eos_token_id=EOS, beams=beams, max_new_tokens=5)
    groundings = [grounding_of(question_texts) for question_texts in texts_of]
    decoded = decode(generator, read, priors, options, groundings)
    for question_texts, grounding, hypotheses in zip(texts_of, groundings, decoded, strict=True):
        for hypothesis in hypotheses:
            assert generator.decode_tokens(hypothesis.tokens) in substrings(question_texts)
            assert any(grounding.spans(hypothesis.tokens))

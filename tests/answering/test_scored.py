"""The tier `score` against all log-probs: the same candidates have the same numbers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragcore.answering.choose import answerer_for
from ragcore.answering.scored_candidate import scored_candidate
from ragcore.config import RagConfig
from ragcore.contracts import TextScore
from ragcore.errors import (
    GeneratorError,
    QuestionError,
    RequestCancelledError,
    UnsupportedOperation,
)
from ragcore.evaluation.verification import verify_answer
from ragcore.process.cancellation import Cancellation
from ragcore.registry.components import ComponentSpec
from ragcore.store.store import Store
from ragcore.testing.as_tier import AsScores
from ragcore.tiers import Meter
from ragcore.types import Answer, Token
from tests.helpers.tiers import PASSAGES, QUESTION, generator_of, pipeline, tables

TEXTS = ["".join(letters) for n in range(4) for letters in itertools.product("abc", repeat=n)]
SEQUENCE = {"marginalize": "sequence"}
ABSTAIN = {"abstain": {"answer": "a", "above": 0.9}}
MODES = [{"marginalize": "token"}, SEQUENCE, {**SEQUENCE, "decode": "fast"}]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return Store(tmp_path_factory.mktemp("scored") / "store")


@pytest.mark.parametrize("decode", ["thorough", "fast"])
def test_rag_sequence_is_that_of_beams_over_the_same_candidates(store, decode):
    mode = {**SEQUENCE, "decode": decode}
    for seed in range(8):
        # A beam of 1 for each passage finds what each passage writes at temperature 0.
        (expected,) = pipeline(store, "steps", seed, beams=1, **mode).answer(QUESTION)
        (answer,) = pipeline(store, "score", seed, **mode).answer(QUESTION)
        assert answer.text == expected.text
        assert answer.log_prob == pytest.approx(expected.log_prob, abs=1e-5)
        assert [c.text for c in answer.candidates] == [c.text for c in expected.candidates]
        for own, its in zip(answer.candidates, expected.candidates, strict=True):
            assert own.token_log_probs == pytest.approx(its.token_log_probs, abs=1e-5)
            np.testing.assert_allclose(own.posteriors, its.posteriors, atol=1e-6)
        for own, its in zip(answer.evidence, expected.evidence, strict=True):
            assert own.posterior == pytest.approx(its.posterior, abs=1e-6)
        assert answer.tier == "score"
        assert answer.token_ids == ()
        assert answer.tokens == expected.tokens


@pytest.mark.parametrize("more", [{}, ABSTAIN], ids=["plain", "abstain"])
@pytest.mark.parametrize("marginalize", ["token", "sequence"])
def test_log_prob_of_every_text_is_that_of_all_log_probs(store, marginalize, more):
    steps = pipeline(store, "steps", 3, marginalize=marginalize, **more)
    score = pipeline(store, "score", 3, marginalize=marginalize, **more)
    questions = [QUESTION] * len(TEXTS)
    expected = steps.log_prob(questions, TEXTS)
    assert score.log_prob(questions, TEXTS) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("more", [{}, ABSTAIN], ids=["plain", "abstain"])
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: "-".join(mode.values()))
def test_scoring_and_verification_agree_with_the_answer(store, mode, more):
    for seed in range(6):
        rag = pipeline(store, "score", seed, **mode, **more)
        (answer,) = rag.answer(QUESTION)
        assert rag.log_prob([QUESTION], [answer.text]) == pytest.approx([answer.log_prob])
        assert verify_answer(rag, QUESTION).gap < 1e-6
        best = max(answer.candidates, key=lambda candidate: candidate.log_prob)
        assert answer.abstains or answer.log_prob == best.log_prob


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: "-".join(mode.values()))
def test_a_passage_left_out_is_as_if_it_was_never_there(store, mode):
    rag = pipeline(store, "score", 1, **mode)
    (answer,) = rag.answer(QUESTION)
    for passage in PASSAGES:
        others = [other for other in PASSAGES if other != passage]
        alone = pipeline(store, "score", 1, passages=others, **mode)
        ablated = rag.without(answer, passage.id)
        (expected,) = alone.log_prob([QUESTION], [answer.text])
        assert ablated.log_prob == pytest.approx(expected, abs=1e-5)
        (winner,) = alone.log_prob([QUESTION], [ablated.winner.text])
        assert ablated.winner.log_prob == pytest.approx(winner, abs=1e-5)
        assert [hit.passage for hit in ablated.winner.evidence] == [
            hit.passage for hit in answer.evidence if hit.passage != passage
        ]


def test_draws_give_more_candidates_and_the_best_of_them_wins(store):
    mode = {**SEQUENCE, "write": {"candidates": 6, "temperature": 2.0}}
    (greedy,) = pipeline(store, "score", 5, **SEQUENCE).answer(QUESTION)
    rag = pipeline(store, "score", 5, **mode)
    (answer,) = rag.answer(QUESTION)
    assert len(answer.candidates) > len(greedy.candidates)
    log_probs = [candidate.log_prob for candidate in answer.candidates]
    assert log_probs == sorted(log_probs, reverse=True)
    assert rag.answer(QUESTION)[0].candidates == answer.candidates
    other = pipeline(store, "score", 5, **SEQUENCE, write={**mode["write"], "seed": 1})
    assert other.answer(QUESTION)[0].candidates != answer.candidates


def test_a_length_penalty_ranks_by_the_mean_log_prob_of_a_token(store):
    def mean(candidate):
        return candidate.log_prob / len(candidate.tokens)

    for seed in range(6):
        rag = pipeline(store, "score", seed, **SEQUENCE, length_penalty=1.0)
        (answer,) = rag.answer(QUESTION)
        means = [mean(candidate) for candidate in answer.candidates]
        assert means == sorted(means, reverse=True)


def test_it_abstains_above_the_threshold_or_where_no_passage_says_another_thing(store):
    never = pipeline(store, "score", 2, abstain={"answer": "a", "above": 1.0})
    (answer,) = never.answer(QUESTION)
    assert not answer.abstains
    assert answer.abstention.log_prob < 0
    always = pipeline(store, "score", 2, abstain={"answer": "a", "above": 0.0})
    (unknown,) = always.answer(QUESTION)
    assert unknown.abstains
    assert unknown.text == "a"
    assert unknown.log_prob == pytest.approx(answer.abstention.log_prob)
    # The only passage writes this text, and nothing else can be answered.
    alone = pipeline(store, "score", 2, passages=PASSAGES[:1])
    (only,) = alone.answer(QUESTION)
    silent = pipeline(
        store,
        "score",
        2,
        passages=PASSAGES[:1],
        abstain={"answer": only.text or "b", "above": 1.0},
    )
    assert only.text
    assert silent.answer(QUESTION)[0].abstains


def test_the_geometric_mean_counts_each_passage_by_its_prior(store):
    never = pipeline(store, "score", 2, **SEQUENCE, abstain={"answer": "a", "above": 1.0})
    (answer,) = never.answer(QUESTION)
    abstention = answer.abstention
    p = math.exp(abstention.log_prob)
    pairs = zip(abstention.posteriors[-1], abstention.priors, strict=True)
    mean = math.prod((posterior * p / prior) ** prior for posterior, prior in pairs)
    assert mean < p
    for above in (mean * 0.99, mean * 1.01):
        rules = {"answer": "a", "above": above, "mean": "geometric"}
        (decided,) = pipeline(store, "score", 2, **SEQUENCE, abstain=rules).answer(QUESTION)
        assert decided.abstains == (above < mean)
        assert decided.abstention.log_prob == pytest.approx(abstention.log_prob)
        assert decided.abstention_test.log_mean == pytest.approx(math.log(mean))
        assert decided.abstention_test.above == above


def test_the_closed_book_has_no_passage_and_the_generators_own_log_prob(store):
    for tier in ("steps", "score"):
        rag = pipeline(store, tier, 4, k=0, **SEQUENCE)
        (answer,) = rag.answer(QUESTION)
        assert answer.closed_book
        assert answer.evidence == ()
    (expected,) = pipeline(store, "steps", 4, k=0).log_prob([QUESTION], [answer.text])
    assert answer.log_prob == pytest.approx(expected, abs=1e-5)


def test_a_stream_has_the_tokens_of_the_answer(store):
    rag = pipeline(store, "score", 3)
    *events, answer = list(rag.events(QUESTION))[1:]
    (expected,) = rag.answer(QUESTION)
    assert answer == expected
    assert all(isinstance(event, Token) for event in events)
    assert "".join(event.text for event in events) == answer.text
    assert [event.log_prob for event in events] == list(answer.candidates[0].token_log_probs)
    assert [event.posterior for event in events] == list(answer.token_posteriors)


def test_fast_decoding_asks_for_fewer_scores(store):
    def scored(decode):
        rag = pipeline(store, "score", 6, **SEQUENCE, decode=decode)
        (answer,) = rag.answer(QUESTION)
        return answer.usage.requests, len(answer.candidates)

    (thorough, several), (fast, one) = scored("thorough"), scored("fast")
    assert several > 2
    assert one == 1
    assert fast < thorough


@given(
    st.integers(1, 4),
    st.integers(1, 4),
    st.sampled_from(["token", "sequence"]),
    st.randoms(use_true_random=False),
)
def test_a_candidate_is_the_definition_in_plain_sums(k, length, marginalize, random):
    prior = [random.random() + 0.01 for _ in range(k)]
    prior = [p / sum(prior) for p in prior]
    p = [[random.random() * 0.99 + 0.01 for _ in range(length)] for _ in range(k)]
    candidate = scored_candidate(
        marginalize, "", ("",) * length, np.log(prior), np.log(p), passages=k
    )
    if marginalize == "token":
        expected = math.prod(sum(prior[z] * p[z][i] for z in range(k)) for i in range(length))
    else:
        expected = sum(prior[z] * math.prod(p[z]) for z in range(k))
    assert math.exp(candidate.log_prob) == pytest.approx(expected)
    for row in candidate.posteriors:
        assert sum(row) == pytest.approx(1)


def test_a_text_that_no_passage_allows_has_probability_0():
    log_p = np.array([[-1.0, -np.inf, -1.0], [-2.0, -np.inf, -3.0]])
    for marginalize in ("token", "sequence"):
        candidate = scored_candidate(
            marginalize, "", ("", "", ""), np.log([0.5, 0.5]), log_p, passages=2
        )
        assert candidate.log_prob == -math.inf
        assert candidate.posteriors[1] == (0.0, 0.0)


class _Liar(AsScores):
    """Returns scores that are changed on their way."""

    lie = staticmethod(lambda scores: scores)

    def score_texts(self, prompts, texts, meters):
        return self.lie(super().score_texts(prompts, texts, meters))


def _with(score: TextScore, log_prob: float) -> TextScore:
    return TextScore(score.tokens, (log_prob, *score.log_probs[1:]))


LIES = {
    "above 0": lambda scores: [_with(scores[0], 0.7), *scores[1:]],
    "not above 0": lambda scores: [_with(scores[0], math.nan), *scores[1:]],
    "scores for": lambda scores: scores[1:],
    "returned -inf": lambda scores: [_with(score, -math.inf) for score in scores],
    "one for each token": lambda scores: [TextScore((), ()), *scores[1:]],
    "others after another": lambda scores: [
        TextScore(tuple(f"{z}{token}" for token in score.tokens), score.log_probs)
        for z, score in enumerate(scores)
    ],
}


@pytest.mark.parametrize("lie", LIES)
def test_scores_that_cannot_be_log_probs_are_an_error(store, lie):
    rag = pipeline(store, "score")
    liar = _Liar(rag.generator.config)
    liar.lie = LIES[lie]
    rag._generator = liar
    with pytest.raises(GeneratorError, match=lie):
        rag.answer(QUESTION)


class _Cancelling(AsScores):
    """Is cancelled while it writes."""

    def write(self, prompts, writing, meters):
        self.cancellation.cancel()
        return super().write(prompts, writing, meters)

    def score_texts(self, prompts, texts, meters):
        raise AssertionError("asked again after it was cancelled")


def test_a_request_that_is_cancelled_asks_the_generator_no_more(store):
    rag = pipeline(store, "score")
    rag._generator = _Cancelling(rag.generator.config)
    rag._generator.cancellation = Cancellation()
    with pytest.raises(RequestCancelledError):
        rag.answer(QUESTION, cancellation=rag._generator.cancellation)


def test_log_probs_that_were_rounded_up_make_no_answer_more_probable_than_1(store):
    rag = pipeline(store, "score")
    rag._generator = _Liar(rag.generator.config)
    rag._generator.lie = lambda scores: [
        TextScore(score.tokens, (0.004,) * len(score.tokens)) for score in scores
    ]
    for mode in ({}, {**SEQUENCE, "decode": "fast"}):
        (answer,) = rag.answer(QUESTION, **mode)
        assert answer.log_prob == pytest.approx(0, abs=1e-6)


def test_settings_that_change_nothing_are_not_refused(store):
    """It is greedy, and joint decoding finds the best of the candidates as thorough does."""
    (expected,) = pipeline(store, "score", **SEQUENCE).answer(QUESTION)
    (answer,) = pipeline(store, "score", **SEQUENCE, beams=1, decode="joint").answer(QUESTION)
    assert answer == expected


def test_what_the_tier_cannot_follow_is_refused_when_the_pipeline_is_made(store):
    for setting, reason in [
        ({"grounded": True}, "rag.grounded"),
        ({"drop_below": 0.1}, "rag.drop_below"),
        ({"beams": 2}, "rag.write.candidates"),
        ({"min_new_tokens": 1}, "rag.min_new_tokens"),
        ({"no_repeat_ngram": 2}, "rag.no_repeat_ngram"),
    ]:
        with pytest.raises(UnsupportedOperation, match=reason):
            pipeline(store, "score", **setting)
    rag = pipeline(store, "score")
    with pytest.raises(UnsupportedOperation, match=r"tier 'score'.*rag\.beams: 7"):
        rag.answer(QUESTION, beams=7)


def test_an_error_of_one_question_leaves_the_others_their_answers(store):
    rag = pipeline(store, "score")
    answered = rag.answer_each([QUESTION, "", "chad"])
    assert [isinstance(each, Answer) for each in answered] == [True, False, True]


def test_the_generator_is_of_the_tier_that_it_says():
    assert generator_of("score").tier == "score"


@pytest.mark.parametrize("marginalize", ["token", "sequence", "none"])
def test_what_scoring_an_answer_costs_is_counted(store, marginalize):
    rag = pipeline(store, "score", marginalize=marginalize)
    meters = [Meter(), Meter()]
    questions = [QUESTION, "chad"]
    counted = rag.log_prob(questions, ["ab", "c"], meters=meters)
    assert counted == rag.log_prob(questions, ["ab", "c"])
    requests = [meter.usage().requests for meter in meters]
    assert requests == [1, 1] if marginalize == "none" else [len(PASSAGES)] * 2
    with pytest.raises(QuestionError, match="2 questions with 1 meters"):
        rag.log_prob(questions, ["ab", "c"], meters=meters[:1])


def test_messages_name_a_generator_as_its_pipeline_file_does(store):
    generator = ComponentSpec(
        "generator", "served", AsScores, AsScores.Config(generator=tables())
    ).build()
    with pytest.raises(UnsupportedOperation, match="generator served gives texts"):
        answerer_for(generator, RagConfig(grounded=True))
    alone = AsScores(AsScores.Config(generator=tables()))
    with pytest.raises(UnsupportedOperation, match="generator AsScores gives texts"):
        answerer_for(alone, RagConfig(grounded=True))

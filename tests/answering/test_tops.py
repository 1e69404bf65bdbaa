"""The tier `top` against all log-probs: the bounds hold the exact number, and may close on it."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragcore.contracts import Completion, TopToken
from ragcore.errors import GeneratorError, RequestCancelledError, UnsupportedOperation
from ragcore.process.cancellation import Cancellation
from ragcore.store.store import Store
from ragcore.testing.as_tier import AsTops
from ragcore.types import Token
from tests.helpers.tiers import PASSAGES, QUESTION, pipeline

TOKEN = {"marginalize": "token"}
JOINT = {"marginalize": "sequence", "decode": "joint"}
MODES = [TOKEN, JOINT]
EACH_MODE = pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode["marginalize"])


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return Store(tmp_path_factory.mktemp("tops") / "store")


@EACH_MODE
@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("more", [{}, {"min_new_tokens": 2}, {"no_repeat_ngram": 1}], ids=str)
def test_tops_of_the_whole_vocabulary_give_the_same_search(store, mode, beams, more):
    for seed in range(5):
        settings = {**mode, **more, "beams": beams}
        (expected,) = pipeline(store, "steps", seed, **settings).answer(QUESTION)
        (answer,) = pipeline(store, "top", seed, top=4, **settings).answer(QUESTION)
        assert answer.token_ids == expected.token_ids
        assert answer.text == expected.text
        assert answer.log_prob == pytest.approx(expected.log_prob, abs=1e-5)
        assert answer.dropped_mass == pytest.approx(0, abs=1e-6)
        reached = [candidate.token_ids for candidate in expected.candidates]
        assert [candidate.token_ids for candidate in answer.candidates] == reached
        for own, its in zip(answer.evidence, expected.evidence, strict=True):
            assert own.posterior == pytest.approx(its.posterior, abs=1e-6)


@pytest.mark.parametrize("top", [1, 2, 3])
@EACH_MODE
def test_the_bounds_of_each_candidate_hold_its_exact_log_prob(store, mode, top):
    wide = 0
    for seed in range(12):
        exact = pipeline(store, "steps", seed, **mode)
        (answer,) = pipeline(store, "top", seed, top=top, beams=2, **mode).answer(QUESTION)
        for candidate in answer.candidates:
            (truth,) = exact.log_prob([QUESTION], [candidate.text])
            low = math.exp(candidate.log_prob)
            assert low - 1e-6 <= math.exp(truth) <= low + candidate.dropped_mass + 1e-6
            wide += candidate.dropped_mass > 1e-5
    assert wide


@given(st.integers(0, 10**6), st.integers(1, 4), st.sampled_from(MODES), st.integers(2, 4))
def test_the_bounds_hold_for_any_table(store, seed, top, mode, longest):
    settings = {**mode, "beams": 1, "max_new_tokens": longest}
    (answer,) = pipeline(store, "top", seed, top=top, **settings).answer(QUESTION)
    (truth,) = pipeline(store, "steps", seed, **settings).log_prob([QUESTION], [answer.text])
    low = 0.0 if answer.log_prob is None else math.exp(answer.log_prob)
    assert low - 1e-6 <= math.exp(truth) <= low + answer.dropped_mass + 1e-6
    if answer.log_prob is not None:
        assert truth <= answer.log_prob + answer.log_prob_gap + 1e-5


@pytest.mark.parametrize("top", [2, 4])
@EACH_MODE
def test_a_passage_left_out_is_within_its_own_bounds(store, mode, top):
    for seed in range(6):
        rag = pipeline(store, "top", seed, top=top, **mode)
        (answer,) = rag.answer(QUESTION)
        if answer.log_prob is None:
            continue
        for passage in PASSAGES:
            others = [other for other in PASSAGES if other != passage]
            ablated = rag.without(answer, passage.id)
            alone = pipeline(store, "steps", seed, passages=others, **mode)
            (truth,) = map(math.exp, alone.log_prob([QUESTION], [answer.text]))
            low = math.exp(ablated.log_prob)
            assert low - 1e-6 <= truth <= low + ablated.dropped_mass + 1e-6
            if top == 4:
                assert low == pytest.approx(truth, abs=1e-6)
                assert ablated.dropped_mass == pytest.approx(0, abs=1e-6)
            if ablated.winner is not None:
                assert ablated.winner.log_prob >= ablated.log_prob


def test_an_answer_whose_end_is_in_no_top_has_an_upper_bound_alone(store):
    cut = 0
    for seed in range(30):
        rag = pipeline(store, "top", seed, top=1, beams=1, max_new_tokens=2)
        (answer,) = rag.answer(QUESTION)
        if answer.log_prob is not None:
            continue
        cut += 1
        (truth,) = pipeline(store, "steps", seed).log_prob([QUESTION], [answer.text])
        assert math.exp(truth) <= answer.dropped_mass + 1e-6
        assert answer.confidence is None
        assert all(hit.posterior is None for hit in answer.evidence)
        assert answer.tokens == (answer.text,)
        assert json.loads(json.dumps(answer.to_dict(), allow_nan=False))["log_prob"] is None
        with pytest.raises(UnsupportedOperation, match="no log p"):
            rag.without(answer, "p0")
        assert list(rag.events(QUESTION))[-1] == answer
    assert cut


@EACH_MODE
def test_an_answer_of_which_no_token_has_a_log_prob_is_empty(store, mode):
    """Where one token may be written it is the end, which no passage's top needs to have."""
    bounds = []
    for seed in range(6):
        rag = pipeline(store, "top", seed, top=1, max_new_tokens=1, **mode)
        (answer,) = rag.answer(QUESTION)
        assert list(rag.events(QUESTION))[-1] == answer
        assert answer.text == ""
        if answer.log_prob is None:
            bounds.append(answer.dropped_mass)
            assert (answer.tokens, answer.token_posteriors, answer.candidates) == ((), (), ())
            assert all(hit.posterior is None for hit in answer.evidence)
            (truth,) = pipeline(store, "steps", seed, **mode).log_prob([QUESTION], [""])
            assert math.exp(truth) <= answer.dropped_mass + 1e-6
    assert bounds


def test_the_generator_is_asked_again_only_where_the_answer_leaves_a_passages_path(store):
    for seed in range(8):
        (alone,) = pipeline(store, "top", seed, passages=PASSAGES[:1], beams=1).answer(QUESTION)
        assert alone.usage.requests == 1
        (answer,) = pipeline(store, "top", seed, beams=1).answer(QUESTION)
        # One request a passage, and at most one more where a token is not its own.
        assert 4 <= answer.usage.requests <= 4 * len(answer.tokens)


@EACH_MODE
def test_a_stream_has_the_tokens_of_the_answer(store, mode):
    for seed in range(4):
        rag = pipeline(store, "top", seed, top=3, **mode)
        *events, answer = list(rag.events(QUESTION))[1:]
        (expected,) = rag.answer(QUESTION)
        assert answer == expected
        assert all(isinstance(event, Token) for event in events)
        assert "".join(event.text for event in events) == answer.text
        assert [event.posterior for event in events] == list(answer.token_posteriors)


class _SeveralEnds(AsTops):
    """Shows two end tokens, half of the end's probability each, and no ids."""

    def go_on(self, prompts, prefixes, writing, meters):
        known = [[TopToken(t.text, t.log_prob, ord(t.text) - 96) for t in p] for p in prefixes]
        continuations = super().go_on(prompts, known, writing, meters)
        return [
            Completion(each.text, each.finished, tuple(map(self._split, each.steps)))
            for each in continuations
        ]

    def _split(self, step):
        half = math.log(2)
        ends = [TopToken("", t.log_prob - half, None, True) for t in step if t.ends] * 2
        others = [TopToken(t.text, t.log_prob) for t in step if not t.ends]
        return tuple(ends + others if step[0].ends else others + ends)


def test_several_end_tokens_are_one_and_texts_stand_for_missing_ids(store):
    rag = pipeline(store, "top", 2)
    (expected,) = rag.answer(QUESTION)
    rag._generator = _SeveralEnds(rag.generator.config)
    (answer,) = rag.answer(QUESTION)
    assert answer.text == expected.text
    assert answer.log_prob == pytest.approx(expected.log_prob)
    assert answer.tokens == expected.tokens
    assert answer.token_ids == ()


class _Cancelling(AsTops):
    """Is cancelled by its first request."""

    asked = 0

    def go_on(self, prompts, prefixes, writing, meters):
        self.asked += 1
        self.cancellation.cancel()
        return super().go_on(prompts, prefixes, writing, meters)


def test_a_request_that_is_cancelled_asks_the_generator_no_more(store):
    rag = pipeline(store, "top")
    rag._generator = _Cancelling(rag.generator.config)
    rag._generator.cancellation = Cancellation()
    with pytest.raises(RequestCancelledError):
        rag.answer(QUESTION, cancellation=rag._generator.cancellation)
    assert rag._generator.asked == 1


class _Liar(AsTops):
    """Returns continuations that are changed on their way."""

    def go_on(self, prompts, prefixes, writing, meters):
        return self.lie(super().go_on(prompts, prefixes, writing, meters))


def _first_step(continuations, step):
    first = continuations[0]
    return [Completion(first.text, True, (step, *first.steps[1:])), *continuations[1:]]


LIES = {
    "sum to": lambda all_: _first_step(all_, (TopToken("a", -0.1, 1), TopToken("b", -0.1, 2))),
    "token twice": lambda all_: _first_step(all_, (TopToken("a", -1.0, 1), TopToken("a", -2.0, 1))),
    "not above 0": lambda all_: _first_step(all_, (TopToken("a", 3.2, 1),)),
    "returned nan": lambda all_: _first_step(all_, (TopToken("a", math.nan, 1),)),
    "step without tokens": lambda all_: _first_step(all_, ()),
    "no step": lambda all_: [Completion("a"), *all_[1:]],
    "texts for": lambda all_: all_[1:],
}


@pytest.mark.parametrize("lie", LIES)
def test_tops_that_are_no_part_of_a_distribution_are_an_error(store, lie):
    rag = pipeline(store, "top")
    liar = _Liar(rag.generator.config)
    liar.lie = LIES[lie]
    rag._generator = liar
    with pytest.raises(GeneratorError, match=lie):
        rag.answer(QUESTION)


def test_log_probs_that_were_rounded_up_make_no_answer_more_probable_than_1(store):
    rag = pipeline(store, "top")
    rag._generator = _Liar(rag.generator.config)
    sure = (TopToken("", 0.004, 0, ends=True), TopToken("a", -9.0, 1))
    rag._generator.lie = lambda all_: [Completion("", True, (sure,)) for _ in all_]
    (answer,) = rag.answer(QUESTION)
    assert (answer.log_prob, answer.dropped_mass) == (0.0, 0.0)


def test_what_changes_nothing_is_not_refused(store):
    (expected,) = pipeline(store, "top").answer(QUESTION)
    (answer,) = pipeline(store, "top", write={"seed": 3}, sample={"temperature": 0}).answer(
        QUESTION
    )
    assert answer == expected


def test_what_the_tier_cannot_follow_is_refused(store):
    for setting, reason in [
        ({"grounded": True}, "rag.grounded"),
        ({"drop_below": 0.1}, "rag.drop_below"),
        ({"abstain": {}}, "rag.abstain"),
        ({"write": {"temperature": 0.5}}, "rag.write"),
        ({"marginalize": "sequence"}, "set rag.decode to joint"),
    ]:
        with pytest.raises(UnsupportedOperation, match=reason):
            pipeline(store, "top", **setting)
    rag = pipeline(store, "top")
    with pytest.raises(UnsupportedOperation, match=r"Rag\.log_prob needs log p"):
        rag.log_prob([QUESTION], ["ab"])

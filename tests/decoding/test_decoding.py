"""Compare decoding with the enumeration of every answer of a tiny vocabulary."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ragcore.decoding.beam import BeamSearch
from ragcore.decoding.question_prior import QuestionPrior
from ragcore.decoding.rules import DecodingOptions, Rule
from ragcore.decoding.scoring import score_hypotheses
from ragcore.decoding.sequence import RagSequence, fast, thorough
from ragcore.decoding.token import RagToken
from ragcore.marginalization import log_prior
from ragcore.types import Passage
from tests.helpers.table_generator import EOS, TableGenerator, all_targets, by_definition

LONGEST = 4
MODELS = {"token": RagToken, "sequence": RagSequence}


class Case:
    """One question over k passages, with every answer's probability by definition."""

    def __init__(self, seed: int, k: int, *, same: bool = False, vocabulary: int = 4) -> None:
        self.generator = TableGenerator(
            TableGenerator.Config(seed=seed, vocabulary=vocabulary, sharpness=1.5)
        )
        texts = ["same"] * k if same else [f"passage {z}" for z in range(k)]
        passages = [Passage(str(z), "", text) for z, text in enumerate(texts)]
        self.read = self.generator.read(["x"] * k, passages)
        rng = torch.Generator().manual_seed(seed)
        self.prior = QuestionPrior(torch.arange(k), log_prior(torch.randn(k, generator=rng)))
        prior = self.prior.log_prior.double().exp().tolist()
        self.token: dict[tuple[int, ...], float] = {}
        self.sequence: dict[tuple[int, ...], float] = {}
        for target in all_targets(vocabulary, LONGEST):
            p = by_definition(self.generator, self.read.keys, prior, target)
            self.token[target], self.sequence[target] = map(math.log, p)

    def options(self, **changes) -> DecodingOptions:
        return DecodingOptions(**{"eos_token_id": EOS, "max_new_tokens": LONGEST, **changes})

    def search(self, model: str, **changes):
        return BeamSearch(self.prefixes(model), self.options(**changes))

    def prefixes(self, model: str):
        return MODELS[model](self.generator, self.read, [self.prior])

    def score_prefix(self, model: str, tokens) -> float:
        """Compute log p(y_<=i|x) by definition, also of tokens without an end."""
        prior = self.prior.log_prior.double().exp().tolist()
        token, sequence = by_definition(self.generator, self.read.keys, prior, tokens)
        return math.log(token if model == "token" else sequence)

    def score(self, model: str, targets):
        (hypotheses,) = score_hypotheses(model, self.generator, self.read, [self.prior], [targets])
        return hypotheses


class Planned(TableGenerator):
    """Has planned log-probs, and spreads the remaining probability over all other tokens."""

    def __init__(self, plan: dict[tuple[int, ...], dict[int, float]]) -> None:
        super().__init__(TableGenerator.Config(vocabulary=60))
        self.plan = plan

    def next_log_probs(self, key, prefix):
        planned = self.plan.get(prefix, {})
        rest = 1 - sum(map(math.exp, planned.values()))
        log_p = torch.full((60,), math.log(rest / (60 - len(planned))))
        for token, value in planned.items():
            log_p[token] = value
        return log_p

    def prefixes(self, model):
        read = self.read(["x"], [Passage("0", "", "text")])
        return model(self, read, [QuestionPrior(torch.arange(1), log_prior(torch.zeros(1)))])


cases = st.builds(Case, st.integers(0, 10_000), st.integers(1, 4))


@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=15)
@given(case=cases)
def test_scores_equal_enumeration(model, case):
    truth = getattr(case, model)
    targets = list(truth)
    hypotheses = case.score(model, targets)
    for target, hypothesis in zip(targets, hypotheses, strict=True):
        assert hypothesis.tokens == target
        assert hypothesis.log_prob == pytest.approx(truth[target], abs=1e-4)
        for step in hypothesis.steps:
            assert sum(step.posterior) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=15)
@given(case=cases)
def test_with_enough_beams_the_search_finds_every_answer_in_order(model, case):
    truth = getattr(case, model)
    (hypotheses,) = case.search(model, beams=len(truth)).run()
    assert [h.tokens for h in hypotheses] == sorted(truth, key=truth.__getitem__, reverse=True)
    for hypothesis in hypotheses:
        assert hypothesis.log_prob == pytest.approx(truth[hypothesis.tokens], abs=1e-4)


@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=15)
@given(case=cases, beams=st.integers(1, 5))
def test_scoring_a_hypothesis_confirms_its_log_prob_and_posteriors(model, case, beams):
    for hypothesis in case.search(model, beams=beams).run()[0]:
        (scored,) = case.score(model, [hypothesis.tokens])
        assert scored.log_prob == pytest.approx(hypothesis.log_prob, abs=1e-4)
        for mine, theirs in zip(hypothesis.steps, scored.steps, strict=True):
            assert mine.log_prob == pytest.approx(theirs.log_prob, abs=1e-4)
            assert mine.posterior == pytest.approx(theirs.posterior, abs=1e-5)


@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=15)
@given(case=cases)
def test_one_beam_is_greedy(model, case):
    truth, tokens = getattr(case, model), ()
    while tokens[-1:] != (EOS,):
        # The next token's marginal is that of all answers that go on with it; long ones end.
        if len(tokens) == LONGEST - 1:
            tokens = (*tokens, EOS)
            break
        prefixes = case.prefixes(model)
        for token in tokens:
            prefixes.extend([0], [token])
        (best,) = prefixes.candidates([Rule()], 1)
        everything = prefixes.candidates([Rule(only=range(4))], 4)[0]
        assert best[0] == everything[0]
        assert sum(math.exp(log_p) for _, log_p in everything) == pytest.approx(1, abs=1e-5)
        tokens = (*tokens, best[0][0])
    ((hypotheses,),) = case.search(model, beams=1).run()
    assert hypotheses.log_prob == pytest.approx(truth[tokens], abs=1e-4)
    assert hypotheses.tokens == tuple(tokens)


@settings(max_examples=15)
@given(case=cases)
def test_thorough_decoding_with_full_beams_finds_the_argmax(case):
    options = case.options(beams=len(case.sequence))
    (hypotheses,) = thorough(case.generator, case.read, [case.prior], options)
    assert hypotheses[0].tokens == max(case.sequence, key=case.sequence.__getitem__)
    assert len({h.tokens for h in hypotheses}) == len(hypotheses)
    scores = [h.log_prob for h in hypotheses]
    assert scores == sorted(scores, reverse=True)


@settings(max_examples=15)
@given(case=cases, beams=st.integers(1, 4))
def test_fast_decoding_ranks_by_its_beams_and_reports_exact_log_probs(case, beams):
    options = case.options(beams=beams)
    shares: dict[tuple[int, ...], float] = {}
    for prior, alone in zip(case.prior.log_prior.exp(), case.prior.apart(), strict=True):
        for h in BeamSearch(RagToken(case.generator, case.read, [alone]), options).run()[0]:
            shares[h.tokens] = shares.get(h.tokens, 0.0) + float(prior) * math.exp(h.log_prob)
    ((best,),) = fast(case.generator, case.read, [case.prior], options)
    assert shares[best.tokens] == pytest.approx(max(shares.values()))
    assert best.log_prob == pytest.approx(case.sequence[best.tokens], abs=1e-4)


def test_with_identical_passages_both_models_are_equal():
    case = Case(seed=3, k=3, same=True)
    for target, log_prob in case.token.items():
        assert log_prob == pytest.approx(case.sequence[target], abs=1e-6)
    token, sequence = (case.search(model, beams=3).run()[0] for model in MODELS)
    assert [h.tokens for h in token] == [h.tokens for h in sequence]


@pytest.mark.parametrize("model", MODELS)
def test_streamed_steps_are_those_of_the_final_answer(model):
    for seed in range(20):
        search = Case(seed, k=3).search(model, beams=3)
        seen: tuple = ()
        running = True
        while running:
            running = search.advance()
            decided = search.decided()
            assert decided[: len(seen)] == seen
            seen = decided
        assert seen == search.run()[0][0].steps


def test_constraints_hold_and_nothing_is_renormalised():
    case = Case(seed=5, k=2, vocabulary=5)
    for hypothesis in case.search("token", beams=50, min_new_tokens=2).run()[0]:
        assert len(hypothesis.tokens) >= 3
        assert hypothesis.log_prob == pytest.approx(case.token[hypothesis.tokens], abs=1e-4)
    for hypothesis in case.search("token", beams=50, no_repeat_ngram=1).run()[0]:
        assert len(set(hypothesis.tokens)) == len(hypothesis.tokens)
    for hypothesis in case.search("token", beams=50, no_repeat_ngram=2).run()[0]:
        bigrams = list(zip(hypothesis.tokens, hypothesis.tokens[1:], strict=False))
        assert len(set(bigrams)) == len(bigrams)
    for hypothesis in case.search("token", beams=50, forced_bos_token_id=2).run()[0]:
        assert hypothesis.tokens[0] == 2
    for hypothesis in case.search("token", beams=50, banned_openings={(1,), (EOS,)}).run()[0]:
        assert hypothesis.tokens[0] not in {1, EOS}
    for hypothesis in case.search("token", beams=50, banned_openings={(2, 1)}).run()[0]:
        assert hypothesis.tokens[:2] != (2, 1)
    ranked = case.search("token", beams=200, length_penalty=1.0).run()[0]
    means = [h.log_prob / len(h.tokens) for h in ranked]
    assert means == sorted(means, reverse=True)
    assert means[0] == pytest.approx(max(v / len(t) for t, v in case.token.items()), abs=1e-5)


@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=10)
@given(case=cases, penalty=st.floats(1.0, 3.0))
def test_repeated_tokens_rank_answers_lower_and_change_no_log_prob(model, case, penalty):
    truth = getattr(case, model)

    def ranked_by(target) -> float:
        """Sum log p of each token by definition, that of a repeated one `penalty` times."""
        prefixes = [0.0, *(case.score_prefix(model, target[:i]) for i in range(1, len(target) + 1))]
        return sum(
            (after - before) * (penalty if target[i] in target[:i] else 1.0)
            for i, (before, after) in enumerate(itertools.pairwise(prefixes))
        )

    (hypotheses,) = case.search(model, beams=len(truth), repetition_penalty=penalty).run()
    scores = [ranked_by(h.tokens) for h in hypotheses]
    assert len(hypotheses) == len(truth)
    for hypothesis, score, worse in zip(hypotheses, scores, [*scores[1:], -math.inf], strict=True):
        assert hypothesis.log_prob == pytest.approx(truth[hypothesis.tokens], abs=1e-4)
        assert hypothesis.score(0.0, penalty) == pytest.approx(score, abs=1e-4)
        assert score >= worse - 1e-4


def test_a_penalised_token_makes_room_for_one_that_is_less_probable():
    """After 1 and 2 these are the likeliest again: a token beyond the first two must be seen."""
    likely = {1: -1.0, 2: -1.1, 3: -1.9, EOS: -2.2}
    generator = Planned({(): likely, (1,): likely, (1, 2): likely})
    options = DecodingOptions(EOS, beams=1, max_new_tokens=4, repetition_penalty=5.0)
    for model in MODELS.values():
        ((hypothesis,),) = BeamSearch(generator.prefixes(model), options).run()
        assert hypothesis.tokens == (1, 2, 3, EOS)


@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=10)
@given(case=cases)
def test_an_answer_ends_where_it_stops_with_the_log_prob_of_its_tokens(model, case):
    """With enough beams every answer that ends by the end token, or by token 2, comes in order."""
    answers = {
        target[: target.index(2) + 1] if 2 in target else target for target in getattr(case, model)
    }
    exact = {tokens: case.score_prefix(model, tokens) for tokens in answers}
    (hypotheses,) = case.search(
        model, beams=len(answers), stops=lambda tokens: tokens[-1] == 2
    ).run()
    assert {h.tokens for h in hypotheses} == answers
    assert [h.log_prob for h in hypotheses] == sorted(
        (h.log_prob for h in hypotheses), reverse=True
    )
    for hypothesis in hypotheses:
        assert hypothesis.log_prob == pytest.approx(exact[hypothesis.tokens], abs=1e-4)
    for hypothesis, scored in zip(
        hypotheses, case.score(model, [h.tokens for h in hypotheses]), strict=True
    ):
        assert scored.tokens == hypothesis.tokens
        assert scored.log_prob == pytest.approx(hypothesis.log_prob, abs=1e-4)


@settings(max_examples=10)
@given(case=cases, beams=st.integers(1, 3))
def test_thorough_and_fast_score_stopped_answers_exactly(case, beams):
    options = case.options(beams=beams, stops=lambda tokens: tokens[-1] == 2)
    (candidates,) = thorough(case.generator, case.read, [case.prior], options)
    (winners,) = fast(case.generator, case.read, [case.prior], options)
    for hypothesis in (*candidates, *winners):
        exact = case.score_prefix("sequence", hypothesis.tokens)
        assert hypothesis.log_prob == pytest.approx(exact, abs=1e-4)


def test_the_search_continues_while_a_longer_answer_can_still_win():
    """With a length penalty a prefix may still win as long as the limit lets it grow.

    Two answers are finished when the prefix (1, 2) has log p -3.5: their worse score is -1.0.
    At 4 tokens it can reach -3.5 / 4, which is better; at 3 it could not.
    """
    certain = {
        (): {EOS: -1.0, 1: -0.7},
        (1,): {EOS: -1.2, 2: -2.8},
        (1, 2): {3: -1e-4},
        (1, 2, 3): {EOS: -1e-4},
    }

    generator = Planned(certain)
    options = DecodingOptions(eos_token_id=EOS, max_new_tokens=4, beams=2, length_penalty=1.0)
    for model in MODELS.values():
        (hypotheses,) = BeamSearch(generator.prefixes(model), options).run()
        assert [h.tokens for h in hypotheses] == [(1, 2, 3, EOS), (1, EOS)]
        assert hypotheses[0].score(1.0) == pytest.approx(-3.5 / 4, abs=1e-3)

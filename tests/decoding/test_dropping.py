"""Passages that are dropped from decoding: the probability stays within the bound that is told."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ragcore.decoding.beam import BeamSearch
from ragcore.decoding.dropping import DroppedAtFirst, DroppedByPrefix, kept_passages
from ragcore.decoding.question_prior import QuestionPrior
from ragcore.decoding.rules import DecodingOptions
from ragcore.decoding.sequence import RagSequence, fast, thorough
from ragcore.decoding.token import RagToken
from ragcore.marginalization import log_prior
from ragcore.types import Passage
from tests.helpers.table_generator import EOS, TableGenerator, by_definition

LONGEST = 5
DECODERS = ["token", "joint", "thorough", "fast"]


class Counting(TableGenerator):
    """Counts the decoder rows of all steps."""

    rows = 0

    def step(self, state, tokens):
        self.rows += len(state.keys)
        return super().step(state, tokens)


class Case:
    """Questions whose passages differ in number and in prior."""

    def __init__(self, seed: int, sizes: list[int]) -> None:
        self.generator = Counting(Counting.Config(seed=seed, vocabulary=5, sharpness=3.0))
        pairs = [(f"question {q}", f"{q} {z}") for q, k in enumerate(sizes) for z in range(k)]
        self.read = self.generator.read(
            [question for question, _ in pairs], [Passage(text, "", text) for _, text in pairs]
        )
        rng = torch.Generator().manual_seed(seed)
        self.priors, begin = [], 0
        for k in sizes:
            numbers = torch.arange(begin, begin + k)
            self.priors.append(QuestionPrior(numbers, log_prior(3 * torch.randn(k, generator=rng))))
            begin += k

    def decode(self, how: str, drop_below: float | None, beams: int = 3, priors=None):
        """Decode; None decodes without naming the setting at all."""
        priors = self.priors if priors is None else priors
        options = DecodingOptions(eos_token_id=EOS, max_new_tokens=LONGEST, beams=beams)
        more = {} if drop_below is None else {"drop_below": drop_below}
        if how in ("token", "joint"):
            kind = RagToken if how == "token" else RagSequence
            return BeamSearch(kind(self.generator, self.read, priors, **more), options).run()
        decode = thorough if how == "thorough" else fast
        return decode(self.generator, self.read, priors, options, **more)

    def keys(self, prior: QuestionPrior) -> list[str]:
        return [self.read.keys[pair] for pair in prior.pairs.tolist()]

    def truth(self, how: str, prior: QuestionPrior, tokens: tuple[int, ...]) -> float:
        weights = prior.log_prior.double().exp().tolist()
        token, sequence = by_definition(self.generator, self.keys(prior), weights, tokens)
        return token if how == "token" else sequence

    def passage_probability(self, key: str, tokens: tuple[int, ...]) -> float:
        return math.exp(
            sum(
                float(self.generator.next_log_probs(key, tokens[:i])[token])
                for i, token in enumerate(tokens)
            )
        )


cases = st.builds(Case, st.integers(0, 10_000), st.lists(st.integers(1, 5), min_size=1, max_size=4))
shares = st.sampled_from([1e-3, 1e-2, 0.1, 0.3, 0.7])


@pytest.mark.parametrize("how", DECODERS)
@settings(max_examples=40)
@given(case=cases, drop_below=shares, beams=st.integers(1, 4))
def test_the_probability_is_within_the_bound_that_is_told(how, case, drop_below, beams):
    for prior, hypotheses in zip(case.priors, case.decode(how, drop_below, beams), strict=True):
        for hypothesis in hypotheses:
            served, truth = math.exp(hypothesis.log_prob), case.truth(how, prior, hypothesis.tokens)
            rounding = 1e-5 * truth
            assert served - rounding <= truth <= served + hypothesis.dropped_mass + rounding
            length = len(hypothesis.tokens) if how == "token" else 1
            assert hypothesis.dropped_mass <= drop_below * length * (1 + 1e-6)


@pytest.mark.parametrize("how", DECODERS)
@settings(max_examples=40)
@given(case=cases, drop_below=shares)
def test_the_bound_is_the_mass_of_the_dropped_passages(how, case, drop_below):
    """Recomputed by the definition; which passages were dropped, and when, tell the posteriors."""
    for prior, hypotheses in zip(case.priors, case.decode(how, drop_below), strict=True):
        weights = prior.log_prior.double().exp().tolist()
        for h in hypotheses:
            lengths = [
                next((i for i, step in enumerate(h.steps) if step.posterior[z] == 0), None)
                for z in range(len(prior))
            ]
            for step in h.steps:
                assert len(step.posterior) == len(prior)
                assert sum(step.posterior) == pytest.approx(1, abs=1e-6)
            dropped = {z: i for z, i in enumerate(lengths) if i is not None}
            if how == "token":
                share = sum(weights[z] for z in dropped)
                upper = math.prod(min(1, math.exp(step.log_prob) + share) for step in h.steps)
                mass = upper - math.exp(h.log_prob)
            else:
                mass = sum(
                    weights[z] * case.passage_probability(case.keys(prior)[z], h.tokens[:i])
                    for z, i in dropped.items()
                )
            assert h.dropped_mass == pytest.approx(mass, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("how", DECODERS)
@settings(max_examples=20)
@given(case=cases)
def test_nothing_is_dropped_by_default_or_at_zero(how, case):
    default, zero = case.decode(how, None), case.decode(how, 0.0)
    assert default == zero
    assert all(h.dropped_mass == 0 for hypotheses in zero for h in hypotheses)
    tiny = case.decode(how, 1e-30)
    assert [[h.tokens for h in hypotheses] for hypotheses in tiny] == [
        [h.tokens for h in hypotheses] for hypotheses in zero
    ]


@pytest.mark.parametrize("how", DECODERS)
@settings(max_examples=20)
@given(case=cases, drop_below=shares)
def test_a_batch_drops_what_its_questions_alone_drop(how, case, drop_below):
    together = case.decode(how, drop_below)
    for prior, hypotheses in zip(case.priors, together, strict=True):
        (alone,) = case.decode(how, drop_below, priors=[prior])
        assert [h.tokens for h in hypotheses] == [h.tokens for h in alone]
        for mine, theirs in zip(hypotheses, alone, strict=True):
            assert mine.log_prob == pytest.approx(theirs.log_prob, abs=1e-5)
            assert mine.dropped_mass == pytest.approx(theirs.dropped_mass, rel=1e-5)


@pytest.mark.parametrize("how", DECODERS)
def test_dropped_passages_have_no_rows(how):
    case = Case(3, [5, 5])
    case.decode(how, 0.0)
    whole, case.generator.rows = case.generator.rows, 0
    hypotheses = case.decode(how, 0.05)
    assert case.generator.rows < 0.8 * whole
    assert any(h.dropped_mass > 0 for question in hypotheses for h in question)


def test_joint_decoding_drops_a_passage_once_a_token_speaks_against_it():
    """Both passages are as likely before the first token, and the second writes another."""

    class Two(Counting):
        def next_log_probs(self, key, prefix):
            sure = 1 if key.endswith("0 0") else 2
            log_p = torch.full((5,), math.log(0.0025))
            log_p[EOS if len(prefix) == 3 else sure] = math.log(0.99)
            return log_p

    case = Case(0, [2])
    case.generator = Two(Two.Config(vocabulary=5))
    prior = QuestionPrior(torch.arange(2), log_prior(torch.tensor([0.1, 0.0])))
    ((first, *_),) = case.decode("joint", 0.01, beams=1, priors=[prior])
    assert first.tokens == (1, 1, 1, EOS)
    assert [step.posterior[1] > 0 for step in first.steps] == [True, False, False, False]
    p = float(prior.log_prior[1].exp())
    assert first.dropped_mass == pytest.approx(p * 0.0025, rel=1e-4)
    # Two rows at the first step, then one.
    assert case.generator.rows == 2 + 1 + 1 + 1


def test_the_smallest_shares_go_while_they_fit_together():
    assert kept_passages([0.5, 0.02, 0.03, 0.45], 0.06) == ([0, 3], pytest.approx(0.05))
    assert kept_passages([0.5, 0.02, 0.03, 0.45], 0.04) == ([0, 2, 3], 0.02)
    assert kept_passages([0.5, 0.02, 0.03, 0.45], 0.06, 0.045) == ([0, 1, 2, 3], 0.045)
    # Rounded shares may sum to less than the bound.
    assert kept_passages([0.4999999, 0.4999998], 0.9999999) == ([0], 0.4999998)
    assert kept_passages([0.3], 0.9) == ([0], 0.0)


def test_masses_far_below_the_smallest_number_are_bounds_still():
    unlikely = DroppedAtFirst(share=0.1).followed_by(-800.0)
    assert unlikely.mass == pytest.approx(0.1)
    assert DroppedAtFirst(share=0.1).followed_by(-math.inf).mass == pytest.approx(0.1)
    assert DroppedAtFirst().followed_by(-math.inf).mass == 0
    prefix = DroppedByPrefix().dropping(0.01).followed_by(-2000.0)
    assert prefix.mass == pytest.approx(0.01)
    assert prefix.share > 1

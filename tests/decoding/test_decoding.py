"""Decoding against enumeration of every answer of a tiny vocabulary."""

from __future__ import annotations

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
        self.context = QuestionPrior(torch.arange(k), log_prior(torch.randn(k, generator=rng)))
        prior = self.context.log_prior.double().exp().tolist()
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
        return MODELS[model](self.generator, self.read, [self.context])

    def score(self, model: str, targets):
        (found,) = score_hypotheses(model, self.generator, self.read, [self.context], [targets])
        return found


cases = st.builds(Case, st.integers(0, 10_000), st.integers(1, 4))


@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=15)
@given(case=cases)
def test_scores_equal_enumeration(model, case):
    truth = getattr(case, model)
    targets = list(truth)
    found = case.score(model, targets)
    for target, hypothesis in zip(targets, found, strict=True):
        assert hypothesis.tokens == target
        assert hypothesis.log_prob == pytest.approx(truth[target], abs=1e-4)
        for step in hypothesis.steps:
            assert sum(step.posterior) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=15)
@given(case=cases)
def test_with_beams_for_all_prefixes_the_search_finds_every_answer_in_order(model, case):
    truth = getattr(case, model)
    (found,) = case.search(model, beams=len(truth)).run()
    assert [h.tokens for h in found] == sorted(truth, key=truth.__getitem__, reverse=True)
    for hypothesis in found:
        assert hypothesis.log_prob == pytest.approx(truth[hypothesis.tokens], abs=1e-4)


@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=15)
@given(case=cases, beams=st.integers(1, 5))
def test_a_hypothesis_says_of_itself_what_scoring_says_of_it(model, case, beams):
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
        made = case.prefixes(model)
        for token in tokens:
            made.extend([0], [token])
        (best,) = made.candidates([Rule()], 1)
        everything = made.candidates([Rule(only=range(4))], 4)[0]
        assert best[0] == everything[0]
        assert sum(math.exp(log_p) for _, log_p in everything) == pytest.approx(1, abs=1e-5)
        tokens = (*tokens, best[0][0])
    ((found,),) = case.search(model, beams=1).run()
    assert found.log_prob == pytest.approx(truth[tokens], abs=1e-4)
    assert found.tokens == tuple(tokens)


@settings(max_examples=15)
@given(case=cases)
def test_thorough_decoding_with_full_beams_finds_the_argmax(case):
    options = case.options(beams=len(case.sequence))
    (found,) = thorough(case.generator, case.read, [case.context], options)
    assert found[0].tokens == max(case.sequence, key=case.sequence.__getitem__)
    assert len({h.tokens for h in found}) == len(found)
    scores = [h.log_prob for h in found]
    assert scores == sorted(scores, reverse=True)


@settings(max_examples=15)
@given(case=cases, beams=st.integers(1, 4))
def test_fast_decoding_ranks_by_the_beams_alone_and_reports_the_exact_log_prob(case, beams):
    options = case.options(beams=beams)
    shares: dict[tuple[int, ...], float] = {}
    for prior, alone in zip(case.context.log_prior.exp(), case.context.apart(), strict=True):
        for h in BeamSearch(RagToken(case.generator, case.read, [alone]), options).run()[0]:
            shares[h.tokens] = shares.get(h.tokens, 0.0) + float(prior) * math.exp(h.log_prob)
    ((best,),) = fast(case.generator, case.read, [case.context], options)
    assert shares[best.tokens] == pytest.approx(max(shares.values()))
    assert best.log_prob == pytest.approx(case.sequence[best.tokens], abs=1e-4)


def test_identical_passages_make_both_models_one():
    case = Case(seed=3, k=3, same=True)
    for target, log_prob in case.token.items():
        assert log_prob == pytest.approx(case.sequence[target], abs=1e-6)
    token, sequence = (case.search(model, beams=3).run()[0] for model in MODELS)
    assert [h.tokens for h in token] == [h.tokens for h in sequence]


@pytest.mark.parametrize("model", MODELS)
def test_streaming_decides_what_the_search_returns(model):
    for seed in range(20):
        search = Case(seed, k=3).search(model, beams=3)
        seen: tuple = ()
        going = True
        while going:
            going = search.advance()
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


def test_a_long_answer_that_only_the_last_token_makes_best_is_waited_for():
    """With a penalty a prefix may go on to win as long as the limit on tokens lets it grow.

    Two answers are finished when the prefix (1, 2) has log p -3.5: their worse score is -1.0.
    At 4 tokens it can reach -3.5 / 4, which is better; at 3 it could not.
    """
    certain = {
        (): {EOS: -1.0, 1: -0.7},
        (1,): {EOS: -1.2, 2: -2.8},
        (1, 2): {3: -1e-4},
        (1, 2, 3): {EOS: -1e-4},
    }

    class Planned(TableGenerator):
        """What is certain, and the rest spread over all other tokens."""

        def next_log_probs(self, key, prefix):
            planned = certain.get(prefix, {})
            rest = 1 - sum(map(math.exp, planned.values()))
            log_p = torch.full((60,), math.log(rest / (60 - len(planned))))
            for token, value in planned.items():
                log_p[token] = value
            return log_p

    generator = Planned(TableGenerator.Config(vocabulary=60))
    read = generator.read(["x"], [Passage("0", "", "text")])
    context = QuestionPrior(torch.arange(1), log_prior(torch.zeros(1)))
    options = DecodingOptions(eos_token_id=EOS, max_new_tokens=4, beams=2, length_penalty=1.0)
    for model in MODELS.values():
        (found,) = BeamSearch(model(generator, read, [context]), options).run()
        assert [one.tokens for one in found] == [(1, 2, 3, EOS), (1, EOS)]
        assert found[0].score(1.0) == pytest.approx(-3.5 / 4, abs=1e-3)

"""Draw answers of a tiny vocabulary: how often each comes, against its exact probability."""

from __future__ import annotations

import math
import random

import pytest
import torch
from scipy.stats import chisquare

from ragcore.decoding.beam import BeamSearch
from ragcore.decoding.chances import SamplingOptions, chances
from ragcore.decoding.question_prior import QuestionPrior
from ragcore.decoding.rules import DecodingOptions
from ragcore.decoding.sampling import Sampling, draw_from
from ragcore.decoding.scoring import score_hypotheses
from ragcore.decoding.sequence import RagSequence, per_passage
from ragcore.decoding.token import RagToken
from ragcore.errors import GeneratorError
from ragcore.marginalization import log_prior
from ragcore.types import Passage
from tests.helpers.table_generator import EOS, TableGenerator, all_targets, by_definition

LONGEST = 4
VOCABULARY = 4
WAYS = ["token", "joint", "per passage"]
DRAWS = 2000
UNLIKELY = 1e-3
"""A right sampler fails a test with a fixed seed less often than this, and then for ever."""


class Remembering(TableGenerator):
    """Computes each distribution once, however many draws come to it."""

    def __init__(self, config) -> None:
        super().__init__(config)
        self.known: dict = {}

    def next_log_probs(self, key, prefix):
        if (key, prefix) not in self.known:
            self.known[key, prefix] = super().next_log_probs(key, prefix)
        return self.known[key, prefix]


class Case:
    """Questions over passages, with the exact probability by which each answer is drawn."""

    def __init__(self, seed: int, sizes=(3,), questions=None) -> None:
        self.generator = Remembering(
            TableGenerator.Config(seed=seed, vocabulary=VOCABULARY, sharpness=1.2)
        )
        self.questions = questions or [f"question {q}" for q in range(len(sizes))]
        pairs = [(self.questions[q], f"{q} {z}") for q, k in enumerate(sizes) for z in range(k)]
        self.read = self.generator.read(
            [question for question, _ in pairs], [Passage(text, "", text) for _, text in pairs]
        )
        self.priors, begin = [], 0
        for q, k in enumerate(sizes):
            rng = torch.Generator().manual_seed(seed + q)
            numbers = torch.arange(begin, begin + k)
            self.priors.append(QuestionPrior(numbers, log_prior(torch.randn(k, generator=rng))))
            begin += k

    def draw(self, way: str, *, options=None, constraints=None, drop_below=0.0, **sampling):
        options = options or DecodingOptions(eos_token_id=EOS, max_new_tokens=LONGEST)
        chosen = SamplingOptions(**sampling)
        numbers = [chances(chosen, question) for question in self.questions]
        if way == "per passage":
            return per_passage(
                self.generator,
                self.read,
                self.priors,
                options,
                chosen,
                numbers,
                constraints,
                drop_below,
            )
        kind = RagToken if way == "token" else RagSequence
        model = kind(self.generator, self.read, self.priors, drop_below=drop_below)
        draws = [dict(enumerate(each)) for each in numbers]
        return Sampling(model, options, chosen, draws, constraints).run()

    def exact(self, way: str) -> dict[tuple[int, ...], float]:
        """Compute p(y|x) by definition; the end token at the length limit is certain."""
        prior = self.priors[0].log_prior.double().exp().tolist()
        probabilities = {}
        for target in all_targets(VOCABULARY, LONGEST):
            drawn = target[:-1] if len(target) == LONGEST else target
            token, sequence = by_definition(self.generator, self.read.keys[:3], prior, drawn)
            probabilities[target] = token if way == "token" else sequence
        return probabilities


def frequencies(hypotheses) -> dict[tuple[int, ...], int]:
    return {hypothesis.tokens: len(hypothesis.draws) for hypothesis in hypotheses}


def assert_drawn_from(hypotheses, probabilities, draws: int = DRAWS) -> None:
    """Compare by chi-square; answers that are expected fewer than five times count as one."""
    counts = frequencies(hypotheses)
    assert sum(counts.values()) == draws
    assert set(counts) <= {target for target, p in probabilities.items() if p > 0}
    observed, expected, rare, rarely = [], [], 0, 0.0
    for target, p in probabilities.items():
        if draws * p >= 5:
            observed.append(counts.get(target, 0))
            expected.append(draws * p)
        else:
            rare += counts.get(target, 0)
            rarely += draws * p
    if rarely >= 5:
        observed.append(rare)
        expected.append(rarely)
    else:
        observed[-1] += rare
        expected[-1] += rarely
    total = sum(expected)
    assert total == pytest.approx(draws, rel=1e-5)
    scaled = [each * draws / total for each in expected]
    assert chisquare(observed, scaled).pvalue > UNLIKELY


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seed", [1, 2])
def test_answers_are_drawn_as_often_as_they_are_probable(way, seed):
    case = Case(seed)
    (hypotheses,) = case.draw(way, n=DRAWS, seed=seed)
    assert_drawn_from(hypotheses, case.exact(way))


@pytest.mark.parametrize("way", ["token", "joint"])
def test_the_chi_square_test_sees_another_distribution(way):
    """RAG-Token's answers are not distributed as RAG-Sequence's, nor those of a temperature."""
    case = Case(1)
    (hypotheses,) = case.draw(way, n=DRAWS)
    other = "joint" if way == "token" else "token"
    with pytest.raises(AssertionError):
        assert_drawn_from(hypotheses, case.exact(other))
    (warmer,) = case.draw(way, n=DRAWS, temperature=1.3)
    with pytest.raises(AssertionError):
        assert_drawn_from(warmer, case.exact(way))


@pytest.mark.parametrize("way", WAYS)
def test_log_probs_and_posteriors_are_those_of_scoring(way):
    case = Case(3)
    (hypotheses,) = case.draw(way, n=20, temperature=2.0, top_k=3)
    model = "token" if way == "token" else "sequence"
    targets = [hypothesis.tokens for hypothesis in hypotheses]
    (scored,) = score_hypotheses(model, case.generator, case.read, case.priors, [targets])
    assert len(targets) == len(set(targets)) > 1
    for hypothesis, exact in zip(hypotheses, scored, strict=True):
        assert hypothesis.log_prob == pytest.approx(exact.log_prob, abs=1e-5)
        for mine, theirs in zip(hypothesis.steps, exact.steps, strict=True):
            assert mine.log_prob == pytest.approx(theirs.log_prob, abs=1e-5)
            assert mine.posterior == pytest.approx(theirs.posterior, abs=1e-5)
    assert [h.log_prob for h in hypotheses] == sorted(
        (h.log_prob for h in hypotheses), reverse=True
    )


def changed(case: Case, way: str, change) -> dict[tuple[int, ...], float]:
    """Compute by definition with which probability each answer is drawn from changed marginals.

    Args:
        change: from p(y_i|x,y_<i) of all tokens to the weights that they are drawn by.
    """
    prior = case.priors[0].log_prior.double().exp().tolist()
    probabilities = {}
    for target in all_targets(VOCABULARY, LONGEST):
        weights, probability = prior, 1.0
        for i, token in enumerate(target[: LONGEST - 1]):
            rows = [
                case.generator.next_log_probs(key, target[:i]).double().exp().tolist()
                for key in case.read.keys
            ]
            marginal = [
                sum(w * row[t] for w, row in zip(weights, rows, strict=True))
                for t in range(VOCABULARY)
            ]
            drawn = change(marginal, target[:i])
            probability *= drawn[token] / sum(drawn)
            if way == "joint":
                joint = [w * row[token] for w, row in zip(weights, rows, strict=True)]
                weights = [each / sum(joint) for each in joint]
        probabilities[target] = probability
    return probabilities


def largest(marginal, count: int) -> list[float]:
    bound = sorted(marginal, reverse=True)[count - 1]
    return [p if p >= bound else 0.0 for p in marginal]


def nucleus(marginal, share: float) -> list[float]:
    count, total = 0, 0.0
    for p in sorted(marginal, reverse=True):
        if total >= share * sum(marginal):
            break
        count, total = count + 1, total + p
    return largest(marginal, count)


CHANGES = {
    "temperature": ({"temperature": 0.6}, lambda p, _: [each ** (1 / 0.6) for each in p]),
    "top_k": ({"top_k": 2}, lambda p, _: largest(p, 2)),
    "top_p": ({"top_p": 0.6}, lambda p, _: nucleus(p, 0.6)),
    "all of them": (
        {"temperature": 1.5, "top_k": 3, "top_p": 0.8},
        lambda p, _: nucleus(largest([each ** (1 / 1.5) for each in p], 3), 0.8),
    ),
}


@pytest.mark.parametrize("way", ["token", "joint"])
@pytest.mark.parametrize("name", CHANGES)
def test_the_marginal_is_changed_by_temperature_and_cut(way, name):
    sampling, change = CHANGES[name]
    case = Case(5)
    (hypotheses,) = case.draw(way, n=DRAWS, **sampling)
    assert_drawn_from(hypotheses, changed(case, way, change))


@pytest.mark.parametrize("way", ["token", "joint"])
def test_rules_and_the_repetition_penalty_change_what_is_drawn_and_no_log_prob(way):
    case = Case(6)
    options = DecodingOptions(
        eos_token_id=EOS, max_new_tokens=LONGEST, min_new_tokens=1, repetition_penalty=2.0
    )

    def change(marginal, prefix):
        return [
            0.0 if not prefix and token == EOS else p**2 if token in prefix else p
            for token, p in enumerate(marginal)
        ]

    (hypotheses,) = case.draw(way, n=DRAWS, options=options)
    assert_drawn_from(hypotheses, changed(case, way, change))
    model = "token" if way == "token" else "sequence"
    targets = [hypothesis.tokens for hypothesis in hypotheses]
    (scored,) = score_hypotheses(model, case.generator, case.read, case.priors, [targets])
    for hypothesis, exact in zip(hypotheses, scored, strict=True):
        assert hypothesis.log_prob == pytest.approx(exact.log_prob, abs=1e-5)
    scores = [hypothesis.score(0.0, 2.0) for hypothesis in hypotheses]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("way", ["token", "joint"])
@pytest.mark.parametrize("seed", range(10))
def test_at_a_low_temperature_the_greedy_answer_is_drawn(way, seed):
    case = Case(seed)
    options = DecodingOptions(eos_token_id=EOS, max_new_tokens=LONGEST, beams=1)
    kind = RagToken if way == "token" else RagSequence
    ((greedy,),) = BeamSearch(kind(case.generator, case.read, case.priors), options).run()
    ((drawn,),) = case.draw(way, n=5, temperature=1e-4)
    assert drawn.tokens == greedy.tokens
    assert drawn.log_prob == greedy.log_prob
    assert drawn.draws == (0, 1, 2, 3, 4)
    for cut in ({"top_k": 1}, {"top_k": 2, "top_p": 5e-324}):
        ((first,),) = case.draw(way, n=5, temperature=1e300, **cut)
        assert first.tokens == greedy.tokens


@pytest.mark.parametrize("way", WAYS)
def test_draws_depend_on_seed_and_question_alone(way):
    def drawn(hypotheses):
        """Return the answer of each draw, in order."""
        by_draw = {draw: h.tokens for h in hypotheses for draw in h.draws}
        return [by_draw[draw] for draw in sorted(by_draw)]

    together = Case(7, sizes=(3, 2, 4))
    first, *_ = together.draw(way, n=12, seed=3)
    alone = Case(7, sizes=(3,))
    (again,) = alone.draw(way, n=12, seed=3)
    assert drawn(first) == drawn(again)
    (fewer,) = alone.draw(way, n=5, seed=3)
    assert drawn(fewer) == drawn(again)[:5]
    (other,) = alone.draw(way, n=12, seed=4)
    assert drawn(other) != drawn(again)
    numbers = [
        chance()
        for question, seed in (("a", 1), ("b", 1), ("a", 2))
        for chance in chances(SamplingOptions(n=3, seed=seed), question)
    ]
    assert len(set(numbers)) == 9, "each draw has random numbers of its own"


@pytest.mark.parametrize("way", WAYS)
def test_with_dropped_passages_the_log_prob_is_a_lower_bound(way):
    case = Case(8, sizes=(4,))
    (hypotheses,) = case.draw(way, n=30, drop_below=0.3)
    model = "token" if way == "token" else "sequence"
    targets = [hypothesis.tokens for hypothesis in hypotheses]
    (scored,) = score_hypotheses(model, case.generator, case.read, case.priors, [targets])
    assert any(hypothesis.dropped_mass > 0 for hypothesis in hypotheses)
    for hypothesis, exact in zip(hypotheses, scored, strict=True):
        assert hypothesis.log_prob <= exact.log_prob + 1e-6
        bound = math.exp(hypothesis.log_prob) + hypothesis.dropped_mass
        assert math.exp(exact.log_prob) <= bound + 1e-6


@pytest.mark.parametrize("way", WAYS)
def test_a_stop_ends_an_answer_and_counts_its_tokens_alone(way):
    """Answers that end at the token 2 are drawn as often as the model writes them up to there."""
    case = Case(9)
    options = DecodingOptions(
        eos_token_id=EOS, max_new_tokens=LONGEST, stops=lambda tokens: tokens[-1] == 2
    )
    (hypotheses,) = case.draw(way, n=DRAWS, options=options)
    prior = case.priors[0].log_prior.double().exp().tolist()
    probabilities: dict[tuple[int, ...], float] = {}
    for target in all_targets(VOCABULARY, LONGEST):
        end = target.index(2) + 1 if 2 in target else len(target)
        stopped = target[:end]
        drawn = stopped[:-1] if len(stopped) == LONGEST else stopped
        token, sequence = by_definition(case.generator, case.read.keys, prior, drawn)
        probabilities[stopped] = token if way == "token" else sequence
    assert_drawn_from(hypotheses, probabilities)
    for hypothesis in hypotheses:
        if hypothesis.tokens[-1] == 2:
            exact = math.log(probabilities[hypothesis.tokens])
            assert hypothesis.log_prob == pytest.approx(exact, abs=1e-5)
            assert hypothesis.finished


def test_no_token_that_is_impossible_is_drawn():
    weights = torch.tensor([0.0, 0.25, 0.0, 0.75, 0.0], dtype=torch.float64)
    rng = random.Random(1)
    drawn = [draw_from(weights, rng.random()) for _ in range(500)]
    assert set(drawn) == {1, 3}
    assert [draw_from(weights, chance) for chance in (0.0, 0.2499, 0.25, math.nextafter(1, 0))] == [
        1, 1, 3, 3,
    ]  # fmt: skip


def test_a_question_of_which_no_answer_is_possible_is_an_error():
    case = Case(1)
    case.generator.next_log_probs = lambda key, prefix: torch.tensor([0.0, *[-math.inf] * 3])
    options = DecodingOptions(eos_token_id=EOS, max_new_tokens=LONGEST, min_new_tokens=1)
    with pytest.raises(GeneratorError, match="no answer can be drawn: none of the tokens that may"):
        case.draw("token", options=options)

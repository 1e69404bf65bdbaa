"""Decode many questions in one batch: the results are those of each question alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ragcore.decoding.beam import BeamSearch
from ragcore.decoding.question_prior import QuestionPrior
from ragcore.decoding.rules import DecodingOptions, Rule
from ragcore.decoding.scoring import score_hypotheses, score_targets
from ragcore.decoding.sequence import RagSequence, fast, thorough
from ragcore.decoding.token import RagToken
from ragcore.errors import GeneratorError
from ragcore.marginalization import log_prior
from ragcore.types import Passage
from tests.helpers.table_generator import EOS, TableGenerator

LONGEST = 5


class Batch:
    """Questions with different numbers of passages, read together."""

    def __init__(self, seed: int, sizes: list[int]) -> None:
        self.generator = TableGenerator(
            TableGenerator.Config(seed=seed, vocabulary=5, sharpness=1.5)
        )
        passages = [
            Passage(f"{q}{z}", "", f"{q} {z}") for q, k in enumerate(sizes) for z in range(k)
        ]
        questions = [f"question {q}" for q, k in enumerate(sizes) for _ in range(k)]
        self.read = self.generator.read(questions, passages)
        rng = torch.Generator().manual_seed(seed)
        self.priors, begin = [], 0
        for k in sizes:
            scores = 2 * torch.randn(k, generator=rng)
            self.priors.append(QuestionPrior(torch.arange(begin, begin + k), log_prior(scores)))
            begin += k

    def decode(self, how: str, priors, **changes):
        options = DecodingOptions(**{"eos_token_id": EOS, "max_new_tokens": LONGEST, **changes})
        if how in ("token", "joint"):
            kind = RagToken if how == "token" else RagSequence
            return BeamSearch(kind(self.generator, self.read, priors), options).run()
        return (thorough if how == "thorough" else fast)(self.generator, self.read, priors, options)


batches = st.builds(
    Batch, st.integers(0, 10_000), st.lists(st.integers(1, 4), min_size=1, max_size=5)
)


@pytest.mark.parametrize("how", ["token", "joint", "thorough", "fast"])
@settings(max_examples=10)
@given(batch=batches, beams=st.integers(1, 3))
def test_a_batch_gives_the_results_of_its_questions_alone(how, batch, beams):
    together = batch.decode(how, batch.priors, beams=beams)
    for prior, hypotheses in zip(batch.priors, together, strict=True):
        (alone,) = batch.decode(how, [prior], beams=beams)
        assert [h.tokens for h in hypotheses] == [h.tokens for h in alone]
        for mine, theirs in zip(hypotheses, alone, strict=True):
            assert mine.log_prob == pytest.approx(theirs.log_prob, abs=1e-5)
            assert mine.steps[-1].posterior == pytest.approx(theirs.steps[-1].posterior, abs=1e-5)
            assert len(mine.steps[-1].posterior) == len(prior)


@settings(max_examples=10)
@given(batch=batches)
def test_known_log_probs_are_not_computed_again_and_change_no_result(batch):
    targets = [[(1, EOS), (2, 3, EOS), (EOS,)] for _ in batch.priors]
    whole = score_targets(batch.generator, batch.read, batch.priors, targets)
    known = [
        {
            (z, target): log_p[y, z, : len(target)].tolist()
            for y, target in enumerate(question_targets)
            if z != y
        }
        for log_p, question_targets, prior in zip(whole, targets, batch.priors, strict=True)
        for z in [len(prior) - 1]
    ]
    scored = []
    score = batch.generator.score
    batch.generator.score = lambda *a: scored.append(len(a[1])) or score(*a)
    again = score_targets(batch.generator, batch.read, batch.priors, targets, known=known)
    for mine, theirs in zip(again, whole, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-6)
    rows = sum(3 * len(prior) for prior in batch.priors)
    assert scored == [rows - sum(map(len, known))]


def test_a_token_whose_probability_underflows_keeps_its_log_prob():
    """As a probability in float32 it would be 0, and its log minus infinity."""

    class Sure(TableGenerator):
        def next_log_probs(self, key, prefix):
            log_p = torch.full((4,), -150.0)
            log_p[2] = 0.0
            return log_p

    generator = Sure(TableGenerator.Config())
    read = generator.read(["q", "q"], [Passage("a", "", "a"), Passage("b", "", "b")])
    prior = QuestionPrior(torch.arange(2), log_prior(torch.tensor([0.0, 1.0])))
    options = DecodingOptions(eos_token_id=EOS, beams=3, max_new_tokens=2)
    for kind in (RagToken, RagSequence):
        (hypotheses,) = BeamSearch(kind(generator, read, [prior]), options).run()
        log_probs = {h.tokens: h.log_prob for h in hypotheses}
        assert log_probs[(2, EOS)] == pytest.approx(-150, abs=1e-3)
        assert log_probs[(EOS,)] == pytest.approx(-150, abs=1e-3)
        (scored,) = score_hypotheses("token", generator, read, [prior], [[(1, EOS)]])
        assert scored[0].log_prob == pytest.approx(-300, abs=1e-3)


def test_tokens_whose_probabilities_underflow_are_ranked_by_their_log_probs():
    """As probabilities in float32 all but one are 0, so their order is lost."""
    log_p = torch.full((8,), -200.0)
    log_p[2], log_p[5], log_p[7] = 0.0, -130.0, -110.0

    class Sure(TableGenerator):
        def next_log_probs(self, key, prefix):
            return log_p

    generator = Sure(TableGenerator.Config(vocabulary=8))
    read = generator.read(["q", "q"], [Passage("a", "", "a"), Passage("b", "", "b")])
    prior = QuestionPrior(torch.arange(2), log_prior(torch.tensor([0.0, 1.0])))
    for kind in (RagToken, RagSequence):
        (ranked,) = kind(generator, read, [prior]).candidates([Rule()], 3)
        assert [token for token, _ in ranked] == [2, 7, 5]
        assert [value for _, value in ranked] == pytest.approx([0, -110, -130], abs=1e-3)


class Broken(TableGenerator):
    """Returns unnormalised or NaN numbers from step `first` on."""

    def __init__(self, *, first: int, value: float) -> None:
        super().__init__(TableGenerator.Config())
        self.first, self.value = first, value

    def next_log_probs(self, key, prefix):
        log_p = super().next_log_probs(key, prefix)
        return log_p + self.value if len(prefix) >= self.first else log_p


@pytest.mark.parametrize("value", [1.0, -0.5, float("nan"), float("inf")])
@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("kind", [RagToken, RagSequence])
def test_log_probs_that_form_no_distribution_are_refused(kind, first, value):
    generator = Broken(first=first, value=value)
    read = generator.read(["q"], [Passage("a", "", "a")])
    prior = QuestionPrior(torch.arange(1), torch.zeros(1))
    options = DecodingOptions(eos_token_id=EOS, min_new_tokens=2)
    with pytest.raises(GeneratorError, match="Broken"):
        BeamSearch(kind(generator, read, [prior]), options).run()


@pytest.mark.parametrize("value", [50.0, float("nan")])
def test_scores_that_are_no_log_probabilities_are_refused(value):
    generator = Broken(first=0, value=value)
    read = generator.read(["q"], [Passage("a", "", "a")])
    prior = QuestionPrior(torch.arange(1), torch.zeros(1))
    with pytest.raises(GeneratorError, match=r"Broken: .* returned .* for a log-probability"):
        score_targets(generator, read, [prior], [[(1, EOS)]])

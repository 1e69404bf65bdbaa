"""Many questions in one batch: as each by itself, whatever the number of its passages."""

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
    """Questions over unlike numbers of passages, read together."""

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
        self.contexts, begin = [], 0
        for k in sizes:
            scores = 2 * torch.randn(k, generator=rng)
            self.contexts.append(QuestionPrior(torch.arange(begin, begin + k), log_prior(scores)))
            begin += k

    def decode(self, how: str, contexts, **changes):
        options = DecodingOptions(**{"eos_token_id": EOS, "max_new_tokens": LONGEST, **changes})
        if how in ("token", "joint"):
            kind = RagToken if how == "token" else RagSequence
            return BeamSearch(kind(self.generator, self.read, contexts), options).run()
        return (thorough if how == "thorough" else fast)(
            self.generator, self.read, contexts, options
        )


batches = st.builds(
    Batch, st.integers(0, 10_000), st.lists(st.integers(1, 4), min_size=1, max_size=5)
)


@pytest.mark.parametrize("how", ["token", "joint", "thorough", "fast"])
@settings(max_examples=10)
@given(batch=batches, beams=st.integers(1, 3))
def test_a_batch_is_its_questions_one_by_one(how, batch, beams):
    together = batch.decode(how, batch.contexts, beams=beams)
    for context, found in zip(batch.contexts, together, strict=True):
        (alone,) = batch.decode(how, [context], beams=beams)
        assert [h.tokens for h in found] == [h.tokens for h in alone]
        for mine, theirs in zip(found, alone, strict=True):
            assert mine.log_prob == pytest.approx(theirs.log_prob, abs=1e-5)
            assert mine.steps[-1].posterior == pytest.approx(theirs.steps[-1].posterior, abs=1e-5)
            assert len(mine.steps[-1].posterior) == len(context)


@settings(max_examples=10)
@given(batch=batches)
def test_what_is_known_is_not_scored_again_and_changes_nothing(batch):
    targets = [[(1, EOS), (2, 3, EOS), (EOS,)] for _ in batch.contexts]
    whole = score_targets(batch.generator, batch.read, batch.contexts, targets)
    known = [
        {(z, target): log_p[y, z, : len(target)].tolist() for y, target in enumerate(own) if z != y}
        for log_p, own, context in zip(whole, targets, batch.contexts, strict=True)
        for z in [len(context) - 1]
    ]
    asked = []
    score = batch.generator.score
    batch.generator.score = lambda *a: asked.append(len(a[1])) or score(*a)
    again = score_targets(batch.generator, batch.read, batch.contexts, targets, known=known)
    for mine, theirs in zip(again, whole, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-6)
    rows = sum(3 * len(context) for context in batch.contexts)
    assert asked == [rows - sum(map(len, known))]


def test_a_token_of_hardly_any_probability_keeps_its_log_prob():
    """As a probability in float32 it would be 0, and its log minus infinity."""

    class Sure(TableGenerator):
        def next_log_probs(self, key, prefix):
            log_p = torch.full((4,), -150.0)
            log_p[2] = 0.0
            return log_p

    generator = Sure(TableGenerator.Config())
    read = generator.read(["q", "q"], [Passage("a", "", "a"), Passage("b", "", "b")])
    context = QuestionPrior(torch.arange(2), log_prior(torch.tensor([0.0, 1.0])))
    options = DecodingOptions(eos_token_id=EOS, beams=3, max_new_tokens=2)
    for kind in (RagToken, RagSequence):
        (found,) = BeamSearch(kind(generator, read, [context]), options).run()
        said = {h.tokens: h.log_prob for h in found}
        assert said[(2, EOS)] == pytest.approx(-150, abs=1e-3)
        assert said[(EOS,)] == pytest.approx(-150, abs=1e-3)
        (scored,) = score_hypotheses("token", generator, read, [context], [[(1, EOS)]])
        assert scored[0].log_prob == pytest.approx(-300, abs=1e-3)


def test_tokens_whose_probabilities_underflow_are_ranked_by_their_log_probs():
    """As probabilities in float32 all but one are 0, and none of these is before another."""
    log_p = torch.full((8,), -200.0)
    log_p[2], log_p[5], log_p[7] = 0.0, -130.0, -110.0

    class Sure(TableGenerator):
        def next_log_probs(self, key, prefix):
            return log_p

    generator = Sure(TableGenerator.Config(vocabulary=8))
    read = generator.read(["q", "q"], [Passage("a", "", "a"), Passage("b", "", "b")])
    context = QuestionPrior(torch.arange(2), log_prior(torch.tensor([0.0, 1.0])))
    for kind in (RagToken, RagSequence):
        (ranked,) = kind(generator, read, [context]).candidates([Rule()], 3)
        assert [token for token, _ in ranked] == [2, 7, 5]
        assert [value for _, value in ranked] == pytest.approx([0, -110, -130], abs=1e-3)


class Broken(TableGenerator):
    """Gives unnormalised or NaN numbers from a given step on."""

    def __init__(self, *, at: int, value: float) -> None:
        super().__init__(TableGenerator.Config())
        self.at, self.value = at, value

    def next_log_probs(self, key, prefix):
        log_p = super().next_log_probs(key, prefix)
        return log_p + self.value if len(prefix) >= self.at else log_p


@pytest.mark.parametrize("value", [1.0, -0.5, float("nan"), float("inf")])
@pytest.mark.parametrize("at", [0, 1])
@pytest.mark.parametrize("kind", [RagToken, RagSequence])
def test_a_generator_that_gives_no_distribution_is_refused(kind, at, value):
    generator = Broken(at=at, value=value)
    read = generator.read(["q"], [Passage("a", "", "a")])
    context = QuestionPrior(torch.arange(1), torch.zeros(1))
    options = DecodingOptions(eos_token_id=EOS, min_new_tokens=2)
    with pytest.raises(GeneratorError, match="Broken"):
        BeamSearch(kind(generator, read, [context]), options).run()


@pytest.mark.parametrize("value", [50.0, float("nan")])
def test_a_score_that_is_no_log_probability_is_refused(value):
    generator = Broken(at=0, value=value)
    read = generator.read(["q"], [Passage("a", "", "a")])
    context = QuestionPrior(torch.arange(1), torch.zeros(1))
    with pytest.raises(GeneratorError, match=r"Broken: .* returned .* for a log-probability"):
        score_targets(generator, read, [context], [[(1, EOS)]])

"""Test laws of the beam search over real models: transformers' `generate`, and posteriors.

With one passage its prior is 1, and RAG is the plain model: there `generate` of Hugging Face
transformers says what each option means, and ours must find the same answers with the same scores.
Its search is told to be the canonical one and to charge for forced tokens (`reference.py`); what it
does of its own accord is held against that at the end of the first half.

Two of its rules have no counterpart here. Its `no_repeat_ngram_size` counts the decoder's start
token as part of the answer, which for BART is the end token: with size 1 no answer could ever end.
And where `min_new_tokens` is as large as the limit it has no token left at the limit, while ours
ends.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from ragcore_transformers.seq2seq import Seq2Seq
from torch import Tensor

from ragcore.decoding.beam import BeamSearch
from ragcore.decoding.hypotheses import Hypothesis
from ragcore.decoding.question_prior import QuestionPrior
from ragcore.decoding.rules import DecodingOptions
from ragcore.decoding.sequence import RagSequence
from ragcore.decoding.token import RagToken
from ragcore.marginalization import log_prior
from ragcore.types import Passage
from tests.integration.reference import (
    EOS,
    Batch,
    Charged,
    answers_in,
    log_probs,
    make_generator,
    search_settings,
)

LONGEST = 7
BOS = 0
MODELS = {"token": RagToken, "sequence": RagSequence}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("laws")


@pytest.fixture(scope="module", params=[0, 1, 2])
def bart(request, folder) -> Seq2Seq:
    return make_generator("bart", folder, seed=request.param)


@pytest.fixture(scope="module", params=["bart", "t5"])
def generator(request, folder) -> Seq2Seq:
    return make_generator(request.param, folder, seed=7)


def search(batch: Batch, model: str = "token", **options) -> list[list[Hypothesis]]:
    made = MODELS[model](batch.generator, batch.read(), batch.priors())
    settings = {"eos_token_id": EOS, "max_new_tokens": LONGEST, **options}
    return BeamSearch(made, DecodingOptions(**settings)).run()


@torch.no_grad()
def generate(batch: Batch, settings: dict):
    """transformers' own search over the bare model, with scores."""
    inputs = batch.inputs()
    return batch.generator.model.generate(
        inputs["context_input_ids"],
        attention_mask=inputs["context_attention_mask"],
        output_scores=True,
        return_dict_in_generate=True,
        **settings,
    )


OPTIONS = [
    {},
    {"max_new_tokens": 1},
    {"max_new_tokens": 3},
    {"max_new_tokens": 12},
    {"min_new_tokens": 3},
    {"min_new_tokens": 6, "max_new_tokens": 8},
    {"no_repeat_ngram": 2},
    {"no_repeat_ngram": 3, "max_new_tokens": 12},
    {"forced_bos_token_id": BOS},
    {"forced_bos_token_id": 9, "min_new_tokens": 2, "no_repeat_ngram": 2},
    *({"length_penalty": penalty} for penalty in (-2.0, -0.5, 0.5, 1.0, 2.0)),
    *({"length_penalty": penalty, "max_new_tokens": 14} for penalty in (-0.2, 1.0, 3.0)),
    {"length_penalty": 1.0, "forced_bos_token_id": BOS, "max_new_tokens": 5},
]


def in_transformers(beams: int, options: dict) -> dict:
    """The same options in the words of transformers' `generate`."""
    changes = dict(options)
    forced = []
    if "forced_bos_token_id" in changes:
        forced.append(Charged(changes.pop("forced_bos_token_id"), 0))
    if "no_repeat_ngram" in changes:
        changes["no_repeat_ngram_size"] = changes.pop("no_repeat_ngram")
    if beams == 1:
        # One hypothesis is not ranked against another.
        changes.pop("length_penalty", None)
    return search_settings(beams, changes.pop("max_new_tokens", LONGEST), *forced, **changes)


@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_over_one_passage_answers_are_those_of_generate(bart, options, beams):
    batch = Batch.random(bart, seed=len(str(options)), k=1, size=6)
    ours = search(batch, beams=beams, **options)
    found = generate(batch, in_transformers(beams, options))
    theirs = answers_in(found.sequences)
    if beams == 1:
        assert [h.tokens for one in ours for h in one] == theirs
        return
    penalty = options.get("length_penalty", 0.0)
    scores = found.sequences_scores.tolist()
    # Where fewer answers exist than beams, it fills up with what has not ended.
    real = [(a, s) for a, s in zip(theirs, scores, strict=True) if s > -1e8]
    assert [h.tokens for one in ours for h in one] == [answer for answer, _ in real]
    # Its scores are log p / length ** penalty.
    assert [h.log_prob for one in ours for h in one] == pytest.approx(
        [score * len(answer) ** penalty for answer, score in real], abs=1e-4
    )


@pytest.mark.parametrize("beams", [1, 4])
def test_a_forced_first_token_costs_nothing_there_and_its_log_prob_here(bart, beams):
    """The same for all hypotheses, so that the answers do not change."""
    batch = Batch.random(bart, seed=11, k=1, size=6)
    ours = [h for one in search(batch, beams=beams, forced_bos_token_id=BOS) for h in one]
    found = generate(batch, search_settings(beams, LONGEST, forced_bos_token_id=BOS))
    assert [h.tokens for h in ours] == answers_in(found.sequences)
    if beams > 1:
        uncharged = [h.log_prob - h.steps[0].log_prob for h in ours]
        assert uncharged == pytest.approx(found.sequences_scores.tolist(), abs=1e-4)
    assert min(h.steps[0].log_prob for h in ours) < -0.5


@pytest.mark.parametrize("beams", [1, 4])
def test_a_forced_end_costs_nothing_there_and_its_log_prob_here(bart, beams):
    """Greedy search finds the same; beams need not, since there the end at the limit is free.

    What is found there has the score that it has here, but for the price of that end.
    """
    batch = Batch.random(bart, seed=12, k=1, size=6)
    settings = search_settings(beams, LONGEST, forced_eos_token_id=EOS)
    found = generate(batch, {**settings, "logits_processor": None})
    theirs = answers_in(found.sequences)
    if beams == 1:
        assert [one[0].tokens for one in search(batch, beams=1)] == theirs
        return
    targets = [theirs[place : place + beams] for place in range(0, len(theirs), beams)]
    scored = batch.scored("token", targets)
    paid = [
        h.log_prob - (h.steps[-1].log_prob if len(h.tokens) == LONGEST else 0.0)
        for one in scored
        for h in one
    ]
    assert paid == pytest.approx(found.sequences_scores.tolist(), abs=1e-4)
    assert any(len(answer) == LONGEST for answer in theirs)


@pytest.mark.parametrize("penalty", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("model", MODELS)
def test_the_n_best_are_sorted_distinct_and_scored_exactly(generator, model, penalty):
    batch = Batch.random(generator, seed=21, k=3, size=3)
    found = search(batch, model, beams=5, length_penalty=penalty)
    targets = [[h.tokens for h in one] for one in found]
    scored = batch.scored(model, targets)
    for one, same in zip(found, scored, strict=True):
        scores = [h.score(penalty) for h in one]
        assert scores == sorted(scores, reverse=True)
        assert len({h.tokens for h in one}) == len(one) == 5
        for hypothesis, again in zip(one, same, strict=True):
            assert hypothesis.log_prob == pytest.approx(again.log_prob, abs=1e-4)
            for step, step_again in zip(hypothesis.steps, again.steps, strict=True):
                assert step.log_prob == pytest.approx(step_again.log_prob, abs=1e-4)
                assert step.posterior == pytest.approx(step_again.posterior, abs=1e-5)


def all_modes(batch: Batch) -> dict[str, list[list[Hypothesis]]]:
    """What each way of decoding finds."""
    options = DecodingOptions(eos_token_id=EOS, beams=4, max_new_tokens=LONGEST)
    return {
        "token": search(batch, "token", beams=4),
        "joint": search(batch, "sequence", beams=4),
        "thorough": batch.thorough(options),
    }


def true_posteriors(mode: str, batch: Batch, place: int, target: tuple[int, ...]) -> Tensor:
    """p(z|x,y_<=i), float64 [T, k], from plain forward passes; of the token or of the prefix."""
    p = torch.stack(
        [
            log_probs(batch.generator, batch.questions[place], passage, target).exp()
            for passage in batch.passages[place]
        ],
        dim=1,
    )
    weights = batch.scores[place].double().softmax(0) * (p if mode == "token" else p.cumprod(0))
    return weights / weights.sum(dim=1, keepdim=True)


def test_posteriors_sum_to_one_and_are_those_of_the_definition(generator):
    batch = Batch.random(generator, seed=22, k=4, size=3)
    for mode, found in all_modes(batch).items():
        for place, one in enumerate(found):
            for hypothesis in one[:2]:
                rows = [step.posterior for step in hypothesis.steps]
                assert [math.fsum(row) for row in rows] == pytest.approx([1] * len(rows), abs=1e-6)
                torch.testing.assert_close(
                    torch.tensor(rows, dtype=torch.float64),
                    true_posteriors(mode, batch, place, hypothesis.tokens),
                    atol=1e-4,
                    rtol=0,
                )


def with_passages(batch: Batch, order: list[int], scores: Tensor) -> Batch:
    return Batch(
        batch.generator,
        batch.questions,
        [[own[z] for z in order] for own in batch.passages],
        scores,
    )


def assert_same(found: list[list[Hypothesis]], expected: list[list[Hypothesis]], order: list[int]):
    """The same answers; order[z] is the place that a passage of `expected` has in `found`."""
    for ours, theirs in zip(found, expected, strict=True):
        assert [h.tokens for h in ours] == [h.tokens for h in theirs]
        for hypothesis, same in zip(ours, theirs, strict=True):
            assert hypothesis.log_prob == pytest.approx(same.log_prob, abs=1e-4)
            for step, step_same in zip(hypothesis.steps, same.steps, strict=True):
                posterior = [step.posterior[z] for z in order]
                assert posterior == pytest.approx(step_same.posterior, abs=1e-5)


@pytest.mark.parametrize("nothing", [-math.inf, -1e4])
@pytest.mark.parametrize("mode", ["token", "joint"])
def test_a_passage_of_posterior_zero_changes_nothing(generator, mode, nothing):
    """Of thorough decoding this is not so: each passage's own beam brings candidates."""
    batch = Batch.random(generator, seed=23, k=3, size=3)
    scores = batch.scores.clone()
    scores[:, 1] = nothing
    found = all_modes(with_passages(batch, [0, 1, 2], scores))[mode]
    without = all_modes(with_passages(batch, [0, 2], scores[:, [0, 2]]))[mode]
    assert_same(found, without, [0, 2])
    assert all(step.posterior[1] == 0 for one in found for h in one for step in h.steps)


@pytest.mark.parametrize("marginalize", ["token", "sequence"])
def test_leaving_out_a_passage_of_posterior_zero_changes_no_log_prob(generator, marginalize):
    batch = Batch.random(generator, seed=24, k=3, size=2)
    scores = batch.scores.clone()
    scores[:, 1] = -math.inf
    targets = [[[4, 7, EOS], [EOS]]] * 2
    found, without = (
        one.scored(marginalize, targets)
        for one in (
            with_passages(batch, [0, 1, 2], scores),
            with_passages(batch, [0, 2], scores[:, [0, 2]]),
        )
    )
    assert_same(found, without, [0, 2])


@pytest.mark.parametrize("mode", ["token", "joint", "thorough"])
def test_the_order_of_passages_does_not_matter(generator, mode):
    batch = Batch.random(generator, seed=25, k=4, size=3)
    order = [2, 0, 3, 1]
    found = all_modes(batch)[mode]
    turned = all_modes(with_passages(batch, order, batch.scores[:, order]))[mode]
    assert_same(found, turned, order)


def test_with_identical_passages_both_models_are_equal(generator):
    """And both the plain model over one of them."""
    passage = Passage("0", "chad", "one rules chad")
    questions = ["who rules chad ?", "river ?"]
    scores = torch.tensor([[0.3, 2.0, -1.0], [1.0, 0.0, 0.0]])
    three = all_modes(Batch(generator, questions, [[passage] * 3] * 2, scores))
    alone = all_modes(Batch(generator, questions, [[passage]] * 2, scores[:, :1]))
    for mode in ("token", "joint"):
        for one, same in zip(three[mode], alone["token"], strict=True):
            assert [h.tokens for h in one] == [h.tokens for h in same]
            assert [h.log_prob for h in one] == pytest.approx([h.log_prob for h in same], abs=1e-4)


def test_ragged_questions_share_a_batch_without_changing_each_other(generator):
    """1 to 4 passages: each question's answers are those that it has on its own."""
    batch = Batch.random(generator, seed=26, k=4, size=4)
    read = batch.read()
    ragged = [
        QuestionPrior(prior.pairs[: 1 + place], log_prior(scores[: 1 + place]))
        for place, (prior, scores) in enumerate(zip(batch.priors(), batch.scores, strict=True))
    ]
    options = DecodingOptions(eos_token_id=EOS, beams=4, max_new_tokens=LONGEST)
    for model in MODELS.values():
        together = BeamSearch(model(generator, read, ragged), options).run()
        for place, prior in enumerate(ragged):
            alone = BeamSearch(model(generator, read, [prior]), options).run()
            assert_same(together[place : place + 1], alone, list(range(len(prior))))

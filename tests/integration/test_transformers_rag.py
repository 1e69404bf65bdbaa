"""Compare losses, next-token marginals and answers with Hugging Face transformers' RAG, for BART.

208 random questions with random passages, on the same weights, where transformers is right. The
settings with which it searches as ragcore does, and the one fault that is repaired in it, are in
`reference.py`; nothing is compared loosely. Where it is wrong, see `test_transformers_faults.py`.
"""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path

import pytest
import torch

from ragcore.decoding.beam import BeamSearch
from ragcore.decoding.rules import DecodingOptions
from ragcore.decoding.token import RagToken
from ragcore.marginalization import (
    log_prior,
    next_token_log_prob,
    pad_targets,
    sequence_log_prob,
    token_log_prob,
)
from ragcore.training.loss import marginal_loss, smoothed_loss
from tests.integration.reference import (
    EOS,
    PAD,
    Batch,
    Reference,
    answers_in,
    make_generator,
    search_settings,
)

SIZE = 8
BATCHES = 26
LONGEST = 6


class Against:
    """26 batches of 8 questions over four BARTs, with 1 to 4 passages each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.generator = cache(lambda seed: make_generator("bart", folder, seed=seed))
        self.reference = cache(lambda seed, k: Reference(self.generator(seed), k))

    def __call__(self, number: int) -> tuple[Batch, Reference]:
        seed, k = number % 4, 1 + number // 4 % 4
        batch = Batch.random(self.generator(seed), seed=number, k=k, size=SIZE)
        return batch, self.reference(seed, k)


@pytest.fixture(scope="module")
def against(tmp_path_factory) -> Against:
    return Against(tmp_path_factory.mktemp("barts"))


def random_targets(number: int, vocabulary: int, *, first: int | None = None) -> list[list[int]]:
    """An answer for each question, of 2 to 5 tokens with its end."""
    rng = random.Random(number)
    allowed = [token for token in range(vocabulary) if token not in {PAD, EOS}]
    targets = [[*rng.choices(allowed, k=rng.randint(1, 4)), EOS] for _ in range(SIZE)]
    return targets if first is None else [[first, *target[1:]] for target in targets]


def labels_of(targets: list[list[int]]) -> torch.Tensor:
    """Targets as transformers' RAG takes them: the decoder's start token first, then padding."""
    rows = [torch.tensor([EOS, *target]) for target in targets]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)


def scored(batch: Batch, targets: list[list[int]]) -> torch.Tensor:
    """log p(y_i|x,z,y_<i) [B, k, T] as the generator says."""
    pairs = torch.arange(SIZE * batch.k)
    padded = pad_targets(targets).repeat_interleave(batch.k, dim=0)
    return batch.generator.score(batch.read(), pairs, padded).view(SIZE, batch.k, -1)


@pytest.mark.parametrize("number", range(BATCHES))
def test_the_losses_equal_transformers(against, number):
    batch, reference = against(number)
    targets = random_targets(number, batch.generator.vocabulary_size)
    prior, labels = log_prior(batch.scores), labels_of(targets)
    with torch.no_grad():
        log_p = scored(batch, targets)
        token = token_log_prob(prior, log_p)
        sequence = sequence_log_prob(prior, log_p)
        found = reference.token(**batch.inputs(), labels=labels)
        torch.testing.assert_close(-found.loss, token, atol=1e-4, rtol=0)
        found = reference.token(**batch.inputs(), labels=labels, reduce_loss=True)
        torch.testing.assert_close(-found.loss, token.sum(), atol=1e-3, rtol=0)
        found = reference.sequence(**batch.inputs(), labels=labels)
        torch.testing.assert_close(-found.loss, sequence, atol=1e-4, rtol=0)
        found = reference.sequence(**batch.inputs(), labels=labels, reduce_loss=True)
        torch.testing.assert_close(-found.loss, sequence.sum(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("number", range(0, BATCHES, 5))
@pytest.mark.parametrize("marginalize", ["token", "sequence"])
def test_the_gradients_equal_transformers(against, number, marginalize):
    """Of the retriever's scores, and of the generator's weights."""
    batch, reference = against(number)
    generator = batch.generator
    targets = random_targets(number, generator.vocabulary_size)
    weight = generator.model.get_encoder().layers[0].fc1.weight
    scores = batch.scores.clone().requires_grad_()
    ours = marginal_loss(marginalize, log_prior(scores), scored(batch, targets)).sum()
    mine = torch.autograd.grad(ours, [scores, weight])
    inputs = {**batch.inputs(), "doc_scores": scores}
    model = reference.token if marginalize == "token" else reference.sequence
    found = model(**inputs, labels=labels_of(targets), reduce_loss=True)
    theirs = torch.autograd.grad(found.loss.sum(), [scores, weight])
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("number", range(0, BATCHES, 5))
def test_the_smoothed_loss_of_rag_token_equals_transformers(against, number):
    batch, _ = against(number)
    generator = batch.generator
    targets = random_targets(number, generator.vocabulary_size)
    reference = Reference(generator, batch.k, label_smoothing=0.1)
    padded = pad_targets(targets)
    with torch.no_grad():
        found = reference.token(**batch.inputs(), labels=labels_of(targets))
        pairs = torch.arange(SIZE * batch.k)
        everything = generator.score_all(
            batch.read(), pairs, padded.repeat_interleave(batch.k, dim=0)
        )
        everything = everything.view(SIZE, batch.k, *everything.shape[1:])
        ours = smoothed_loss("token", log_prior(batch.scores), everything, padded, 0.1)
    torch.testing.assert_close(found.loss, ours, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("number", range(0, BATCHES, 4))
def test_a_loss_without_the_first_token_equals_transformers(against, number):
    """Its `exclude_bos_score`: the token <s>, that all answers begin with, is not charged for."""
    batch, reference = against(number)
    bos = batch.generator.tokenizer.bos_token_id
    targets = random_targets(number, batch.generator.vocabulary_size, first=bos)
    with torch.no_grad():
        rest = scored(batch, targets)[..., 1:]
        found = reference.sequence(
            **batch.inputs(), labels=labels_of(targets), exclude_bos_score=True
        )
    expected = sequence_log_prob(log_prior(batch.scores), rest)
    torch.testing.assert_close(-found.loss, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("number", range(BATCHES))
def test_the_marginal_of_every_next_token_equals_transformers(against, number):
    batch, reference = against(number)
    generator = batch.generator
    targets = random_targets(number, generator.vocabulary_size)
    fed = labels_of(targets)
    state = generator.start(batch.read(), torch.arange(SIZE * batch.k))
    # A generator may write over what it gave some steps ago.
    rows = [generator.step(state, None).clone()]
    for tokens in fed[:, 1:].unbind(1):
        rows.append(generator.step(state, tokens.repeat_interleave(batch.k)).clone())
    log_p = torch.stack(rows, dim=1).view(SIZE, batch.k, fed.shape[1], -1)
    prior = log_prior(batch.scores)[:, :, None].expand(-1, -1, fed.shape[1])
    found = next_token_log_prob(prior.transpose(1, 2), log_p.transpose(1, 2))
    with torch.no_grad():
        expected = reference.token(**batch.inputs(), decoder_input_ids=fed, do_marginalize=True)
    torch.testing.assert_close(found, expected.logits, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.parametrize("number", range(BATCHES))
def test_rag_token_answers_as_transformers_does(against, number, beams):
    batch, reference = against(number)
    options = DecodingOptions(eos_token_id=EOS, beams=beams, max_new_tokens=LONGEST)
    with torch.no_grad():
        ours = BeamSearch(RagToken(batch.generator, batch.read(), batch.priors()), options).run()
        found = reference.token.generate(
            **batch.inputs(),
            **search_settings(beams, LONGEST),
            output_scores=True,
            return_dict_in_generate=True,
        )
    assert [h.tokens for one in ours for h in one] == answers_in(found.sequences)
    if beams > 1:
        log_probs = torch.tensor([h.log_prob for one in ours for h in one])
        torch.testing.assert_close(log_probs, found.sequences_scores, atol=1e-4, rtol=0)


@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.parametrize("number", range(BATCHES))
def test_rag_sequence_answers_as_transformers_does_with_its_mask_repaired(against, number, beams):
    """As many of the candidates as there are beams, best first.

    Answers have at least two tokens and do not begin with <s>: of a one-token answer transformers
    loses the prior, and where all candidates begin with <s> it does not charge for it.
    """
    batch, reference = against(number)
    bos = batch.generator.tokenizer.bos_token_id
    options = DecodingOptions(
        eos_token_id=EOS,
        beams=beams,
        max_new_tokens=LONGEST,
        min_new_tokens=1,
        banned_openings=frozenset({(bos,)}),
    )
    with torch.no_grad():
        ours = batch.thorough(options)
        settings = search_settings(beams, LONGEST, min_new_tokens=1, begin_suppress_tokens=[bos])
        settings["num_return_sequences"] = 1
        found = reference.masked_sequence.generate(**batch.inputs(), **settings)
    assert [one[0].tokens for one in ours] == answers_in(found)

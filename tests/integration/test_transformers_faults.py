"""Test what is right where Hugging Face transformers 5.23's RAG is wrong, one test per fault.

The truth is computed by the definition, from one plain forward pass of the bare model for each
question and passage, and ragcore is compared with it. The last tests expect transformers' faults:
if one of them fails, a fault is fixed there, and what this folder and docs/explanation say of it
must be removed.

Label smoothing counts the prior once for each entry of the vocabulary there. That ragcore's does
not is tested with its training losses.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from ragcore_transformers.seq2seq import Seq2Seq

from ragcore.config import RagConfig
from ragcore.decoding.beam import BeamSearch
from ragcore.decoding.rules import DecodingOptions
from ragcore.decoding.token import RagToken
from ragcore.marginalization import log_prior, sequence_log_prob, token_log_prob
from ragcore.memory.memory import Memory
from ragcore.rag import Rag
from ragcore.store.store import Store
from ragcore.types import Hits, Passage
from tests.helpers.word_encoder import dense_part
from tests.integration.reference import (
    EOS,
    PAD,
    Batch,
    Reference,
    answers_in,
    by_definition,
    log_probs,
    make_generator,
    search_settings,
)

LONGEST = 5
BOS = 0
QUESTION = "who rules chad ?"
TEXTS = ["one rules chad", "two rules mali river river three", "three", "chad one two", "mali two"]
MODES = [
    {"marginalize": "token"},
    {"marginalize": "sequence", "decode": "thorough"},
    {"marginalize": "sequence", "decode": "fast"},
    {"marginalize": "sequence", "decode": "joint"},
]
each_mode = pytest.mark.parametrize("mode", MODES, ids=lambda mode: "-".join(mode.values()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("seen-wrong")


@pytest.fixture(scope="module", params=["bart", "t5"])
def generator(request, folder) -> Seq2Seq:
    return make_generator(request.param, folder, seed=5)


@pytest.fixture(scope="module")
def bart(folder) -> Seq2Seq:
    return make_generator("bart", folder, seed=6)


def true_log_prob(
    marginalize: str, batch: Batch, place: int, target: Sequence[int], k: int | None = None
) -> float:
    """log p(y|x) of one question of a batch, over its first k passages."""
    k = batch.k if k is None else k
    own = batch.passages[place][:k]
    log_p = [log_probs(batch.generator, batch.questions[place], p, target) for p in own]
    return by_definition(marginalize, batch.scores[place, :k], log_p)


class Counting:
    """A retriever that counts its searches and the questions in them."""

    def __init__(self, retriever) -> None:
        self._retriever = retriever
        self.capabilities = retriever.capabilities
        self.searches: list[int] = []

    def search(self, questions: Sequence[str], k: int, **options: object) -> Hits:
        self.searches.append(len(questions))
        return self._retriever.search(questions, k, **options)


def make_rag(tmp_path: Path, generator: Seq2Seq, *, passages: int, **rag: object) -> Rag:
    store = Store(tmp_path / "store")
    texts = TEXTS[:passages]
    store.build(
        "one",
        [Passage(str(z), "river", text) for z, text in enumerate(texts)],
        dense_part(),
        corpus_config=None,
    )
    opened = store.open("one", retriever=dense_part(), temperature=9.0)
    memory = Memory("one", opened.passages, Counting(opened.retriever), temperature=9.0)
    return Rag(memory, generator, RagConfig(max_new_tokens=LONGEST, **rag))


def check(answer, generator: Seq2Seq, marginalize: str) -> None:
    """An answer's log p is the definition's over the passages that it names as its evidence."""
    log_p = [
        log_probs(generator, answer.question, e.passage, answer.token_ids) for e in answer.evidence
    ]
    # As in make_rag; the prior is the softmax of score / temperature.
    scores = torch.tensor([e.score for e in answer.evidence]) / 9.0
    expected = by_definition(marginalize, scores, log_p)
    assert answer.log_prob == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("marginalize", "marginal"), [("token", token_log_prob), ("sequence", sequence_log_prob)]
)
def test_a_one_token_answer_keeps_its_prior_and_the_retriever_its_gradient(
    generator, marginalize, marginal
):
    """There the prior enters at the second token: a lone first one has none, and no gradient."""
    batch = Batch.random(generator, seed=1, k=3, size=1)
    scores = batch.scores[0].clone().requires_grad_()
    log_p = generator.score(batch.read(), torch.arange(3), torch.full((3, 1), EOS))
    log_prob = marginal(log_prior(scores), log_p)
    truth = true_log_prob(marginalize, batch, 0, [EOS])
    assert float(log_prob.detach()) == pytest.approx(truth, abs=1e-4)
    (found,) = batch.scored(marginalize, [[[EOS]]])
    assert found[0].log_prob == pytest.approx(truth, abs=1e-4)
    log_prob.backward()
    # d log p(y|x) / d score_z = p(z|x,y) - p(z|x)
    prior = batch.scores[0].double().softmax(0)
    likelihood = torch.cat(
        [log_probs(generator, batch.questions[0], p, [EOS]) for p in batch.passages[0]]
    ).exp()
    posterior = prior * likelihood / (prior * likelihood).sum()
    expected = (posterior - prior).float()
    assert float(expected.abs().max()) > 1e-2
    torch.testing.assert_close(scores.grad, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("marginalize", ["token", "sequence"])
def test_the_log_prob_of_every_token_counts_including_the_first(generator, marginalize):
    """There RAG-Sequence crashes for T5, and RAG-Token's loss begins at T5's second token."""
    batch = Batch.random(generator, seed=2, k=3, size=2)
    targets = [[4, 7, EOS], [9, 9, 12, 5, EOS]]
    found = batch.scored(marginalize, [targets, targets])
    for place, target in itertools.product(range(2), range(2)):
        hypothesis = found[place][target]
        truth = true_log_prob(marginalize, batch, place, targets[target])
        assert hypothesis.log_prob == pytest.approx(truth, abs=1e-4)
        first = true_log_prob(marginalize, batch, place, targets[target][:1])
        assert hypothesis.steps[0].log_prob == pytest.approx(first, abs=1e-4)


def test_a_first_token_that_all_candidates_share_counts(generator):
    """There it is left out where it is <s>, although each passage gives it another probability."""
    batch = Batch.random(generator, seed=4, k=3, size=2)
    options = DecodingOptions(
        eos_token_id=EOS, beams=3, max_new_tokens=LONGEST, forced_bos_token_id=BOS
    )
    for place, one in enumerate(batch.thorough(options)):
        for hypothesis in one:
            assert hypothesis.tokens[0] == BOS
            truth = true_log_prob("sequence", batch, place, hypothesis.tokens)
            assert hypothesis.log_prob == pytest.approx(truth, abs=1e-4)


def test_padding_after_an_early_end_does_not_count(generator):
    """There the shorter of T5's beams are filled up with end tokens, and charged for them."""
    batch = Batch.random(generator, seed=3, k=2, size=2)
    options = DecodingOptions(eos_token_id=EOS, beams=12, max_new_tokens=LONGEST)
    found = batch.thorough(options)
    lengths = {len(h.tokens) for one in found for h in one}
    assert len(lengths) > 1
    for place, hypotheses in enumerate(found):
        for hypothesis in hypotheses:
            assert hypothesis.tokens.index(EOS) == len(hypothesis.tokens) - 1
            truth = true_log_prob("sequence", batch, place, hypothesis.tokens)
            assert hypothesis.log_prob == pytest.approx(truth, abs=1e-4)


def test_padding_of_a_passage_is_never_attended_to(generator):
    """There RAG-Sequence's candidates are decoded with no mask, over passages padded to a width."""
    long = Passage("long", "river", "mali river " * 20)
    short = Passage("short", "chad", "one")
    options = DecodingOptions(eos_token_id=EOS, beams=4, max_new_tokens=LONGEST)
    batches = [
        Batch(generator, [QUESTION], [own], torch.zeros(1, len(own)))
        for own in ([short, long], [short])
    ]
    beside, alone = (
        BeamSearch(RagToken(generator, one.read(), one.priors()[0].apart()), options).run()[0]
        for one in batches
    )
    assert [h.tokens for h in beside] == [h.tokens for h in alone]
    for hypothesis, same in zip(beside, alone, strict=True):
        assert hypothesis.log_prob == pytest.approx(same.log_prob, abs=1e-5)
        truth = true_log_prob("token", batches[1], 0, hypothesis.tokens)
        assert hypothesis.log_prob == pytest.approx(truth, abs=1e-4)


@each_mode
def test_fewer_passages_than_k_are_not_repeated(generator, tmp_path, mode):
    """There the last document of the corpus stands in for each that is missing, unmasked."""
    (answer,) = make_rag(tmp_path, generator, passages=2, k=5, **mode).answer(QUESTION)
    assert sorted(e.passage.id for e in answer.evidence) == ["0", "1"]
    assert sum(e.prior for e in answer.evidence) == pytest.approx(1, abs=1e-6)
    check(answer, generator, mode["marginalize"])


@each_mode
def test_scoring_uses_the_same_k_as_answering(generator, tmp_path, mode):
    """There scoring again takes the config's number of documents, not the one asked for."""
    rag = make_rag(tmp_path, generator, passages=5, k=2, **mode)
    (answer,) = rag.answer(QUESTION)
    assert len(answer.evidence) == 2
    check(answer, generator, mode["marginalize"])


@each_mode
@pytest.mark.parametrize("beams", [1, 4])
def test_one_search_and_one_encoder_pass_for_any_number_of_beams(generator, tmp_path, mode, beams):
    """There each candidate is retrieved for and encoded again: 13 searches for one question."""
    rag = make_rag(tmp_path, generator, passages=5, k=3, beams=beams, **mode)
    passes: list[int] = []
    encoder = generator.model.get_encoder()
    hook = encoder.register_forward_hook(lambda *_: passes.append(1))
    try:
        rag.answer([QUESTION, "who rules mali ?"])
    finally:
        hook.remove()
    with rag.memory.reading() as memory:
        assert memory.retriever.searches == [2]
    assert len(passes) == 1


@pytest.mark.parametrize("marginalize", ["token", "sequence"])
def test_the_question_survives_a_long_passage(bart, marginalize):
    """There the passage stands before the question and the end is cut, the question with it."""
    passage = Passage("0", "river", "mali river one " * 100)
    found = []
    for question in ("who rules chad ?", "who rules mali ?"):
        batch = Batch(bart, [question], [[passage]], torch.zeros(1, 1))
        (one,) = batch.scored(marginalize, [[[4, 7, EOS]]])
        # What is read is the passage cut to fit, with the whole question behind it.
        room = bart.max_input_tokens - len(bart.tokenizer(f"river /  // {question}").input_ids)
        kept = Passage("0", "river", " ".join(passage.text.split()[:room]))
        cut = Batch(bart, [question], [[kept]], torch.zeros(1, 1))
        truth = true_log_prob(marginalize, cut, 0, [4, 7, EOS])
        assert one[0].log_prob == pytest.approx(truth, abs=1e-4)
        found.append(one[0].log_prob)
    assert found[0] != pytest.approx(found[1], abs=1e-3)


def test_transformers_no_gradient_reaches_the_retriever_from_a_one_token_answer(bart):
    batch = Batch.random(bart, seed=1, k=3, size=2)
    inputs = batch.inputs()
    inputs["doc_scores"] = batch.scores.clone().requires_grad_()
    labels = torch.tensor([[EOS, EOS]] * 2)
    Reference(bart, 3).sequence(**inputs, labels=labels).loss.sum().backward()
    assert not inputs["doc_scores"].grad.any()


def test_transformers_a_common_first_token_is_left_out_of_the_ranking(bart):
    batch = Batch.random(bart, seed=4, k=3, size=1)
    target = [BOS, 7, EOS]
    labels = torch.tensor([[EOS, *target]])
    with torch.no_grad():
        # As its `generate` asks.
        found = Reference(bart, 3).sequence(**batch.inputs(), labels=labels, exclude_bos_score=True)
    assert float(-found.loss) != pytest.approx(true_log_prob("sequence", batch, 0, target), abs=0.1)


def test_transformers_t5_has_no_rag_sequence_and_loses_its_first_token_in_rag_token(folder):
    t5 = make_generator("t5", folder, seed=5)
    batch = Batch.random(t5, seed=2, k=3, size=1)
    target = [4, 7, EOS]
    reference = Reference(t5, 3)
    with pytest.raises(AttributeError, match="bos_token_id"):
        reference.sequence(**batch.inputs(), labels=torch.tensor([target]))
    with torch.no_grad():
        loss = reference.token(
            **batch.inputs(),
            labels=torch.tensor([target]),
            decoder_input_ids=torch.tensor([[PAD, *target[:-1]]]),
        ).loss
    assert float(-loss) != pytest.approx(true_log_prob("token", batch, 0, target), abs=0.1)


def test_transformers_padding_is_attended_to_in_rag_sequence(bart):
    differing = 0
    for seed in range(4):
        batch = Batch.random(bart, seed=seed, k=3, size=3)
        reference = Reference(bart, 3)
        settings = search_settings(1, LONGEST, min_new_tokens=1)
        shipped, repaired = (
            answers_in(model.generate(**batch.inputs(), **settings))
            for model in (reference.sequence, reference.masked_sequence)
        )
        differing += sum(a != b for a, b in zip(shipped, repaired, strict=True))
    assert differing

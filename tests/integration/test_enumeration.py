"""RAG-Token and RAG-Sequence over real BART, T5 and Llama models, against every answer there is.

The truth is computed without ragcore's reading, caching or batching: one plain forward pass of the
Hugging Face model for each question, passage and answer, summed as the paper's formulas say.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch
from ragcore_transformers.causal import Causal
from ragcore_transformers.seq2seq import Seq2Seq
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from ragcore.contracts import Read
from ragcore.decoding.beam import BeamSearch
from ragcore.decoding.question_prior import QuestionPrior
from ragcore.decoding.rules import DecodingOptions
from ragcore.decoding.scoring import score_hypotheses
from ragcore.decoding.sequence import RagSequence, thorough
from ragcore.decoding.token import RagToken
from ragcore.marginalization import log_prior
from ragcore.types import Passage
from tests.integration.tiny import pack_everything, save_tiny

LONGEST = 3
TEXTS = ["one chad", "two mali river river three", "three"]
SCORES = [0.7, -0.4, 0.1]
CASES = [("bart", 3), ("bart", 1), ("t5", 3), ("t5", 2), ("llama", 3), ("llama", 1)]
TEMPLATE = "{title} / {text} // {question}"


class Truth:
    """A model, one question over k passages of unlike length, and p(y|x) of every answer."""

    def __init__(self, kind: str, folder: Path, k: int, dtype: str = "float32") -> None:
        model = str(save_tiny(kind, folder, words=False))
        self.generator: Seq2Seq | Causal
        if kind == "llama":
            self.generator = Causal(Causal.Config(model=model, template=TEMPLATE, dtype=dtype))
        else:
            self.generator = Seq2Seq(Seq2Seq.Config(model=model, template=TEMPLATE, dtype=dtype))
        kinds = AutoModelForCausalLM if kind == "llama" else AutoModelForSeq2SeqLM
        # In float32, and with plain layers, whatever the generator has.
        self._bare = kinds.from_pretrained(model).eval()
        self.passages = [Passage(str(i), f"t{i}", text) for i, text in enumerate(TEXTS[:k])]
        self.prior = QuestionPrior(torch.arange(k), log_prior(torch.tensor(SCORES[:k])))
        question = "who rules alpha ?"
        self._questions = [question] * k
        vocabulary, eos = self.generator.vocabulary_size, self.generator.eos_token_id
        others = [token for token in range(vocabulary) if token != eos]
        self.targets = [
            (*body, eos)
            for length in range(LONGEST)
            for body in itertools.product(others, repeat=length)
        ]
        prior = self.prior.log_prior.double().exp()
        tables = {
            target: torch.stack([self._alone(question, p, target) for p in self.passages])
            for target in self.targets
        }
        self.token = {t: float((prior[:, None] * p).sum(0).log().sum()) for t, p in tables.items()}
        self.sequence = {t: float((prior * p.prod(1)).sum().log()) for t, p in tables.items()}

    def read(self) -> Read:
        """The pairs as the generator reads them."""
        return self.generator.read(self._questions, self.passages)

    @torch.no_grad()
    def _alone(self, question: str, passage: Passage, target: tuple[int, ...]) -> torch.Tensor:
        """p(y_i|x,z,y_<i) [T] of one pair, from the bare model."""
        model, tokenizer = self._bare, self.generator.tokenizer
        text = TEMPLATE.format(title=passage.title, text=passage.text, question=question)
        inputs = tokenizer(text, return_tensors="pt").input_ids
        if isinstance(self.generator, Causal):
            # The tokenizer ends a text; a prompt goes on.
            whole = torch.cat([inputs[0, :-1], torch.tensor(target)])
            logits = model(input_ids=whole[None]).logits[0, -len(target) - 1 : -1].double()
            return logits.softmax(-1).gather(1, torch.tensor(target)[:, None])[:, 0]
        start = self.generator.model.config.decoder_start_token_id
        fed = torch.tensor([[start, *target[:-1]]])
        logits = model(input_ids=inputs, decoder_input_ids=fed).logits[0].double()
        return logits.softmax(-1).gather(1, torch.tensor(target)[:, None])[:, 0]


@pytest.fixture(scope="module", params=CASES, ids=str)
def truth(request, tmp_path_factory) -> Truth:
    kind, k = request.param
    return Truth(kind, tmp_path_factory.mktemp(kind), k)


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("marginalize", ["token", "sequence"])
def test_every_answer_has_its_probability(truth, marginalize, gradients):
    expected = getattr(truth, marginalize)
    with torch.set_grad_enabled(gradients):
        (found,) = score_hypotheses(
            marginalize, truth.generator, truth.read(), [truth.prior], [truth.targets]
        )
    for hypothesis in found:
        assert hypothesis.log_prob == pytest.approx(expected[hypothesis.tokens], abs=1e-4)


@pytest.mark.parametrize(("marginalize", "model"), [("token", RagToken), ("sequence", RagSequence)])
def test_cached_search_over_all_prefixes_ranks_every_answer(truth, marginalize, model):
    expected = getattr(truth, marginalize)
    options = DecodingOptions(
        eos_token_id=truth.generator.eos_token_id,
        beams=len(expected),
        max_new_tokens=LONGEST,
    )
    prefixes = model(truth.generator, truth.read(), [truth.prior])
    (found,) = BeamSearch(prefixes, options).run()
    assert {h.tokens for h in found} == set(expected)
    for hypothesis in found:
        assert hypothesis.log_prob == pytest.approx(expected[hypothesis.tokens], abs=1e-4)
        assert sum(hypothesis.steps[-1].posterior) == pytest.approx(1, abs=1e-6)
    assert expected[found[0].tokens] == pytest.approx(max(expected.values()), abs=1e-4)


@pytest.mark.parametrize(
    ("kind", "dtype", "close"),
    [
        *((kind, "float32", 1e-4) for kind in ("bart", "t5", "llama")),
        # Both round weights or states to about one part in a hundred or less.
        *((kind, "bfloat16", 0.15) for kind in ("bart", "t5", "llama")),
        *((kind, "int8", 0.15) for kind in ("bart", "t5")),
    ],
)
def test_packed_layers_of_every_type_rank_every_answer(kind, dtype, close, tmp_path, monkeypatch):
    pack_everything(monkeypatch)
    truth = Truth(kind, tmp_path, 3, dtype)
    for marginalize, model in (("token", RagToken), ("sequence", RagSequence)):
        expected = getattr(truth, marginalize)
        options = DecodingOptions(
            eos_token_id=truth.generator.eos_token_id,
            beams=len(expected),
            max_new_tokens=LONGEST,
        )
        with torch.no_grad():
            prefixes = model(truth.generator, truth.read(), [truth.prior])
            (found,) = BeamSearch(prefixes, options).run()
            (scored,) = score_hypotheses(
                marginalize, truth.generator, truth.read(), [truth.prior], [truth.targets]
            )
        assert {h.tokens for h in found} == set(expected)
        for hypothesis in (*found, *scored):
            assert hypothesis.log_prob == pytest.approx(expected[hypothesis.tokens], abs=close)


def test_thorough_decoding_finds_the_argmax(truth):
    options = DecodingOptions(
        eos_token_id=truth.generator.eos_token_id,
        beams=len(truth.targets),
        max_new_tokens=LONGEST,
    )
    best = thorough(truth.generator, truth.read(), [truth.prior], options)[0][0]
    assert best.log_prob == pytest.approx(max(truth.sequence.values()), abs=1e-4)


def test_a_small_beam_reports_exact_log_probs(truth):
    options = DecodingOptions(
        eos_token_id=truth.generator.eos_token_id, beams=2, max_new_tokens=LONGEST
    )
    for marginalize, model in (("token", RagToken), ("sequence", RagSequence)):
        prefixes = model(truth.generator, truth.read(), [truth.prior])
        for hypothesis in BeamSearch(prefixes, options).run()[0]:
            expected = getattr(truth, marginalize)[hypothesis.tokens]
            assert hypothesis.log_prob == pytest.approx(expected, abs=1e-4)


def test_a_one_token_answer_counts_its_prior_once(truth):
    """Seen wrong elsewhere: the prior enters at the second token, and a lone first lacks it."""
    (target,) = [t for t in truth.targets if len(t) == 1]
    assert truth.token[target] == pytest.approx(truth.sequence[target], abs=1e-9)
    ((found,),) = score_hypotheses(
        "token", truth.generator, truth.read(), [truth.prior], [[target]]
    )
    assert math.isclose(found.log_prob, truth.token[target], abs_tol=1e-4)

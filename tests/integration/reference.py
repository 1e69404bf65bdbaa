"""Wrap ragcore's generators into transformers' RAG models, and compute results by definition.

`Reference` wraps one BART or T5 of `Seq2Seq` into transformers' own RAG models: the same module,
not a copy. No retriever is involved: contexts and scores are handed in, as its documentation says.

Two differences are in transformers' search, not in its models, and are repaired here:

- It ends a search at the length limit without an end token, or with one whose log-prob does not
  count. In ragcore the end token's counts like any other. `Charged` forces a token and leaves its
  log-prob as it is.
- `RagSequenceForGeneration.generate` reads the contexts with no attention mask. `_Masked` adds one.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from ragcore_transformers.seq2seq import Seq2Seq
from torch import Tensor
from transformers import (
    AutoModelForSeq2SeqLM,
    DPRConfig,
    DPRQuestionEncoder,
    LogitsProcessor,
    LogitsProcessorList,
    RagConfig,
    RagSequenceForGeneration,
    RagTokenForGeneration,
)

from ragcore.decoding.hypotheses import Hypothesis
from ragcore.decoding.question_prior import QuestionPrior
from ragcore.decoding.rules import DecodingOptions
from ragcore.decoding.scoring import score_hypotheses
from ragcore.decoding.sequence import thorough
from ragcore.marginalization import Marginal, log_prior
from ragcore.types import Passage
from tests.integration.tiny import ANSWERS, WORDS, save_tiny

PAD, EOS = 1, 2


def make_generator(kind: str, folder: Path, *, seed: int = 0) -> Seq2Seq:
    """Make a tiny generator whose answers depend on the passage, and contain no padding."""
    path = save_tiny(kind, folder / f"{kind}-{seed}", seed=seed)
    model = AutoModelForSeq2SeqLM.from_pretrained(path)
    rng = torch.Generator().manual_seed(seed)
    head = model.get_output_embeddings()
    with torch.no_grad():
        # With a head that is tied to its embeddings a random model repeats its last token.
        model.config.tie_word_embeddings = False
        head.weight = torch.nn.Parameter(torch.randn(head.weight.shape, generator=rng))
        for half in (model.get_encoder(), model.get_decoder()):
            half.embed_tokens.weight = torch.nn.Parameter(half.embed_tokens.weight.clone())
        for name, weights in model.named_parameters():
            if "encoder_attn" in name or "EncDecAttention" in name:
                weights.mul_(3)
        if kind == "bart":
            # transformers' losses take a padding token in an answer for its end; a trained model
            # writes none.
            model.final_logits_bias[:, PAD] = -100.0
    model.save_pretrained(path)
    return Seq2Seq(Seq2Seq.Config(model=str(path)))


@dataclass(frozen=True, slots=True)
class Batch:
    """Questions with k passages each, as ragcore and as transformers read them.

    Attributes:
        passages: [B][k].
        scores: float32 [B, k], the retriever's.
    """

    generator: Seq2Seq
    questions: list[str]
    passages: list[list[Passage]]
    scores: Tensor

    @classmethod
    def random(cls, generator: Seq2Seq, seed: int, *, k: int, size: int = 8) -> Batch:
        """Draw questions and passages of different lengths."""
        rng = random.Random(seed)

        def words(least: int, most: int) -> str:
            return " ".join(rng.choices(WORDS + ANSWERS, k=rng.randint(least, most)))

        questions = [f"{words(1, 4)} ?" for _ in range(size)]
        passages = [
            [Passage(str(z), words(1, 1), words(1, 12)) for z in range(k)] for _ in questions
        ]
        scores = torch.tensor([[rng.gauss(0, 1.5) for _ in range(k)] for _ in questions])
        return cls(generator, questions, passages, scores)

    @property
    def k(self) -> int:
        return self.scores.shape[1]

    def read(self):
        """All pairs, question by question, as the generator reads them."""
        pairs = [
            (question, passage)
            for question, passages in zip(self.questions, self.passages, strict=True)
            for passage in passages
        ]
        return self.generator.read(
            [question for question, _ in pairs], [passage for _, passage in pairs]
        )

    def priors(self) -> list[QuestionPrior]:
        pairs = torch.arange(self.scores.numel()).view(self.scores.shape)  # [B, k]
        return [
            QuestionPrior(question_pairs, log_prior(scores))
            for question_pairs, scores in zip(pairs, self.scores, strict=True)
        ]

    @torch.inference_mode()
    def scored(self, marginalize: Marginal, targets: Sequence) -> list[list[Hypothesis]]:
        """Score targets [B][·] as hypotheses, as ragcore does when it serves."""
        return score_hypotheses(marginalize, self.generator, self.read(), self.priors(), targets)

    @torch.inference_mode()
    def thorough(self, options: DecodingOptions) -> list[list[Hypothesis]]:
        """Decode thoroughly, as ragcore does when it serves."""
        return thorough(self.generator, self.read(), self.priors(), options)

    def inputs(self) -> dict[str, Tensor]:
        """Make the inputs that transformers' RAG models take in place of a retriever."""
        texts = [
            as_text(question, passage)
            for question, passages in zip(self.questions, self.passages, strict=True)
            for passage in passages
        ]
        encoded = self.generator.tokenizer(texts, padding=True, return_tensors="pt")
        return {
            "context_input_ids": encoded.input_ids,
            "context_attention_mask": encoded.attention_mask,
            "doc_scores": self.scores,
        }


class Reference:
    """transformers' two RAG models over one generator of ours, for k passages."""

    def __init__(self, generator: Seq2Seq, k: int, **settings: object) -> None:
        asks = DPRConfig(
            vocab_size=17,
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=8,
            max_position_embeddings=16,
        )
        config = RagConfig.from_question_encoder_generator_configs(
            asks, generator.model.config, n_docs=k, **settings
        )
        parts = {"question_encoder": DPRQuestionEncoder(asks), "generator": generator.model}
        self.token = RagTokenForGeneration(config, **parts).eval()
        self.sequence = RagSequenceForGeneration(config, **parts).eval()
        self.masked_sequence = MaskedRagSequence(config, **parts).eval()


class MaskedRagSequence(RagSequenceForGeneration):
    """RAG-Sequence whose candidates are decoded under the contexts' attention mask."""

    @property
    def generator(self):
        return _Masked(self.rag.generator)


class _Masked:
    """A model whose `generate` does not attend to padding, even if it is passed no mask."""

    def __init__(self, model) -> None:
        self.config = model.config
        self._model = model

    def generate(self, input_ids: Tensor, *, attention_mask: None, **options):
        mask = input_ids.ne(self.config.pad_token_id).long()
        return self._model.generate(input_ids, attention_mask=mask, **options)


class Charged(LogitsProcessor):
    """Forces a token at one position of the answer, with the log-prob that the model gives it."""

    def __init__(self, token: int, position: int) -> None:
        self._token, self._position = token, position

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        # The decoder's start token stands before the answer.
        if input_ids.shape[1] - 1 != self._position:
            return scores
        forced = torch.full_like(scores, -torch.inf)
        forced[:, self._token] = scores[:, self._token]
        return forced


def search_settings(beams: int, longest: int, *forced: Charged, **changes: object) -> dict:
    """Make the settings with which transformers' `generate` searches as ragcore does.

    `early_stopping="never"` goes on until no live prefix can win, and `length_penalty` 0 ranks by
    log p: this is what its own documentation calls canonical beam search. `max_length` counts the
    start token; RAG-Token's `generate` knows no `max_new_tokens`.
    """
    search: dict = {"num_beams": beams, "max_length": longest + 1, "length_penalty": 0.0}
    if beams > 1:
        search |= {"early_stopping": "never", "num_return_sequences": beams}
    else:
        del search["length_penalty"]
    processors = LogitsProcessorList([Charged(EOS, longest - 1), *forced])
    return {
        **search,
        "logits_processor": processors,
        "decoder_start_token_id": EOS,
        **changes,
    }


def answers_in(sequences: Tensor) -> list[tuple[int, ...]]:
    """Strip start token and padding from what transformers' `generate` returns."""
    answers = []
    for row in sequences.tolist():
        body = row[1:]
        answers.append(tuple(body[: body.index(EOS) + 1] if EOS in body else body))
    return answers


def as_text(question: str, passage: Passage | None) -> str:
    """Format a question and a passage by the generators' default template."""
    return question if passage is None else f"{passage.title} / {passage.text} // {question}"


@torch.no_grad()
def next_log_probs(
    generator: Seq2Seq, question: str, passage: Passage | None, target: Sequence[int]
) -> Tensor:
    """Compute log p(·|x,z,y_<i), float64 [T, V], by one plain forward pass of the bare model."""
    model = generator.model
    ids = generator.tokenizer(as_text(question, passage), return_tensors="pt").input_ids
    fed = torch.tensor([[model.config.decoder_start_token_id, *target[:-1]]])
    logits = model(input_ids=ids, decoder_input_ids=fed).logits[0]
    return logits.double().log_softmax(-1)


def log_probs(
    generator: Seq2Seq, question: str, passage: Passage | None, target: Sequence[int]
) -> Tensor:
    """Compute log p(y_i|x,z,y_<i) of a target's tokens, float64 [T], by `next_log_probs`."""
    rows = next_log_probs(generator, question, passage, target)
    return rows.gather(1, torch.tensor(target)[:, None])[:, 0]


def by_definition(marginalize: str, scores: Tensor, log_p: Sequence[Tensor]) -> float:
    """Compute log p(y|x) as the paper writes it, from log p(y_i|x,z,y_<i) [T] of k passages."""
    prior = scores.double().softmax(-1)  # [k]
    p = torch.stack(list(log_p)).double().exp()  # [k, T]
    if marginalize == "token":
        return float((prior[:, None] * p).sum(0).log().sum())
    return float((prior * p.prod(1)).sum().log())

"""Make the work: a random model of BART-base's shape, and questions with invented passages.

Knows nothing of engines or clocks. Everything follows from a seed. The weights are BART's random
ones with three changes that make the work like a trained model's: what it writes depends on the
passage, its next-token distribution is not uniform over the vocabulary, and it does not repeat
itself. So hypotheses of one passage share prefixes, and those of two passages mostly differ.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from transformers import BartConfig, BartForConditionalGeneration, PreTrainedTokenizerFast

from ragcore.decoding.question_prior import QuestionPrior
from ragcore.marginalization import log_prior
from ragcore.types import Passage

__all__ = ["BASE", "SMALL", "Shape", "Work", "draw_work", "save_model", "save_tokenizer"]

_SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "/", "//", "?"]
_SYLLABLES = ["".join(pair) for pair in itertools.product("bcdfghjklmnprstvwxyz", "aeiou")]


@dataclass(frozen=True, slots=True)
class Shape:
    """A BART's measures: `width` of its states, `layers` on each side, `inner` width, and V."""

    width: int
    layers: int
    heads: int
    inner: int
    vocabulary: int


BASE = Shape(width=768, layers=6, heads=12, inner=3072, vocabulary=50265)
SMALL = Shape(width=64, layers=2, heads=4, inner=256, vocabulary=3000)


@dataclass(frozen=True, slots=True)
class Work:
    """Questions, k passages for each, and the retriever's scores float32 [B, k]."""

    questions: list[str]
    passages: list[list[Passage]]
    scores: Tensor

    def __len__(self) -> int:
        """B, the number of questions."""
        return len(self.questions)

    @property
    def k(self) -> int:
        """Passages for each question."""
        return self.scores.shape[1]

    def pairs(self) -> tuple[list[str], list[Passage]]:
        """Return all (question, passage) pairs, question by question."""
        questions = [question for question in self.questions for _ in range(self.k)]
        return questions, [passage for group in self.passages for passage in group]

    def texts(self) -> list[str]:
        """Return what the encoder reads of each pair, by ragcore's default template."""
        return [
            f"{passage.title} / {passage.text} // {question}"
            for question, passage in zip(*self.pairs(), strict=True)
        ]

    def priors(self, device: torch.device) -> list[QuestionPrior]:
        """Return what ragcore decodes over: each question's passages and their prior."""
        pairs = torch.arange(self.scores.numel(), device=device).view(self.scores.shape)
        log_priors = log_prior(self.scores).to(device)
        return [QuestionPrior(*pair) for pair in zip(pairs, log_priors, strict=True)]


def draw_work(shape: Shape, questions: int, k: int, *, seed: int = 0) -> Work:
    """Draw questions of 8 to 14 words, passages of 100 to 130, titles of 2; a word is a token."""
    rng = random.Random(seed)
    words = _words(shape)

    def draw_words(fewest: int, most: int) -> str:
        return " ".join(rng.choices(words, k=rng.randint(fewest, most)))

    drawn_questions = [f"{draw_words(8, 14)} ?" for _ in range(questions)]
    passages = [
        [Passage(str(z), draw_words(2, 2), draw_words(100, 130)) for z in range(k)]
        for _ in drawn_questions
    ]
    scores = torch.tensor([[rng.gauss(0, 1) for _ in range(k)] for _ in drawn_questions])
    return Work(drawn_questions, passages, scores)


def save_model(shape: Shape, folder: Path, *, seed: int = 0) -> Path:
    """Save a random checkpoint with its tokenizer in `folder`."""
    torch.manual_seed(seed)
    config = BartConfig(
        vocab_size=shape.vocabulary,
        d_model=shape.width,
        encoder_layers=shape.layers,
        decoder_layers=shape.layers,
        encoder_attention_heads=shape.heads,
        decoder_attention_heads=shape.heads,
        encoder_ffn_dim=shape.inner,
        decoder_ffn_dim=shape.inner,
        max_position_embeddings=1024,
        init_std=_STD * (BASE.width / shape.width) ** 0.5,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=2,
        forced_eos_token_id=None,
    )
    model = BartForConditionalGeneration(config)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if "encoder_attn" in name:
                weights.mul_(_CROSS)
        # The head is tied to the embeddings: without random signs the best next token is the last.
        signs = torch.randint(0, 2, (shape.width,)) * 2.0 - 1
        last = model.model.decoder.layers[-1].final_layer_norm.weight
        last.copy_(signs * _LOGITS / (config.init_std * shape.width**0.5))
    model.save_pretrained(folder)
    save_tokenizer(shape, folder)
    return folder


def save_tokenizer(shape: Shape, folder: Path) -> None:
    """Save a tokenizer of words, by which `draw_work` writes, in `folder`."""
    _tokenizer(shape).save_pretrained(folder)


_STD = 0.02
"""Standard deviation of all weights at BART-base's width, as its config says."""

_CROSS = 1.5
"""Factor on cross-attention's weights: without it a row reads a mean of all tokens."""

_LOGITS = 5.0
"""Standard deviation of a row of logits: the best of 50,000 tokens then has p of about 0.2."""


def _words(shape: Shape) -> list[str]:
    """Make distinct words of three syllables, as many as the vocabulary has room for."""
    invented = map("".join, itertools.product(_SYLLABLES, repeat=3))
    return list(itertools.islice(invented, shape.vocabulary - len(_SPECIAL)))


def _tokenizer(shape: Shape) -> PreTrainedTokenizerFast:
    vocabulary = {word: number for number, word in enumerate([*_SPECIAL, *_words(shape)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
    )

"""A real generator without weights: each next-token distribution is drawn from a seeded table.

The distribution depends on the question, the passage's text and the prefix, and on nothing else,
so that every target of a tiny vocabulary can be enumerated and scored by the definition.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ragcore.registry.components import ComponentConfig
from ragcore.types import Passage, Word

EOS = 0


@dataclass
class TableRead:
    keys: list[str]

    def __len__(self) -> int:
        return len(self.keys)


class TableState:
    def __init__(self, keys: list[str]) -> None:
        self.keys = keys
        self.prefixes: list[tuple[int, ...]] = [()] * len(keys)

    def select(self, rows: Tensor) -> None:
        self.keys = [self.keys[row] for row in rows.tolist()]
        self.prefixes = [self.prefixes[row] for row in rows.tolist()]


class TableGenerator:
    class Config(ComponentConfig):
        vocabulary: int = 4
        seed: int = 0
        sharpness: float = 2.0

    capabilities: ClassVar[frozenset[str]] = frozenset({"words"})

    def __init__(self, config: Config, *, forced_bos_token_id: int | None = None) -> None:
        self.config = config
        self.device = torch.device("cpu")
        self.vocabulary_size = config.vocabulary
        self.eos_token_id = EOS
        self.forced_bos_token_id = forced_bos_token_id
        self.passes = 0

    def next_log_probs(self, key: str, prefix: tuple[int, ...]) -> Tensor:
        text = f"{self.config.seed}|{key}|{prefix}"
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
        rng = torch.Generator().manual_seed(seed)
        logits = self.config.sharpness * torch.randn(self.vocabulary_size, generator=rng)
        return torch.log_softmax(logits, dim=0)

    def encode_answers(self, answers: Sequence[str]) -> list[list[int]]:
        return [[*(ord(letter) - ord("a") + 1 for letter in answer), EOS] for answer in answers]

    def decode_tokens(self, token_ids: Sequence[int]) -> str:
        return "".join(chr(ord("a") + token - 1) for token in token_ids if token != EOS)

    def encode_words(self, texts: Sequence[str]) -> list[list[Word]]:
        """Return every letter as a word of one token, once opening an answer and once inside it."""
        return [
            [
                Word(start, start + 1, (token,), opens)
                for start, token in enumerate(self.encode_answers([text])[0][:-1])
                for opens in (True, False)
            ]
            for text in texts
        ]

    def read(self, questions: Sequence[str], passages: Sequence[Passage | None]) -> TableRead:
        self.passes += 1
        return TableRead(
            [f"{q}|{p.text if p else None}" for q, p in zip(questions, passages, strict=True)]
        )

    def score(self, read: TableRead, pairs: Tensor, targets: Tensor) -> Tensor:
        rows = []
        for pair, target in zip(pairs.tolist(), targets.tolist(), strict=True):
            key = read.keys[pair]
            rows.append(
                [
                    float(self.next_log_probs(key, tuple(target[:i]))[token]) if token >= 0 else 0.0
                    for i, token in enumerate(target)
                ]
            )
        return torch.tensor(rows)

    def start(self, read: TableRead, pairs: Tensor) -> TableState:
        return TableState([read.keys[pair] for pair in pairs.tolist()])

    def step(self, state: TableState, tokens: Tensor | None) -> Tensor:
        if tokens is not None:
            grown = zip(state.prefixes, tokens.tolist(), strict=True)
            state.prefixes = [(*prefix, token) for prefix, token in grown]
        rows = zip(state.keys, state.prefixes, strict=True)
        return torch.stack([self.next_log_probs(key, prefix) for key, prefix in rows])


def all_targets(vocabulary: int, longest: int) -> Iterator[tuple[int, ...]]:
    """Yield every answer of at most `longest` tokens, the end token included."""
    for length in range(longest):
        for body in itertools.product(range(1, vocabulary), repeat=length):
            yield (*body, EOS)


def by_definition(
    generator: TableGenerator, keys: list[str], prior: Sequence[float], target: Sequence[int]
) -> tuple[float, float]:
    """Compute p(y|x) of RAG-Token and RAG-Sequence with probabilities and loops."""
    token, per_passage = 1.0, [1.0] * len(keys)
    for i, y in enumerate(target):
        step = [
            float(generator.next_log_probs(key, tuple(target[:i]))[y].double().exp())
            for key in keys
        ]
        token *= sum(p_z * p for p_z, p in zip(prior, step, strict=True))
        per_passage = [whole * p for whole, p in zip(per_passage, step, strict=True)]
    return token, sum(p_z * whole for p_z, whole in zip(prior, per_passage, strict=True))

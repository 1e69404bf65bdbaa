"""A plugin as its author wrote it for ragcore 0.1.0: an encoder, a generator and a retriever.

None has weights of its own; each number is derived from a sha256, so that it is the same on every
machine. Vectors hold small integers, so that their inner products are exact in float32.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

import ragcore

EOS = 0
LETTERS = " abcdefghijklmnopqrstuvwxyz"


@ragcore.hookimpl
def ragcore_encoders() -> dict[str, str]:
    return {"compat-words": "compat_parts:WordEncoder"}


@ragcore.hookimpl
def ragcore_generators() -> dict[str, str]:
    return {"compat-letters": "compat_parts:LetterGenerator"}


@ragcore.hookimpl
def ragcore_retrievers() -> dict[str, str]:
    return {"compat-overlap": "compat_parts:Overlap"}


class WordEncoder:
    """The sum of a direction for each word; texts that share words are near each other."""

    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)
        seed: int = 0

    capabilities: ClassVar[frozenset[str]] = frozenset()
    dim = 16

    def __init__(self, config: Config) -> None:
        self._seed = config.seed
        self.fingerprint = f"compat-words(seed={config.seed})"

    def encode_passages(self, passages: Sequence[ragcore.Passage]) -> Any:
        return self._encoded([f"{passage.title} {passage.text}" for passage in passages])

    def encode_questions(self, questions: Sequence[str]) -> torch.Tensor:
        return torch.from_numpy(self._encoded(questions))

    def _encoded(self, texts: Sequence[str]) -> Any:
        vectors = np.zeros((len(texts), self.dim), np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            for word in _words(text):
                digest = hashlib.sha256(f"{self._seed}|{word}".encode()).digest()
                vector += [byte % 7 - 3 for byte in digest[: self.dim]]
        return vectors


class Pairs:
    """Question and passage of each pair: all that this generator keeps of what it reads."""

    def __init__(self, keys: list[str]) -> None:
        self.keys = keys

    def __len__(self) -> int:
        return len(self.keys)


class Rows:
    """Decoder rows: which pair each reads, and what it has written."""

    def __init__(self, keys: list[str]) -> None:
        self.keys = keys
        self.prefixes: list[tuple[int, ...]] = [()] * len(keys)

    def select(self, rows: torch.Tensor) -> None:
        self.keys = [self.keys[row] for row in rows.tolist()]
        self.prefixes = [self.prefixes[row] for row in rows.tolist()]


class Bias(torch.nn.Module):
    """What can be trained: a number for each token."""

    def __init__(self, values: Sequence[float]) -> None:
        super().__init__()
        self.values = torch.nn.Parameter(torch.tensor(values))


class LetterGenerator:
    """Writes letters; logits depend on question, passage and prefix through a sha256."""

    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)
        seed: int = 0
        weights: ragcore.ConfigPath | None = None

    capabilities: ClassVar[frozenset[str]] = frozenset({"trainable"})
    device = torch.device("cpu")
    vocabulary_size = len(LETTERS) + 1
    eos_token_id = EOS
    forced_bos_token_id = None

    def __init__(self, config: Config) -> None:
        self._seed = config.seed
        values = [0.0] * self.vocabulary_size
        if config.weights is not None:
            values = json.loads(config.weights.read_text(encoding="utf-8"))
        self._bias = Bias(values)

    def encode_answers(self, answers: Sequence[str]) -> list[list[int]]:
        return [[*(max(0, LETTERS.find(c)) + 1 for c in text.lower()), EOS] for text in answers]

    def decode_tokens(self, token_ids: Sequence[int]) -> str:
        return "".join(LETTERS[token - 1] for token in token_ids if token != EOS)

    def read(self, questions: Sequence[str], passages: Sequence[ragcore.Passage | None]) -> Pairs:
        pairs = zip(questions, passages, strict=True)
        return Pairs([f"{q}|{p.title}|{p.text}" if p else f"{q}|" for q, p in pairs])

    def score(self, read: Pairs, pairs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        log_p = self.score_all(read, pairs, targets)
        chosen = log_p.gather(2, targets.clamp(min=0).unsqueeze(2)).squeeze(2)
        return chosen.masked_fill(targets < 0, 0.0)

    def score_all(self, read: Pairs, pairs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        rows = []
        for pair, target in zip(pairs.tolist(), targets.tolist(), strict=True):
            key = read.keys[pair]
            rows.append([self._next(key, tuple(target[:at])) for at in range(len(target))])
        return torch.stack([torch.stack(row) for row in rows])

    def start(self, read: Pairs, pairs: torch.Tensor) -> Rows:
        return Rows([read.keys[pair] for pair in pairs.tolist()])

    def step(self, state: Rows, tokens: torch.Tensor | None) -> torch.Tensor:
        if tokens is not None:
            grown = zip(state.prefixes, tokens.tolist(), strict=True)
            state.prefixes = [(*prefix, token) for prefix, token in grown]
        rows = zip(state.keys, state.prefixes, strict=True)
        return torch.stack([self._next(key, prefix) for key, prefix in rows])

    def trained_module(self) -> torch.nn.Module:
        return self._bias

    def save_trained(self, folder: Path) -> dict[str, str]:
        values = self._bias.values.detach().tolist()
        (folder / "bias.json").write_text(json.dumps(values) + "\n", encoding="utf-8")
        return {"weights": "bias.json"}

    def _next(self, key: str, prefix: tuple[int, ...]) -> torch.Tensor:
        """log p of each token, [V]; the end grows more likely with the length."""
        digest = hashlib.sha256(f"{self._seed}|{key}|{prefix}".encode()).digest()
        logits = torch.tensor([byte / 64 for byte in digest[: self.vocabulary_size]])
        logits[EOS] += len(prefix) / 2
        return torch.log_softmax(logits + self._bias.values, dim=0)


class Overlap(ragcore.SimpleRetriever):
    """How many of a question's words a passage has; one that has none is no hit."""

    def scores(self, question: str) -> list[float]:
        asked = set(_words(question))
        shared = [len(asked & set(_words(f"{p.title} {p.text}"))) for p in self.passages]
        return [count if count else -np.inf for count in shared]


def _words(text: str) -> list[str]:
    return [word.strip(".,?").lower() for word in text.split()]

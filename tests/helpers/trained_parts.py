"""A real generator and a real encoder of few weights, which can be trained.

Words are hashed to the rows of a table, and a text is the mean of its words' rows. The generator
writes letters, from the mean of what it has read and of what it has written.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ragcore.errors import QuestionError, UnsupportedOperation
from ragcore.registry.components import ComponentConfig
from ragcore.types import Passage

EOS = 0
SIZE = 24
ROWS = 499


class WordTable(nn.Module):
    """A text's vector: the mean of its words' rows, through one layer."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        draws = torch.Generator().manual_seed(seed)
        self.words = nn.Parameter(torch.randn(ROWS, SIZE, generator=draws))
        self.layer = nn.Parameter(torch.randn(SIZE, SIZE, generator=draws) / 2)

    def forward(self, texts: Sequence[str]) -> Tensor:
        vectors = [self.words[_rows(text)].mean(dim=0) @ self.layer for text in texts]
        return torch.stack(vectors).tanh() if vectors else torch.zeros(0, SIZE)


class LetterModel(nn.Module):
    """What reads and what writes."""

    def __init__(self, vocabulary: int, seed: int) -> None:
        super().__init__()
        draws = torch.Generator().manual_seed(seed)
        self.questions, self.passages = WordTable(seed + 1), WordTable(seed + 2)
        self.letters = nn.Parameter(torch.randn(vocabulary, SIZE, generator=draws))
        self.out = nn.Parameter(torch.randn(SIZE, vocabulary, generator=draws))

    def forward(self, states: Tensor, written: Tensor) -> Tensor:
        """Return log p [..., V] after states and written means [..., SIZE]."""
        return torch.log_softmax((states + written).tanh() @ self.out, dim=-1)


@dataclass
class LetterRead:
    states: Tensor

    def __len__(self) -> int:
        return len(self.states)


@dataclass
class LetterState:
    """Rows: what each has read, and the decaying sum of what it has written, [M, SIZE] each."""

    states: Tensor
    written: Tensor

    def select(self, rows: Tensor) -> None:
        self.states, self.written = self.states[rows], self.written[rows]


class Letters:
    class Config(ComponentConfig):
        seed: int = 0
        weights: str | None = None

    capabilities: ClassVar[frozenset[str]] = frozenset({"trainable"})

    def __init__(self, config: Config) -> None:
        self.config = config
        self.device = torch.device("cpu")
        self.vocabulary_size = 27
        self.eos_token_id = EOS
        self.forced_bos_token_id: int | None = None
        self.model = LetterModel(self.vocabulary_size, config.seed)
        if config.weights is not None:
            load(self.model, Path(config.weights))

    def encode_answers(self, answers: Sequence[str]) -> list[list[int]]:
        return [[*(ord(letter) - 96 for letter in answer), EOS] for answer in answers]

    def decode_tokens(self, token_ids: Sequence[int]) -> str:
        return "".join(chr(96 + token) for token in token_ids if token != EOS)

    def read(self, questions: Sequence[str], passages: Sequence[Passage | None]) -> LetterRead:
        for question in questions:
            if len(question.split()) > 2000:
                raise QuestionError(f"the question is longer than 2000 words: {question[:60]!r}")
        asked = self.model.questions(questions)
        read = self.model.passages([f"{p.title} {p.text}" if p else "" for p in passages])
        return LetterRead(4 * asked + read)

    def score(self, read: LetterRead, pairs: Tensor, targets: Tensor) -> Tensor:
        log_p = self.score_all(read, pairs, targets)
        chosen = log_p.gather(2, targets.clamp(min=0)[:, :, None])[:, :, 0]
        return chosen.masked_fill(targets < 0, 0.0).float()

    def score_all(self, read: LetterRead, pairs: Tensor, targets: Tensor) -> Tensor:
        written, columns = torch.zeros(len(targets), SIZE), []
        for column in targets.T:
            columns.append(self.model(read.states[pairs], written))
            written = 0.7 * written + self.model.letters[column.clamp(min=0)]
        return torch.stack(columns, dim=1)

    def start(self, read: LetterRead, pairs: Tensor) -> LetterState:
        return LetterState(read.states[pairs], torch.zeros(len(pairs), SIZE))

    @torch.no_grad()
    def step(self, state: LetterState, tokens: Tensor | None) -> Tensor:
        if tokens is not None:
            state.written = 0.7 * state.written + self.model.letters[tokens]
        log_probs: Tensor = self.model(state.states, state.written)
        return log_probs.float()

    def encode_words(self, texts: Sequence[str]) -> Any:
        raise UnsupportedOperation.of(f"generator {type(self).__name__!r}", "words")

    def trained_module(self) -> nn.Module:
        return self.model

    def save_trained(self, folder: Path) -> dict[str, str]:
        save(self.model, folder / "weights.npz")
        return {"weights": "weights.npz"}


class TrainedWords:
    class Config(ComponentConfig):
        seed: int = 0
        questions: str | None = None
        passages: str | None = None

    capabilities: ClassVar[frozenset[str]] = frozenset({"trainable"})
    dim = SIZE

    def __init__(self, config: Config) -> None:
        self.config = config
        self.questions, self.passages = WordTable(config.seed), WordTable(config.seed)
        self.fingerprint = f"trained words(seed={config.seed})"
        for module, path in ((self.questions, config.questions), (self.passages, config.passages)):
            if path is not None:
                load(module, Path(path))

    def encode_passages(self, passages: Sequence[Passage]) -> Any:
        with torch.no_grad():
            return self.encode_passages_with_grad(passages).numpy()

    def encode_passages_with_grad(self, passages: Sequence[Passage]) -> Tensor:
        vectors: Tensor = self.passages([f"{p.title} {p.text}" for p in passages])
        return vectors

    def encode_questions(self, questions: Sequence[str]) -> Tensor:
        vectors: Tensor = self.questions(questions)
        return vectors

    def trained_module(self) -> nn.Module:
        return self.questions

    def passage_module(self) -> nn.Module:
        return self.passages

    def save_trained(self, folder: Path) -> dict[str, str]:
        save(self.questions, folder / "questions.npz")
        save(self.passages, folder / "passages.npz")
        return {"questions": "questions.npz", "passages": "passages.npz"}


def save(module: nn.Module, path: Path) -> None:
    np.savez(path, **{name: value.numpy() for name, value in module.state_dict().items()})


def load(module: nn.Module, path: Path) -> None:
    with np.load(path, allow_pickle=False) as saved:
        module.load_state_dict({name: torch.from_numpy(saved[name]) for name in saved.files})


def _rows(text: str) -> list[int]:
    """Return the rows of a text's words, each with its place among the first and the last."""
    words = text.split() or [""]
    return [zlib.crc32(f"{word}|{number % 3}".encode()) % ROWS for number, word in enumerate(words)]

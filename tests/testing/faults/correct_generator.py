"""A correct generator of bytes, and what shows that a copy of it is wrong."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ragcore.errors import QuestionError
from ragcore.registry.components import ComponentConfig, ConfigPath
from ragcore.testing import GeneratorSuite
from ragcore.types import Passage, Word

END, START, SEPARATOR, VOCABULARY = 256, 257, 258, 259
LONGEST, POSITIONS = 400, 400


class Network(nn.Module):
    """Attends to the bytes that it reads by the state of a recurrent decoder."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, width)
        self.positions = nn.Embedding(POSITIONS, width)
        self.cell = nn.GRUCell(width, width)
        self.head = nn.Linear(2 * width, VOCABULARY)

    def encode(self, tokens: Tensor) -> Tensor:
        return self.words(tokens) + self.positions(torch.arange(tokens.shape[1]))

    def decode(self, hidden: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        weights = torch.einsum("mh,msh->ms", hidden, keys).masked_fill(~mask, -torch.inf)
        context = torch.einsum("ms,msh->mh", weights.softmax(1), keys)
        return self.head(torch.cat([hidden, context], 1))


@dataclass
class Read:
    keys: Tensor  # [P, S, H]
    mask: Tensor  # [P, S]

    def __len__(self) -> int:
        return len(self.keys)


class State:
    def __init__(self, read: Read, pairs: Tensor, width: int) -> None:
        self.read, self.pairs, self.length = read, pairs, 0
        self.hidden = torch.zeros(len(pairs), width)

    def select(self, rows: Tensor) -> None:
        self.pairs, self.hidden = self.pairs[rows], self.hidden[rows]


class Correct:
    """Reads bytes and writes bytes; its weights are drawn, or those of a file."""

    class Config(ComponentConfig):
        weights: ConfigPath | None = None

    capabilities: ClassVar[frozenset[str]] = frozenset({"trainable", "words"})
    device = torch.device("cpu")
    vocabulary_size = VOCABULARY
    eos_token_id = END
    forced_bos_token_id = None
    state_class: ClassVar[type[State]] = State

    def __init__(self, config: Config) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self._network = Network()
        if config.weights is not None:
            with np.load(config.weights) as saved:
                states = {name: torch.from_numpy(saved[name]) for name in saved.files}
            self._network.load_state_dict(states)

    def encode_answers(self, answers: Sequence[str]) -> list[list[int]]:
        return [[*answer.encode("utf-8", "replace"), END] for answer in answers]

    def decode_tokens(self, token_ids: Sequence[int]) -> str:
        return bytes(token for token in token_ids if token < END).decode("utf-8", "ignore")

    def read(self, questions: Sequence[str], passages: Sequence[Passage | None]) -> Read:
        pairs = zip(questions, passages, strict=True)
        inputs = [self._input(question, passage) for question, passage in pairs]
        longest = max(map(len, inputs), default=1)
        tokens = torch.tensor([[*line, *[0] * (longest - len(line))] for line in inputs])
        tokens = tokens.reshape(len(inputs), longest).long()
        lengths = torch.tensor([len(line) for line in inputs])
        mask = torch.arange(longest) < lengths.reshape(-1, 1)
        return Read(self._network.encode(tokens), mask)

    def score(self, read: Read, pairs: Tensor, targets: Tensor) -> Tensor:
        log_probs = self.score_all(read, pairs, targets)
        scores = log_probs.gather(2, targets.clamp(min=0)[..., None])[..., 0]
        return scores.masked_fill(targets < 0, 0.0)

    def score_all(self, read: Read, pairs: Tensor, targets: Tensor) -> Tensor:
        state, tokens = self.start(read, pairs), None
        steps = []
        for i in range(targets.shape[1]):
            steps.append(self._next(state, tokens))
            tokens = targets[:, i].clamp(min=0)
        return torch.stack(steps, 1) if steps else torch.zeros(len(pairs), 0, VOCABULARY)

    def start(self, read: Read, pairs: Tensor) -> State:
        return self.state_class(read, pairs, self._network.words.embedding_dim)

    def step(self, state: State, tokens: Tensor | None) -> Tensor:
        with torch.no_grad():
            return self._next(state, tokens)

    def encode_words(self, texts: Sequence[str]) -> list[list[Word]]:
        return [self._words(text) for text in texts]

    def trained_module(self) -> nn.Module:
        return self._network

    def save_trained(self, folder: Path) -> dict[str, str]:
        states = {name: state.numpy() for name, state in self._network.state_dict().items()}
        np.savez(folder / "weights.npz", **states)
        return {"weights": "weights.npz"}

    def _words(self, text: str) -> list[Word]:
        words: list[Word] = []
        for match in re.finditer(r"\S+", text):
            if words:
                words.append(self._word(text, words[-1].end, match.end(), opens=False))
            words.append(self._word(text, match.start(), match.end(), opens=True))
        return words

    def _word(self, text: str, start: int, end: int, *, opens: bool) -> Word:
        return Word(start, end, tuple(text[start:end].encode("utf-8", "replace")), opens)

    def _input(self, question: str, passage: Passage | None) -> list[int]:
        asked = list(question.encode("utf-8", "replace"))
        if len(asked) > LONGEST:
            raise QuestionError(f"the question has {len(asked)} bytes: {LONGEST} at most")
        if passage is None:
            return asked or [SEPARATOR]
        text = f"{passage.title}\n{passage.text}".encode("utf-8", "replace")
        return [*asked, SEPARATOR, *text][:LONGEST]

    def _next(self, state: State, tokens: Tensor | None) -> Tensor:
        """Advance the state by a token, and return the log-probabilities of the next."""
        network = self._network
        if tokens is None:
            tokens = torch.full((len(state.pairs),), START)
        position = torch.tensor(min(state.length, POSITIONS - 1))
        state.length += 1
        state.hidden = network.cell(
            network.words(tokens) + network.positions(position), state.hidden
        )
        keys, mask = state.read.keys[state.pairs], state.read.mask[state.pairs]
        return self._log_probs(network.decode(state.hidden, keys, mask))

    def _log_probs(self, logits: Tensor) -> Tensor:
        return logits.log_softmax(1)


class Suite(GeneratorSuite):
    answers = ("Addis Ababa", "1886", "Nairobi")


P1, P2 = Passage("1", "Chad", "N'Djamena"), Passage("2", "Kenya", "Nairobi lies in the highlands.")
PAIRS = torch.tensor([0, 1])


def made(component: type[Any]) -> Any:
    """Make a generator."""
    return component(component.Config())


def scores(generator: Any, text: str, read: Any = None, pair: int = 0, padding: int = 0) -> Tensor:
    """Score one answer of one pair, padded."""
    read = generator.read(["who?"], [P1]) if read is None else read
    targets = torch.tensor([generator.encode_answers([text])[0] + [-1] * padding])
    return generator.score(read, torch.tensor([pair]), targets).detach()


def stepped(generator: Any, text: str, pair: int = 0, read: Any = None) -> Tensor:
    """Score one answer of one pair by steps."""
    read = generator.read(["who?"], [P1]) if read is None else read
    state, token, steps = generator.start(read, torch.tensor([pair])), None, []
    for target in generator.encode_answers([text])[0]:
        steps.append(generator.step(state, token)[0, target].item())
        token = torch.tensor([target])
    return torch.tensor([steps])


def selected(generator: Any, rows: list[int]) -> Tensor:
    """Step two rows, select some of them, and return the next log-probabilities."""
    state = generator.start(generator.read(["who?"] * 2, [P1, P2]), PAIRS)
    generator.step(state, None)
    state.select(torch.tensor(rows))
    return generator.step(state, torch.tensor([65] * len(rows))).clone()


def close(left: Tensor, right: Tensor) -> bool:
    """Return whether two tensors are equal but for rounding."""
    return left.shape == right.shape and torch.allclose(left, right, atol=1e-5)


def refuses(generator: Any, question: str) -> bool:
    """Return whether a question is too long for a generator."""
    try:
        generator.read([question], [None])
    except QuestionError:
        return True
    return False


def reads(generator: Any, question: str, passage: Passage | None) -> Tensor:
    """Return the score of an answer after reading one pair."""
    return scores(generator, "a", generator.read([question], [passage]))


def retrained(generator: Any) -> bool:
    """Return whether a generator's trained weights are there after saving and loading."""
    with torch.no_grad():
        for weights in generator.trained_module().parameters():
            weights.mul_(1.5)
    with TemporaryDirectory() as folder:
        settings = generator.save_trained(Path(folder))
        config = generator.Config(**{key: Path(folder) / p for key, p in settings.items()})
        return close(scores(type(generator)(config), "a"), scores(generator, "a"))


def both(generator: Any) -> Any:
    """Read a short and a long pair at once."""
    return generator.read(["who?"] * 2, [P1, P2])


def answer_of(generator: Any, text: str) -> str:
    """Return the text that the first and second word of a text make, as an answer writes them."""
    words = generator.encode_words([text])[0]
    first = next(word for word in words if word.opens)
    second = next(word for word in words if not word.opens)
    return str(generator.decode_tokens(first.tokens + second.tokens))


def prefixes_agree(generator: Any, text: str) -> bool:
    """Return whether what streaming shows of an answer is never taken back."""
    tokens = generator.encode_answers([text])[0]
    decode = getattr(generator, "decode_prefix", lambda some: text)
    return all(text.startswith(decode(tokens[:count])) for count in range(len(tokens)))

"""Copies of the correct generator with one mistake each."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ragcore.types import Passage, Word
from tests.testing.faults.correct_generator import (
    END,
    LONGEST,
    SEPARATOR,
    Correct,
    Read,
    State,
    Suite,
)
from tests.testing.faults.marking import fault

__all__ = ["Correct", "Suite"]


@fault("close(scores(g := made(C), 'a', both(g)), scores(g, 'a'))")
class AttendsToPadding(Correct):
    """Attends to the padding of short inputs."""

    def read(self, questions: Sequence[str], passages: Sequence[Passage | None]) -> Read:
        read = super().read(questions, passages)
        return Read(read.keys, torch.ones_like(read.mask))


@fault("scores(made(C), 'a', padding=1)[0, 2] == 0")
class ScoresPadding(Correct):
    """Scores padded targets as token 0."""

    def score(self, read: Read, pairs: Tensor, targets: Tensor) -> Tensor:
        return super().score(read, pairs, targets.clamp(min=0))


@fault("made(C).encode_answers(['a']) == [[97, END]]")
class NoEnd(Correct):
    """Encodes answers without the end token."""

    def encode_answers(self, answers: Sequence[str]) -> list[list[int]]:
        return [tokens[:-1] for tokens in super().encode_answers(answers)]


@fault("close(scores(g := made(C), 'ab'), stepped(g, 'ab'))")
class SeesTheTarget(Correct):
    """Feeds each target before it scores it, since it does not shift them."""

    def score_all(self, read: Read, pairs: Tensor, targets: Tensor) -> Tensor:
        state = self.start(read, pairs)
        steps = [self._next(state, tokens) for tokens in targets.clamp(min=0).unbind(1)]
        return torch.stack(steps, 1)


class HiddenOnly(State):
    """Selects the cache alone."""

    def select(self, rows: Tensor) -> None:
        self.hidden, self.pairs = self.hidden[rows], self.pairs[: len(rows)]


@fault("close(selected(g := made(C), [1]), selected(g, [0, 1])[[1]])")
class SelectForgetsPairs(Correct):
    """Selects the rows of the cache, and not the pairs that they read."""

    state_class = HiddenOnly


class SkipsSameCount(State):
    """Selects only where the number of rows changes."""

    def select(self, rows: Tensor) -> None:
        if len(rows) != len(self.pairs):
            super().select(rows)


@fault("close(selected(g := made(C), [1, 0]), selected(g, [0, 1])[[1, 0]])")
class SelectSkipsOrder(Correct):
    """Does nothing where as many rows are selected as there are."""

    state_class = SkipsSameCount


@fault("close(scores(g := made(C), 'ab'), stepped(g, 'ab'))")
class StepsOneLate(Correct):
    """Counts positions from 1 in steps and from 0 in scores."""

    def step(self, state: State, tokens: Tensor | None) -> Tensor:
        if tokens is None:
            state.length = 1
        return super().step(state, tokens)


@fault(
    "stepped(made(C), 'Zz').isfinite().all() and stepped(made(C), 'é').isfinite().all() and"
    " made(C).step(made(C).start(both(made(C)), PAIRS), None).isfinite().all()"
)
class FiftyBest(Correct):
    """Leaves the fifty best tokens at each step, as a setting for sampling does."""

    def step(self, state: State, tokens: Tensor | None) -> Tensor:
        log_probs = super().step(state, tokens)
        worst = log_probs.topk(50).values[:, -1:]
        return log_probs.masked_fill(log_probs < worst, -torch.inf).log_softmax(1)


@fault("refuses(made(C), 'a' * 401)")
class CutsTheQuestion(Correct):
    """Cuts a question that is too long, without an error."""

    def _input(self, question: str, passage: Passage | None) -> list[int]:
        return super()._input(question.encode()[:LONGEST].decode("utf-8", "ignore"), passage)


@fault(
    "not close(reads(g := made(C), 'who?', p := Passage('3', '', 'a' * 500)),"
    " reads(g, 'where is it?', p))"
)
class PassageFirst(Correct):
    """Puts the passage before the question, so that a long one pushes the question out."""

    def _input(self, question: str, passage: Passage | None) -> list[int]:
        asked = super()._input(question, None)
        if passage is None:
            return asked
        text = f"{passage.title}\n{passage.text}".encode("utf-8", "replace")
        return [*text, SEPARATOR, *asked][:LONGEST]


@fault("len(made(C).read(['who?'] * 2, [P1, None])) == 2")
class AllOrNone(Correct):
    """Looks at the first passage alone to see whether there are any."""

    def read(self, questions: Sequence[str], passages: Sequence[Passage | None]) -> Read:
        if passages and passages[0] is not None:
            passages = [Passage(z.id, z.title, z.text) for z in passages]  # type: ignore[union-attr]
        return super().read(questions, passages)


@fault("made(C).score(both(made(C)), PAIRS, torch.tensor([[1], [2]])).requires_grad")
class NoGradient(Correct):
    """Scores without gradient."""

    @torch.no_grad()
    def score(self, read: Read, pairs: Tensor, targets: Tensor) -> Tensor:
        return super().score(read, pairs, targets)


@fault(
    "(g := made(C)) and (s := g.start(both(g), PAIRS)) and (first := g.step(s, None)) is not"
    " None and (old := first.clone()) is not None and g.step(s, PAIRS) is not None"
    " and close(first, old)"
)
class OneBuffer(Correct):
    """Writes each step's result over that of the last."""

    def step(self, state: State, tokens: Tensor | None) -> Tensor:
        log_probs = super().step(state, tokens)
        buffer = state.__dict__.setdefault("buffer", log_probs)
        if buffer.shape != log_probs.shape:
            state.__dict__["buffer"] = log_probs
            return log_probs
        return buffer.copy_(log_probs)


@fault(
    "made(C).step(made(C).start(both(made(C)), PAIRS), None).exp().sum(1).sub(1).abs().max() < 1e-4"
)
class HalfSoftmax(Correct):
    """Normalises in bfloat16, so that probabilities sum to 1 by two digits only."""

    def _log_probs(self, logits: Tensor) -> Tensor:
        return logits.bfloat16().log_softmax(1).float()


@fault(
    "(g := made(C)) and (read := g.read(['who?'], [P1])) and g.read(['who?'], [P2])"
    " and close(scores(g, 'a', read), scores(made(C), 'a'))"
)
class LastRead(Correct):
    """Keeps what it read in itself, so that the next reading replaces it."""

    def read(self, questions: Sequence[str], passages: Sequence[Passage | None]) -> Read:
        self._read = super().read(questions, passages)
        return self._read

    def start(self, read: Read, pairs: Tensor) -> State:
        return super().start(self._read, pairs)


@fault("(g := made(C)).decode_tokens(g.encode_answers(['Łódź'])[0]) == 'Łódź'")
class DecodesLatin1(Correct):
    """Decodes bytes as Latin-1."""

    def decode_tokens(self, token_ids: Sequence[int]) -> str:
        return bytes(token for token in token_ids if token < END).decode("latin-1")


@fault("made(C).decode_tokens([0xC5]) == ''")
class HalfLetters(Correct):
    """Cannot decode an answer that ends within a letter."""

    def decode_tokens(self, token_ids: Sequence[int]) -> str:
        return bytes(token for token in token_ids if token < END).decode("utf-8")


@fault("made(C).decode_tokens([97, END]) == 'a'")
class WritesItsEnd(Correct):
    """Writes the end token as text."""

    def decode_tokens(self, token_ids: Sequence[int]) -> str:
        return super().decode_tokens(token_ids) + "</s>" * (END in token_ids)


@fault("close(scores(g := made(C), 'a', both(g), pair=1), reads(g, 'who?', P2))")
class IgnoresPairs(Correct):
    """Takes row i to read pair i, whatever `pairs` says."""

    def start(self, read: Read, pairs: Tensor) -> State:
        return super().start(read, torch.arange(len(pairs)) % len(read))


@fault("made(C).step(made(C).start(both(made(C)), PAIRS), None).shape[1] == C.vocabulary_size")
class CountsBytesOnly(Correct):
    """Leaves special tokens out of the size of its vocabulary."""

    vocabulary_size = END


@fault("close(scores(g := made(C), 'a' * 30), stepped(g, 'a' * 30))")
class EndsAtTwenty(Correct):
    """Forces the end token at step 20, as a greatest length in generation settings does."""

    def step(self, state: State, tokens: Tensor | None) -> Tensor:
        log_probs = super().step(state, tokens)
        if state.length > 20:
            log_probs = torch.full_like(log_probs, -torch.inf)
            log_probs[:, END] = 0.0
        return log_probs


@fault("retrained(made(C))")
class SavesNoHead(Correct):
    """Saves trained weights without the last layer."""

    def save_trained(self, folder: Path) -> dict[str, str]:
        state = copy.deepcopy(self._network.state_dict())
        fresh = type(self)(self.Config())._network.state_dict()
        saved = {key: fresh[key] if key.startswith("head") else state[key] for key in state}
        np.savez(folder / "weights.npz", **{name: state.numpy() for name, state in saved.items()})
        return {"weights": "weights.npz"}


@fault("close(scores(g := made(C), 'a'), scores(g, 'a'))")
class DropsOut(Correct):
    """Drops out weights, since it never leaves the mode of training."""

    def _log_probs(self, logits: Tensor) -> Tensor:
        return nn.functional.dropout(logits, 0.1).log_softmax(1)


class OfTheClass(State):
    """Counts the steps of all states together."""

    steps: ClassVar[int] = 0

    @property
    def length(self) -> int:
        return OfTheClass.steps

    @length.setter
    def length(self, steps: int) -> None:
        OfTheClass.steps = steps


@fault(
    "(g := made(C)) and (s := g.start(both(g), PAIRS)) and g.step(s, None) is not None and"
    " stepped(g, 'abcd') is not None and close(g.step(s, torch.tensor([65, 65])),"
    " selected(g, [0, 1]))"
)
class OnePosition(Correct):
    """Counts positions in one variable for all states, which only works one answer at a time."""

    state_class = OfTheClass


@fault(
    "len(getattr(g := made(C), 'eos_token_ids', [END])) == 1 or"
    " g.step(g.start(both(g), PAIRS), None)[:, g.eos_token_ids[1]].isneginf().all()"
)
class EndsApart(Correct):
    """Names two end tokens, and does not add up their probabilities."""

    eos_token_ids = (END, 0)


@fault("made(C).forced_bos_token_id in (None, made(C).encode_answers(['a'])[0][0])")
class ForgetsItsStart(Correct):
    """Names a token that begins every answer, and encodes answers without it."""

    forced_bos_token_id = 1  # type: ignore[assignment]


@fault("prefixes_agree(made(C), 'Łódź')")
class StreamsHalfLetters(Correct):
    """Streams a mark in place of a letter whose bytes are not all there."""

    def decode_prefix(self, token_ids: Sequence[int]) -> str:
        return bytes(token for token in token_ids if token < END).decode("utf-8", "replace")


@fault("made(C).encode_words(['é b'])[0][0].end == 1")
class WordsByBytes(Correct):
    """Counts the offsets of words in bytes."""

    def _word(self, text: str, start: int, end: int, *, opens: bool) -> Word:
        word = super()._word(text, start, end, opens=opens)
        before, within = (
            len(part.encode("utf-8", "replace")) for part in (text[:start], text[:end])
        )
        return Word(before, within, word.tokens, opens)


@fault("answer_of(made(C), 'Addis Ababa') == 'Addis Ababa'")
class GluesWords(Correct):
    """Writes words within an answer without the space before them."""

    def _word(self, text: str, start: int, end: int, *, opens: bool) -> Word:
        tokens = super()._word(text, start, end, opens=opens).tokens
        return Word(start, end, tuple(token for token in tokens if token != ord(" ")), opens)


@fault("END not in made(C).encode_words(['a'])[0][0].tokens")
class EndsWords(Correct):
    """Encodes each word like an answer, with the end token."""

    def _word(self, text: str, start: int, end: int, *, opens: bool) -> Word:
        return Word(start, end, tuple(self.encode_answers([text[start:end]])[0]), opens)


@fault("made(C).encode_words(['ab ab'])[0][2].end == 5")
class FirstOccurrence(Correct):
    """Looks a word's offset up by the first place where it occurs."""

    def _word(self, text: str, start: int, end: int, *, opens: bool) -> Word:
        first = text.find(text[start:end])
        return super()._word(text, first, first + end - start, opens=opens)

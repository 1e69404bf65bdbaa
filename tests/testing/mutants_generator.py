"""Wrong generators, each `Table` with one fault; `GeneratorSuite` must catch them all."""

from __future__ import annotations

import itertools

import torch

from ragcore.types import Passage, Word
from tests.helpers.table_generator import EOS, TableGenerator, TableRead, TableState


class Table(TableGenerator):
    """A correct generator: seeded tables with twelve tokens, also for no rows."""

    class Config(TableGenerator.Config):
        vocabulary: int = 12

    def encode_words(self, texts):
        letters = ["".join(one if "a" <= one <= "k" else " " for one in text) for text in texts]
        return [
            [word for word in words if min(word.tokens) > 0]
            for words in super().encode_words(letters)
        ]

    def read(self, questions, passages):
        keys = super().read(questions, passages).keys
        titles = [passage.title if passage else "" for passage in passages]
        return TableRead([f"{title}|{key}" for title, key in zip(titles, keys, strict=True)])

    def score(self, read, pairs, targets):
        return super().score(read, pairs, targets).reshape(targets.shape)

    def step(self, state, tokens):
        if not state.keys:
            return torch.zeros(0, self.vocabulary_size)
        return super().step(state, tokens)


class QuestionDropped(Table):
    def read(self, questions, passages):
        return super().read([""] * len(questions), passages)


class PassageDropped(Table):
    def read(self, questions, passages):
        return super().read(questions, [None] * len(passages))


class NoneIsAPassage(Table):
    def read(self, questions, passages):
        return super().read(questions, [one or passages[0] for one in passages])


class QuestionCut(Table):
    def read(self, questions, passages):
        keys = [
            (f"{passage.text if passage else ''} {question}")[:2000]
            for question, passage in zip(questions, passages, strict=True)
        ]
        return TableRead(keys)


class LongQuestionCut(Table):
    def read(self, questions, passages):
        return super().read([question[:1000] for question in questions], passages)


class LongQuestionIsAnIndexError(Table):
    def read(self, questions, passages):
        if any(len(question) > 1000 for question in questions):
            raise IndexError("index out of range in self")
        return super().read(questions, passages)


class PairsLost(Table):
    def read(self, questions, passages):
        return TableRead(sorted(set(super().read(questions, passages).keys))[:2])


class ReadsTheNeighbour(Table):
    def read(self, questions, passages):
        keys = super().read(questions, passages).keys
        return TableRead([f"{before}{key}" for before, key in itertools.pairwise(["", *keys])])


class StepIsUnnormalised(Table):
    def step(self, state, tokens):
        return super().step(state, tokens) + 0.1


class StepIsLogits(Table):
    def step(self, state, tokens):
        log_probs = super().step(state, tokens)
        return log_probs if tokens is None else log_probs * 1.5


class StepIsProbabilities(Table):
    def step(self, state, tokens):
        return super().step(state, tokens).exp()


class StepAsFloat64(Table):
    def step(self, state, tokens):
        return super().step(state, tokens).double()


class VocabularySizeIsTheTokenizers(Table):
    def __init__(self, config):
        super().__init__(config)
        self.vocabulary_size = config.vocabulary

    def next_log_probs(self, key, prefix):
        log_probs = super().next_log_probs(key, prefix)
        return torch.cat([log_probs, torch.full((2,), -30.0)])


class ScoreShiftsByOne(Table):
    def score(self, read, pairs, targets):
        log_probs = super().score(read, pairs, targets)
        return torch.where(targets < 0, 0.0, torch.roll(log_probs, 1, dims=1))


class ScoreOfAnotherRow(Table):
    def score(self, read, pairs, targets):
        return super().score(read, torch.sort(pairs).values, targets)


class ScoreIgnoresPairs(Table):
    def score(self, read, pairs, targets):
        return super().score(read, torch.zeros_like(pairs), targets)


class ScoreForgetsThePrefix(Table):
    def score(self, read, pairs, targets):
        log_probs = super().score(read, pairs, targets)
        for row, (pair, target) in enumerate(zip(pairs.tolist(), targets.tolist(), strict=True)):
            for i, token in enumerate(target):
                if token >= 0:
                    log_probs[row, i] = self.next_log_probs(read.keys[pair], ())[token]
        return log_probs


class PaddingIsCharged(Table):
    def score(self, read, pairs, targets):
        return torch.where(targets < 0, -1.0, super().score(read, pairs, targets))


class PaddingIsInfinite(Table):
    def score(self, read, pairs, targets):
        return torch.where(targets < 0, -torch.inf, super().score(read, pairs, targets))


class PaddingIsFilledInPlace(Table):
    def score(self, read, pairs, targets):
        log_probs = super().score(read, pairs, targets)
        targets[targets < 0] = EOS
        return log_probs


class ScoreIsSummed(Table):
    def score(self, read, pairs, targets):
        return super().score(read, pairs, targets).sum(dim=1)


class ScoreIsPositive(Table):
    def score(self, read, pairs, targets):
        return -super().score(read, pairs, targets)


class ScoreDividesByLength(Table):
    def score(self, read, pairs, targets):
        return super().score(read, pairs, targets) / max(1, targets.shape[1])


class TrainableWithoutGradient(Table):
    capabilities = TableGenerator.capabilities | {"trainable"}


class AlwaysWithGradient(Table):
    capabilities = TableGenerator.capabilities | {"trainable"}

    def score(self, read, pairs, targets):
        return super().score(read, pairs, targets).requires_grad_()


class SelectIgnoresDuplicates(Table):
    class State(TableState):
        def select(self, rows):
            super().select(torch.tensor(list(dict.fromkeys(rows.tolist()))))

    def start(self, read, pairs):
        return self.State(super().start(read, pairs).keys)


class SelectIgnoresOrder(Table):
    class State(TableState):
        def select(self, rows):
            super().select(rows.sort().values)

    def start(self, read, pairs):
        return self.State(super().start(read, pairs).keys)


class SelectForgetsTheCache(Table):
    class State(TableState):
        def select(self, rows):
            self.keys = [self.keys[row] for row in rows.tolist()]
            self.prefixes = self.prefixes[: len(self.keys)]
            self.prefixes += [self.prefixes[-1]] * (len(self.keys) - len(self.prefixes))

    def start(self, read, pairs):
        return self.State(super().start(read, pairs).keys)


class SelectForgetsThePairs(Table):
    class State(TableState):
        def select(self, rows):
            self.prefixes = [self.prefixes[row] for row in rows.tolist()]
            self.keys = (self.keys * 2)[: len(self.prefixes)]

    def start(self, read, pairs):
        return self.State(super().start(read, pairs).keys)


class SelectDoesNothing(Table):
    class State(TableState):
        def select(self, rows):
            pass

    def start(self, read, pairs):
        return self.State(super().start(read, pairs).keys)


class StartSortsPairs(Table):
    def start(self, read, pairs):
        return super().start(read, pairs.sort().values)


class OneStateForAll(Table):
    def step(self, state, tokens):
        if tokens is None:
            self._prefixes = list(state.prefixes)
        state.prefixes = self._prefixes[: len(state.keys)]
        state.prefixes += [()] * (len(state.keys) - len(state.prefixes))
        log_probs = super().step(state, tokens)
        self._prefixes = state.prefixes
        return log_probs


class OneBufferForAllSteps(Table):
    def step(self, state, tokens):
        log_probs = super().step(state, tokens)
        buffer = self.__dict__.setdefault("_buffers", {}).setdefault(log_probs.shape, log_probs)
        buffer.copy_(log_probs)
        return buffer


class NoRowsIsAnError(Table):
    def step(self, state, tokens):
        return TableGenerator.step(self, state, tokens)


class Dropout(Table):
    _draws = itertools.count()

    def read(self, questions, passages):
        return TableRead(
            [f"{key}{next(self._draws)}" for key in super().read(questions, passages).keys]
        )


class EndTokenLacks(Table):
    def encode_answers(self, answers):
        return [ids[:-1] for ids in super().encode_answers(answers)]


class EndTokenTwice(Table):
    def encode_answers(self, answers):
        return [[*ids, EOS] for ids in super().encode_answers(answers)]


class EndTokenIsOutOfRange(Table):
    def __init__(self, config):
        super().__init__(config)
        self.eos_token_id = self.vocabulary_size


class DecodesWithoutTheLast(Table):
    def decode_tokens(self, token_ids):
        return super().decode_tokens(token_ids)[:-1]


class DecodesTheEndToken(Table):
    def decode_tokens(self, token_ids):
        return "".join("</s>" if one == EOS else chr(ord("a") + one - 1) for one in token_ids)


class WordsAreNotDeclared(Table):
    capabilities = frozenset()

    def encode_words(self, texts):
        raise AttributeError("no attribute 'encode_words'")


class WordsAreMissing(Table):
    def encode_words(self, texts):
        raise NotImplementedError


class WordsWithTheEndToken(Table):
    def encode_words(self, texts):
        return [
            [Word(one.start, one.end, (*one.tokens, EOS), one.opens) for one in words]
            for words in super().encode_words(texts)
        ]


class WordsThatOpenNothing(Table):
    def encode_words(self, texts):
        return [
            [Word(one.start, one.end, one.tokens, False) for one in words]
            for words in super().encode_words(texts)
        ]


class WordsOfAnotherPlace(Table):
    def encode_words(self, texts):
        return [
            [
                Word(one.start, one.end, other.tokens, one.opens)
                for one, other in zip(words, reversed(words), strict=True)
            ]
            for words in super().encode_words(texts)
        ]


class TokensChanged(Table):
    def step(self, state, tokens):
        log_probs = super().step(state, tokens)
        if tokens is not None:
            tokens.fill_(EOS)
        return log_probs


class PassagesChanged(Table):
    def read(self, questions, passages):
        read = super().read(questions, passages)
        passages[:] = [one or Passage("", "", "") for one in passages]
        return read


class DtypeOfTorch(Table):
    dtype = torch.float16


class DtypeIsEmpty(Table):
    dtype = ""


class NeedsPassagesAsText(Table):
    needs_passages = "yes"


class UnknownIsNoText(Table):
    unknown = 3


class UnknownIsEmpty(Table):
    unknown = ""

"""Wrong generators, each `Table` with one fault in what it keeps, or in special cases of tokens."""

from __future__ import annotations

import re
import time
import unicodedata

import torch

from ragcore.types import Passage, Word
from tests.helpers.table_generator import EOS, TableRead, TableState
from tests.testing.mutants_generator import Table


class SelectsOnlyOnce(Table):
    class State(TableState):
        def select(self, rows):
            if not self.__dict__.get("_selected"):
                super().select(rows)
            self._selected = True

    def start(self, read, pairs):
        return self.State(super().start(read, pairs).keys)

    def step(self, state, tokens):
        state._selected = False
        return super().step(state, tokens)


class SelectsAtTheNextStep(Table):
    class State(TableState):
        def select(self, rows):
            self._rows = rows.clone()

    def start(self, read, pairs):
        return self.State(super().start(read, pairs).keys)

    def step(self, state, tokens):
        rows = state.__dict__.pop("_rows", None)
        if rows is not None:
            TableState.select(state, rows)
        return super().step(state, tokens)


class SelectsNothingBeforeTheFirstStep(Table):
    class State(TableState):
        def select(self, rows):
            if self.prefixes and self.prefixes[0]:
                super().select(rows)
            else:
                self.keys = [self.keys[row % 2] for row in rows.tolist()]
                self.prefixes = [()] * len(self.keys)

    def start(self, read, pairs):
        return self.State(super().start(read, pairs).keys)


class ReadsLate(Table):
    class Read:
        def __init__(self, read, questions, passages):
            self._read, self._questions, self._passages = read, questions, passages

        def __len__(self):
            return len(self.keys)

        @property
        def keys(self):
            return self._read(self._questions, self._passages).keys

    def read(self, questions, passages):
        return self.Read(super().read, questions, passages)


class ReadIsTheGenerators(Table):
    def read(self, questions, passages):
        self._last = super().read(questions, passages)
        return self._last

    def start(self, read, pairs):
        return super().start(self._last if len(self._last) == len(read) else read, pairs)


class ScoresWhatWasReadLast(Table):
    def read(self, questions, passages):
        self._last = super().read(questions, passages)
        return self._last

    def score(self, read, pairs, targets):
        return super().score(self._last if len(self._last) == len(read) else read, pairs, targets)


class KeepsTheReadInItself(Table):
    def read(self, questions, passages):
        self._questions = questions
        time.sleep(0.001)  # long enough for another thread to come between
        return super().read(self._questions[: len(passages)], passages)


class KeepsTheRowsInItself(Table):
    def score(self, read, pairs, targets):
        self._pairs = pairs
        time.sleep(0.001)
        return super().score(read, self._pairs[: len(pairs)], targets)


class KnowsThePassageById(Table):
    def read(self, questions, passages):
        known = self.__dict__.setdefault("_by_id", {})
        return super().read(
            questions, [known.setdefault(one.id, one) if one else None for one in passages]
        )


class KnowsThePassageByTitle(Table):
    def read(self, questions, passages):
        known = self.__dict__.setdefault("_by_title", {})
        return super().read(
            questions,
            [known.setdefault((one.id, one.title), one) if one else None for one in passages],
        )


class PairsBeyond32Wrap(Table):
    def read(self, questions, passages):
        keys = super().read(questions, passages).keys
        return TableRead([keys[number % 32] for number in range(len(keys))])


class ForgetsAfter32Tokens(Table):
    def next_log_probs(self, key, prefix):
        return super().next_log_probs(key, prefix[:32])


class StepSeesAWindow(Table):
    def step(self, state, tokens):
        log_probs = super().step(state, tokens)
        state.prefixes = [
            ("long", *prefix[-16:]) if len(prefix) > 40 else prefix for prefix in state.prefixes
        ]
        return log_probs


class SixteenRowsAtMost(Table):
    def step(self, state, tokens):
        log_probs = super().step(state, tokens)
        return log_probs[torch.arange(len(log_probs)) % 16]


class EndIsPadding(Table):
    def score(self, read, pairs, targets):
        return super().score(read, pairs, targets).masked_fill(targets == EOS, 0.0)


class EndAloneIsFree(Table):
    def score(self, read, pairs, targets):
        log_probs = super().score(read, pairs, targets)
        log_probs[targets[:, 0] == EOS] = 0.0
        return log_probs


class NeverEndsAtOnce(Table):
    def next_log_probs(self, key, prefix):
        log_probs = super().next_log_probs(key, prefix)
        if not prefix:
            log_probs[EOS] = -torch.inf
        return log_probs.log_softmax(dim=0)


class RepeatedTokensShareAScore(Table):
    def score(self, read, pairs, targets):
        log_probs = super().score(read, pairs, targets)
        for row, target in enumerate(targets.tolist()):
            for position, token in enumerate(target):
                log_probs[row, position] = log_probs[row, target.index(token)]
        return log_probs


class RepeatedTargetsShareAPair(Table):
    def score(self, read, pairs, targets):
        first = {}
        rows = [first.setdefault(tuple(row), number) for number, row in enumerate(targets.tolist())]
        return super().score(read, pairs[rows], targets)


class ProbabilitiesAreClipped(Table):
    class Config(Table.Config):
        sharpness: float = 40.0

    def next_log_probs(self, key, prefix):
        p = super().next_log_probs(key, prefix).exp().clamp(min=1e-7)
        return (p / p.sum()).log()


class LogOfASmallSum(Table):
    class Config(Table.Config):
        sharpness: float = 40.0

    def next_log_probs(self, key, prefix):
        return (super().next_log_probs(key, prefix).exp() + 1e-9).log().log_softmax(dim=0)


class ScoresAreClipped(Table):
    class Config(Table.Config):
        sharpness: float = 40.0

    def score(self, read, pairs, targets):
        return super().score(read, pairs, targets).clamp(min=-16.0)


class ForcedFirstTokenIsImpossible(Table):
    def __init__(self, config):
        super().__init__(config, forced_bos_token_id=3)

    def encode_answers(self, answers):
        return [[3, *ids] for ids in super().encode_answers(answers)]

    def decode_tokens(self, token_ids):
        return super().decode_tokens([one for one in token_ids if one != 3])

    def next_log_probs(self, key, prefix):
        log_probs = super().next_log_probs(key, prefix)
        if not prefix:
            log_probs[3] = -torch.inf
        return log_probs.log_softmax(dim=0)


class ForcedFirstTokenIsNotWritten(Table):
    def __init__(self, config):
        super().__init__(config, forced_bos_token_id=3)


class OffsetsInBytes(Table):
    def encode_words(self, texts):
        return [
            [
                Word(
                    len(text[: one.start].encode()),
                    len(text[: one.end].encode()),
                    one.tokens,
                    one.opens,
                )
                for one in words
            ]
            for text, words in zip(texts, super().encode_words(texts), strict=True)
        ]


class OffsetsInUtf16(Table):
    def encode_words(self, texts):
        def length(text):
            return len(text.encode("utf-16-le")) // 2

        return [
            [
                Word(length(text[: one.start]), length(text[: one.end]), one.tokens, one.opens)
                for one in words
            ]
            for text, words in zip(texts, super().encode_words(texts), strict=True)
        ]


class WordsOfTheNormalisedText(Table):
    def encode_words(self, texts):
        return super().encode_words([unicodedata.normalize("NFC", text) for text in texts])


class LaterTokensChangeTheText(Table):
    def decode_tokens(self, token_ids):
        # "aab" is written as "b", as cleaning joins what word pieces put apart.
        return re.sub("a+b", "b", super().decode_tokens(token_ids))


class PrefixHasAMarkOfItsOwn(Table):
    def decode_prefix(self, token_ids):
        return super().decode_tokens(token_ids) + "…"


class AsWrittenHasSpecialTokens(Table):
    def decode_verbatim(self, token_ids):
        return super().decode_tokens(token_ids) + "</s>"


class StreamsNothing(Table):
    def decode_prefix(self, token_ids):
        return ""


class EncodedAnswersAreCached(Table):
    def encode_answers(self, answers):
        known = self.__dict__.setdefault("_encoded", {})
        return [
            known.setdefault(answer, ids)
            for answer, ids in zip(answers, super().encode_answers(answers), strict=True)
        ]


class OneStateForEqualPairs(Table):
    def start(self, read, pairs):
        states = read.__dict__.setdefault("states", {})
        state = states.setdefault(tuple(pairs.tolist()), super().start(read, pairs))
        state.prefixes = [()] * len(pairs)
        return state


class PassageCutAfter80Characters(Table):
    def read(self, questions, passages):
        cut = [one and Passage(one.id, one.title, one.text[:80]) for one in passages]
        return super().read(questions, cut)


class RowsInTheClass(Table):
    class State(TableState):
        def __init__(self, keys):
            self.keys = keys
            type(self).prefixes = [()] * len(keys)

    def start(self, read, pairs):
        return self.State(super().start(read, pairs).keys)

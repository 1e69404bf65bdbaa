"""Wrong scorers, each `Common` with one fault; `ScorerSuite` must catch them all."""

from __future__ import annotations

import itertools
import time

import numpy as np

import ragcore
from ragcore.types import Passage


class Common:
    """A right one: how many letters of question and passage are in common, by length."""

    class Config(ragcore.ComponentConfig):
        pass

    capabilities = frozenset()

    def __init__(self, config):
        self.config = config

    def score(self, questions, passages):
        pairs = zip(questions, passages, strict=True)
        return np.array([self.one(asked, passage) for asked, passage in pairs], np.float32)

    def one(self, question, passage):
        text = f"{passage.title} {passage.text}"
        return sum(map(text.count, question)) / (1 + len(text))


class AsFloat64(Common):
    def score(self, questions, passages):
        return super().score(questions, passages).astype(np.float64)


class AsList(Common):
    def score(self, questions, passages):
        return super().score(questions, passages).tolist()


class AsColumn(Common):
    def score(self, questions, passages):
        return super().score(questions, passages)[:, None]


class EveryQuestionWithEveryPassage(Common):
    def score(self, questions, passages):
        return np.array([[self.one(q, p) for p in passages] for q in questions], np.float32)


class ScoresNaN(Common):
    def score(self, questions, passages):
        scores = super().score(questions, passages)
        return np.where(scores == scores.max(initial=-1), np.float32(np.nan), scores)


class LogOfZero(Common):
    def one(self, question, passage):
        found = super().one(question, passage)
        return np.log(found) if found else -np.inf


class NothingIsAnError(Common):
    def score(self, questions, passages):
        return np.stack([np.float32(score) for score in super().score(questions, passages)])


class Softmax(Common):
    def score(self, questions, passages):
        weights = np.exp(super().score(questions, passages))
        return weights / weights.sum()


class PaddingCounts(Common):
    def score(self, questions, passages):
        longest = max(map(len, questions), default=0)
        return super().score([one.ljust(longest, "e") for one in questions], passages)


class LengthOrderIsNotUndone(Common):
    def score(self, questions, passages):
        return super().score(questions, sorted(passages, key=lambda one: len(one.text)))


class ScoresOfTheNeighbour(Common):
    def score(self, questions, passages):
        return np.roll(super().score(questions, passages), 1)


class RanksForScores(Common):
    def score(self, questions, passages):
        return np.argsort(super().score(questions, passages)).astype(np.float32)


class QuestionIgnored(Common):
    def one(self, question, passage):
        return super().one("question", passage)


class PassageIgnored(Common):
    def one(self, question, passage):
        return super().one(question, Passage("", "", "passage"))


class Dropout(Common):
    _draws = itertools.count()

    def one(self, question, passage):
        return super().one(question, passage) + next(self._draws) % 7


class SeededByTheObject(Common):
    _made = itertools.count()

    def __init__(self, config):
        super().__init__(config)
        self._bias = next(self._made)

    def one(self, question, passage):
        return super().one(question, passage) + self._bias


class OneBuffer(Common):
    def score(self, questions, passages):
        scores = super().score(questions, passages)
        held = self.__dict__.setdefault("_buffers", {}).setdefault(len(scores), scores)
        held[:] = scores
        return held


class RemembersThePassage(Common):
    def one(self, question, passage):
        kept = self.__dict__.setdefault("_kept", {})
        if passage.id not in kept:
            kept[passage.id] = super().one(question, passage)
        return kept[passage.id]


class SortsTheCallersList(Common):
    def score(self, questions, passages):
        scores = super().score(questions, passages)
        passages.sort(key=lambda one: len(one.text))
        return scores


class LongIsAnError(Common):
    def one(self, question, passage):
        if len(passage.text) > 2000:
            raise IndexError("index out of range in self")
        return super().one(question, passage)


class KeepsTheQuestionsInItself(Common):
    def score(self, questions, passages):
        self._asked = questions
        time.sleep(0.001)  # long enough for another thread to come between
        return super().score(self._asked[-len(passages) :] if passages else [], passages)


class MisspeltCapability(Common):
    capabilities = frozenset({"trainabel"})

"""Wrong scorers, each `Common` with one fault; `ScorerSuite` must catch them all."""

from __future__ import annotations

import itertools
import time

import numpy as np

import ragcore
from ragcore.types import Passage


class Common:
    """A correct scorer: the share of letters that question and passage have in common."""

    class Config(ragcore.ComponentConfig):
        pass

    capabilities = frozenset()

    def __init__(self, config):
        self.config = config

    def score(self, questions, passages):
        pairs = zip(questions, passages, strict=True)
        return np.array(
            [self.score_pair(question, passage) for question, passage in pairs], np.float32
        )

    def score_pair(self, question, passage):
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
        return np.array([[self.score_pair(q, p) for p in passages] for q in questions], np.float32)


class ScoresNaN(Common):
    def score(self, questions, passages):
        scores = super().score(questions, passages)
        return np.where(scores == scores.max(initial=-1), np.float32(np.nan), scores)


class LogOfZero(Common):
    def score_pair(self, question, passage):
        similarity = super().score_pair(question, passage)
        return np.log(similarity) if similarity else -np.inf


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
        return super().score([question.ljust(longest, "e") for question in questions], passages)


class LengthOrderIsNotUndone(Common):
    def score(self, questions, passages):
        return super().score(questions, sorted(passages, key=lambda passage: len(passage.text)))


class ScoresOfTheNeighbour(Common):
    def score(self, questions, passages):
        return np.roll(super().score(questions, passages), 1)


class RanksForScores(Common):
    def score(self, questions, passages):
        return np.argsort(super().score(questions, passages)).astype(np.float32)


class QuestionIgnored(Common):
    def score_pair(self, question, passage):
        return super().score_pair("question", passage)


class PassageIgnored(Common):
    def score_pair(self, question, passage):
        return super().score_pair(question, Passage("", "", "passage"))


class Dropout(Common):
    _draws = itertools.count()

    def score_pair(self, question, passage):
        return super().score_pair(question, passage) + next(self._draws) % 7


class SeededByTheObject(Common):
    _made = itertools.count()

    def __init__(self, config):
        super().__init__(config)
        self._bias = next(self._made)

    def score_pair(self, question, passage):
        return super().score_pair(question, passage) + self._bias


class OneBuffer(Common):
    def score(self, questions, passages):
        scores = super().score(questions, passages)
        buffer = self.__dict__.setdefault("_buffers", {}).setdefault(len(scores), scores)
        buffer[:] = scores
        return buffer


class RemembersThePassage(Common):
    def score_pair(self, question, passage):
        cached = self.__dict__.setdefault("_kept", {})
        if passage.id not in cached:
            cached[passage.id] = super().score_pair(question, passage)
        return cached[passage.id]


class SortsTheCallersList(Common):
    def score(self, questions, passages):
        scores = super().score(questions, passages)
        passages.sort(key=lambda passage: len(passage.text))
        return scores


class LongIsAnError(Common):
    def score_pair(self, question, passage):
        if len(passage.text) > 2000:
            raise IndexError("index out of range in self")
        return super().score_pair(question, passage)


class KeepsTheQuestionsInItself(Common):
    def score(self, questions, passages):
        self._asked = questions
        time.sleep(0.001)  # long enough for another thread to come between
        return super().score(self._asked[-len(passages) :] if passages else [], passages)


class MisspeltCapability(Common):
    capabilities = frozenset({"trainabel"})


class KnowsThePassageById(Common):
    def score_pair(self, question, passage):
        texts = self.__dict__.setdefault("_texts", {})
        return super().score_pair(question, texts.setdefault(passage.id, passage))


class KnowsThePairByIdAndTitle(Common):
    def score_pair(self, question, passage):
        known = self.__dict__.setdefault("_known", {})
        key = (question, passage.id, passage.title)
        return known.setdefault(key, super().score_pair(question, passage))


class NoTextNoScore(Common):
    def score_pair(self, question, passage):
        return super().score_pair(question, passage) if passage.text else 0.0


class NoTitleNoScore(Common):
    def score_pair(self, question, passage):
        return super().score_pair(question, passage) if passage.title else 0.0


class TitleIgnored(Common):
    def score_pair(self, question, passage):
        return super().score_pair(question, Passage(passage.id, "", passage.text))


class PassagesCutAfter256Words(Common):
    def score_pair(self, question, passage):
        text = " ".join(passage.text.split()[:256])
        return super().score_pair(question, Passage(passage.id, passage.title, text))


class QuestionsCutAfterAThousandCharacters(Common):
    def score_pair(self, question, passage):
        return super().score_pair(question[:1000], passage)


class ReadsLines(Common):
    def score(self, questions, passages):
        texts = "\n".join(passage.text for passage in passages).splitlines()
        read = [
            Passage(passage.id, passage.title, text)
            for passage, text in zip(passages, texts + [""] * len(passages), strict=False)
        ]
        return super().score(questions, read)


class StopsAtZero(Common):
    def score_pair(self, question, passage):
        text = passage.text.partition("\x00")[0]
        return super().score_pair(question, Passage(passage.id, passage.title, text))


class LastBlockLost(Common):
    def score(self, questions, passages):
        scores = super().score(questions, passages)
        if len(scores) > 128:
            scores[len(scores) // 128 * 128 :] = 0.0
        return scores


class PairsBeyond256RunTogether(Common):
    def score(self, questions, passages):
        numbers = np.arange(len(questions)).astype(np.uint8)
        return super().score(
            [questions[number] for number in numbers], [passages[number] for number in numbers]
        )


class RemembersTheLists(Common):
    def score(self, questions, passages):
        if self.__dict__.get("_passages") is not passages or len(passages) != len(self._scores):
            self._passages, self._scores = passages, super().score(questions, passages)
        return self._scores.copy()


class ReturnsItsCache(Common):
    def score(self, questions, passages):
        known = self.__dict__.setdefault("_known", {})
        key = (*questions, *((passage.title, passage.text) for passage in passages))
        if key not in known:
            known[key] = super().score(questions, passages)
        return known[key]


class NeedsLists(Common):
    def score(self, questions, passages):
        return super().score(questions.copy(), passages.copy())


class KeepsThePassagesInItself(Common):
    def score(self, questions, passages):
        self._passages = passages
        time.sleep(0.001)  # long enough for another thread to come between
        return super().score(questions, self._passages[: len(questions)])


class KnowsThePairByLength(Common):
    def score_pair(self, question, passage):
        known = self.__dict__.setdefault("_known", {})
        key = (question, passage.title, len(passage.text))
        return known.setdefault(key, super().score_pair(question, passage))


class TitleOrText(Common):
    def score_pair(self, question, passage):
        text = passage.title or passage.text
        return super().score_pair(question, Passage(passage.id, "", text))


class WholeBlocksRepeatTheFirst(Common):
    def score(self, questions, passages):
        if len(questions) % 64 == 0:
            passages = list(passages[:64]) * (len(passages) // 64)
        return super().score(questions, passages)


class KeepsBothInItself(Common):
    def score(self, questions, passages):
        self._questions, self._passages = list(questions), list(passages)
        scores = np.empty(len(questions), np.float32)
        for number in range(len(self._questions)):
            scores[number] = self.score_pair(self._questions[number], self._passages[number])
        return scores

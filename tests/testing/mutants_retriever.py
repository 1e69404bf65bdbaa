"""Wrong retrievers, each `Shared` with one fault; `RetrieverSuite` must catch them all."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace

import numpy as np

import ragcore
from ragcore.errors import ComponentError
from ragcore.types import MISSING_ROW, Hits, Passage
from tests.testing.mutants_index import tampered


class Shared(ragcore.SimpleRetriever):
    """A correct retriever: the share of a question's words that a passage has."""

    class Config(ragcore.ComponentConfig):
        lower: bool = True

    @property
    def fingerprint(self):
        return f"shared(lower={self.config.lower})"

    def words(self, text: str) -> set[str]:
        return set(re.findall(r"\w+", text.lower() if self.config.lower else text))

    def scores(self, question):
        question_words = self.words(question)
        return [
            len(question_words & self.words(f"{passage.title} {passage.text}"))
            / (1 + len(question_words))
            for passage in self.passages
        ]


class QuestionIgnored(Shared):
    def scores(self, question):
        return [len(passage.text) % 7 for passage in self.passages]


class WorstFirst(Shared):
    def scores(self, question):
        return [-score for score in super().scores(question)]


class ScoresNaN(Shared):
    def search(self, questions, k, *, allowed=None):
        hits = super().search(questions, k, allowed=allowed)
        return tampered(hits.rows, np.where(hits.scores == hits.scores.max(), np.nan, hits.scores))


class RanksReversed(Shared):
    def search(self, questions, k, *, allowed=None):
        hits = super().search(questions, k, allowed=allowed)
        there = (hits.rows != MISSING_ROW).sum(axis=1, keepdims=True)
        positions = np.arange(k)
        turned = np.where(positions < there, there - 1 - positions, positions)
        return Hits(np.take_along_axis(hits.rows, turned, axis=1), hits.scores)


class PhantomPadding(Shared):
    def search(self, questions, k, *, allowed=None):
        hits = super().search(questions, k, allowed=allowed)
        return tampered(np.where(hits.rows == MISSING_ROW, 0, hits.rows), hits.scores)


class FindsNothing(Shared):
    def search(self, questions, k, *, allowed=None):
        return super().search(questions, k, allowed=np.zeros(0, np.int64))


class PositionsForRows(Shared):
    def search(self, questions, k, *, allowed=None):
        hits = super().search(questions, k, allowed=allowed)
        positions = {row: position for position, row in enumerate(self._rows)} | {-1: -1}
        rows = np.array([[positions[row] for row in line] for line in hits.rows.tolist()], np.int64)
        return Hits(rows.reshape(hits.rows.shape), hits.scores)


class KeepsTheList(Shared):
    def add(self, rows, passages):
        super().add(rows, passages)
        if len(self.passages) == len(passages):
            self.passages = passages


class FingerprintOfTheObject(Shared):
    @property
    def fingerprint(self):
        return f"shared-{id(self)}"


class FingerprintOfThePassages(Shared):
    @property
    def fingerprint(self):
        return f"shared-{len(self)}"


class FingerprintOfNothing(Shared):
    @property
    def fingerprint(self):
        return ""


class FingerprintWithoutASetting(Shared):
    @property
    def fingerprint(self):
        return "shared"


class LosesTitles(Shared):
    @classmethod
    def load(cls, folder, config, *, mmap=True):
        loaded = super().load(folder, config, mmap=mmap)
        loaded.passages = [Passage(passage.id, "", passage.text) for passage in loaded.passages]
        return loaded


class LoadsAnotherClass(Shared):
    @classmethod
    def load(cls, folder, config, *, mmap=True):
        return Shared.load(folder, config, mmap=mmap)


class FirstBatchOnly(Shared):
    def scores(self, question):
        scores = np.array(super().scores(question), np.float32)
        self._first = self.__dict__.get("_first") or len(scores)
        scores[self._first :] = -np.inf
        return scores


class StaleStatistics(Shared):
    def add(self, rows, passages):
        super().add(rows, passages)
        if passages and "_common" not in self.__dict__:
            self._common = self.words(self.passages[0].text)

    def words(self, text):
        return super().words(text) - self.__dict__.get("_common", set())


class ScoresByTheBatch(Shared):
    def search(self, questions, k, *, allowed=None):
        hits = super().search(questions, k, allowed=allowed)
        return Hits(hits.rows, hits.scores / np.float32(max(1, len(questions))))


class OnlyTheLastQuestion(Shared):
    def search(self, questions, k, *, allowed=None):
        return super().search([questions[-1]] * len(questions) if questions else [], k)


class ReversesItsQuestions(Shared):
    def search(self, questions, k, *, allowed=None):
        if isinstance(questions, list):
            questions.reverse()
        return super().search(questions, k, allowed=allowed)


class WordlessIsAnError(Shared):
    def scores(self, question):
        weight = 1 / len(self.words(question))
        return [weight * score for score in super().scores(question)]


class FilterIgnored(Shared):
    def search(self, questions, k, *, allowed=None):
        return super().search(questions, k)


class FilterUndeclared(Shared):
    capabilities = Shared.capabilities - {"filter"}


class RemoveRaisesNotImplemented(Shared):
    capabilities = Shared.capabilities - {"remove"}

    def remove(self, rows):
        raise NotImplementedError


class RemovesByPosition(Shared):
    def remove(self, rows):
        for position in sorted({int(row) % len(self._rows) for row in rows}, reverse=True):
            del self._rows[position], self.passages[position]


class FewerPassagesThanRows(Shared):
    def add(self, rows, passages):
        count = min(len(rows), len(passages))
        super().add(rows[:count], passages[:count])


class RemembersAQuestion(Shared):
    def scores(self, question):
        cached = self.__dict__.setdefault("_kept", {})
        if question not in cached or len(cached[question]) != len(self.passages):
            cached[question] = super().scores(question)
        return cached[question]


class SavesWithoutTheLast(Shared):
    def save(self, folder):
        last = self._rows[-1:]
        before = self._rows, self.passages
        if last:
            self._rows, self.passages = self._rows[:-1], self.passages[:-1]
        super().save(folder)
        self._rows, self.passages = before


class SaysNothingOfAFullDisk(Shared):
    def save(self, folder):
        with suppress(OSError):
            super().save(folder)


class SavesOnlyOnce(Shared):
    def save(self, folder):
        if self.__dict__.get("_saved"):
            raise ComponentError("saved already")
        self._saved = True
        super().save(folder)

    @classmethod
    def load(cls, folder, config, *, mmap=True):
        loaded = super().load(folder, config, mmap=mmap)
        loaded._saved = True
        return loaded


def merge(retriever, parts, folder):
    """Merge parts rightly, by adding the passages of all."""
    merged = type(retriever)(retriever.config)
    for part in parts:
        loaded = type(retriever).load(part.folder, retriever.config)
        merged.add(np.array(loaded._rows) + part.first, loaded.passages)
    merged.save(folder)


class MergesWithoutTheLast(Shared):
    caught_by = "test_merged_parts_answer_as_one"
    capabilities = Shared.capabilities | {"merge"}

    def merge(self, parts, folder):
        merge(self, parts[:-1], folder)


class MergesInAnotherOrder(Shared):
    caught_by = "test_merged_parts_answer_as_one"
    capabilities = Shared.capabilities | {"merge"}

    def merge(self, parts, folder):
        firsts = [replace(part, first=40 - part.first - part.count) for part in parts]
        merge(self, firsts, folder)


class LinksToItsParts(Shared):
    caught_by = "test_merging_changes_no_part"
    capabilities = Shared.capabilities | {"merge"}

    def merge(self, parts, folder):
        merge(self, parts, folder)
        (folder / "passages.jsonl").replace(parts[0].folder / "merged.jsonl")
        (folder / "passages.jsonl").symlink_to(parts[0].folder / "merged.jsonl")


class IgnoresTheCache(Shared):
    caught_by = "test_a_cache_changes_no_hit"
    capabilities = Shared.capabilities | {"cache"}

    def use_cache(self, cache):
        pass


class KnowsCachedTextsById(Shared):
    """Leaves out passages whose texts are cached, as if it had their ids already."""

    caught_by = "test_a_cache_changes_no_hit"
    capabilities = Shared.capabilities | {"cache"}
    cache = None

    def use_cache(self, cache):
        self.cache = cache

    def add(self, rows, passages):
        unknown = []

        def encode(passages):
            unknown.extend(passages)
            return np.zeros((len(passages), 1), np.float32)

        if self.cache is not None:
            self.cache.vectors(self.fingerprint, 1, passages, encode)
            passages = [
                passage if passage in unknown else Passage(passage.id, "", "nothing")
                for passage in passages
            ]
        super().add(rows, passages)

"""Indexes, retrievers and corpora that break the laws of manners, each correct but for one fault.

`caught_by` names the law that must catch it.
"""

from __future__ import annotations

import ctypes
import gzip
import json
import logging
import os
import pickle
import random
from collections import Counter
from typing import ClassVar

import numpy as np

from ragcore.retrievers.flat import Exact
from ragcore.types import MISSING_ROW, Hits
from tests.testing.mutants_corpus import Counted
from tests.testing.mutants_retriever import Shared


class SeedsNumpy(Exact):
    caught_by = "test_global_state_is_left_alone"

    def __init__(self, config, *, dim):
        super().__init__(config, dim=dim)
        np.random.seed(0)


class SeedsPython(Shared):
    caught_by = "test_global_state_is_left_alone"

    def __init__(self, config):
        super().__init__(config)
        random.seed(13)


class TurnsGradientsOff(Shared):
    caught_by = "test_global_state_is_left_alone"

    def scores(self, question):
        import torch

        torch.set_grad_enabled(False)
        return super().scores(question)


class SilencesNumpy(Exact):
    caught_by = "test_global_state_is_left_alone"

    def search(self, queries, k, *, allowed=None):
        np.seterr(all="ignore")
        return super().search(queries, k, allowed=allowed)


class ChangesTheWorkingFolder(Exact):
    caught_by = "test_global_state_is_left_alone"

    def save(self, folder):
        super().save(folder)
        os.chdir(folder)


class ConfiguresLogging(Exact):
    caught_by = "test_global_state_is_left_alone"

    def save(self, folder):
        logging.root.addHandler(logging.NullHandler())
        super().save(folder)


class BreaksTiesByChance(Shared):
    caught_by = "test_global_seeds_do_not_matter"

    def scores(self, question):
        state = random.getstate()
        noise = random.random()
        random.setstate(state)
        return [score + noise for score in super().scores(question)]


class ProjectsAtRandom(Exact):
    caught_by = "test_global_seeds_do_not_matter"

    def add(self, rows, vectors):
        turn = np.linalg.qr(np.random.standard_normal((self._dim, self._dim)))[0]
        signs = np.sign(turn[0]).astype(np.float32)
        super().add(rows, np.asarray(vectors) * signs)


class Prints(Shared):
    caught_by = "test_nothing_is_printed"

    def scores(self, question):
        print("scoring", question)
        return super().scores(question)


class PrintsInC(Exact):
    caught_by = "test_nothing_is_printed"

    def save(self, folder):
        super().save(folder)
        ctypes.CDLL(None).puts(b"saved")


class SavesAPickle(Shared):
    caught_by = "test_no_pickle_is_saved"

    def save(self, folder):
        super().save(folder)
        (folder / "state.bin").write_bytes(pickle.dumps({"rows": self._rows}))


class SavesACompressedPickle(Shared):
    caught_by = "test_no_pickle_is_saved"

    def save(self, folder):
        super().save(folder)
        (folder / "state.gz").write_bytes(gzip.compress(pickle.dumps(self._rows, protocol=0)))


class SavesAnArrayOfObjects(Exact):
    caught_by = "test_no_pickle_is_saved"

    def save(self, folder):
        super().save(folder)
        np.savez(folder / "names.npz", names=np.array(["a", None], object))


class CountsBySet(Shared):
    """Numbers words in the order of a set, and prefers low numbers."""

    caught_by = "test_another_process_gives_the_same"

    def scores(self, question):
        vocabulary = {word for passage in self.passages for word in self.words(passage.text)}
        number = {word: position for position, word in enumerate(vocabulary)}
        asked = self.words(question)
        return [
            sum(1 / (1 + number[word]) for word in asked & self.words(passage.text))
            for passage in self.passages
        ]


class SavesHashes(Shared):
    """Saves its word counts under `hash(word)`, which another process does not find again."""

    caught_by = "test_another_process_gives_the_same"
    counts: Counter[int]

    def save(self, folder):
        super().save(folder)
        counts = Counter(
            hash(word)
            for passage in self.passages
            for word in self.words(f"{passage.title} {passage.text}")
        )
        (folder / "counts.json").write_text(json.dumps(counts))

    @classmethod
    def load(cls, folder, config, *, mmap=True):
        loaded = super().load(folder, config, mmap=mmap)
        counts = json.loads((folder / "counts.json").read_text())
        loaded.counts = Counter({int(word): count for word, count in counts.items()})
        return loaded

    def scores(self, question):
        counts = self.__dict__.get("counts")
        if counts is None or len(self.passages) < 1:
            return super().scores(question)
        known = sum(counts[hash(word)] > 0 for word in self.words(question))
        return [score + known for score in super().scores(question)]


class KeepsRowsInTheClass(Exact):
    """Saves nothing of its rows: its class remembers them."""

    caught_by = "test_another_process_gives_the_same"
    _remembered: ClassVar[dict] = {}

    def save(self, folder):
        super().save(folder)
        self._remembered[str(folder)] = np.sort(self._all_rows())

    @classmethod
    def load(cls, folder, config, *, mmap=True):
        loaded = super().load(folder, config, mmap=mmap)
        loaded._filter = cls._remembered.get(str(folder), np.zeros(0, np.int64))
        return loaded

    def search(self, queries, k, *, allowed=None):
        hits = super().search(queries, k, allowed=allowed)
        known = self.__dict__.get("_filter")
        if known is None or np.isin(hits.rows[hits.rows != MISSING_ROW], known).all():
            return hits
        return Hits.empty(len(queries), k)


class ReadsInTheOrderOfASet(Counted):
    caught_by = "test_another_process_gives_the_same"

    def __iter__(self):
        for name in {str(number) for number in range(self.config.count)}:
            yield self.passage(int(name))


class ShufflesTheWorld(Counted):
    caught_by = "test_global_seeds_do_not_matter"

    def __iter__(self):
        state = random.getstate()
        numbers = random.sample(range(self.config.count), self.config.count)
        random.setstate(state)
        yield from map(self.passage, numbers)


class ReportsProgress(Counted):
    caught_by = "test_nothing_is_printed"

    def passage(self, number):
        print(f"\r{number}", end="")
        return super().passage(number)

"""Generators, encoders and scorers that break the laws of manners, each correct but for one fault.

`caught_by` names the law that must catch it.
"""

from __future__ import annotations

import pickle
import random

import numpy as np
import torch

from tests.helpers.table_generator import TableRead
from tests.helpers.trained_parts import Letters, TrainedWords
from tests.helpers.word_encoder import WordEncoder
from tests.testing.mutants_generator import Table
from tests.testing.mutants_scorer import Common


class StepLeavesGradientsOff(Letters):
    caught_by = "test_global_state_is_left_alone"

    def step(self, state, tokens):
        torch.set_grad_enabled(False)
        return super().step(state, tokens)


class ReadSeedsTorch(Table):
    caught_by = "test_global_state_is_left_alone"

    def read(self, questions, passages):
        torch.manual_seed(0)
        return super().read(questions, passages)


class DrawsItsWeightsFromTheGlobalSeed(Letters):
    caught_by = "test_global_seeds_do_not_matter"

    def __init__(self, config):
        super().__init__(config)
        if config.weights is None:
            torch.nn.init.normal_(self.model.out)


class HashesTheQuestion(Table):
    caught_by = "test_another_process_gives_the_same"

    def read(self, questions, passages):
        keys = super().read(questions, passages).keys
        return TableRead(
            [f"{hash(question)}|{key}" for question, key in zip(questions, keys, strict=True)]
        )


class PrintsWhatItReads(Table):
    caught_by = "test_nothing_is_printed"

    def read(self, questions, passages):
        print(f"reading {len(questions)} pairs")
        return super().read(questions, passages)


class SavesAPickle(Letters):
    caught_by = "test_no_pickle_is_saved"

    def save_trained(self, folder):
        (folder / "config.bin").write_bytes(pickle.dumps(self.config.model_dump()))
        return super().save_trained(folder)


class SavesThePassagesOnly(TrainedWords):
    caught_by = "test_training_questions_keeps_passage_vectors"

    def save_trained(self, folder):
        return {"passages": super().save_trained(folder)["passages"]}


class SavesAWholeModel(TrainedWords):
    caught_by = "test_no_pickle_is_saved"

    def save_trained(self, folder):
        torch.save(self.questions, folder / "questions.pt")
        return super().save_trained(folder)


class EncodingLeavesGradientsOff(TrainedWords):
    caught_by = "test_global_state_is_left_alone"

    def encode_questions(self, questions):
        vectors = super().encode_questions(questions)
        torch.set_grad_enabled(False)
        return vectors


class HashesWords(WordEncoder):
    caught_by = "test_another_process_gives_the_same"

    def _encode(self, texts):
        vectors = np.zeros((len(texts), self.dim), np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            for word in text.split():
                vector += np.random.default_rng(hash(word) % 2**32).standard_normal(self.dim)
        return vectors


class FingerprintOfASet(WordEncoder):
    caught_by = "test_another_process_gives_the_same"

    def __init__(self, config):
        super().__init__(config)
        settings = {f"{name}={value}" for name, value in config.model_dump().items()}
        self.fingerprint = "words(" + ",".join({*settings, "lower", "sum", "split", "sha"}) + ")"


class PrintsProgress(WordEncoder):
    caught_by = "test_nothing_is_printed"

    def encode_passages(self, passages):
        print("Batches: 100%")
        return super().encode_passages(passages)


class ScoresAddHashes(Common):
    caught_by = "test_another_process_gives_the_same"

    def score_pair(self, question, passage):
        return super().score_pair(question, passage) + hash(passage.text) % 97


class BreaksTiesAtRandom(Common):
    caught_by = "test_global_seeds_do_not_matter"

    def __init__(self, config):
        super().__init__(config)
        self._bias = random.random()

    def score_pair(self, question, passage):
        return super().score_pair(question, passage) + self._bias


class SeedsNumpy(Common):
    caught_by = "test_global_state_is_left_alone"

    def score(self, questions, passages):
        np.random.seed(1)
        return super().score(questions, passages)


class NamesAnAbsolutePath(TrainedWords):
    caught_by = "test_passages_can_be_trained"

    def save_trained(self, folder):
        return {
            key: str((folder / path).absolute())
            for key, path in super().save_trained(folder).items()
        }


class DividesByTheQuestionsWords(Common):
    caught_by = "test_odd_texts_change_no_other"

    def score(self, questions, passages):
        counts = np.array([sum(map(str.isalpha, question)) for question in questions], np.float32)
        with np.errstate(divide="ignore", invalid="ignore"):
            return super().score(questions, passages) / counts

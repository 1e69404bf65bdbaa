"""Wrong encoders, each `WordEncoder` with one fault; `EncoderSuite` must catch them all."""

from __future__ import annotations

import itertools
import time

import numpy as np
import torch

from ragcore.types import Passage
from tests.helpers.word_encoder import WordEncoder


class TitleIgnored(WordEncoder):
    def encode_passages(self, passages):
        return super().encode_passages(
            [Passage(passage.id, "", passage.text) for passage in passages]
        )


class TextIgnored(WordEncoder):
    def encode_passages(self, passages):
        return super().encode_passages(
            [Passage(passage.id, passage.title, "") for passage in passages]
        )


class CutAfterFourWords(WordEncoder):
    def _encode(self, texts):
        return super()._encode([" ".join(text.split()[:4]) for text in texts])


class QuestionIgnored(WordEncoder):
    def encode_questions(self, questions):
        return super().encode_questions(["question"] * len(questions))


class LengthOrderIsNotUndone(WordEncoder):
    def _encode(self, texts):
        return super()._encode(sorted(texts, key=len))


class SortsTheCallersList(WordEncoder):
    def encode_questions(self, questions):
        if isinstance(questions, list):
            questions.sort(key=len)
        return super().encode_questions(questions)


class PaddingCounts(WordEncoder):
    def _encode(self, texts):
        longest = max((len(text.split()) for text in texts), default=0)
        return super()._encode([text + " pad" * (longest - len(text.split())) for text in texts])


class LeaksIntoTheNextText(WordEncoder):
    def _encode(self, texts):
        return super()._encode(
            [f"{before} {text}" for before, text in itertools.pairwise(["", *texts])]
        )


class PassagesAsFloat64(WordEncoder):
    def encode_passages(self, passages):
        return super().encode_passages(passages).astype(np.float64)


class QuestionsAsFloat16(WordEncoder):
    def encode_questions(self, questions):
        return super().encode_questions(questions).half()


class PassagesAsTensor(WordEncoder):
    def encode_passages(self, passages):
        return torch.from_numpy(super().encode_passages(passages))


class QuestionsAsList(WordEncoder):
    def encode_questions(self, questions):
        return self._encode(questions).tolist()


class QuestionsAsArrayOfFloat64(WordEncoder):
    def encode_questions(self, questions):
        return self._encode(questions).astype(np.float64)


class WrongDim(WordEncoder):
    def __init__(self, config):
        super().__init__(config)
        self.dim = config.dim + 1

    def _encode(self, texts):
        self.dim -= 1
        try:
            return super()._encode(texts)
        finally:
            self.dim += 1


class NoTextsNoShape(WordEncoder):
    def encode_passages(self, passages):
        return super().encode_passages(passages) if passages else np.zeros(0, np.float32)


class WordlessIsNaN(WordEncoder):
    def _encode(self, texts):
        vectors = super()._encode([text.strip("?") for text in texts])
        with np.errstate(invalid="ignore"):
            return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class Dropout(WordEncoder):
    _draws = itertools.count()

    def _encode(self, texts):
        vectors = super()._encode(texts)
        return vectors * (
            np.random.default_rng(next(self._draws)).random(vectors.shape) > 0.1
        ).astype(np.float32)


class SeededByTheObject(WordEncoder):
    _made = itertools.count()

    def __init__(self, config):
        super().__init__(config.model_copy(update={"seed": next(self._made)}))
        self.fingerprint = "words"


class FingerprintByTheObject(WordEncoder):
    def __init__(self, config):
        super().__init__(config)
        self.fingerprint = f"words at {id(self)}"


class FingerprintWithoutTheSeed(WordEncoder):
    def __init__(self, config):
        super().__init__(config)
        self.fingerprint = f"words(d={self.dim})"


class FingerprintIsNothing(WordEncoder):
    def __init__(self, config):
        super().__init__(config)
        self.fingerprint = ""


class FingerprintCounts(WordEncoder):
    @property
    def fingerprint(self):
        return f"{self._named} after {len(self.batches)} batches"

    @fingerprint.setter
    def fingerprint(self, value):
        self._named = value


class TrainableWithoutGradient(WordEncoder):
    capabilities = frozenset({"trainable"})


class OneBuffer(WordEncoder):
    def encode_passages(self, passages):
        vectors = super().encode_passages(passages)
        buffer = self.__dict__.setdefault("_buffers", {}).setdefault(vectors.shape, vectors)
        buffer[:] = vectors
        return buffer


class KeepsTheTextsInItself(WordEncoder):
    def encode_questions(self, questions):
        self._texts = list(questions)
        time.sleep(0.001)
        return super().encode_questions(self._texts[::-1][: len(questions)]).flip(0) + float(
            self._count()
        )

    def _count(self):
        running = self.__dict__.setdefault("_inside", [])
        running.append(1)
        time.sleep(0.001)
        others = len(running) - 1
        running.pop()
        return others


class MisspeltCapability(WordEncoder):
    capabilities = frozenset({"trainabel"})


class LongIsAnError(WordEncoder):
    def _encode(self, texts):
        if any(len(text) > 2000 for text in texts):
            raise IndexError("index out of range in self")
        return super()._encode(texts)


class KnowsThePassageById(WordEncoder):
    def encode_passages(self, passages):
        known = self.__dict__.setdefault("_by_id", {})
        new = [passage for passage in passages if passage.id not in known]
        for passage, vector in zip(new, super().encode_passages(new), strict=True):
            known[passage.id] = vector
        return np.stack([known[one.id] for one in passages]) if passages else self._encode([])


class KnowsThePassageByTitle(WordEncoder):
    def encode_passages(self, passages):
        known = self.__dict__.setdefault("_by_title", {})
        return np.stack(
            [known.setdefault((p.id, p.title), self._encode([p.text])[0]) for p in passages]
            or [np.zeros(self.dim, np.float32)]
        )[: len(passages)]


class NoTextNoVector(WordEncoder):
    def encode_passages(self, passages):
        vectors = super().encode_passages(passages)
        vectors[[not passage.text for passage in passages]] = 0.0
        return vectors


class NoTitleNoVector(WordEncoder):
    def encode_passages(self, passages):
        vectors = super().encode_passages(passages)
        vectors[[not passage.title for passage in passages]] = 0.0
        return vectors


class PassagesCutAfter256Words(WordEncoder):
    def encode_passages(self, passages):
        return self._encode([" ".join(f"{p.title} {p.text}".split()[:256]) for p in passages])


class QuestionsCutAfterAThousandCharacters(WordEncoder):
    def encode_questions(self, questions):
        return super().encode_questions([question[:1000] for question in questions])


class ReadsLines(WordEncoder):
    def _encode(self, texts):
        lines = "\n".join(texts).splitlines()
        return super()._encode((lines + [""] * len(texts))[: len(texts)])


class StopsAtZero(WordEncoder):
    def _encode(self, texts):
        return super()._encode([text.partition("\x00")[0] for text in texts])


class ReadsTheFirstLine(WordEncoder):
    def _encode(self, texts):
        return super()._encode([(text.splitlines() or [""])[0] for text in texts])


class LastBlockLost(WordEncoder):
    def encode_passages(self, passages):
        whole = len(passages) // 512 * 512 if len(passages) > 512 else len(passages)
        vectors = np.zeros((len(passages), self.dim), np.float32)
        vectors[:whole] = super().encode_passages(passages[:whole])
        return vectors


class QuestionsBeyond256RunTogether(WordEncoder):
    def encode_questions(self, questions):
        numbers = np.arange(len(questions)).astype(np.uint8)
        return super().encode_questions([questions[number] for number in numbers])


class RemembersTheList(WordEncoder):
    def encode_passages(self, passages):
        if self.__dict__.get("_list") is not passages:
            self._list, self._vectors = passages, super().encode_passages(passages)
        return self._vectors


class RemembersTheQuestionsList(WordEncoder):
    def encode_questions(self, questions):
        if self.__dict__.get("_list") is not questions:
            self._list, self._vectors = questions, super().encode_questions(questions)
        return self._vectors


class ReturnsItsCache(WordEncoder):
    def encode_questions(self, questions):
        known = self.__dict__.setdefault("_known", {})
        key = tuple(questions)
        if key not in known:
            known[key] = super().encode_questions(questions)
        return known[key]


class OneBufferForQuestions(WordEncoder):
    def encode_questions(self, questions):
        vectors = super().encode_questions(questions)
        buffer = self.__dict__.setdefault("_buffers", {}).setdefault(len(questions), vectors)
        return buffer.copy_(vectors)


class NeedsLists(WordEncoder):
    def encode_passages(self, passages):
        padded = passages + [Passage("", "", "")] * (-len(passages) % 2)
        return super().encode_passages(padded)[: len(passages)]


class KeepsThePassagesInItself(WordEncoder):
    def encode_passages(self, passages):
        self._passages = passages
        time.sleep(0.001)  # long enough for another thread to come between
        return super().encode_passages(self._passages)


class RepeatedTextsAreLost(WordEncoder):
    def _encode(self, texts):
        return super()._encode(list(dict.fromkeys(texts)))


class LeavesAccentsOut(WordEncoder):
    def _encode(self, texts):
        return super()._encode([text.encode("ascii", "ignore").decode() for text in texts])


class PadsTheCallersList(WordEncoder):
    def encode_passages(self, passages):
        if not isinstance(passages, list):
            return super().encode_passages(passages)
        passages.append(Passage("", "", ""))
        vectors = super().encode_passages(passages)[:-1]
        passages.pop()
        return vectors


class ReadsMetadata(WordEncoder):
    caught_by = "test_metadata_change_no_vector"

    def encode_passages(self, passages):
        return super().encode_passages(
            [
                Passage(
                    each.id, each.title, " ".join([each.text, *map(str, each.metadata.values())])
                )
                for each in passages
            ]
        )

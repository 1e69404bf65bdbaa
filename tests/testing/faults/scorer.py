"""A scorer by shared words, and copies of it with one mistake each."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import numpy as np

from ragcore.registry.components import ComponentConfig
from ragcore.testing import ScorerSuite
from ragcore.types import Passage
from tests.testing.faults.marking import fault

Array = np.ndarray[Any, Any]


class Correct:
    """Scores a pair by the share of the question's words that the passage has."""

    class Config(ComponentConfig):
        lowercase: bool = True

    capabilities: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, config: Config) -> None:
        self._config = config

    def score(self, questions: Sequence[str], passages: Sequence[Passage]) -> Array:
        pairs = zip(questions, passages, strict=True)
        return np.array([self._score(question, passage) for question, passage in pairs], np.float32)

    def _score(self, question: str, passage: Passage) -> float:
        words = self._words(question)
        passage_words = set(self._words(f"{passage.title} {passage.text}"))
        shared = sum(word in passage_words for word in words)
        # A long passage has a word by chance more easily.
        return shared / max(len(words), 1) - 1e-3 * len(passage_words)

    def _words(self, text: str) -> list[str]:
        return (text.lower() if self._config.lowercase else text).split()


class Suite(ScorerSuite):
    pass


def scores(component: type[Any], *pairs: tuple[str, str]) -> list[float]:
    """Score pairs of question and text in one call; all passages have the same id."""
    return list(scored(component(component.Config()), *pairs).tolist())


def scored(scorer: Any, *pairs: tuple[str, str]) -> Array:
    """Score pairs of question and text by a scorer."""
    passages = [Passage("1", "", text) for _, text in pairs]
    return np.asarray(scorer.score([question for question, _ in pairs], passages))


def made(component: type[Any]) -> Any:
    """Make a scorer."""
    return component(component.Config())


def same_in_threads(component: type[Any]) -> bool:
    """Return whether many calls at the same time have the scores of one alone."""
    scorer = made(component)
    words = [f"w{i}" for i in range(300)]
    pairs = [(" ".join(words[: i + 1]), " ".join(words[i:])) for i in range(300)]
    alone = [float(scored(scorer, pair)[0]) for pair in pairs] * 10
    with ThreadPoolExecutor(8) as pool:
        together = pool.map(lambda pair: float(scored(scorer, pair)[0]), pairs * 10)
        return alone == list(together)


@fault("scores(C, ('a', 'a'), ('a', 'b'))[:1] == scores(C, ('a', 'a'))")
class SoftmaxOfTheCall(Correct):
    """Returns a softmax over the pairs of the call."""

    def score(self, questions: Sequence[str], passages: Sequence[Passage]) -> Array:
        exponentials = np.exp(super().score(questions, passages))
        return exponentials / exponentials.sum()


@fault("np.isfinite(scores(C, ('a', 'b'))).all()")
class LogOfNothing(Correct):
    """Returns the logarithm of the share, which is -inf where no word is shared."""

    def score(self, questions: Sequence[str], passages: Sequence[Passage]) -> Array:
        with np.errstate(divide="ignore"):
            return np.log(np.maximum(super().score(questions, passages), 0))


@fault("np.isfinite(scores(C, ('?!', 'a'))).all()")
class NoWordsAreNan(Correct):
    """Takes the mean over the question's words, which has none where it is signs alone."""

    def _score(self, question: str, passage: Passage) -> float:
        words = [word for word in self._words(question) if any(map(str.isalnum, word))]
        passage_words = set(self._words(f"{passage.title} {passage.text}"))
        shared = np.array([word in passage_words for word in words], float)
        with np.errstate(invalid="ignore"), warnings.catch_warnings(action="ignore"):
            return float(shared.mean()) - 1e-3 * len(passage_words)


@fault("made(C).score(['a'], [Passage('1', '', 'a')]).dtype == np.float32")
class Doubles(Correct):
    """Returns float64."""

    def score(self, questions: Sequence[str], passages: Sequence[Passage]) -> Array:
        return super().score(questions, passages).astype(np.float64)


@fault("made(C).score(['a'], [Passage('1', '', 'a')]).shape == (1,)")
class Column(Correct):
    """Returns a column [P, 1], as a classification head does."""

    def score(self, questions: Sequence[str], passages: Sequence[Passage]) -> Array:
        return super().score(questions, passages)[:, None]


@fault("scores(C, ('a', 'a b'), ('a', 'c')) == scores(C, ('a', 'a b')) + scores(C, ('a', 'c'))")
class StaysSorted(Correct):
    """Sorts pairs by the passage's length, and does not undo it."""

    def score(self, questions: Sequence[str], passages: Sequence[Passage]) -> Array:
        order = sorted(range(len(passages)), key=lambda i: len(passages[i].text))
        return super().score([questions[i] for i in order], [passages[i] for i in order])


@fault("len(scores(C, ('a', 'a'), ('a', 'a'))) == 2")
class EachPairOnce(Correct):
    """Scores each pair once, and so returns fewer numbers where one is repeated."""

    def score(self, questions: Sequence[str], passages: Sequence[Passage]) -> Array:
        pairs = zip(questions, passages, strict=True)
        unique = {(question, passage.text): passage for question, passage in pairs}
        return super().score([question for question, _ in unique], list(unique.values()))


@fault("scores(C, ('a', 'a'), ('a', 'b'))[1:] == scores(C, ('a', 'b'))")
class CachedById(Correct):
    """Caches scores by question and passage id, though the text may have changed."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._cache: dict[tuple[str, str], float] = {}

    def _score(self, question: str, passage: Passage) -> float:
        key = (question, passage.id)
        if key not in self._cache:
            self._cache[key] = super()._score(question, passage)
        return self._cache[key]


@fault("scores(C, ('a', 'a'), ('b', 'b'))[1:] == scores(C, ('b', 'b'))")
class FirstQuestion(Correct):
    """Takes all pairs of a call to have the first one's question."""

    def score(self, questions: Sequence[str], passages: Sequence[Passage]) -> Array:
        return super().score([questions[0] for _ in questions], passages)


@fault("scores(C) == []")
class NoPairs(Correct):
    """Cannot score zero pairs, since it stacks the scores of batches."""

    def score(self, questions: Sequence[str], passages: Sequence[Passage]) -> Array:
        pairs = zip(questions, passages, strict=True)
        return np.concatenate([super(NoPairs, self).score([q], [p]) for q, p in pairs])


@fault("scores(C, ('a', 'a')) > scores(C, ('a', 'b'))")
class LowerIsBetter(Correct):
    """Returns a distance: lower is better."""

    def _score(self, question: str, passage: Passage) -> float:
        return -super()._score(question, passage)


@fault(
    "(s := made(C)) and (old := scored(s, ('a', 'a'))) and scored(s, ('a', 'b')) is not None"
    " and old.tolist() == scores(C, ('a', 'a'))"
)
class ReusesItsArray(Correct):
    """Writes the scores of each call with as many pairs into the same array."""

    def score(self, questions: Sequence[str], passages: Sequence[Passage]) -> Array:
        result = super().score(questions, passages)
        arrays = self.__dict__.setdefault("_arrays", {})
        array = arrays.setdefault(len(result), result)
        array[:] = result
        return array


@fault("len(scores(C, ('a', 'é' * 300))) == 1")
class CutsBytes(Correct):
    """Cuts a long passage after 255 bytes, which may be within a letter."""

    def _score(self, question: str, passage: Passage) -> float:
        text = passage.text.encode()[:255].decode()
        return super()._score(question, Passage(passage.id, passage.title, text))


@fault(
    "(s := made(C)) and (scored(s, ('a', 'a'), ('b', 'c')) == scored(s, ('a', 'a'),"
    " ('b', 'c'))).all()"
)
class CentresByHistory(Correct):
    """Subtracts the mean of all scores since it was made."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._sum, self._count = 0.0, 0

    def _score(self, question: str, passage: Passage) -> float:
        score = super()._score(question, passage)
        self._sum, self._count = self._sum + score, self._count + 1
        return score - self._sum / self._count


@fault("same_in_threads(C)", races=True)
class SharesThePair(Correct):
    """Keeps the words of the pair in the scorer, where another thread changes them."""

    def _score(self, question: str, passage: Passage) -> float:
        self._asked = self._words(question)
        self._passage_words = set(self._words(f"{passage.title} {passage.text}"))
        shared = sum(word in self._passage_words for word in self._asked)
        return shared / max(len(self._asked), 1) - 1e-3 * len(self._passage_words)

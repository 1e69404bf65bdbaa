"""Q-BLEU-1: how well a question that was written could be answered (Nema and Khapra, 2018).

    Q-BLEU-1 = δ · answerability + (1 - δ) · BLEU-1
    answerability = Σ over kinds of words of weight · F1 of the words of that kind

The kinds are named entities (words with a capital), the words that say what is asked (a question
word, and what follows "what" and "which"), other words of content, and function words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Final, Self

from pydantic import Field, model_validator

from ragcore.evaluation.metrics.texts import bleu_1
from ragcore.evaluation.prediction import Prediction
from ragcore.registry.components import ComponentConfig

__all__ = ["QBleu1"]

_ASKING: Final = frozenset(("what", "which", "why", "who", "whom", "whose", "where", "when", "how"))

_WORDS: Final = """
a an the this that these those and or but nor so if than then because while until as at by
for from in into of off on onto out over to up down under with without about against
between through during before after above below again further once here there all any both
each few more most other some such no not only own same too very can could will would
shall should may might must do does did doing have has had having be am is are was were
been being i me my mine myself we us our ours ourselves you your yours yourself yourselves
he him his himself she her hers herself it its itself they them their theirs themselves
just now s t don
"""
_FUNCTION: Final = frozenset(_WORDS.split())


class QBleu1:
    """Mean Q-BLEU-1, 0 to 100; its BLEU-1s are sacrebleu's."""

    class Config(ComponentConfig):
        """Weights; the defaults are those that the authors' program is shown with for SQuAD."""

        entities: float = Field(0.6, ge=0, le=1, description="weight of named entities")
        kind: float = Field(0.2, ge=0, le=1, description="weight of what kind of thing is asked")
        content: float = Field(0.1, ge=0, le=1, description="weight of other words of content")
        delta: float = Field(0.7, ge=0, le=1, description="weight of answerability beside BLEU-1")

        @model_validator(mode="after")
        def _weights_fit(self) -> Self:
            if self.entities + self.kind + self.content > 1 + 1e-9:
                raise ValueError(
                    "entities, kind and content weigh more than 1 together: what is left of 1 is "
                    "the weight of function words"
                )
            return self

    capabilities: ClassVar[frozenset[str]] = frozenset()
    resampled: ClassVar[bool] = True

    def __init__(self, config: Config) -> None:
        self.config = config
        self._bleu = bleu_1()

    def statistics(self, predictions: Sequence[Prediction]) -> list[Sequence[float] | None]:
        """The score with the best of the right questions, and 1."""
        found: list[Sequence[float] | None] = []
        for one in predictions:
            if not one.right or one.regex:
                found.append(None)
            else:
                best = max(self._score(one.answer, right) for right in one.right)
                found.append((best, 1.0))
        return found

    def value(self, sums: Sequence[float]) -> float:
        """The mean."""
        return sums[0] / sums[1]

    def _score(self, said: str, right: str) -> float:
        weights = self.config
        rest = 1 - weights.entities - weights.kind - weights.content
        kinds: list[tuple[float, Callable[[list[str]], list[str]]]] = [
            (weights.entities, _entities),
            (weights.kind, _kind),
            (weights.content, _content),
            (rest, _functions),
        ]
        answerable = sum(
            weight * self._f1(of(said.split()), of(right.split())) for weight, of in kinds
        )
        return weights.delta * answerable + (1 - weights.delta) * self._one(said, right)

    def _f1(self, said: list[str], right: list[str]) -> float:
        if not said or not right:
            return 0.0
        forth, back = (
            self._one(" ".join(one), " ".join(other))
            for one, other in ((said, right), (right, said))
        )
        return 2 * forth * back / (forth + back) if forth + back else 0.0

    def _one(self, said: str, right: str) -> float:
        score = self._bleu.sentence_score(said, [right])
        # Not smoothed: without a common word it is 0.
        return float(score.score) if score.counts[0] else 0.0


def _entities(words: list[str]) -> list[str]:
    rest = words[1:] if words and words[0].lower() in _ASKING else words
    return [word for word in rest if word[0].isupper()]


def _kind(words: list[str]) -> list[str]:
    found = []
    for place, word in enumerate(words):
        if word.lower() in _ASKING:
            found.append(word)
            if word.lower() in {"what", "which"} and place + 1 < len(words):
                found.append(words[place + 1])
    return found


def _content(words: list[str]) -> list[str]:
    asking = set(_kind(words))
    return [
        word
        for word in words
        if word not in asking and not word[0].isupper() and word.lower() not in _FUNCTION
    ]


def _functions(words: list[str]) -> list[str]:
    return [word for word in words if word.lower() in _FUNCTION]

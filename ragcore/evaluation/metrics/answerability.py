"""Q-BLEU-1: how well a generated question could be answered (Nema and Khapra, 2018).

    Q-BLEU-1 = δ · answerability + (1 - δ) · BLEU-1
    answerability = Σ over kinds of words of weight · F1 of the words of that kind

The kinds are named entities (words with a capital), the words that say what is asked for (a
question word, and the word after "what" and "which"), other content words, and function words.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final, Self

from pydantic import Field, model_validator

from ragcore.evaluation.metrics.base import Labels, Mean
from ragcore.evaluation.metrics.texts import bleu_1
from ragcore.evaluation.prediction import Prediction
from ragcore.questions.normalization import composed
from ragcore.registry.components import ComponentConfig

__all__ = ["QBleu1"]

_QUESTION_WORDS: Final = frozenset(
    ("what", "which", "why", "who", "whom", "whose", "where", "when", "how")
)

_LISTED: Final = """
a an the this that these those and or but nor so if than then because while until as at by
for from in into of off on onto out over to up down under with without about against
between through during before after above below again further once here there all any both
each few more most other some such no not only own same too very can could will would
shall should may might must do does did doing have has had having be am is are was were
been being i me my mine myself we us our ours ourselves you your yours yourself yourselves
he him his himself she her hers herself it its itself they them their theirs themselves
just now s t don
"""
_FUNCTION_WORDS: Final = frozenset(_LISTED.split())


class QBleu1(Mean):
    """Mean Q-BLEU-1, 0 to 100; its BLEU-1s are sacrebleu's."""

    labels: ClassVar[Labels | None] = "answers"

    class Config(ComponentConfig):
        """Weights; the defaults are those that the authors' program documents for SQuAD."""

        entities: float = Field(0.6, ge=0, le=1, description="weight of named entities")
        kind: float = Field(0.2, ge=0, le=1, description="weight of what kind of thing is asked")
        content: float = Field(0.1, ge=0, le=1, description="weight of other content words")
        delta: float = Field(
            0.7, ge=0, le=1, description="weight of answerability; BLEU-1's is 1 - this"
        )

        @model_validator(mode="after")
        def _weights_fit(self) -> Self:
            total = self.entities + self.kind + self.content
            if total > 1 + 1e-9:
                raise ValueError(
                    f"entities, kind and content add up to {total:g}: expected at most 1, of which "
                    "the rest is the weight of function words"
                )
            return self

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._bleu: Any = bleu_1()

    def score(self, prediction: Prediction) -> float | None:
        """Return the score with the best of the right questions; None for patterns."""
        if not prediction.right or prediction.regex:
            return None
        answer = composed(prediction.text)
        return max(self._score(answer, composed(right)) for right in prediction.right)

    def _score(self, question: str, right: str) -> float:
        weights = self.config
        rest = 1 - weights.entities - weights.kind - weights.content
        kinds: list[tuple[float, Callable[[list[str]], list[str]]]] = [
            (weights.entities, _entities),
            (weights.kind, _asking),
            (weights.content, _content),
            (rest, _functions),
        ]
        answerability = sum(
            weight * self._f1(words_of(question.split()), words_of(right.split()))
            for weight, words_of in kinds
        )
        bleu = self._bleu_1(question, right)
        return weights.delta * answerability + (1 - weights.delta) * bleu

    def _f1(self, words: list[str], right: list[str]) -> float:
        """Compute the F1 of two lists of words, with BLEU-1 as precision and as recall."""
        if not words or not right:
            return 0.0
        precision = self._bleu_1(" ".join(words), " ".join(right))
        recall = self._bleu_1(" ".join(right), " ".join(words))
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0

    def _bleu_1(self, text: str, right: str) -> float:
        score = self._bleu.sentence_score(text, [right])
        # Not smoothed: without a common word it is 0.
        return float(score.score) if score.counts[0] else 0.0


def _entities(words: list[str]) -> list[str]:
    """List the words with a capital, without a question word at the beginning."""
    rest = words[1:] if words and words[0].lower() in _QUESTION_WORDS else words
    return [word for word in rest if word[0].isupper()]


def _asking(words: list[str]) -> list[str]:
    """List the question words, and the word after each "what" and "which"."""
    asking = []
    for index, word in enumerate(words):
        if word.lower() in _QUESTION_WORDS:
            asking.append(word)
            if word.lower() in {"what", "which"} and index + 1 < len(words):
                asking.append(words[index + 1])
    return asking


def _content(words: list[str]) -> list[str]:
    """List the words that are of no other kind."""
    asking = set(_asking(words))
    return [
        word
        for word in words
        if word not in asking and not word[0].isupper() and word.lower() not in _FUNCTION_WORDS
    ]


def _functions(words: list[str]) -> list[str]:
    return [word for word in words if word.lower() in _FUNCTION_WORDS]

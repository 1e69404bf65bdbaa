"""A real scorer without weights: p(no answer|x,z) is drawn from a table with a seed.

It depends on the question and the passage's title and text, and on nothing else, so that the
probability of abstaining can be computed by the definition.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ragcore.registry.components import ComponentConfig, ComponentSpec
from ragcore.types import Passage

if TYPE_CHECKING:
    from ragcore.types import Scores

__all__ = ["TableAnswerability", "answerability"]


class TableAnswerability:
    """See `ragcore.contracts.AnswerabilityScorer`."""

    class Config(ComponentConfig):
        seed: int = 0

    capabilities: ClassVar[frozenset[str]] = frozenset({"answerability"})

    def __init__(self, config: Config) -> None:
        self.config = config

    def p_unanswerable(self, question: str, passage: Passage) -> float:
        """Return p(no answer|x,z), from 0.05 to 0.95."""
        text = f"{self.config.seed}|{question}|{passage.title}|{passage.text}"
        number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
        return 0.05 + 0.9 * number

    def score(self, questions: Sequence[str], passages: Sequence[Passage]) -> Scores:
        p = np.exp(self.log_unanswerable(questions, passages).astype(np.float64))
        return (np.log1p(-p) - np.log(p)).astype(np.float32)

    def log_unanswerable(self, questions: Sequence[str], passages: Sequence[Passage]) -> Scores:
        pairs = zip(questions, passages, strict=True)
        return np.log([self.p_unanswerable(*pair) for pair in pairs]).astype(np.float32)


def answerability(seed: int = 0) -> ComponentSpec:
    """Name the scorer as a pipeline's file would."""
    config = TableAnswerability.Config(seed=seed)
    return ComponentSpec("scorer", "table-answerability", TableAnswerability, config)

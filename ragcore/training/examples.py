"""From questions with answers to what is trained on: one answer for each example.

A question may have several answers, or patterns (CuratedTREC); the paper's appendix D says what it
does, and `train.answers` chooses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from ragcore.memory.memory import Memory
from ragcore.questions import LabelledQuestion
from ragcore.questions.matching import holds_answer
from ragcore.questions.patterns import expansions, matches_in
from ragcore.types import MISSING_ROW

__all__ = ["Example", "make_examples"]

BATCH = 64
"""Questions that are searched for at once."""


@dataclass(frozen=True, slots=True)
class Example:
    """A question with the answer that is trained on.

    Attributes:
        asked: the question with all that is right.
        answer: the target y.
    """

    asked: LabelledQuestion
    answer: str

    @property
    def question(self) -> str:
        """The question x."""
        return self.asked.question


def make_examples(
    asked: Sequence[LabelledQuestion],
    answers: Literal["first", "every", "found"],
    memory: Memory,
    depth: int,
) -> list[Example]:
    """Examples in the order of the questions; those without an answer give none.

    Args:
        asked: the questions.
        answers: "first" takes the first answer, "every" all, "found" the one that most of the
            passages found hold, and none where none does (the paper's way with TriviaQA). Of a
            pattern it is in any case the text that it matches most often in what is found, or else
            all its expansions.
        memory: where passages are looked for.
        depth: how many for a question.
    """
    looking = [one for one in asked if one.regex or answers == "found"]
    texts = _texts(memory, [one.question for one in looking], depth)
    found = {id(one): own for one, own in zip(looking, texts, strict=True)}
    examples: list[Example] = []
    for one in asked:
        known = one.answers_by(memory.version)
        if one.regex:
            said = _by_pattern(known, found[id(one)]())
        elif answers == "found":
            said = _most_held(known, found[id(one)]())
        else:
            said = list(known[:1]) if answers == "first" else list(known)
        examples += [Example(one, answer) for answer in said]
    return examples


def _texts(memory: Memory, questions: Sequence[str], depth: int) -> list[Callable[[], list[str]]]:
    """For each question what reads the texts found for it: they are not all kept at once."""
    readers: list[Callable[[], list[str]]] = []
    for begin in range(0, len(questions), BATCH):
        hits = memory.search(questions[begin : begin + BATCH], depth)
        for own in hits.rows:
            rows = own[own != MISSING_ROW].tolist()
            readers.append(
                lambda rows=rows: [one.text for one in memory.passages.take(rows)]  # type: ignore[misc]
            )
    return readers


def _by_pattern(patterns: Sequence[str], texts: Sequence[str]) -> list[str]:
    counted = Counter(match for text in texts for match in matches_in(text, patterns))
    if counted:
        return [counted.most_common(1)[0][0]]
    return [text for pattern in patterns for text in expansions(pattern)]


def _most_held(answers: Sequence[str], texts: Sequence[str]) -> list[str]:
    counts = [(sum(holds_answer(text, [one]) for text in texts), one) for one in answers]
    best = max(counts, key=lambda one: one[0], default=(0, ""))
    return [best[1]] if best[0] else []

"""Make training examples of labelled questions, one answer each.

A question may have several answers, or patterns (CuratedTREC). `train.answers` chooses how they
become targets; the paper's appendix D describes its choices. Knows questions and memories; knows
nothing of models.
"""

from __future__ import annotations

import functools
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
"""Questions in one search."""


@dataclass(frozen=True, slots=True)
class Example:
    """A question with the one answer that is trained on.

    Attributes:
        labelled: the question with all its right answers.
        answer: the target y.
    """

    labelled: LabelledQuestion
    answer: str

    @property
    def question(self) -> str:
        """Return the question x."""
        return self.labelled.question


def make_examples(
    questions: Sequence[LabelledQuestion],
    answers: Literal["first", "every", "found"],
    memory: Memory,
    depth: int,
) -> list[Example]:
    """Make examples in the order of the questions; a question without an answer makes none.

    Args:
        questions: the labelled questions.
        answers: "first" takes the first answer, "every" all, "found" the one that most of the
            retrieved passages contain, and none where none does (the paper's way with TriviaQA). A
            pattern's target is always the text that it matches most often in the retrieved passages
            (paper, appendix D); without a match its targets are all its expansions.
        memory: where passages are searched.
        depth: how many passages for a question.
    """
    searched = [question for question in questions if question.regex or answers == "found"]
    readers = _texts(memory, [question.question for question in searched], depth)
    texts = {id(question): read for question, read in zip(searched, readers, strict=True)}
    examples: list[Example] = []
    for question in questions:
        known = question.answers_by(memory.version)
        if question.regex:
            targets = _by_pattern(known, texts[id(question)]())
        elif answers == "found":
            targets = _most_frequent(known, texts[id(question)]())
        else:
            targets = list(known[:1]) if answers == "first" else list(known)
        examples += [Example(question, target) for target in targets]
    return examples


def _texts(memory: Memory, questions: Sequence[str], depth: int) -> list[Callable[[], list[str]]]:
    """Search for each question; return functions that read its texts.

    All texts together may not fit in memory, so each is read when it is needed.
    """
    readers: list[Callable[[], list[str]]] = []
    for begin in range(0, len(questions), BATCH):
        hits = memory.hits(questions[begin : begin + BATCH], depth)
        for question_rows in hits.rows:
            rows = question_rows[question_rows != MISSING_ROW].tolist()
            readers.append(functools.partial(_read_texts, memory, rows))
    return readers


def _read_texts(memory: Memory, rows: list[int]) -> list[str]:
    return [passage.text for passage in memory.passages.take(rows)]


def _by_pattern(patterns: Sequence[str], texts: Sequence[str]) -> list[str]:
    """Return the text that the patterns match most often, or all their expansions."""
    counted = Counter(match for text in texts for match in matches_in(text, patterns))
    if counted:
        return [counted.most_common(1)[0][0]]
    return [text for pattern in patterns for text in expansions(pattern)]


def _most_frequent(answers: Sequence[str], texts: Sequence[str]) -> list[str]:
    """Return the answer that most of the texts contain; none where none of them does."""
    counts = [(sum(holds_answer(text, [answer]) for text in texts), answer) for answer in answers]
    count, answer = max(counts, key=lambda counted: counted[0], default=(0, ""))
    return [answer] if count else []

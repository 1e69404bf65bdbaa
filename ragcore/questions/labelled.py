"""A question with what is known to be right. Knows nothing of files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

__all__ = ["GREATEST_GRADE", "RELEVANT", "LabelledQuestion", "Gold", "texts_of"]

RELEVANT: Final = 1
"""The least grade of a relevant passage, as for trec_eval."""

GREATEST_GRADE: Final = 1000
"""trec_eval takes seconds for each question with greater ones, and 0 as the value of some."""

Gold = tuple[str, ...] | Mapping[str, tuple[str, ...]]
"""What is right: the same for every version of the memory, or by the version's name."""


@dataclass(frozen=True, slots=True)
class LabelledQuestion:
    """A question with what is known to be right.

    Attributes:
        question: not empty.
        answers: any of them is right; empty where none is known. By version, an empty list says
            that the question has no answer by that version.
        passage_ids: passages, any of which answers the question; empty where none is known.
        id: from the question's file, or its number there; empty where it is of no file.
        regex: whether the answers are regular expressions, as CuratedTREC's are.
        titles: titles of pages, any of which answers the question, as FEVER and KILT give them.
        paragraphs: texts, any of which answers the question, as SQuAD gives them.
        unanswerable: whether the question is known to have no answer, as SQuAD 2.0 has them;
            `answers` is empty then.
        relevance: grades of judged passages by their ids, as TREC's qrels give them, for every
            version; 1 or more is relevant. Where it has passages, they alone are relevant.
        line: where it is in its file: the line, or the record's number in a document; 0 where it is
            of no file.
    """

    question: str
    answers: Gold = ()
    passage_ids: Gold = ()
    id: str = ""
    regex: bool = False
    titles: tuple[str, ...] = ()
    paragraphs: tuple[str, ...] = ()
    unanswerable: bool = False
    relevance: Mapping[str, int] = field(default_factory=dict, hash=False)
    line: int = field(default=0, compare=False)

    def answers_by(self, version: str) -> tuple[str, ...]:
        """Return the right answers by one version; empty where none is known."""
        return _by(self.answers, version)

    def unanswerable_by(self, version: str) -> bool:
        """Tell whether the question is known to have no answer by one version."""
        if isinstance(self.answers, tuple):
            return self.unanswerable
        return version in self.answers and not self.answers[version]

    def judged_by(self, version: str) -> bool:
        """Tell whether it is known by one version which answer is right, or that there is none."""
        return bool(self.answers_by(version)) or self.unanswerable_by(version)

    def passage_ids_by(self, version: str) -> tuple[str, ...]:
        """Return the ids of one version's passages that answer; empty where none is known."""
        if self.relevance:
            return tuple(name for name, grade in self.relevance.items() if grade >= RELEVANT)
        return _by(self.passage_ids, version)

    def grades_by(self, version: str) -> Mapping[str, int]:
        """Return the grades of judged passages by one version; empty where none is known."""
        return self.relevance or dict.fromkeys(_by(self.passage_ids, version), RELEVANT)


def _by(gold: Gold, version: str) -> tuple[str, ...]:
    return gold if isinstance(gold, tuple) else gold.get(version, ())


def texts_of(gold: Gold) -> list[str]:
    """List all that is right, by whatever version."""
    if isinstance(gold, tuple):
        return list(gold)
    return [text for texts in gold.values() for text in texts]

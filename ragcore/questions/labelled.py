"""A question with what is known to be right. Knows nothing of files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["LabelledQuestion", "Gold", "texts_of"]

Gold = tuple[str, ...] | Mapping[str, tuple[str, ...]]
"""What is right: the same for every version of the memory, or by the version's name."""


@dataclass(frozen=True, slots=True)
class LabelledQuestion:
    """A question with what is known to be right.

    Attributes:
        question: not empty.
        answers: any of them is right; empty where none is known.
        passage_ids: passages, any of which answers the question; empty where none is known.
        id: from the question's file; empty where that has none.
        regex: whether the answers are regular expressions, as CuratedTREC's are.
        titles: titles of pages, any of which answers the question, as FEVER and KILT give them.
    """

    question: str
    answers: Gold = ()
    passage_ids: Gold = ()
    id: str = ""
    regex: bool = False
    titles: tuple[str, ...] = ()

    def answers_by(self, version: str) -> tuple[str, ...]:
        """Return the right answers by one version; empty where none is known."""
        return _by(self.answers, version)

    def passage_ids_by(self, version: str) -> tuple[str, ...]:
        """Return the ids of one version's passages that answer; empty where none is known."""
        return _by(self.passage_ids, version)


def _by(gold: Gold, version: str) -> tuple[str, ...]:
    return gold if isinstance(gold, tuple) else gold.get(version, ())


def texts_of(gold: Gold) -> list[str]:
    """List all that is right, by whatever version."""
    if isinstance(gold, tuple):
        return list(gold)
    return [text for texts in gold.values() for text in texts]

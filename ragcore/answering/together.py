"""Passages that are read together: all of a question in one prompt, numbered from 1.

Generators of the tier `steps` with the capability `together` make that prompt; for any other one
the passages are joined to a single text. Knows passages and how they are read; knows nothing of
decoding or answers, and imports no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ragcore.answering.evidence import Retrieved
from ragcore.contracts import Generator, Read, TogetherReader, supports
from ragcore.prompts.numbering import numbered, text_starts
from ragcore.types import Passage

__all__ = ["JoinedPassages", "join", "joined", "parts_of", "read_pairs"]


@dataclass(frozen=True, slots=True)
class JoinedPassages(Passage):
    """The passages of one prompt as one passage, which is what an answerer handles.

    Attributes:
        parts: the passages, in the order of their numbers.
        starts: the character offset in `text` of each part's text.
        cite: whether the answer is to name its passages.
    """

    parts: tuple[Passage, ...] = ()
    starts: tuple[int, ...] = ()
    cite: bool = False

    def joined_spans(
        self, by_part: Sequence[Sequence[tuple[int, int]]]
    ) -> tuple[tuple[int, int], ...]:
        """Return character offsets [start, end) in each part's text as those in `text`."""
        return tuple(
            (first + start, first + end)
            for first, spans in zip(self.starts, by_part, strict=True)
            for start, end in spans
        )

    def spans_by_part(self, spans: Sequence[tuple[int, int]]) -> list[tuple[tuple[int, int], ...]]:
        """Return character offsets [start, end) in `text` as those in each part's text."""
        return [
            tuple(
                (start - first, end - first)
                for start, end in spans
                if first <= start and end <= first + len(part.text)
            )
            for part, first in zip(self.parts, self.starts, strict=True)
        ]


def join(passages: Sequence[Passage], *, cite: bool = False) -> JoinedPassages:
    """Join passages to one, whose text has all of them, each with its number and title.

    Args:
        passages: at least one.
        cite: as `JoinedPassages.cite`.
    """
    plural = "s" * (len(passages) != 1)
    return JoinedPassages(
        id=f"{len(passages)} passage{plural} in one prompt",
        title="",
        text=numbered(passages),
        parts=tuple(passages),
        starts=text_starts(passages),
        cite=cite,
    )


def joined(retrieved: Retrieved, *, cite: bool = False) -> Retrieved:
    """Return a question with its passages as one, whose prior is 1; alone where it has none."""
    if not retrieved.passages:
        return retrieved
    return Retrieved(
        question=retrieved.question,
        passages=[join(retrieved.passages, cite=cite)],
        scores=[0.0],
        log_prior=np.zeros(1, np.float32),
        missing=retrieved.missing,
        filter_notes=retrieved.filter_notes,
    )


def parts_of(passage: Passage) -> tuple[Passage, ...]:
    """Return the passages of one prompt: those that were joined, or the passage itself."""
    return passage.parts if isinstance(passage, JoinedPassages) else (passage,)


def read_pairs(
    generator: Generator, questions: Sequence[str], passages: Sequence[Passage | None]
) -> Read:
    """Read P pairs as `Generator.read` does, joined passages in one prompt where it makes one.

    Args:
        generator: reads.
        questions: of each pair.
        passages: of each pair; None for the question alone. Either all of them are joined or none.
    """
    cite = any(isinstance(passage, JoinedPassages) and passage.cite for passage in passages)
    together = any(isinstance(passage, JoinedPassages) for passage in passages)
    if together and supports(generator, TogetherReader):
        parts = [() if passage is None else parts_of(passage) for passage in passages]
        return generator.read_together(questions, parts, cite=cite)
    return generator.read(questions, [_as_read(passage) for passage in passages])


def _as_read(passage: Passage | None) -> Passage | None:
    """Return what is read in place of a passage: of one that was joined alone, itself."""
    if isinstance(passage, JoinedPassages) and len(passage.parts) == 1:
        return passage.parts[0]
    return passage

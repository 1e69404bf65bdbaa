"""Read questions with their passages: all pairs in one pass of the generator's encoder.

Knows which pair belongs to which question; knows nothing of decoding.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ragcore.answering.evidence import Retrieved
from ragcore.contracts import Generator, Read
from ragcore.decoding.question_prior import QuestionPrior
from ragcore.types import Passage

__all__ = ["read_passages"]


def read_passages(
    generator: Generator, retrieved: Sequence[Retrieved]
) -> tuple[Read, list[QuestionPrior]]:
    """Read each question with each of its passages; without passages, the question alone.

    Args:
        generator: reads P pairs at once.
        retrieved: B questions with the passages of each.

    Returns:
        What the generator read, and for each question its pairs and their log p(z|x).
    """
    questions: list[str] = []
    passages: list[Passage | None] = []
    priors: list[QuestionPrior] = []
    for question in retrieved:
        question_passages: list[Passage | None] = [*question.passages] or [None]
        begin, end = len(passages), len(passages) + len(question_passages)
        pairs = torch.arange(begin, end, device=generator.device)  # [k]
        # From here on the prior is a tensor, where the generator computes.
        log_prior = torch.from_numpy(question.log_prior).to(generator.device)  # [k]
        priors.append(QuestionPrior(pairs, log_prior))
        passages.extend(question_passages)
        questions.extend([question.question] * len(question_passages))
    return generator.read(questions, passages), priors

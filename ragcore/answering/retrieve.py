"""Retrieve passages for questions, with log p(z|x), which answers are marginalised by.

Knows search results and the prior; knows nothing of generators.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ragcore.answering.evidence import Retrieved
from ragcore.answering.searching import Where, search
from ragcore.config import RagConfig
from ragcore.marginalization import log_prior
from ragcore.memory.memory import Memory
from ragcore.questions.texts import check_questions
from ragcore.types import SearchResult

__all__ = ["retrieve", "with_temperature"]


def retrieve(
    memory: Memory, questions: Sequence[str], config: RagConfig, where: Where = None
) -> list[Retrieved]:
    """Search for all questions in one batch; with k = 0 nothing is searched.

    Args:
        memory: the version to search.
        questions: B questions.
        config: k, the passages per question, and the filter `where`.
        where: a further filter, in the same language.

    Returns:
        One for each question, in the same order.

    Raises:
        QuestionError: a question is no text, empty or too long, or `where` is no filter.
        ComponentError: the retriever broke its contract.
    """
    if not config.k:
        check_questions(questions)
        return [Retrieved(question, [], [], log_prior(torch.zeros(1))) for question in questions]
    results = search(memory, questions, config, where)
    return [_retrieved(result, memory.temperature) for result in results]


def with_temperature(retrieved: Retrieved, temperature: float) -> Retrieved:
    """Return a question with the prior that its passages have by another temperature."""
    return replace(retrieved, log_prior=_log_prior(retrieved.scores, temperature))


def _retrieved(result: SearchResult, temperature: float) -> Retrieved:
    scores = list(result.scores)
    return Retrieved(
        result.question,
        list(result.passages),
        scores,
        _log_prior(scores, temperature),
        result.missing,
        result.filter_notes,
    )


def _log_prior(scores: Sequence[float], temperature: float) -> Tensor:
    """Compute log p(z|x), [max(k, 1)], from k scores."""
    # Without any hit the generator answers alone, with prior 1.
    return log_prior(torch.tensor(list(scores) or [0.0]), temperature)

"""Retrieve passages for questions, with log p(z|x), which answers are marginalised by.

Knows search results and the prior; knows nothing of generators.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ragcore.answering.evidence import Retrieved
from ragcore.answering.searching import Where, search
from ragcore.config import RagConfig
from ragcore.marginalization import log_prior
from ragcore.memory.memory import Memory
from ragcore.questions.texts import check_questions
from ragcore.types import Passage, SearchResult

__all__ = ["results_to_read", "retrieve", "retrieved", "with_prior", "with_temperature"]


def retrieve(
    memory: Memory, questions: Sequence[str], config: RagConfig, where: Where = None
) -> list[Retrieved]:
    """Search for all questions in one batch; with k = 0 nothing is searched.

    Arguments and errors as `results_to_read`.

    Returns:
        One for each question, in the same order.
    """
    results = results_to_read(memory, questions, config, where)
    return [retrieved(result, memory.temperature) for result in results]


def results_to_read(
    memory: Memory, questions: Sequence[str], config: RagConfig, where: Where = None
) -> list[SearchResult]:
    """Find the passages that answers are read from, in one batch; none with k = 0.

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
        return [SearchResult(question, (), (), (), memory.version) for question in questions]
    return search(memory, questions, config, where)


def retrieved(result: SearchResult, temperature: float) -> Retrieved:
    """Make what a generator reads of the passages that were found at a prior's temperature."""
    read = with_prior(result.question, result.passages, result.scores, temperature)
    return replace(read, missing=result.missing, filter_notes=result.filter_notes)


def with_prior(
    question: str, passages: Sequence[Passage], scores: Sequence[float], temperature: float
) -> Retrieved:
    """Compute the prior of k passages that were found, by their scores [k], best first."""
    # Without any hit the generator answers alone, with prior 1.
    prior = log_prior(np.array(list(scores) or [0.0], np.float32), temperature)  # [max(k, 1)]
    return Retrieved(question, list(passages), list(scores), prior)


def with_temperature(read: Retrieved, temperature: float) -> Retrieved:
    """Return a question with the prior that its passages have by another temperature."""
    prior = with_prior(read.question, read.passages, read.scores, temperature).log_prior
    return replace(read, log_prior=prior)

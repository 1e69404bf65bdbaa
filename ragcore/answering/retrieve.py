"""Retrieve passages for questions, with their scores and the prior.

Knows memories, filters and the prior; knows nothing of generators.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from ragcore.answering.evidence import Retrieved
from ragcore.config import RagConfig
from ragcore.filters.expressions import both, read_where
from ragcore.marginalization import log_prior
from ragcore.memory.memory import Memory
from ragcore.questions.texts import check_questions
from ragcore.registry.discovery import registry
from ragcore.types import MISSING_ROW

__all__ = ["Where", "retrieve"]

Where = Mapping[str, object] | None
"""A request's filter over metadata, in addition to `rag.where`; None for no further filter."""


def retrieve(
    memory: Memory, questions: Sequence[str], config: RagConfig, where: Where = None
) -> list[Retrieved]:
    """Search for all questions in one batch, and call the hook `ragcore_retrieved`.

    Args:
        memory: the version to search.
        questions: B questions.
        config: k, the passages per question, and the filter `where`; with k = 0 nothing is
            searched.
        where: a further filter, in the same language.

    Returns:
        One for each question, in the same order.

    Raises:
        QuestionError: a question is no text, empty or too long, or `where` is no filter.
        ComponentError: the retriever broke its contract.
    """
    check_questions(questions)
    if not config.k:
        return [Retrieved(question, [], [], log_prior(torch.zeros(1))) for question in questions]
    filters = [
        None if expression is None else read_where(expression)
        for expression in (config.where, where)
    ]
    hits = memory.search(questions, config.k, where=both(*filters))
    registry().hook.ragcore_retrieved(questions=questions, hits=hits, memory=memory.version)
    retrieved: list[Retrieved] = []
    for question, rows, row_scores in zip(questions, hits.rows, hits.scores, strict=True):
        exists = rows != MISSING_ROW
        passages = memory.passages.take(rows[exists].tolist())
        scores = row_scores[exists].tolist()
        # Without any hit the generator answers alone, with prior 1.
        prior = log_prior(torch.tensor(scores or [0.0]), memory.temperature)  # [max(k, 1)]
        retrieved.append(Retrieved(question, passages, scores, prior))
    return retrieved

"""From questions to what was found for each: its passages, their scores, and the prior.

Knows memories and the prior; nothing of generators. What may be found, a filter says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from ragcore.answering.evidence import Retrieved
from ragcore.config import RagConfig
from ragcore.errors import QuestionError
from ragcore.filters.expressions import both, read_where
from ragcore.marginalization import log_prior
from ragcore.memory.memory import Memory
from ragcore.registry.discovery import registry
from ragcore.types import MISSING_ROW

__all__ = ["Where", "retrieve"]

Where = Mapping[str, object] | None
"""Which passages may be read for a request, besides what `rag.where` asks of them."""


def retrieve(
    memory: Memory, questions: Sequence[str], config: RagConfig, where: Where = None
) -> list[Retrieved]:
    """Search for all questions at once.

    Args:
        memory: the version that is read.
        questions: B questions.
        config: how many passages each may have, and which; with k = 0 nothing is searched.
        where: which of those, as `config.where` says it; all where None.

    Returns:
        What was found for each question, in order.

    Raises:
        QuestionError: a question is empty, or `where` is no filter.
        ComponentError: the retriever broke its contract.
    """
    for place, question in enumerate(questions):
        if not question.strip():
            raise QuestionError(f"question {place + 1} of {len(questions)} is empty: ask it")
    if not config.k:
        return [Retrieved(question, [], [], log_prior(torch.zeros(1))) for question in questions]
    filters = [None if said is None else read_where(said) for said in (config.where, where)]
    hits = memory.search(questions, config.k, where=both(*filters))
    registry().hook.ragcore_retrieved(questions=questions, hits=hits, memory=memory.version)
    found: list[Retrieved] = []
    for question, rows, scores in zip(questions, hits.rows, hits.scores, strict=True):
        exists = rows != MISSING_ROW
        passages = memory.passages.take(rows[exists].tolist())
        there = scores[exists].tolist()
        prior = log_prior(torch.tensor(there or [0.0]), memory.temperature)
        found.append(Retrieved(question, passages, there, prior))
    return found

"""Retrieve passages for questions, with their scores and the prior.

Knows memories, filters and the prior; knows nothing of generators.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Final
from weakref import WeakKeyDictionary, WeakSet

import torch

from ragcore.answering.evidence import Retrieved
from ragcore.config import RagConfig
from ragcore.filters.expressions import Filter, both, read_where
from ragcore.marginalization import log_prior
from ragcore.memory.memory import Memory
from ragcore.questions.texts import check_questions
from ragcore.registry.discovery import registry
from ragcore.types import MISSING_ROW, Hits

__all__ = ["FILTER_LOGGER", "Where", "retrieve"]

FILTER_LOGGER: Final = "ragcore.retrieval.filters"
"""Name of the logger of notes on filters."""
_LOG: Final = logging.getLogger("ragcore.retrieval")
_FILTER_LOG: Final = logging.getLogger(FILTER_LOGGER)
_WARNED: Final[WeakSet[Memory]] = WeakSet()
"""Memories of which a missing passage was logged as a warning already."""
_NOTED: Final[WeakKeyDictionary[Memory, set[str]]] = WeakKeyDictionary()
"""The notes on filters that were logged as warnings already, for each memory."""
_MOST_NOTED: Final = 100
"""Whoever asks may send any number of faulty filters; after so many, notes are information."""
_MAY_OVERLOOK: Final = "so many are allowed; if the retriever is approximate, search it more widely"

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
        None if condition is None else read_where(condition) for condition in (config.where, where)
    ]
    expression = both(*filters)
    hits = memory.search(questions, config.k, where=expression)
    missing = _missing(memory, hits, config.k, expression)
    notes = _filter_notes(memory, expression)
    registry().hook.ragcore_retrieved(questions=questions, hits=hits, memory=memory.version)
    retrieved: list[Retrieved] = []
    for question, rows, row_scores, fewer in zip(
        questions, hits.rows, hits.scores, missing, strict=True
    ):
        exists = rows != MISSING_ROW
        passages = memory.passages.take(rows[exists].tolist())
        scores = row_scores[exists].tolist()
        # Without any hit the generator answers alone, with prior 1.
        prior = log_prior(torch.tensor(scores or [0.0]), memory.temperature)  # [max(k, 1)]
        retrieved.append(Retrieved(question, passages, scores, prior, fewer, notes))
    return retrieved


def _filter_notes(memory: Memory, where: Filter | None) -> tuple[str, ...]:
    """Return what is to be said of a filter, and log it; the first time it is a warning.

    It is no error: the next version of a memory may have the field, or passages that match.
    """
    if where is None:
        return ()
    notes = memory.filter_notes(where)
    if notes:
        noted = _NOTED.setdefault(memory, set())
        for note in notes:
            is_new = note not in noted and len(noted) < _MOST_NOTED
            if is_new:
                noted.add(note)
            level = logging.WARNING if is_new else logging.INFO
            _FILTER_LOG.log(level, "memory %r: %s", memory.version, note)
    return notes


def _missing(memory: Memory, hits: Hits, k: int, where: Filter | None) -> list[int]:
    """Return how many hits each question lacks though more passages are allowed, and log it.

    Of a retriever that is exact it is information: no more passages match, as where fewer share a
    word with the question. Of another, the first time for a memory is a warning: it may overlook
    passages.
    """
    found = (hits.rows != MISSING_ROW).sum(axis=1)  # [B]
    if (found >= k).all():
        return [0] * len(found)
    expected = min(k, memory.count(where))
    missing: list[int] = (expected - found).clip(min=0).tolist()
    short = sum(count > 0 for count in missing)
    if short:
        exact = "exact" in memory.retriever.capabilities
        level = logging.INFO if exact or memory in _WARNED else logging.WARNING
        if level == logging.WARNING:
            _WARNED.add(memory)
        reason = "no more of them match" if exact else _MAY_OVERLOOK
        _LOG.log(
            level,
            "memory %r: %d of %d questions got fewer than %d passages, at worst %d: %s",
            memory.version,
            short,
            len(found),
            expected,
            int(found.min()),
            reason,
        )
    return missing

"""Turn hits into what a caller receives: passages, scores and the prior of each question.

Knows hits and the memory that they are of; knows nothing of pipelines, generators or tensors. What
the caller should know of a search is logged: notes on its filter, and passages that are missing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import islice
from operator import index
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary, WeakSet

import numpy as np

from ragcore.errors import QuestionError
from ragcore.registry.discovery import registry
from ragcore.types import MISSING_ROW, Hits, SearchResult

if TYPE_CHECKING:
    from ragcore.filters.expressions import Filter
    from ragcore.memory.memory import Memory
    from ragcore.types import Scores

__all__ = ["FILTER_LOGGER", "checked_k", "results_of"]

FILTER_LOGGER: Final = "ragcore.retrieval.filters"
"""Name of the logger of notes on filters."""
_LOG: Final = logging.getLogger("ragcore.retrieval")
_FILTER_LOG: Final = logging.getLogger(FILTER_LOGGER)
_WARNED: Final[WeakSet[Memory]] = WeakSet()
"""Memories of which a missing passage was logged as a warning already."""
_NOTED: Final[WeakKeyDictionary[Memory, set[str]]] = WeakKeyDictionary()
"""The notes on filters that were logged as warnings already, for each memory."""
_MOST_NOTED: Final = 100
"""Users may send any number of faulty filters; after so many, notes are information."""
_MAY_OVERLOOK: Final = "so many are allowed; if the retriever is approximate, search it more widely"


def checked_k(k: object) -> int:
    """Return how many passages to find as an int.

    Raises:
        QuestionError: it is no whole number, or less than 1.
    """
    try:
        number = None if isinstance(k, bool) else index(k)  # type: ignore[arg-type]
    except TypeError:
        number = None
    if number is None or number < 1:
        raise QuestionError(
            f"k is {k!r}: expected how many passages to find, a whole number from 1 on"
        )
    return number


def results_of(
    memory: Memory, questions: Sequence[str], hits: Hits, k: int, where: Filter | None
) -> list[SearchResult]:
    """Read the passages of hits and compute their prior; call the hook `ragcore_retrieved`.

    Args:
        memory: the version that was searched.
        questions: B questions.
        hits: the memory's, [B, min(k, passages)].
        k: how many were asked for.
        where: the filter that they were found with.

    Returns:
        One result for each question, in the same order.
    """
    missing = _missing(memory, hits, k, where)
    notes = _filter_notes(memory, where)
    registry().hook.ragcore_retrieved(questions=questions, hits=hits, memory=memory.version)
    results: list[SearchResult] = []
    # Of all questions together: a passage store is asked once.
    passages = iter(memory.passages.take(hits.rows[hits.rows != MISSING_ROW].tolist()))
    for question, rows, row_scores, fewer in zip(
        questions, hits.rows, hits.scores, missing, strict=True
    ):
        exists = rows != MISSING_ROW
        scores = row_scores[exists]
        results.append(
            SearchResult(
                question,
                tuple(islice(passages, int(exists.sum()))),
                tuple(scores.tolist()),
                _prior(scores, memory.temperature),
                memory.version,
                fewer,
                notes,
            )
        )
    return results


def _prior(scores: Scores, temperature: float) -> tuple[float, ...]:
    """Compute p(z|x) = exp(score / T) / Σ_z' exp(score' / T) of scores [k] (paper, section 2.2).

    In double precision; `marginalization.log_prior` computes its logarithm for answers.
    """
    if not scores.size:
        return ()
    scaled = scores.astype(np.float64) / temperature  # [k]
    # The largest becomes 0, so that exp does not overflow.
    weights = np.exp(scaled - scaled.max())
    prior: list[float] = (weights / weights.sum()).tolist()
    return tuple(prior)


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
    counts = (hits.rows != MISSING_ROW).sum(axis=1)  # [B]
    if (counts >= k).all():
        return [0] * len(counts)
    expected = min(k, memory.count(where))
    missing: list[int] = (expected - counts).clip(min=0).tolist()
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
            len(counts),
            expected,
            int(counts.min()),
            reason,
        )
    return missing

"""Search a memory for each question as deep as measures need, and judge what is found.

Knows memories and questions; knows nothing of measures. Passages are judged by their ids where it
is known which ones are relevant: then no text is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from ragcore.evaluation.prediction import Ranking
from ragcore.filters.expressions import Filter
from ragcore.memory.memory import Memory
from ragcore.questions import LabelledQuestion
from ragcore.questions.labelled import RELEVANT
from ragcore.questions.matching import is_relevant
from ragcore.retrievers.members import deepest_search
from ragcore.types import MISSING_ROW, Answer, Hits

__all__ = [
    "BATCH",
    "deepest_ranking",
    "evidence_ranking",
    "judged_ranking",
    "rankings_of",
    "search_rankings",
]

BATCH: Final = 32
"""Questions that are searched for together; `rag.batch_size` sets how many are read together."""


def deepest_ranking(memory: Memory) -> int | None:
    """Return how many passages a memory's retriever ranks at most; None where it ranks them all.

    Raises:
        ComponentError: the retriever states no number of passages.
    """
    limit = deepest_search(memory.retriever)
    return limit if limit is not None and limit < len(memory) else None


def search_rankings(
    memory: Memory,
    questions: Sequence[LabelledQuestion],
    depth: int,
    *,
    where: Filter | None = None,
) -> list[Ranking]:
    """Search for each question, and judge the passages that are found.

    Args:
        memory: the version to search.
        questions: with what is known to be right.
        depth: passages to search for, at least 1.
        where: which passages may be found; None for all.

    Raises:
        ComponentError: the retriever breaks its contract.
    """
    rankings: list[Ranking] = []
    for begin in range(0, len(questions), BATCH):
        batch = questions[begin : begin + BATCH]
        hits = memory.hits([question.question for question in batch], depth, where=where)
        rankings += rankings_of(memory, batch, hits, depth)
    return rankings


def rankings_of(
    memory: Memory, questions: Sequence[LabelledQuestion], hits: Hits, depth: int
) -> list[Ranking]:
    """Judge the first `depth` hits of each question.

    Args:
        memory: that was searched.
        questions: B questions.
        hits: [B, depth] or more; fewer where the memory has fewer passages.
        depth: how many count, at least 1.
    """
    found, found_scores = hits.rows[:, :depth], hits.scores[:, :depth]
    exists = found != MISSING_ROW  # [B, depth]
    ids = memory.passages.ids(found[exists])
    ends = np.cumsum(exists.sum(axis=1)).tolist()
    rankings: list[Ranking] = []
    for number, question in enumerate(questions):
        start = ends[number - 1] if number else 0
        scores = found_scores[number][exists[number]].tolist()
        rows = found[number][exists[number]].tolist()
        names = ids[start : ends[number]]
        rankings.append(judged_ranking(memory, question, names, scores, depth, rows))
    return rankings


def judged_ranking(
    memory: Memory,
    question: LabelledQuestion,
    ids: Sequence[str],
    scores: Sequence[float],
    depth: int,
    rows: Sequence[int],
) -> Ranking:
    """Judge the passages found for a question, by their ids or else by their texts.

    Args:
        memory: has the passages.
        question: with what is known to be right.
        ids: of the passages, best first.
        scores: one for each.
        depth: how many passages were searched for.
        rows: of those passages that the memory has; the others cannot be judged by their texts.
    """
    grades = question.grades_by(memory.version)
    if grades:
        return Ranking(tuple(ids), tuple(scores), depth, grades)
    by_text = {}
    if question.answers_by(memory.version):
        for passage in memory.passages.take(rows):
            if is_relevant(passage, question, memory.version):
                by_text[passage.id] = RELEVANT
    return Ranking(tuple(ids), tuple(scores), depth, by_text, by_text=True)


def evidence_ranking(answer: Answer, question: LabelledQuestion, depth: int) -> Ranking:
    """Return the first `depth` passages that an answer was read from as a ranking.

    Args:
        answer: from `depth` passages or more, unless there are fewer.
        question: with what is known to be right.
        depth: how many count; not more, so that the figures are those of a search.
    """
    passages = [evidence.passage for evidence in answer.evidence[:depth]]
    grades = question.grades_by(answer.memory)
    by_text = not grades
    if by_text:
        grades = {
            passage.id: RELEVANT
            for passage in passages
            if is_relevant(passage, question, answer.memory)
        }
    scores = tuple(evidence.score for evidence in answer.evidence[:depth])
    return Ranking(tuple(passage.id for passage in passages), scores, depth, grades, by_text)

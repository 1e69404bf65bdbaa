"""Search a memory as a pipeline does: by `rag.k`, among the passages that `rag.where` allows.

Knows the section `rag`; knows nothing of generators, and imports no model library.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ragcore.config import RagConfig
from ragcore.errors import QuestionError
from ragcore.filters.expressions import both, read_where
from ragcore.memory.memory import Memory
from ragcore.types import SearchResult

__all__ = ["Where", "search"]

Where = Mapping[str, object] | None
"""A request's filter over metadata, in addition to `rag.where`; None for no further filter."""


def search(
    memory: Memory,
    questions: str | Sequence[str],
    config: RagConfig,
    where: Where = None,
    *,
    k: int | None = None,
) -> list[SearchResult]:
    """Search for all questions in one batch; see `Memory.search`.

    Args:
        memory: the version to search.
        questions: B questions; one string counts as one question.
        config: k, the passages per question, and the filter `where`.
        where: a further filter, in the same language; passages must match both.
        k: how many passages to find; `rag.k` where None.

    Raises:
        QuestionError: a question is no text, empty or too long, k is no number from 1 on, or
            `where` is no filter.
        ComponentError: the retriever broke its contract.
    """
    if k is None and not config.k:
        raise QuestionError(
            "rag.k is 0, which reads no passage: say how many passages to find, as "
            "in search(questions, 5) or ragcore search -k 5"
        )
    filters = [
        None if condition is None else read_where(condition) for condition in (config.where, where)
    ]
    return memory.search(questions, config.k if k is None else k, where=both(*filters))
